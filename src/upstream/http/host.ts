/** What the exchanges of one connection need of it. */
import type { World } from "../../base/world.ts";
import type { Failure } from "../../core/failure.ts";
import type { Outcome } from "../../core/verdict.ts";
import type { HttpClient } from "./client.ts";
import type { Mask } from "./classify.ts";
import type { HeaderSet } from "./headers.ts";

export type Fate = Exclude<Outcome, { kind: "replied" }>;

export interface Host {
  readonly world: World;
  readonly client: HttpClient;
  readonly headers: HeaderSet;
  readonly mask: Mask;
  readonly replyMaxBytes: number;
  /** How long we wait for what is ours alone to wait for: error bodies, the initialized gate. */
  readonly patienceMs: number;
  /**
   * Passes on what a peer wrote; a reply to a pending request ends that request's exchange.
   * `isFirstHand`: it came on the answer to its own POST, not on a stream that may repeat things.
   */
  take(text: string, relatedId: string | undefined, isFirstHand: boolean): void;
  /** Tells the fate of a pending request; nothing happens if it is not pending any more. */
  settle(id: string, fate: Fate): void;
  /** The connection is of no use any more. */
  fail(failure: Failure): void;
  /** An exchange let go of something; a connection that is winding down looks whether it is done. */
  released(): void;
  noise(what: string): void;
}

/** A stream is taken up again after this long where the server did not say. */
export const RETRY_DEFAULT_MS = 1_000;

/**
 * The delay before a stream is opened again: what the server asked for, or longer if the `failures`
 * last attempts brought nothing. Factor 2, up to `capMs`, the added part with equal jitter.
 */
export function reopenDelayMs(
  world: World,
  retryMs: number,
  failures: number,
  capMs: number,
): number {
  if (failures === 0) return retryMs;
  const grown = Math.min(capMs, RETRY_DEFAULT_MS * 2 ** Math.min(failures, 16));
  return Math.max(retryMs, grown / 2 + (grown / 2) * world.random());
}
