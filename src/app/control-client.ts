/** Talks to running proxies over their control sockets. */
import { readdirSync, unlinkSync } from "node:fs";
import type { Socket } from "node:net";
import { connect } from "node:net";
import { errorText, RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { CallRow } from "../core/call.ts";
import type { ProxyStatus } from "../core/status.ts";
import type { CallFilter, Control } from "../ports.ts";
import { isObject } from "../wire/message.ts";
import { controlPathsIn } from "./folders.ts";

/** A proxy that is busy answers late; one that is frozen must not freeze `holdfast status`. */
const ANSWER_TIMEOUT_MS = 5_000;
/** One call with its largest payloads, and room. */
const LINE_MAX = 256 * 1_048_576;

export interface ControlClient extends Control {
  close(): void;
}

/** Nobody listens at that path any more. */
export class NobodyThere extends Error {
  override readonly name = "NobodyThere";
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
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
  const ask = exchange(socket, world);
  const ofCall = async (verb: string, call: string, more = {}) => ask({ verb, call, ...more });
  return {
    status: async () => (await ask({ verb: "status" })) as ProxyStatus,
    list: async (filter: CallFilter) => (await ask({ verb: "list", filter })) as CallRow[],
    show: async (id) => ((await ofCall("show", id)) ?? undefined) as CallRow | undefined,
    retry: async (id) => (await ofCall("retry", id)) as string,
    cancel: async (id) => (await ofCall("cancel", id)) as CallRow,
    settle: async (id, note) => (await ofCall("settle", id, { note })) as CallRow,
    close: () => socket.destroy(),
  };
}

/** One request at a time or several; answers are matched by id. */
function exchange(socket: Socket, world: World) {
  const pending = new Map<number, Pending>();
  let count = 0;
  let parts: string[] = [];
  let size = 0;
  const fail = (why: string) => {
    for (const one of pending.values()) one.reject(new RefusedError(why));
    pending.clear();
    socket.destroy();
  };
  socket.setEncoding("utf8");
  socket.on("error", (error) => {
    fail(`the proxy's control socket broke: ${errorText(error)}`);
  });
  socket.on("close", () => {
    fail("the proxy closed its control socket");
  });
  const take = (line: string) => {
    const answer: unknown = JSON.parse(line);
    if (!isObject(answer)) return;
    const waiting = pending.get(Number(answer["id"]));
    pending.delete(Number(answer["id"]));
    if ("error" in answer) waiting?.reject(new RefusedError(String(answer["error"])));
    else waiting?.resolve(answer["ok"]);
  };
  socket.on("data", (chunk: string) => {
    const lines = chunk.split("\n");
    const rest = lines.pop() ?? "";
    try {
      for (const line of lines) {
        take(parts.join("") + line);
        parts = [];
        size = 0;
      }
    } catch (error) {
      fail(`the proxy's control socket spoke nonsense: ${errorText(error)}`);
    }
    parts.push(rest);
    size += rest.length;
    if (size > LINE_MAX) fail("the proxy's answer is too long");
  });
  return (request: Record<string, unknown>) =>
    new Promise<unknown>((resolve, reject) => {
      const id = ++count;
      const cancelTimer = world.timer(ANSWER_TIMEOUT_MS, () => {
        fail(`the proxy did not answer in ${String(ANSWER_TIMEOUT_MS / 1_000)} s`);
      });
      pending.set(id, {
        resolve: (value) => {
          cancelTimer();
          resolve(value);
        },
        reject: (error) => {
          cancelTimer();
          reject(error);
        },
      });
      socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });
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
  if (Number.isInteger(pid) && !isAlive(pid)) unlinkSync(path);
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
