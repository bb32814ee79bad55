/** `holdfast serve` as a process that tests kill and start again at the same place. */
import { spawn, type ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";
import { freePort } from "./upstream-process.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));
const LEDGER_SERVER = fileURLToPath(new URL("../fixtures/ledger-server.mjs", import.meta.url));

export interface DaemonOptions {
  /** As in `holdfast.json`. */
  readonly mcpServers: Readonly<Record<string, object>>;
  /** The top level's own settings. */
  readonly holdfast?: object;
  readonly args?: readonly string[];
}

/** One place: a port, a configuration file and a state folder. Its processes come and go. */
export interface Daemon {
  readonly port: number;
  /** Of the newest process. */
  readonly pid: number;
  mcp(name: string): string;
  /** Resolves when it listens; rejects if it ends before. */
  start(): Promise<void>;
  /** Starts it and does not wait. */
  launch(): void;
  /** SIGKILL, and gone when this resolves. */
  kill(): Promise<void>;
  stderr(): string;
}

/** The ledger server behind stdio, as an entry of `mcpServers`. `down`: the file that keeps it down. */
export const ledgerEntry = (lab: Lab, settings: object = {}, down = lab.path("down")): object => ({
  command: process.execPath,
  args: [LEDGER_SERVER, "stdio"],
  env: { LEDGER: lab.path("ledger"), PIDS: lab.path("pids"), DOWN: down },
  holdfast: settings,
});

interface Life {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly listening: Promise<void>;
  readonly exited: Promise<void>;
}

function begin(
  lab: Lab,
  port: number,
  args: readonly string[],
  hear: (line: string) => void,
): Life {
  const child = spawn(process.execPath, [CLI, "serve", ...args], {
    // A thousand sessions at debug level would drown what a failing test has to say.
    env: { ...lab.env, HOLDFAST_LOG_LEVEL: "info" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("holdfast serve could not be started");
  lab.watch(pid);
  const exited = new Promise<void>((resolve) => {
    child.on("exit", () => {
      resolve();
    });
  });
  const listening = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      hear(`${line}\n`);
      if (line.includes(`127.0.0.1:${String(port)}`)) resolve();
    });
    child.on("exit", (code, signal) => {
      reject(new Error(`holdfast serve ended with ${String(code ?? signal)} before it listened`));
    });
  });
  // Nobody may be waiting for it when it is killed.
  listening.catch(() => undefined);
  return { child, pid, listening, exited };
}

/** Ready to be started. Ended with the lab. */
export async function daemonAt(lab: Lab, options: DaemonOptions): Promise<Daemon> {
  const file = lab.path("holdfast.json");
  const { mcpServers, holdfast = {} } = options;
  writeFileSync(file, JSON.stringify({ mcpServers, holdfast }));
  const port = await freePort();
  const listen = `127.0.0.1:${String(port)}`;
  const args = ["--config", file, "--listen", listen, ...(options.args ?? [])];
  let life: Life | undefined;
  let stderr = "";
  const living = (): Life => {
    if (life === undefined) throw new Error("the daemon was never started");
    return life;
  };
  const launch = () => {
    life = begin(lab, port, args, (line) => {
      stderr += line;
      lab.log(line);
    });
  };
  const endBy = async (signal: NodeJS.Signals) => {
    const { child, exited } = living();
    child.kill(signal);
    await exited;
  };
  lab.onClose(() => (life === undefined ? Promise.resolve() : endBy("SIGTERM")));
  return {
    port,
    get pid() {
      return living().pid;
    },
    mcp: (name) => `http://${listen}/mcp/${name}`,
    start: () => {
      launch();
      return living().listening;
    },
    launch,
    kill: () => endBy("SIGKILL"),
    stderr: () => stderr,
  };
}

/** Starts it, too. */
export async function startDaemon(lab: Lab, options: DaemonOptions): Promise<Daemon> {
  const daemon = await daemonAt(lab, options);
  await daemon.start();
  return daemon;
}
