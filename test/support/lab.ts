/**
 * One laboratory a test: a private folder with its ledger of executions, its list of started servers
 * and its state folder; and the duty to leave nothing behind. Closing it fails the test if a process
 * that was started in it still lives.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "vitest";

/** One line of the ledger that the fixture server writes before it answers. */
export interface Execution {
  readonly tool: string;
  readonly nonce: string;
  readonly phase: "started" | "done" | "cancelled";
  readonly pid: number;
  readonly session?: string;
  readonly at: number;
}

export interface Lab {
  readonly folder: string;
  /** Environment of every process of this test: private folders, the ledger, nothing of the machine. */
  readonly env: Readonly<Record<string, string>>;
  path(name: string): string;
  executions(): readonly Execution[];
  nonces(): readonly string[];
  /** Ids of the servers that were started, oldest first. */
  serverPids(): readonly number[];
  /** A process that must be gone when the test ends. */
  watch(pid: number): void;
  /** Runs when the lab closes, last added first. */
  onClose(task: () => Promise<void>): void;
  /** Kept for the report of a failing test. */
  log(line: string): void;
}

const POLL_MS = 20;

/** Waits until `read()` gives something other than undefined or false; fails with what was awaited. */
export async function until<T>(
  what: string,
  read: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = 60_000,
): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await read();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`waited ${String(deadlineMs)} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Resolves when this much time has passed since `sinceAt`: for outages that have a length. */
export const elapsed = (sinceAt: number, ms: number): Promise<true> =>
  until(`${String(ms)} ms to pass`, () => Date.now() - sinceAt >= ms, ms + 5000);

/** A dead process that nobody has collected yet counts as dead. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  try {
    const stat = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
  } catch (error) {
    // No /proc on this system: the signal's answer stands. On Linux it means the process just went.
    return !existsSync("/proc/self/stat") || (error as NodeJS.ErrnoException).code !== "ENOENT";
  }
}

const linesOf = (file: string): string[] =>
  existsSync(file)
    ? readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
    : [];

/**
 * Processes whose environment names this folder. A server that was started an instant before its proxy
 * was killed is in no list yet, and may still write into the folder. Empty on systems without /proc.
 */
function processesOf(folder: string): number[] {
  if (!existsSync("/proc/self/environ")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/environ`, "latin1").includes(folder);
      } catch {
        // It ended while we looked, or it is not ours to look at.
        return false;
      }
    })
    .map(Number);
}

async function closeLab(lab: Lab, tasks: readonly (() => Promise<void>)[], watched: Set<number>) {
  for (const task of [...tasks].reverse()) await task();
  const living = () => {
    for (const pid of [...lab.serverPids(), ...processesOf(lab.folder)]) watched.add(pid);
    return [...watched].filter(isAlive);
  };
  try {
    await until("every process of the test to be gone", () => living().length === 0, 20_000);
  } catch {
    const left = living();
    for (const pid of left) {
      process.kill(pid, "SIGCONT");
      process.kill(pid, "SIGKILL");
    }
    throw new Error(`left running: ${left.join(", ")}`);
  } finally {
    rmSync(lab.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** For programs that are no tests, too: whoever opens a lab closes it. */
export function makeLab(): { lab: Lab; close: () => Promise<void>; report: () => string } {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-e2e-"));
  const path = (name: string) => join(folder, name);
  const watched = new Set<number>();
  const tasks: (() => Promise<void>)[] = [];
  const logged: string[] = [];
  mkdirSync(path("home"));
  const executions = () => linesOf(path("ledger")).map((line) => JSON.parse(line) as Execution);
  const lab: Lab = {
    folder,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: path("home"),
      HOLDFAST_STATE_DIR: path("state"),
      HOLDFAST_LOG_LEVEL: "debug",
      LEDGER: path("ledger"),
      PIDS: path("pids"),
      DOWN: path("down"),
    },
    path,
    executions,
    nonces: () => executions().map((execution) => execution.nonce),
    serverPids: () => linesOf(path("pids")).map(Number),
    watch: (pid) => watched.add(pid),
    onClose: (task) => tasks.push(task),
    log: (line) => logged.push(line),
  };
  return { lab, close: () => closeLab(lab, tasks, watched), report: () => logged.join("") };
}

/** A test in a lab of its own. Tests of one file run side by side: they mostly wait. */
export function labTest(name: string, body: (lab: Lab) => Promise<void>, timeoutMs = 120_000) {
  test.concurrent(
    name,
    async () => {
      const { lab, close, report } = makeLab();
      try {
        await body(lab);
      } catch (error) {
        const ledger = lab.executions().map((execution) => JSON.stringify(execution));
        const tail = ledger.slice(-20).join("\n");
        console.error(`── ${name}\n${report().slice(-6000)}\n── end of ledger\n${tail}`);
        await close().catch((left: unknown) => {
          console.error(left);
        });
        throw error;
      }
      await close();
    },
    timeoutMs,
  );
}

/** Creates the file, which opens a gate or throws a switch. */
export const touch = (file: string): void => {
  writeFileSync(file, "");
};
