/** What was measured of a run, against its limits: L1 to L4 and R1 to R4 of the reliability design. */
import type { Measures } from "../evidence.ts";
import { lastOf, type Ledger } from "../ledger.ts";
import type { Report } from "../report.ts";

const MIB = 1024 * 1024;

/**
 * Design §12: from the upstream's return to the first answer. A local server's own start is in what is
 * measured; it is given two seconds.
 */
const RECOVERY_MS = { stdio: 1_000 + 2_000, remote: 15_000 + 1_000 } as const;
/** After the last fault, besides the time that the slowest call was given. */
const QUIET_MS = 30_000;
const JAIN_MIN = 0.9;
const RSS_MAX_BYTES = 96 * MIB;
const WAL_MAX_BYTES = 64 * MIB;
const LOOP_LAG_MAX_MS = 50;

export function checkMeasures(ledger: Ledger, report: Report): void {
  const { measures } = ledger.evidence;
  checkLiveness(ledger, measures, report);
  checkResources(measures, report);
}

/** The largest of all but the slowest hundredth. */
export function p99(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
}

/** 1 where all have the same, 1/n where one has everything. */
export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

function checkLiveness(ledger: Ledger, measures: Measures, report: Report): void {
  const { quietMs, recoveryMs, breakers, shares } = measures;
  if (quietMs !== undefined) {
    const longest = ledger.histories.reduce((most, history) => {
      const { deadlineAt, acceptedAt } = lastOf(history);
      return Math.max(most, deadlineAt - acceptedAt);
    }, 0);
    if (quietMs > QUIET_MS + longest)
      report.add("L1", undefined, `the last call ended ${String(quietMs)} ms after the last fault`);
  }
  for (const [kind, limit] of Object.entries(RECOVERY_MS)) {
    const own = (recoveryMs ?? []).filter(
      ({ transport }) => (transport === "stdio") === (kind === "stdio"),
    );
    const slow = p99(own.map(({ ms }) => ms));
    if (slow > limit)
      report.add(
        "L2",
        undefined,
        `${kind}: the first answer came ${String(slow)} ms (p99) after the upstream was back`,
      );
  }
  if (shares !== undefined && jain(shares) < JAIN_MIN)
    report.add("L3", undefined, `calls answered per session: ${shares.join(", ")}`);
  for (const [upstream, state] of Object.entries(breakers ?? {})) {
    if (state !== "closed")
      report.add("L4", undefined, `the breaker of ${upstream} is ${state} at the end`);
  }
}

function checkResources(measures: Measures, report: Report): void {
  const { idleRssBytes, peakRssBytes, walPeakBytes, loopLagP99Ms, leaked } = measures;
  if (idleRssBytes !== undefined && peakRssBytes !== undefined) {
    const more = peakRssBytes - idleRssBytes;
    if (more > RSS_MAX_BYTES) report.add("R1", undefined, `${mib(more)} of memory more than idle`);
  }
  if (walPeakBytes !== undefined && walPeakBytes > WAL_MAX_BYTES)
    report.add("R2", undefined, `a write-ahead log of ${mib(walPeakBytes)}`);
  if (loopLagP99Ms !== undefined && loopLagP99Ms > LOOP_LAG_MAX_MS)
    report.add("R3", undefined, `the event loop was late by ${String(loopLagP99Ms)} ms (p99)`);
  for (const [what, count] of Object.entries(leaked ?? {})) {
    if (count > 0) report.add("R4", undefined, `${String(count)} ${what} were left over`);
  }
}

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
