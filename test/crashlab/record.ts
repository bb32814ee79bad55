/** Runs a process with the library before it and gives back what it did. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { preloaded } from "./native.ts";
import type { Preload } from "./native.ts";
import { askedOf } from "./history.ts";
import type { Asked } from "./history.ts";
import type { Line } from "./operations.ts";
import { linesOf, readTrace } from "./trace.ts";
import type { TraceRecord } from "./trace.ts";
import type { ChildOptions } from "./work-child.ts";

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs one of the lab's own programs to its end, under the library. Its stdout is a file, which it can
 * write to without waiting for anybody.
 */
export async function runPreloaded(
  library: string,
  preload: Preload,
  script: string,
  args: readonly string[],
): Promise<Finished> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const stdoutPath = `${preload.folder}.stdout`;
  const stdout = openSync(stdoutPath, "w", 0o600);
  try {
    const child = spawn(process.execPath, ["--import", "tsx", path, ...args], {
      env: { ...process.env, ...preloaded(library, preload) },
      stdio: ["ignore", stdout, "pipe"],
    });
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
    await once(child, "close");
    return { code: child.exitCode, stdout: readFileSync(stdoutPath, "utf8"), stderr };
  } finally {
    closeSync(stdout);
    rmSync(stdoutPath);
  }
}

export interface StoreRun {
  /** The folder that the trace is about; state folders are in it. */
  readonly folder: string;
  readonly records: readonly TraceRecord[];
  readonly asked: readonly Asked[];
}

/** A run of the workload on the real store. `place`: an empty folder. */
export async function recordStore(
  library: string,
  place: string,
  options: Omit<ChildOptions, "folder">,
): Promise<StoreRun> {
  const folder = join(place, "disk");
  const trace = join(place, "trace");
  mkdirSync(folder);
  const child: ChildOptions = { ...options, folder: join(folder, "state") };
  const preload = { folder, trace };
  const { code, stderr } = await runPreloaded(library, preload, "work-child.ts", [
    JSON.stringify(child),
  ]);
  if (code !== 0) throw new Error(`the workload ended with ${String(code)}: ${stderr}`);
  const records = readTrace(trace);
  const lines = linesOf(records, "told").map(({ order, text }) => ({
    order,
    line: JSON.parse(text) as Line,
  }));
  return { folder, records, asked: askedOf(lines) };
}
