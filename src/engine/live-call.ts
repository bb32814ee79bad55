/**
 * A call while this process drives it: its durable row, the request, and the callers who wait for it.
 * The row in memory is replaced only after the journal has confirmed a change (rule R8: one writer).
 */
import type { CallChange, CallRow } from "../core/call.ts";
import { apply, mustSync } from "../core/call.ts";
import { assert } from "../base/assert.ts";
import type { Journal } from "../ports.ts";
import type { RequestMessage } from "../wire/message.ts";
import type { IntakeSource } from "./intake.ts";

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
  /** How long this client is known to wait for a call, ms; undefined where it is not known. */
  readonly patienceMs: number | undefined;
  /**
   * Gives the answer to the client; exactly once. False where the client can't get it now. `isKept`:
   * the journal has it for the client's return, so nobody else need keep it.
   */
  readonly answer: (text: string, isKept: boolean) => boolean;
  /** Sends a message that belongs to this request. False where the client can't get it. */
  readonly notify: (text: string) => boolean;
  /** The call is on disk, so that the client may ask for its answer later on. */
  readonly accepted: ((callId: string) => void) | undefined;
  progress: number;
  tickAt: number;
  stopTimer: (() => void) | undefined;
  /** When that timer fires, on the monotonic clock; only with a timer. */
  wakeAt: number;
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
  /** It was left in a journal that went backwards, and may have run since that was written. */
  isSuspect: boolean;
  /** As it was read from the row's text. Undefined while it waits, and where the text is on disk. */
  request: RequestMessage | undefined;
  /** The id of the request as its client spelled it. */
  readonly idText: string | undefined;
  readonly bytes: number;
  readonly waiters: Set<Waiter>;
  phase: CallPhase;
  /** Sendings of which it is not proven that they did not run; refused ones are free. */
  sendings: number;
  /** Times that the upstream's process exited while it was in flight. */
  crashes: number;
  /** Why it was given up while it waited, was being sent or in flight; it is never sent again. */
  givenUp: string | undefined;
  stopGiveUp: (() => void) | undefined;
  /** While its row is being written although it is in flight (`recording.ts`). */
  recording: Promise<void> | undefined;
  stopRecording: (() => void) | undefined;
  /** Who sent it, until it is on disk. */
  intake: IntakeSource | undefined;
  /** The end of its waiting (deferral or expiry) is being written. */
  isWaitEnding: boolean;
}

/**
 * Changes the call: in the journal first if it has a row there, then in memory. False where the guard
 * refused: somebody else's change came first, and the caller of this must do nothing more.
 */
export async function change(call: LiveCall, wanted: CallChange): Promise<boolean> {
  const what = call.isSuspect ? truthOf(wanted) : wanted;
  if (call.recording !== undefined) await call.recording;
  if (call.isJournalled && !(await call.journal.apply(what, mustSync(call.row, what))))
    return false;
  return changeInMemory(call, what);
}

/** X4: that a suspect call ends here without being sent does not say that it never ran. */
function truthOf(what: CallChange): CallChange {
  const { id } = what;
  const isUnsent =
    what.kind === "expire" || (what.kind === "bury" && what.reason === "tool_changed");
  if (isUnsent || (what.kind === "cancel" && what.from === "queued")) {
    const { cause, at } = what;
    return { kind: "cancel", id, from: "queued", mayHaveRun: true, cause, at };
  }
  return what;
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

type Fresh = { -readonly [K in keyof CallRow]: CallRow[K] };

/**
 * The first attempt of a call that was accepted in this turn. Its row is nobody else's yet, so it is
 * changed in place: this is the path of every call that does not wait.
 */
export function beginFirstAttempt(call: LiveCall, upstreamId: string, at: number): void {
  const row = call.row as Fresh;
  assert(row.attempt === 0 && row.seq === 0, "the first attempt of a new call");
  row.state = "sent";
  row.attempt = 1;
  row.upstreamId = upstreamId;
  row.sentAt = at;
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
    isSuspect: false,
    request,
    idText: request?.idText,
    bytes: row.request.length,
    waiters: new Set(),
    phase: "queued",
    sendings: row.attempt,
    crashes: 0,
    givenUp: undefined,
    stopGiveUp: undefined,
    recording: undefined,
    stopRecording: undefined,
    intake: undefined,
    isWaitEnding: false,
  };
}
