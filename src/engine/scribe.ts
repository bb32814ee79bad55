/**
 * Writes what becomes of calls: admission, outcomes, endings. From the fact to the decision, to disk,
 * to the caller; in this order.
 *
 * D2. Commit before delivery: an outcome is on disk before a caller sees it.
 * D5. A call that was given up is never sent again.
 * D6. What the journal refuses did not happen: somebody else's change came first.
 */
import { JournalError } from "../base/errors.ts";
import { must, unreachable } from "../base/assert.ts";
import { type CallChange, type DeadReason, isTerminal } from "../core/call.ts";
import { failure } from "../core/failure.ts";
import { judge, type Outcome, type Verdict } from "../core/verdict.ts";
import { parseMessage, type ReplyMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import type { Keeper } from "./keeper.ts";
import { change, changeInMemory, type LiveCall } from "./live-call.ts";
import type { Queue } from "./queue.ts";

export interface ScribeHooks {
  readonly keeper: () => Keeper;
  readonly queue: () => Queue;
  /** The call has its outcome; `reply` is the upstream's, if it gave one. */
  ended(call: LiveCall, reply: ReplyMessage | undefined): void;
}

type Unanswered = Extract<Verdict, { kind: "requeue" | "retry" }>;

export class Scribe {
  readonly #context: EngineContext;
  readonly #hooks: ScribeHooks;

  constructor(context: EngineContext, hooks: ScribeHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  /**
   * Inserts the call's row. False where the journal would not take it; its caller has been told. Rejects
   * where the journal is lost: the row may be on disk all the same, and a next process would run it.
   */
  async admit(call: LiveCall): Promise<boolean> {
    call.isJournalled = true;
    try {
      const seq = await call.journal.admit(call.row);
      call.row = { ...call.row, seq };
      for (const waiter of call.waiters) waiter.accepted?.(call.row.id);
      return true;
    } catch (error) {
      if (!(error instanceof JournalError) || error.trouble === "io") throw error;
      this.#refuse(call, error);
      return false;
    } finally {
      call.intake?.settled(call.bytes);
      call.intake = undefined;
    }
  }

  /** Never on disk and not sent by this attempt: as much as a queued call that was withdrawn. */
  #refuse(call: LiveCall, error: JournalError): void {
    call.isJournalled = false;
    const { attempt, isDoubted } = call.row;
    call.row = { ...call.row, state: "queued", attempt: isDoubted ? attempt : 0 };
    const cause = `the journal can't take the call: ${error.message}`;
    changeInMemory(call, { kind: "expire", id: call.row.id, cause, at: this.#context.world.now() });
    this.#context.tally.refused++;
    this.end(call, undefined);
  }

  async conclude(call: LiveCall, outcome: Outcome, reply: ReplyMessage | undefined): Promise<void> {
    this.#context.world.litter(reply?.text.length ?? 0);
    call.stopGiveUp?.();
    call.stopRecording?.();
    if (call.recording !== undefined) await call.recording;
    const { sendings, crashes } = call;
    const verdict = judge(outcome, { safety: call.row.safety, sendings, crashes });
    let isMine: Promise<boolean>;
    switch (verdict.kind) {
      case "requeue":
      case "retry":
        if (call.givenUp === undefined) {
          await this.#requeue(call, verdict);
          return;
        }
        isMine = this.giveUp(call, verdict.kind === "retry");
        break;
      case "bury":
        isMine =
          call.givenUp !== undefined
            ? this.giveUp(call, true)
            : this.bury(call, verdict.reason, verdict.failure.message);
        break;
      case "settle":
      case "fail":
        isMine = this.#settle(call, verdict, reply);
        break;
      default:
        return unreachable(verdict);
    }
    // Posted in the same turn as the result, so the next write's intent shares its commit.
    this.#hooks.queue().leave(call, outcome.kind === "replied");
    if (await isMine) this.end(call, reply);
  }

  #settle(
    call: LiveCall,
    verdict: Extract<Verdict, { kind: "settle" | "fail" }>,
    reply: ReplyMessage | undefined,
  ): Promise<boolean> {
    const { id, attempt } = call.row;
    const at = this.#context.world.now();
    const { executed } = verdict;
    // Whole literals: members added to a spread cost as much as the rest of an outcome.
    if (verdict.kind === "settle") {
      const { state } = verdict;
      const text = reply?.text ?? "";
      return change(call, { kind: "settle", id, attempt, state, executed, reply: text, at });
    }
    const cause = verdict.failure.message;
    return change(call, {
      kind: "settle",
      id,
      attempt,
      state: "failed",
      executed,
      reply: "",
      cause,
      at,
    });
  }

  /** Sent, not answered, not to be sent again (T7 and T11). */
  async bury(call: LiveCall, reason: DeadReason, cause: string): Promise<boolean> {
    const { id, attempt } = call.row;
    const at = this.#context.world.now();
    const doubt = change(call, { kind: "doubt", id, attempt, cause, at });
    const bury = change(call, { kind: "bury", id, reason, cause, at });
    const isMine = (await doubt) && (await bury);
    if (isMine) this.#context.tally.outcomeUnknown++;
    return isMine;
  }

  /** A sent call that was given up. */
  giveUp(call: LiveCall, mayHaveRun: boolean): Promise<boolean> {
    const at = this.#context.world.now();
    const { id } = call.row;
    const cause = must(call.givenUp, `why call ${id} was given up`);
    return change(call, { kind: "cancel", id, from: "sent", mayHaveRun, cause, at });
  }

  /** Back to its place in the queue: not sent after all (T5), or safe to send again (T7, T9). */
  async #requeue(call: LiveCall, verdict: Unanswered): Promise<void> {
    const queue = this.#hooks.queue();
    const { id, attempt } = call.row;
    const cause = verdict.failure.message;
    const at = this.#context.world.now();
    const steps: CallChange[] =
      verdict.kind === "retry" ? [{ kind: "doubt", id, attempt, cause, at }] : [];
    steps.push({ kind: "requeue", id, attempt, cause, at });
    let isMine: Promise<boolean>;
    if (call.isJournalled) {
      const done = steps.map((what) => change(call, what));
      isMine = Promise.all(done).then((results) => results.every(Boolean));
    } else {
      for (const what of steps) changeInMemory(call, what);
      isMine = this.admit(call);
    }
    // In its lane at once, so that later calls stay behind it; the journal has the same order.
    const isMain = call.row.acknowledgedAt === undefined && call.waiters.size > 0;
    queue.add(call, isMain ? "main" : "late");
    // Only now: the room that it leaves must not go to a call behind it.
    queue.leave(call, false);
    this.#hooks.keeper().watch(call);
    if (await isMine) queue.pump(call.row.sessionId);
  }

  /** Somebody else's change came first: it has ended on disk, and whoever ended it may not know us. */
  async refused(call: LiveCall): Promise<void> {
    this.#hooks.queue().leave(call, false);
    const row = await call.journal.find(call.row.id);
    if (row === undefined || !isTerminal(row.state) || call.phase === "ended") return;
    call.row = row;
    this.end(call, undefined);
  }

  /** Reads the request of a call that waited, from its text or, where that is on disk, from there. */
  async hasRequest(call: LiveCall): Promise<boolean> {
    if (call.request !== undefined) return true;
    const { id, request } = call.row;
    const text = request === "" ? (await call.journal.find(id))?.request : request;
    const message = text === undefined ? undefined : parseMessage(text);
    if (message?.kind === "request") {
      call.request = message;
      return true;
    }
    const lost = failure("protocol_error", "its request can't be read back from the journal");
    await this.conclude(call, { kind: "rejected", failure: lost }, undefined);
    return false;
  }

  /** The row is terminal: everything that this process held for the call is let go. */
  end(call: LiveCall, reply: ReplyMessage | undefined): void {
    call.phase = "ended";
    this.#hooks.keeper().release(call);
    this.#hooks.queue().remove(call);
    call.stopGiveUp?.();
    call.stopRecording?.();
    this.#hooks.ended(call, reply);
    this.#context.world.litter(reply?.text.length ?? 0);
  }
}
