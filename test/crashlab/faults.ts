/** The disk fails at the n-th call, under the store: `faults-child.ts` does it, in one process. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { runPreloaded } from "./record.ts";

export interface FaultOptions {
  /** Absolute; what is under it fails. */
  readonly folder: string;
  readonly seed: number;
  readonly calls: number;
  /** Every so many calls one fails. 1: each in its turn. */
  readonly stride: number;
  /** The same for journals that are opened whole, thread and all. */
  readonly threadStride: number;
}

export interface FaultFigures {
  /** Runs in which something failed, by what failed. */
  readonly points: Readonly<Record<string, number>>;
  /** What was wrong afterwards, in words. */
  readonly findings: readonly string[];
}

export async function runFaults(
  library: string,
  place: string,
  options: Omit<FaultOptions, "folder">,
): Promise<FaultFigures> {
  const folder = join(place, "failing");
  mkdirSync(folder);
  const child: FaultOptions = { ...options, folder };
  const { code, stdout, stderr } = await runPreloaded(library, { folder }, "faults-child.ts", [
    JSON.stringify(child),
  ]);
  if (code !== 0) throw new Error(`the failing process ended with ${String(code)}: ${stderr}`);
  return JSON.parse(stdout) as FaultFigures;
}
