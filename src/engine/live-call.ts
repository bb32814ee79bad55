/**
 * A call while this process drives it: its durable row, the request, and the callers who wait for it.
 * The row in memory is replaced only after the journal has confirmed a change (rule R8: one writer).
 */
import type { CallChange, CallRow } from "../core/call.ts";
import { apply, mustSync } from "../core/call.ts";
import { assert } from "../base/assert.ts";
import type { Journal } from "../ports.ts";
import type { RequestMessage } from "../wire/message.ts";

/** One caller's request that is not answered yet. */
export interface Waiter {
  readonly sessionId: string;
  /** The id of its request as it spelled it. */
  readonly idText: string;
  /** Its progress token as JSON text, if it gave one. */
  readonly tokenText: string | undefined;
  since: number;
  holdUntil: number;
  /** A repetition that was attached to the call, not the caller who made it. */
  readonly isRepeat: boolean;
  /** Gives the answer to the client; exactly once. */
  readonly answer: (text: string) => void;
  /** Sends a notification that belongs to this request. */
  readonly notify: (text: string) => void;
  progress: number;
  tickAt: number;
  stopTimer: (() => void) | undefined;
}

export type CallPhase =
  | "queued" // in a lane
  | "committing" // the intent to send it is being written; no byte has left
  | "sent"
  | "ended";

export interface LiveCall {
  row: CallRow;
  readonly order: number;
  readonly journal: Journal;
  /** False for a read that passes straight through: nothing of it is on disk. */
  isJournalled: boolean;
  /** Undefined while the payload waits on disk. */
  request: RequestMessage | undefined;
  readonly bytes: number;
  readonly waiters: Set<Waiter>;
  phase: CallPhase;
  /** Times that the upstream's process exited while it was in flight. */
  crashes: number;
  /** Attempts that were refused before a byte left: they do not count against its limit. */
  freeAttempts: number;
  /** Why it was given up while it waited, was being sent or in flight; it is never sent again. */
  givenUp: string | undefined;
  stopGiveUp: (() => void) | undefined;
  /** The end of its waiting (deferral or expiry) is being written. */
  isWaitEnding: boolean;
}

/**
 * Changes the call: in the journal first if it has a row there, then in memory. False where the guard
 * refused: somebody else's change came first, and the caller of this must do nothing more.
 */
export async function change(call: LiveCall, what: CallChange): Promise<boolean> {
  if (call.isJournalled && !(await call.journal.apply(what, mustSync(call.row, what))))
    return false;
  return changeInMemory(call, what);
}

/** The second half of `change`, for callers that posted the first themselves. */
export function changeInMemory(call: LiveCall, what: CallChange): boolean {
  const next = apply(call.row, what);
  if (next === undefined) {
    assert(!call.isJournalled, `the journal allowed ${what.kind} on a ${call.row.state} call`);
    return false;
  }
  call.row = next;
  return true;
}

export function newLiveCall(
  row: CallRow,
  order: number,
  journal: Journal,
  request: RequestMessage | undefined,
): LiveCall {
  return {
    row,
    order,
    journal,
    isJournalled: false,
    request,
    bytes: row.request.length,
    waiters: new Set(),
    phase: "queued",
    crashes: 0,
    freeAttempts: 0,
    givenUp: undefined,
    stopGiveUp: undefined,
    isWaitEnding: false,
  };
}
