/**
 * The circuit breaker of one upstream: how long to leave it alone after it failed at the transport
 * several times in a row. It counts transport failures only; any reply, an error reply too, proves
 * life. An open breaker holds calls, it never fails them.
 *
 * B1. closed → open after `FAILURES_TO_OPEN` failures in a row.
 * B2. open → half_open when its time is over; one probe passes.
 * B3. half_open → closed on a success, → open for twice as long on a failure.
 */

export type Breaker =
  | { readonly state: "closed"; readonly failures: number }
  | { readonly state: "open"; readonly openedAt: number; readonly openMs: number; readonly round: number }
  | { readonly state: "half_open"; readonly round: number };

/** Envoy and Finagle: 5 in a row. */
export const FAILURES_TO_OPEN = 5;
const OPEN_MS = 10_000;
const OPEN_MAX_MS = 300_000;
const JITTER = 0.2;

export const CLOSED: Breaker = { state: "closed", failures: 0 };

/** `random` in [0, 1) spreads the opening by ±20 %. */
function open(now: number, round: number, random: number): Breaker {
  const base = Math.min(OPEN_MAX_MS, OPEN_MS * 2 ** Math.min(round, 10));
  return { state: "open", openedAt: now, openMs: base * (1 - JITTER + 2 * JITTER * random), round };
}

export function onFailure(breaker: Breaker, now: number, random: number): Breaker {
  switch (breaker.state) {
    case "closed": {
      const failures = breaker.failures + 1;
      return failures >= FAILURES_TO_OPEN ? open(now, 0, random) : { state: "closed", failures };
    }
    case "open":
      return breaker;
    case "half_open":
      return open(now, breaker.round + 1, random);
  }
}

export function onSuccess(breaker: Breaker): Breaker {
  return breaker.state === "closed" && breaker.failures === 0 ? breaker : CLOSED;
}

/** One probe may pass: the breaker goes half-open. A wake-up or a caller may ask before its time. */
export function probe(breaker: Breaker): Breaker {
  return breaker.state === "open" ? { state: "half_open", round: breaker.round } : breaker;
}

/** When the next probe may pass; undefined while nothing is held back. */
export function opensUntil(breaker: Breaker): number | undefined {
  return breaker.state === "open" ? breaker.openedAt + breaker.openMs : undefined;
}

/** A half-open breaker is saved as open: whether its probe succeeded died with the process. */
export function saved(breaker: Breaker, now: number): Breaker {
  return breaker.state === "half_open" ? open(now, breaker.round, 0.5) : breaker;
}
