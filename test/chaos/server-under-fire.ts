/**
 * An upstream of the chaos run: behind stdio, where Holdfast starts it, or over the network in a process of
 * its own that is started anew whenever it ends, as a service manager does, with a fault proxy before it.
 * Only processes that were started for this very ledger are ever signalled.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TransportKind } from "../../src/core/transport.ts";
import { isAlive, until } from "../support/lab.ts";
import { ownPort } from "../support/port.ts";
import { openFaultProxy, type FaultProxy } from "./fault-proxy.ts";

const SERVER = fileURLToPath(new URL("../fixtures/chaos-server.mjs", import.meta.url));
/** Between the end of a server and its next start. */
const RESTART_MS = 60;

export interface UnderFire {
  readonly name: string;
  readonly kind: TransportKind;
  /** What a configuration file says of it. */
  readonly entry: object;
  /** Undefined behind stdio. */
  readonly faults: FaultProxy | undefined;
  /** SIGKILL to every process of it; with `down` it also stays down until `up`. */
  kill(down: boolean): void;
  /** It can be started again; over the network it listens when this resolves. */
  up(): Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** Processes of it that live. */
  pids(): readonly number[];
  /** Ends its process and the fault proxy; nothing starts again. */
  close(): Promise<void>;
}

export interface UnderFireOptions {
  readonly kind: TransportKind;
  readonly folder: string;
  readonly random: () => number;
  log(line: string): void;
}

const PATHS = { http: "/mcp", sse: "/sse", ws: "/mcp" };

interface Files {
  readonly pids: string;
  readonly down: string;
  readonly env: Readonly<Record<string, string>>;
}

function filesOf(folder: string, name: string): Files {
  const pids = `${folder}/${name}.pids`;
  const down = `${folder}/${name}.down`;
  const env = { NAME: name, LEDGER: `${folder}/${name}.ledger`, PIDS: pids, DOWN: down };
  return { pids, down, env };
}

/** Whether the process is a server that was started for this ledger: ids are given out again. */
function isOurs(pid: number, { env }: Files): boolean {
  if (!isAlive(pid)) return false;
  try {
    return readFileSync(`/proc/${String(pid)}/environ`, "latin1").includes(
      `LEDGER=${String(env["LEDGER"])}\0`,
    );
  } catch {
    return false;
  }
}

const started = (files: Files): number[] =>
  existsSync(files.pids)
    ? readFileSync(files.pids, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map(Number)
    : [];

const living = (files: Files): number[] => started(files).filter((pid) => isOurs(pid, files));

function signalAll(files: Files, name: NodeJS.Signals): void {
  for (const pid of living(files)) {
    try {
      process.kill(pid, name);
    } catch (error) {
      // It ended by itself since it was looked at.
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

export function openPipe({ folder }: UnderFireOptions): Promise<UnderFire> {
  const files = filesOf(folder, "pipe");
  return Promise.resolve({
    name: "pipe",
    kind: "stdio",
    entry: { command: process.execPath, args: [SERVER, "stdio"], env: files.env },
    faults: undefined,
    kill: (down) => {
      if (down) writeFileSync(files.down, "");
      signalAll(files, "SIGKILL");
    },
    up: () => {
      rmSync(files.down, { force: true });
      return Promise.resolve();
    },
    signal: (name) => {
      signalAll(files, name);
    },
    pids: () => living(files),
    close: async () => {
      signalAll(files, "SIGCONT");
      await until("the servers behind stdio to be gone", () => living(files).length === 0, 20_000);
    },
  });
}

type RemoteKind = Exclude<TransportKind, "stdio">;

export async function openRemote(kind: RemoteKind, options: UnderFireOptions): Promise<UnderFire> {
  const name = { http: "web", sse: "events", ws: "socket" }[kind];
  const files = filesOf(options.folder, name);
  const targetPort = await ownPort();
  const service = new Service(kind, targetPort, files, options.log);
  await service.up();
  const faults = await openFaultProxy({ targetPort, random: options.random });
  const scheme = kind === "ws" ? "ws" : "http";
  return {
    name,
    kind,
    entry: { type: kind, url: `${scheme}://127.0.0.1:${String(faults.port)}${PATHS[kind]}` },
    faults,
    kill: (down) => {
      if (down) writeFileSync(files.down, "");
      service.signal("SIGKILL");
    },
    up: () => service.up(),
    signal: (signal) => {
      service.signal(signal);
    },
    pids: () => living(files),
    close: async () => {
      await service.close();
      await faults.close();
    },
  };
}

/** Keeps one process running. */
class Service {
  readonly #kind: RemoteKind;
  readonly #port: number;
  readonly #files: Files;
  readonly #log: (line: string) => void;
  #child: ChildProcess | undefined;
  #listening: (() => void)[] = [];
  #isListening = false;
  #isOver = false;

  constructor(kind: RemoteKind, port: number, files: Files, log: (line: string) => void) {
    this.#kind = kind;
    this.#port = port;
    this.#files = files;
    this.#log = log;
  }

  #start(): void {
    const child = spawn(process.execPath, [SERVER, this.#kind, String(this.#port)], {
      env: { PATH: process.env["PATH"] ?? "", ...this.#files.env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#child = child;
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (line.includes('"listening"')) {
        this.#isListening = true;
        for (const tell of this.#listening.splice(0)) tell();
      } else if (!/^x+$/.test(line)) this.#log(line);
    });
    child.on("close", () => {
      this.#isListening = false;
      if (this.#isOver) return;
      setTimeout(() => {
        if (!this.#isOver) this.#start();
      }, RESTART_MS);
    });
  }

  up(): Promise<void> {
    rmSync(this.#files.down, { force: true });
    if (this.#child === undefined) this.#start();
    if (this.#isListening) return Promise.resolve();
    return new Promise((resolve) => this.#listening.push(resolve));
  }

  signal(name: NodeJS.Signals): void {
    if (name === "SIGKILL") this.#isListening = false;
    this.#child?.kill(name);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await gone;
  }
}
