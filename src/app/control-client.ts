/** Talks to running proxies over their control sockets. */
import { readdirSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { errorText, RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { CallRow } from "../core/call.ts";
import type { SessionRow } from "../core/session.ts";
import type { ProxyStatus } from "../core/status.ts";
import type { CallFilter, Control } from "../ports.ts";
import { ControlExchange } from "./control-exchange.ts";
import { controlPathsIn } from "./folders.ts";

/** A restart lets what is in flight finish first. */
const RESTART_TIMEOUT_MS = 600_000;

export interface ControlClient extends Control {
  /** Resolves when the connection is over, to the reason in words: nothing is told any more. */
  readonly ended: Promise<string>;
  close(): void;
}

/** Nobody listens at that path any more. */
export class NobodyThere extends Error {
  override readonly name = "NobodyThere";
}

/** Rejects with `NobodyThere`, or with the reason in words. */
export async function connectControl(path: string, world: World): Promise<ControlClient> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const made = connect(path);
    made.once("connect", () => {
      resolve(made);
    });
    made.once("error", (error: NodeJS.ErrnoException) => {
      const isGone = error.code === "ECONNREFUSED" || error.code === "ENOENT";
      reject(isGone ? new NobodyThere(path) : new RefusedError(errorText(error)));
    });
  });
  const exchange = new ControlExchange(socket, world);
  const ask = exchange.ask.bind(exchange);
  const ofCall = async (verb: string, call: string, more = {}) => ask({ verb, call, ...more });
  return {
    status: async () => (await ask({ verb: "status" })) as ProxyStatus,
    list: async (filter: CallFilter) => (await ask({ verb: "list", filter })) as CallRow[],
    show: async (id) => ((await ofCall("show", id)) ?? undefined) as CallRow | undefined,
    retry: async (id) => (await ofCall("retry", id)) as string,
    cancel: async (id) => (await ofCall("cancel", id)) as CallRow,
    settle: async (id, note) => (await ofCall("settle", id, { note })) as CallRow,
    sessions: async () => (await ask({ verb: "sessions" })) as SessionRow[],
    endSession: async (session) => {
      await ask({ verb: "endSession", session });
    },
    restart: async (upstream) =>
      (await ask({ verb: "restart", upstream }, RESTART_TIMEOUT_MS)) as number,
    follow: (tell) => exchange.follow(tell),
    ended: exchange.ended,
    close: () => {
      exchange.close();
    },
  };
}

/** Control paths of this run folder; those of dead processes are among them. */
export function listControlPaths(run: string, platform: NodeJS.Platform): string[] {
  try {
    const names = readdirSync(platform === "win32" ? "\\\\.\\pipe\\" : run);
    return controlPathsIn(run, names, platform).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Removes a socket file that a killed process left behind. */
function sweep(path: string): void {
  const pid = Number(/(\d+)\.sock$/.exec(path)?.[1]);
  if (!Number.isInteger(pid) || isAlive(pid)) return;
  // Another command may have swept it just now.
  rmSync(path, { force: true });
}

/** A proxy that was found: it answers, or it is there and does not. */
export type FoundProxy =
  | { readonly path: string; readonly client: ControlClient; readonly status: ProxyStatus }
  | { readonly path: string; readonly error: string };

/** Asks every proxy of this run folder. The caller closes the clients. */
export async function findProxies(
  run: string,
  platform: NodeJS.Platform,
  world: World,
): Promise<FoundProxy[]> {
  const asked = listControlPaths(run, platform).map(
    async (path): Promise<FoundProxy | undefined> => {
      let client: ControlClient | undefined;
      try {
        client = await connectControl(path, world);
        return { path, client, status: await client.status() };
      } catch (error) {
        client?.close();
        if (!(error instanceof NobodyThere)) return { path, error: errorText(error) };
        sweep(path);
        return undefined;
      }
    },
  );
  return (await Promise.all(asked)).filter((found) => found !== undefined);
}
