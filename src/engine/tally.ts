/** Counts since the start, for `status`. Latency is kept over the last 256 replies. */
import type { FailureKind } from "../core/failure.ts";
import type { ProxyStatus } from "../core/status.ts";

const LATENCIES_MAX = 256;

/** The counts of several upstreams together. */
export function sumOf(tallies: readonly Tally[]): Pick<ProxyStatus, "calls" | "failures"> {
  const sum = (of: (tally: Tally) => number) => tallies.reduce((all, tally) => all + of(tally), 0);
  const failures: Partial<Record<FailureKind, number>> = {};
  for (const tally of tallies) {
    for (const [kind, count] of Object.entries(tally.failures) as [FailureKind, number][])
      failures[kind] = (failures[kind] ?? 0) + count;
  }
  return {
    calls: {
      accepted: sum((tally) => tally.accepted),
      answered: sum((tally) => tally.answered),
      expired: sum((tally) => tally.expired),
      outcomeUnknown: sum((tally) => tally.outcomeUnknown),
      refused: sum((tally) => tally.refused),
    },
    failures,
  };
}

export class Tally {
  accepted = 0;
  answered = 0;
  expired = 0;
  outcomeUnknown = 0;
  refused = 0;
  readonly failures: Partial<Record<FailureKind, number>> = {};
  readonly #latencies: number[] = [];
  #next = 0;

  failed(kind: FailureKind): void {
    this.failures[kind] = (this.failures[kind] ?? 0) + 1;
  }

  replied(latencyMs: number): void {
    this.#latencies[this.#next] = latencyMs;
    this.#next = (this.#next + 1) % LATENCIES_MAX;
  }

  get latencyMs(): { readonly p50: number; readonly p95: number } | undefined {
    if (this.#latencies.length === 0) return undefined;
    const sorted = [...this.#latencies].sort((a, b) => a - b);
    const at = (share: number) =>
      sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { p50: at(0.5), p95: at(0.95) };
  }
}
