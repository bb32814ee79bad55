/**
 * The reconnect schedule as a pure function. The first attempt after a healthy connection is immediate;
 * then delays grow by a factor up to a cap, with equal jitter: half fixed, half random.
 * Parameters: docs/SPEC.md, from gRPC's connection backoff and AWS's jitter study.
 */
import type { TransportKind } from "./transport.ts";

export interface BackoffRule {
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** The longest wait while a caller waits. */
  readonly demandCapMs: number;
}

const REMOTE: BackoffRule = { initialMs: 500, factor: 1.6, maxMs: 60_000, demandCapMs: 15_000 };

export const BACKOFF: Readonly<Record<TransportKind, BackoffRule>> = {
  stdio: { initialMs: 250, factor: 2, maxMs: 30_000, demandCapMs: 1_000 },
  http: REMOTE,
  sse: REMOTE,
  ws: REMOTE,
};

/** Sustained health after which the schedule starts anew: proven health, not a mere connect. */
export const HEALTHY_AFTER_MS = 30_000;

/**
 * The delay before attempt number `failures` (0: nothing failed since health was proven).
 * `random` in [0, 1). The result is in [d/2, d) for the step's delay d; 0 for the first.
 */
export function backoffMs(rule: BackoffRule, failures: number, random: number): number {
  if (failures <= 0) return 0;
  const grown = rule.initialMs * rule.factor ** (failures - 1);
  const delay = Math.min(rule.maxMs, Number.isFinite(grown) ? grown : rule.maxMs);
  return delay / 2 + random * (delay / 2);
}
