/**
 * The proxies of a lane: one daemon (`holdfast serve`) for all its clients, or a wrap (`holdfast run`) for
 * each. Kills them, reads the journal of the dead before anybody writes to it again, and watches what they
 * cost and whether one ends by itself.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createWriteStream, readdirSync, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { readCalls, readJournals } from "../../src/store/reader.ts";
import type { JournalView } from "../proof/evidence.ts";
import { residentBytes } from "../support/proc.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));
/** The label of the last views. */
export const AT_THE_END = "at the end";

const SAMPLE_MS = 400;
/** A start that takes longer than this has failed. */
const START_MS = 30_000;

/** One proxy as its parent sees it. */
export interface Life {
  readonly pid: number;
  /** Exit code or signal. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  signal(name: NodeJS.Signals): boolean;
}

export interface FleetOptions {
  readonly folder: string;
  /** The state folder and all else that a proxy is given. */
  readonly env: Readonly<Record<string, string>>;
}

/** What is the same for daemons and wraps: lives, deaths, journals and costs. */
export class Fleet {
  readonly #folder: string;
  readonly #stateFolder: string;
  readonly #lives = new Map<Life, "running" | "ordered to end">();
  readonly #log: WriteStream;
  readonly #sampler: NodeJS.Timeout;
  /** Standing while a death is looked at: nobody starts, so nobody writes to what the dead left. */
  #gate: Promise<void> = Promise.resolve();
  readonly views: JournalView[] = [];
  readonly fatal: string[] = [];
  /** From the start of a proxy to its first service. */
  readonly startsMs: number[] = [];
  #tail: string[] = [];
  started = 0;
  killed = 0;
  peakRssBytes = 0;

  constructor({ folder, env }: FleetOptions) {
    this.#folder = folder;
    this.#stateFolder = env["HOLDFAST_STATE_DIR"] ?? "";
    this.#log = createWriteStream(`${folder}/proxy.log`);
    this.#sampler = setInterval(() => {
      this.#sample();
    }, SAMPLE_MS);
  }

  get configPath(): string {
    return `${this.#folder}/holdfast.json`;
  }

  command(...args: string[]): readonly string[] {
    return [process.execPath, CLI, ...args];
  }

  alive(): readonly Life[] {
    return [...this.#lives.keys()];
  }

  /** Nobody is being looked at. */
  async whenFree(): Promise<void> {
    let gate: Promise<void>;
    do {
      gate = this.#gate;
      await gate;
    } while (gate !== this.#gate);
  }

  /** A proxy that was just started. It ends only when it is told to, or that is a finding. */
  born(life: Life): void {
    this.started += 1;
    this.#lives.set(life, "running");
    void life.exited.then((how) => {
      const state = this.#lives.get(life);
      this.#lives.delete(life);
      const isOrdered = state === "ordered to end" && (how === 0 || how === "SIGKILL");
      if (isOrdered) return;
      const words = this.#tail.slice(-8).join("\n");
      this.fatal.push(`proxy ${String(life.pid)} ended with ${String(how)}: ${words}`);
    });
  }

  said(line: string): void {
    this.#tail = [...this.#tail.slice(-40), line];
    this.#log.write(`${String(Date.now())} ${line}\n`);
  }

  /** It may end by itself from now on: its client leaves, or it was sent SIGTERM. */
  mayEnd(life: Life): void {
    this.#lives.set(life, "ordered to end");
  }

  /** SIGKILL; resolves when it is dead and its journal was read. */
  async kill(life: Life): Promise<void> {
    const before = this.#gate;
    let open: () => void = () => undefined;
    this.#gate = new Promise((resolve) => (open = resolve));
    await before;
    try {
      this.mayEnd(life);
      this.killed += 1;
      life.signal("SIGKILL");
      await life.exited;
      await this.look(`after kill ${String(this.killed)}`, life.pid);
    } finally {
      open();
    }
  }

  /** Reads the journal that this process had; without `pid` all of them. */
  async look(label: string, pid?: number): Promise<void> {
    for (const journal of await readJournals(this.#stateFolder)) {
      const owner = journal.facts.get("owner");
      const isOfPid = pid === undefined || owner === undefined || pidIn(owner) === pid;
      // A death may leave a file without a schema yet; then nothing was said to anybody.
      if (!isOfPid || journal.problem?.includes("no such table") === true) continue;
      if (journal.problem !== undefined) this.fatal.push(`${journal.path}: ${journal.problem}`);
      for (const { id, why } of journal.damaged) this.fatal.push(`row ${id} is damaged: ${why}`);
      const rows = [...(await readCalls(journal.path, {}))].reverse();
      const at = Date.now();
      this.views.push({
        label,
        at,
        atMs: at,
        journal: journal.path,
        isAfterPowerLoss: false,
        rows,
      });
    }
  }

  /** Calls that are in no terminal state, in all journals, while proxies run. */
  async live(): Promise<number> {
    let live = 0;
    for (const { counts } of await readJournals(this.#stateFolder)) {
      for (const state of ["queued", "sent", "tasked", "in_doubt"]) live += counts[state] ?? 0;
    }
    return live;
  }

  #sample(): void {
    for (const { pid } of this.#lives.keys()) {
      try {
        this.peakRssBytes = Math.max(this.peakRssBytes, residentBytes(pid));
      } catch {
        // It died since.
      }
    }
  }

  /** SIGTERM to all that is left; resolves when they are gone and the journals were read once more. */
  async end(): Promise<void> {
    for (const life of this.alive()) {
      this.mayEnd(life);
      life.signal("SIGCONT");
      life.signal("SIGTERM");
    }
    await Promise.all(this.alive().map(({ exited }) => exited));
    await this.look(AT_THE_END);
    clearInterval(this.#sampler);
    await new Promise<void>((resolve) => {
      this.#log.end(resolve);
    });
  }
}

function pidIn(owner: string): number | undefined {
  return (JSON.parse(owner) as { pid?: number }).pid;
}

/** Descriptors of a process. */
export const descriptorsOf = (pid: number): number => readdirSync(`/proc/${String(pid)}/fd`).length;

export interface Daemon {
  /** SIGKILL, and gone; its journal was read. */
  kill(): Promise<void>;
  /** Starts it; resolves when it serves, or is dead again. */
  start(): Promise<void>;
  /** Its newest life is there and serves. */
  isServing(): boolean;
}

/** `holdfast serve` at one port, over many lives. */
export function daemonOf(
  fleet: Fleet,
  address: string,
  env: Readonly<Record<string, string>>,
): Daemon {
  let life: Life | undefined;
  let isServing = false;

  const launch = (): { child: ChildProcess; serving: Promise<void> } => {
    const [file = "", ...args] = fleet.command(
      "serve",
      "--config",
      fleet.configPath,
      "--listen",
      address,
    );
    const child = spawn(file, args, { env: { ...env }, stdio: ["ignore", "ignore", "pipe"] });
    const startedAt = performance.now();
    const serving = new Promise<void>((resolve, reject) => {
      const due = setTimeout(() => {
        reject(new Error(`holdfast serve does not serve after ${String(START_MS)} ms`));
      }, START_MS);
      const stop = () => {
        clearTimeout(due);
        resolve();
      };
      createInterface({ input: child.stderr as NonNullable<ChildProcess["stderr"]> }).on(
        "line",
        (line) => {
          fleet.said(line);
          if (!/^holdfast: serving /.test(line)) return;
          fleet.startsMs.push(performance.now() - startedAt);
          stop();
        },
      );
      child.once("exit", stop);
    });
    return { child, serving };
  };

  return {
    isServing: () => isServing,
    start: async () => {
      await fleet.whenFree();
      const { child, serving } = launch();
      const { pid } = child;
      if (pid === undefined) throw new Error("holdfast serve could not be started");
      const mine: Life = {
        pid,
        exited: new Promise((resolve) => {
          child.once("close", (code, signal) => {
            life = undefined;
            isServing = false;
            resolve(code ?? signal);
          });
        }),
        signal: (name) => child.kill(name),
      };
      life = mine;
      fleet.born(mine);
      await serving;
      isServing = life === mine;
    },
    kill: async () => {
      if (life !== undefined) await fleet.kill(life);
    },
  };
}
