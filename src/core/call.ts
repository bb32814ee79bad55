/**
 * The life of a call: its durable row, the changes that may happen to it, and which of them are legal
 * in which state. Every journal applies exactly these rules; `apply()` is the reference.
 *
 *     received → queued → sent → done | failed
 *                 │       └→ in_doubt → queued | done | failed | dead(outcome_unknown)
 *                 └→ expired | cancelled | dead(tool_changed | blocked | poison)
 *
 * C1. Terminal rows never change their state, reply or `executed` (delivery and annotations may).
 * C2. `executed: "no"` stands only on a row none of whose attempts may have run.
 * C3. A reply settles only the attempt that it answers.
 * C4. A row whose caller was told that it will run late (`acknowledgedAt`) carries the instant until
 *     which that holds in `deadlineAt`.
 */
import type { Safety } from "../wire/methods.ts";
import { unreachable } from "../base/assert.ts";

export type { Safety } from "../wire/methods.ts";

/** The states of a durable row. `received` has no row; `tasked` comes with upstream tasks. */
export type CallState =
  "queued" | "sent" | "tasked" | "in_doubt" | "done" | "failed" | "expired" | "cancelled" | "dead";

export const CALL_STATES: readonly CallState[] = [
  "queued",
  "sent",
  "tasked",
  "in_doubt",
  "done",
  "failed",
  "expired",
  "cancelled",
  "dead",
];

export type DeadReason = "outcome_unknown" | "tool_changed" | "blocked" | "poison";

/** Whether the upstream ran the call. `pending` is said only while the row is not terminal. */
export type Executed = "no" | "yes" | "unknown" | "pending";

export interface CallRow {
  /** `c_…`, made when the call is accepted; stable over attempts and restarts. */
  readonly id: string;
  /** Commit order within one journal, from 1; never reused. 0 while not journalled. */
  readonly seq: number;
  readonly sessionId: string;
  /** Digest that names the upstream (command, arguments and folder, or URL). */
  readonly upstream: string;
  /** Keyed digest of the credentials that the call was accepted under. */
  readonly credentials: string;
  readonly method: string;
  readonly tool: string | undefined;
  readonly safety: Safety;
  /** Digest of principal, upstream, tool and canonical arguments; undefined for reads. */
  readonly fingerprint: string | undefined;
  /** Digest of the tool's input schema when the call was accepted. */
  readonly schema: string | undefined;
  /** The request as the client sent it, byte for byte. Empty once the payload was dropped. */
  readonly request: string;
  readonly acceptedAt: number;
  readonly deadlineAt: number;
  /** The caller was told that this call runs late, until `deadlineAt`. */
  readonly acknowledgedAt: number | undefined;
  readonly state: CallState;
  readonly reason: DeadReason | undefined;
  readonly executed: Executed;
  /** Number of sendings so far. */
  readonly attempt: number;
  /** An attempt of it was lost after bytes may have left: it may have run, whatever happens next. */
  readonly isDoubted: boolean;
  /** The JSON-RPC id of the last sending, `<epoch>-<n>`. */
  readonly upstreamId: string | undefined;
  readonly sentAt: number | undefined;
  readonly settledAt: number | undefined;
  readonly deliveredAt: number | undefined;
  /** The upstream's reply, byte for byte, or our own for a call that ended here. */
  readonly reply: string | undefined;
  /** Why it ended or waits, in words: the failure that was last seen. */
  readonly cause: string | undefined;
  /** What a person found out about a call with an unknown outcome. */
  readonly note: string | undefined;
  /** The call that this one repeats by an operator's order. */
  readonly redriveOf: string | undefined;
}

/** One step in the life of a call. Each is one guarded statement in a journal. */
export type CallChange =
  | {
      readonly kind: "dispatch"; // T2
      readonly id: string;
      readonly attempt: number;
      readonly upstreamId: string;
      readonly at: number;
    }
  | {
      readonly kind: "settle"; // T3, T4, T10
      readonly id: string;
      readonly attempt: number;
      readonly state: "done" | "failed";
      readonly executed: "yes" | "no" | "unknown";
      readonly reply: string;
      readonly cause?: string;
      readonly at: number;
    }
  | {
      readonly kind: "requeue"; // T5 from sent, T9 from in_doubt
      readonly id: string;
      readonly attempt: number;
      readonly cause: string;
      readonly at: number;
    }
  | {
      readonly kind: "doubt"; // T7
      readonly id: string;
      readonly attempt: number;
      readonly cause: string;
      readonly at: number;
    }
  | {
      readonly kind: "bury"; // T11 from in_doubt, T14 from queued
      readonly id: string;
      readonly reason: DeadReason;
      readonly cause: string;
      readonly at: number;
    }
  | { readonly kind: "expire"; readonly id: string; readonly cause: string; readonly at: number } // T12
  | {
      readonly kind: "cancel"; // T13
      readonly id: string;
      /** The state in which the canceller saw it: a queued call, or a sent one given up. */
      readonly from: "queued" | "sent";
      /** False only where no byte of the attempt left: cancelled between commit and first byte. */
      readonly mayHaveRun: boolean;
      readonly cause: string;
      readonly at: number;
    }
  | {
      readonly kind: "acknowledge"; // the caller is told that it runs late, until `deadlineAt`
      readonly id: string;
      readonly deadlineAt: number;
      readonly at: number;
    }
  | { readonly kind: "deliver"; readonly id: string; readonly at: number }
  | { readonly kind: "annotate"; readonly id: string; readonly note: string; readonly at: number };

export function isTerminal(state: CallState): boolean {
  switch (state) {
    case "done":
    case "failed":
    case "expired":
    case "cancelled":
    case "dead":
      return true;
    case "queued":
    case "sent":
    case "tasked":
    case "in_doubt":
      return false;
    default:
      return unreachable(state);
  }
}

/** C2: what a row that ends without an answer may say. */
const withoutAnswer = (row: CallRow, mayHaveRun: boolean): Executed =>
  row.isDoubted || mayHaveRun ? "unknown" : "no";

function settled(row: CallRow, state: CallState, executed: Executed, at: number): CallRow {
  return { ...row, state, executed, settledAt: at };
}

/** The row after the change, or undefined where the change is refused and nothing may be written. */
export function apply(row: CallRow, change: CallChange): CallRow | undefined {
  switch (change.kind) {
    case "dispatch":
      if (row.state !== "queued" || change.attempt !== row.attempt + 1) return undefined;
      return {
        ...row,
        state: "sent",
        attempt: change.attempt,
        upstreamId: change.upstreamId,
        sentAt: change.at,
      };
    case "settle":
      if (row.state !== "sent" && row.state !== "in_doubt" && row.state !== "tasked")
        return undefined;
      if (row.attempt !== change.attempt) return undefined;
      return {
        ...settled(
          row,
          change.state,
          row.isDoubted && change.executed === "no" ? "unknown" : change.executed,
          change.at,
        ),
        reply: change.reply,
        cause: change.cause ?? row.cause,
      };
    case "requeue":
      if (row.state !== "sent" && row.state !== "in_doubt") return undefined;
      if (row.attempt !== change.attempt) return undefined;
      return { ...row, state: "queued", cause: change.cause };
    case "doubt":
      if (row.state !== "sent" || row.attempt !== change.attempt) return undefined;
      return { ...row, state: "in_doubt", isDoubted: true, cause: change.cause };
    case "bury":
      if (row.state !== "queued" && row.state !== "in_doubt") return undefined;
      return {
        ...settled(row, "dead", withoutAnswer(row, false), change.at),
        reason: change.reason,
        cause: change.cause,
      };
    case "expire":
      if (row.state !== "queued") return undefined;
      return {
        ...settled(row, "expired", withoutAnswer(row, false), change.at),
        cause: change.cause,
      };
    case "cancel":
      if (row.state !== change.from) return undefined;
      return {
        ...settled(row, "cancelled", withoutAnswer(row, change.mayHaveRun), change.at),
        cause: change.cause,
      };
    case "acknowledge":
      if (row.state !== "queued" || row.acknowledgedAt !== undefined) return undefined;
      return { ...row, acknowledgedAt: change.at, deadlineAt: change.deadlineAt };
    case "deliver":
      if (!isTerminal(row.state) || row.deliveredAt !== undefined) return undefined;
      return { ...row, deliveredAt: change.at };
    case "annotate":
      if (!isTerminal(row.state)) return undefined;
      return { ...row, note: change.note };
    default:
      return unreachable(change);
  }
}

/**
 * Whether a delivered row still needs its request: a call that ended without an answer of the upstream
 * may be repeated by an operator.
 */
export const isRepeatable = (state: CallState): boolean => state !== "done" && state !== "failed";

/**
 * What must have reached the platter before it counts: every row of a call that is not read-only, whatever a
 * caller was told will run, and that it will not: a read that comes back from the dead would run after all.
 * Delivery marks and notes only have to survive the process.
 */
export function mustSync(
  row: Pick<CallRow, "safety" | "acknowledgedAt">,
  change?: CallChange,
): boolean {
  if (change?.kind === "deliver" || change?.kind === "annotate") return false;
  if (row.safety !== "read" || row.acknowledgedAt !== undefined) return true;
  return change?.kind === "acknowledge" || (change !== undefined && saysNotRun(change));
}

/** Unless an earlier sending may have run, which only makes the word more careful. */
function saysNotRun(change: CallChange): boolean {
  switch (change.kind) {
    case "expire":
      return true;
    case "cancel":
      return !change.mayHaveRun;
    case "settle":
      return change.executed === "no";
    case "bury":
      return change.reason === "tool_changed";
    default:
      return false;
  }
}
