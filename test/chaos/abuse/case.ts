/** What a case of abuse is, what is measured in it, and what must hold (R1–R4 of the reliability design). */
import type { Experience } from "../../support/neighbour.ts";
import type { Lab } from "../../support/lab.ts";

const MIB = 1024 * 1024;

export interface Measured {
  /** What was done and what came of it, in a few words with numbers. */
  readonly said: string;
  /** Resident memory of the proxy before, after its first calls. */
  readonly idleBytes: number;
  readonly peakBytes: number;
  readonly walPeakBytes: number;
  /** Of the proxy's event loop. */
  readonly lagP99Ms: number;
  /** Undefined where the one client of the proxy is the abuse. */
  readonly neighbour?: Experience;
  /** More at the end than before, of what may not grow. */
  readonly leaked?: Readonly<Record<string, number>>;
}

export interface AbuseCase {
  readonly name: string;
  /** A few seconds at most: part of `npm test`. */
  readonly isQuick: boolean;
  /** Bounds of its own, where the machine or the case makes the usual ones meaningless. */
  readonly bounds?: Partial<Bounds>;
  /** Default: three minutes. */
  readonly limitMs?: number;
  /** Why it can't be run here; undefined where it can. */
  readonly unable?: () => string | undefined;
  /** Rejects where the proxy behaves wrongly; what it takes is judged by `problemsOf`. */
  readonly run: (lab: Lab) => Promise<Measured>;
}

export interface Bounds {
  /** R1. */
  readonly growthMaxBytes: number;
  /** R2. */
  readonly walMaxBytes: number;
  /** R3. Stated for an fsync of 5 ms; undefined: not judged. */
  readonly lagP99MaxMs: number | undefined;
  /** No more than a person would take for slow, on a machine that does other work, too. */
  readonly neighbourP99MaxMs: number;
  readonly neighbourWorstMaxMs: number;
}

export const BOUNDS: Bounds = {
  growthMaxBytes: 96 * MIB,
  walMaxBytes: 64 * MIB,
  lagP99MaxMs: undefined,
  neighbourP99MaxMs: 1_000,
  neighbourWorstMaxMs: 5_000,
};

export const mib = (bytes: number): string => (bytes / MIB).toFixed(1);

/** What does not hold, a sentence each. */
export function problemsOf(measured: Measured, own: Partial<Bounds> = {}): readonly string[] {
  const bounds = { ...BOUNDS, ...own };
  const { idleBytes, peakBytes, walPeakBytes, lagP99Ms, neighbour, leaked = {} } = measured;
  const problems: string[] = [];
  const over = (what: string, value: number, max: number | undefined, unit: string) => {
    if (max === undefined || value <= max) return;
    problems.push(`${what}: ${value.toFixed(1)} ${unit}, and may be ${max.toFixed(1)}`);
  };
  over("R1, memory over idle", (peakBytes - idleBytes) / MIB, bounds.growthMaxBytes / MIB, "MiB");
  over("R2, WAL", walPeakBytes / MIB, bounds.walMaxBytes / MIB, "MiB");
  over("R3, p99 of the event loop's lag", lagP99Ms, bounds.lagP99MaxMs, "ms");
  for (const [what, count] of Object.entries(leaked)) {
    if (count > 0) problems.push(`R4, ${what}: ${String(count)} more than before`);
  }
  if (neighbour !== undefined) {
    if (neighbour.calls === 0) problems.push("the neighbour had no answer");
    over("the neighbour's p99", neighbour.p99Ms, bounds.neighbourP99MaxMs, "ms");
    over("the neighbour's worst", neighbour.worstMs, bounds.neighbourWorstMaxMs, "ms");
  }
  return problems;
}
