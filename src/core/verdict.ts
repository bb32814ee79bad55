/**
 * From what happened to one attempt (`Outcome`, a fact) to what is done about the call (`Verdict`).
 *
 * J1. A reply settles the call, whatever it says.
 * J2. An attempt that provably did not run goes back to its place in the queue; attempts that were
 *     refused before a byte left are free.
 * J3. An unsafe call whose answer was lost is never sent again by us (promise P2).
 * J4. A read or idempotent call is sent at most `attemptsMax` times, and is given up as poison when
 *     it was in flight at two crashes in a row.
 */
import { unreachable } from "../base/assert.ts";
import type { Failure } from "./failure.ts";
import type { DeadReason, Safety } from "./call.ts";

/** What happened to one attempt. Facts only; no policy. */
export type Outcome =
  | { readonly kind: "replied"; readonly errorCode: number | undefined }
  /** Provably not executed: no byte left, or the server said so before processing it. */
  | { readonly kind: "refused"; readonly failure: Failure }
  /** Provably not executed, and the same request will be refused again (HTTP 413, 415 …). */
  | { readonly kind: "rejected"; readonly failure: Failure }
  /** The server answered, but its answer could not be taken (larger than the limit). */
  | { readonly kind: "unreadable"; readonly failure: Failure }
  /** Bytes may have left; the answer will not come. */
  | { readonly kind: "lost"; readonly failure: Failure };

export interface AttemptFacts {
  readonly safety: Safety;
  /** Sendings so far, this one included, without those that provably did not run. */
  readonly sendings: number;
  /** How many attempts of this call ended with the upstream's process exiting. */
  readonly crashes: number;
}

export type Verdict =
  | {
      readonly kind: "settle";
      readonly state: "done" | "failed";
      readonly executed: "yes" | "no" | "unknown";
    }
  | { readonly kind: "fail"; readonly executed: "yes" | "no"; readonly failure: Failure }
  | { readonly kind: "requeue"; readonly failure: Failure; readonly isFree: boolean }
  | { readonly kind: "retry"; readonly failure: Failure }
  | { readonly kind: "bury"; readonly reason: DeadReason; readonly failure: Failure };

/** Limits from reliability research: goqite 3, pg-boss 2, BullMQ 1 stall. */
export const ATTEMPTS_MAX = 3;
export const POISON_CRASHES = 2;

/** JSON-RPC codes by which a server says that it did not process the request (JSON-RPC 2.0 §5.1). */
const NOT_PROCESSED = new Set([-32700, -32600, -32601, -32602]);

export function judge(outcome: Outcome, facts: AttemptFacts): Verdict {
  switch (outcome.kind) {
    case "replied":
      if (outcome.errorCode === undefined)
        return { kind: "settle", state: "done", executed: "yes" };
      return {
        kind: "settle",
        state: "failed",
        executed: NOT_PROCESSED.has(outcome.errorCode) ? "no" : "unknown",
      };
    case "refused":
      return { kind: "requeue", failure: outcome.failure, isFree: true };
    case "rejected":
      return { kind: "fail", executed: "no", failure: outcome.failure };
    case "unreadable":
      return { kind: "fail", executed: "yes", failure: outcome.failure };
    case "lost":
      return judgeLoss(outcome.failure, facts);
    default:
      return unreachable(outcome);
  }
}

function judgeLoss(failure: Failure, facts: AttemptFacts): Verdict {
  if (facts.safety === "unsafe") return { kind: "bury", reason: "outcome_unknown", failure };
  if (facts.crashes >= POISON_CRASHES) return { kind: "bury", reason: "poison", failure };
  if (facts.sendings >= ATTEMPTS_MAX) return { kind: "bury", reason: "outcome_unknown", failure };
  return { kind: "retry", failure };
}
