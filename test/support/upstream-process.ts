/**
 * The upstream of an end-to-end test: the ledger server behind stdio, where Holdfast itself starts it,
 * or behind Streamable HTTP, HTTP+SSE or WebSocket, where it is a process of its own. Each can be
 * killed and kept down, brought back, frozen and thawed, so that one scenario runs against all.
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TransportKind } from "../../src/core/transport.ts";
import { isAlive, touch, until, type Lab } from "./lab.ts";
import { ownPort } from "./port.ts";
import type { ServerEntry } from "./serve-process.ts";

const LEDGER_SERVER = fileURLToPath(new URL("../fixtures/ledger-server.mjs", import.meta.url));

export interface Upstream {
  readonly kind: TransportKind;
  /** What follows Holdfast's options on its command line. */
  readonly target: readonly string[];
  /** What a configuration file says of it. */
  readonly entry: ServerEntry;
  /** Where it listens; empty behind stdio. */
  readonly url: string;
  /** Lets it run again (stdio: Holdfast starts it; else it listens when this resolves). */
  up(): Promise<void>;
  /** Kills it with SIGKILL, if it runs, and keeps it down. */
  down(): Promise<void>;
  /** Kills it and has it back at once, as a new process that knows nothing of the old one. */
  restart(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

export type OpenUpstream = (lab: Lab, env?: Record<string, string>) => Promise<Upstream>;

const newestServer = (lab: Lab): number | undefined => lab.serverPids().filter(isAlive).at(-1);

async function killAll(lab: Lab): Promise<void> {
  const living = lab.serverPids().filter(isAlive);
  for (const pid of living) process.kill(pid, "SIGKILL");
  await until("the server to die", () => !living.some(isAlive), 20_000);
}

function signals(lab: Lab) {
  return (signal: NodeJS.Signals) => () => {
    const pid = newestServer(lab);
    if (pid === undefined) throw new Error("no server runs that could be signalled");
    process.kill(pid, signal);
  };
}

export const stdioUpstream: OpenUpstream = (lab) => {
  const send = signals(lab);
  return Promise.resolve({
    kind: "stdio",
    target: ["--", process.execPath, LEDGER_SERVER, "stdio"],
    // A daemon gives a server no more of its environment than it must.
    entry: { command: process.execPath, args: [LEDGER_SERVER, "stdio"], env: lab.env },
    url: "",
    up: () => {
      rmSync(lab.path("down"), { force: true });
      return Promise.resolve();
    },
    down: async () => {
      touch(lab.path("down"));
      await killAll(lab);
    },
    restart: async () => {
      const before = lab.serverPids().length;
      await killAll(lab);
      await until("the server to be started again", () => lab.serverPids().length > before);
    },
    freeze: send("SIGSTOP"),
    thaw: send("SIGCONT"),
  });
};

type RemoteKind = Exclude<TransportKind, "stdio">;

async function startServer(
  lab: Lab,
  kind: RemoteKind,
  port: number,
  env: Record<string, string>,
): Promise<void> {
  const child = spawn(process.execPath, [LEDGER_SERVER, kind, String(port)], {
    env: { ...lab.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (child.pid === undefined) throw new Error("the server could not be started");
  lab.watch(child.pid);
  const lines = createInterface({ input: child.stderr });
  const listening = new Promise<void>((resolve, reject) => {
    lines.on("line", (line) => {
      lab.log(`[server] ${line}\n`);
      if (line.includes('"listening"')) resolve();
    });
    child.on("exit", (code) => {
      reject(new Error(`the server exited with ${String(code)} before it listened`));
    });
  });
  await listening;
}

const URLS: Readonly<Record<RemoteKind, (host: string) => string>> = {
  http: (host) => `http://${host}/mcp`,
  sse: (host) => `http://${host}/sse`,
  ws: (host) => `ws://${host}/mcp`,
};

async function openRemote(
  kind: RemoteKind,
  lab: Lab,
  env: Record<string, string> = {},
): Promise<Upstream> {
  const port = await ownPort();
  const up = () => startServer(lab, kind, port, env);
  const send = signals(lab);
  await up();
  lab.onClose(() => killAll(lab));
  const url = URLS[kind](`127.0.0.1:${String(port)}`);
  return {
    kind,
    target: kind === "sse" ? ["--transport", "sse", url] : [url],
    entry: { type: kind, url },
    url,
    up,
    down: () => killAll(lab),
    restart: async () => {
      await killAll(lab);
      await up();
    },
    freeze: send("SIGSTOP"),
    thaw: send("SIGCONT"),
  };
}

export const httpUpstream: OpenUpstream = (lab, env) => openRemote("http", lab, env);
export const sseUpstream: OpenUpstream = (lab, env) => openRemote("sse", lab, env);
export const webSocketUpstream: OpenUpstream = (lab, env) => openRemote("ws", lab, env);

type UpstreamName = "stdio" | "Streamable HTTP" | "HTTP+SSE" | "WebSocket";

type Named = readonly (readonly [UpstreamName, OpenUpstream])[];

/** A server of our own and one that is elsewhere: enough where the transport makes no other difference. */
export const UPSTREAMS: Named = [
  ["stdio", stdioUpstream],
  ["Streamable HTTP", httpUpstream],
];

/** The scenarios of the main job run against each. */
export const ALL_UPSTREAMS: Named = [
  ...UPSTREAMS,
  ["HTTP+SSE", sseUpstream],
  ["WebSocket", webSocketUpstream],
];
