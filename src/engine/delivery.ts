/**
 * Gives an ended call's outcome to whoever waits for it, and remembers what nobody was given.
 *
 * G1. A waiter is answered exactly once.
 * G2. The row was terminal on disk before anything is said here.
 * G5. The outcome of a call that was promised to run late counts as delivered only when a repetition took
 *     it: the request that made the call is answered already, and its client may drop a second answer.
 */
import { JournalError } from "../base/errors.ts";
import type { CallRow } from "../core/call.ts";
import { isOpen } from "../core/session.ts";
import type { Journal } from "../ports.ts";
import type { JsonObject, ReplyMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import type { Line } from "./line.ts";
import type { LiveCall, Waiter } from "./live-call.ts";
import { ownAnswer, relayedReply, storedReply, wordsFor } from "./outbox.ts";
import type { Recalled, Registry } from "./registry.ts";

export class Delivery {
  readonly #context: EngineContext;
  readonly #registry: Registry;

  constructor(context: EngineContext, registry: Registry) {
    this.#context = context;
    this.#registry = registry;
  }

  /** The call ended. `reply`: the upstream's answer, if that is how it ended. */
  ended(line: Line, call: LiveCall, reply: ReplyMessage | undefined): void {
    tellCall(this.#context, call.row);
    const waiters = [...call.waiters];
    call.waiters.clear();
    const takers: Waiter[] = [];
    for (const waiter of waiters) {
      if (waiter.answer(this.#answer(line, call, waiter, reply), call.isJournalled))
        takers.push(waiter);
    }
    this.#context.tally.answered += takers.length;
    const isOwn = takers.some(({ sessionId }) => sessionId === call.row.sessionId);
    const isDelivered =
      takers.some(({ isRepeat }) => isRepeat) || (isOwn && countsAsDelivered(call.row));
    if (call.isJournalled && isOwn) this.#registry.gave(call.row.id);
    if (call.isJournalled && isDelivered) this.#mark(call.journal, call.row, isOwn);
    this.#remember(call, isDelivered);
    this.#registry.remove(call.row.id);
    this.#context.bounds.release(call.row.sessionId, call.bytes);
  }

  /** The call stays queued beyond its caller's patience, and the caller is told so. */
  tellPending(line: Line, call: LiveCall, waiter: Waiter): void {
    line.keeper.releaseWaiter(waiter);
    call.waiters.delete(waiter);
    tellCall(this.#context, call.row);
    const situation = line.keeper.situation(call);
    const text = ownAnswer(call.row, waiter.idText, situation, wordsFor(call.row, situation));
    const isTold = waiter.answer(text, true);
    // A repetition's answer says nothing of what the caller itself was told.
    if (isTold && !waiter.isRepeat) this.#registry.gave(call.row.id);
    this.nobodyWaits(call);
  }

  /** A call that goes on although nobody waits for it: an equal call may share its answer. */
  nobodyWaits(call: LiveCall): void {
    if (call.waiters.size > 0 || call.phase === "ended") return;
    const { fingerprint, id, acceptedAt } = call.row;
    if (call.givenUp !== undefined && call.phase !== "sent") {
      // Withdrawn before a byte left: an equal call is a new one.
      this.#registry.shield.forget(fingerprint, id);
      return;
    }
    this.#registry.shield.remember(fingerprint, { kind: "running", callId: id, at: acceptedAt });
  }

  /** An ended call's stored outcome, given to an equal call (shield) and marked as given. */
  replay(line: Line, recalled: Recalled, waiter: Waiter, asCall: LiveCall): void {
    const { row, journal } = recalled;
    const note: JsonObject = {
      callId: row.id,
      state: row.state,
      executed: row.executed,
      replayed: true,
    };
    const situation = line.keeper.situation(asCall);
    waiter.answer(
      storedReply(row, waiter.idText, note) ??
        ownAnswer(row, waiter.idText, situation, wordsFor(row, situation)),
      false,
    );
    this.#context.tally.answered++;
    this.#mark(journal, row, waiter.sessionId === row.sessionId);
  }

  /**
   * Marks the outcome as delivered. Where only another session's repetition took it, the client that
   * asked first may still come back for it.
   */
  #mark(journal: Journal, row: CallRow, isOwn: boolean): void {
    const mark = () => {
      journal.applyLater({ kind: "deliver", id: row.id, at: this.#context.world.now() });
    };
    if (isOwn || !countsAsDelivered(row)) {
      mark();
      return;
    }
    journal.findSession(row.sessionId).then((session) => {
      const mayReturn = session?.keyDigest !== undefined;
      if (!mayReturn || !isOpen(session, this.#context.world.now())) mark();
    }, this.#unlessClosed);
  }

  /** A journal of a dead process is let go at its time; a mark that is missing there harms nothing. */
  readonly #unlessClosed = (error: unknown): void => {
    if (!(error instanceof JournalError && error.trouble === "closed")) this.#context.fatal(error);
  };

  #answer(line: Line, call: LiveCall, waiter: Waiter, reply: ReplyMessage | undefined): string {
    const { row } = call;
    if (reply !== undefined) {
      if (!waiter.isRepeat) return relayedReply(reply, waiter.idText);
      const note = { callId: row.id, state: row.state, executed: row.executed, replayed: true };
      return (
        storedReply({ ...row, reply: reply.text }, waiter.idText, note) ??
        relayedReply(reply, waiter.idText)
      );
    }
    const situation = line.keeper.situation(call);
    return ownAnswer(row, waiter.idText, situation, wordsFor(row, situation));
  }

  #remember(call: LiveCall, isDelivered: boolean): void {
    const { shield } = this.#registry;
    const { row } = call;
    const at = this.#context.world.now();
    if (row.executed === "unknown" && row.state !== "failed") {
      shield.rememberDoubt(row, at);
    } else if (!isDelivered && (row.state === "done" || row.state === "failed")) {
      shield.remember(row.fingerprint, { kind: "stored", callId: row.id, at });
    } else {
      shield.forget(row.fingerprint, row.id);
    }
    shield.sweep(at);
  }
}

/** Invariant G5, for an outcome that goes to the request that made the call. */
export const countsAsDelivered = ({ acknowledgedAt }: CallRow): boolean =>
  acknowledgedAt === undefined;

/** Tells followers how a call stands. */
export function tellCall({ feed, world, settings }: EngineContext, row: CallRow): void {
  feed.tell(() => {
    const { id: callId, sessionId, tool, state, executed, cause } = row;
    const at = world.now();
    const upstream = settings.upstreamName;
    return { kind: "call", at, upstream, callId, sessionId, tool, state, executed, cause };
  });
}
