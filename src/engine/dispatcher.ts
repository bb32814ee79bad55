/**
 * Sends calls over one upstream connection, and takes what comes back to the scribe.
 *
 * D1. Commit before the first byte: a journalled call is `sent` on disk before it is on the wire.
 * D3. While calls wait, new ones wait behind them; without a backlog nothing is limited or ordered.
 * D4. A call given up before its first byte is never sent.
 */
import type { CallChange } from "../core/call.ts";
import { type Failure, failure, FAILURES } from "../core/failure.ts";
import type { Outcome } from "../core/verdict.ts";
import { type ReplyMessage, withUpstreamId } from "../wire/message.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import { Departures } from "./departures.ts";
import type { Keeper } from "./keeper.ts";
import { beginFirstAttempt, change, type LiveCall } from "./live-call.ts";
import type { Queue } from "./queue.ts";
import type { Scribe } from "./scribe.ts";
import type { Supervisor } from "./supervisor.ts";
import type { Throttle } from "./throttle.ts";
import { UnderWay } from "./under-way.ts";

export interface DispatcherHooks {
  readonly supervisor: () => Supervisor;
  readonly keeper: () => Keeper;
  readonly queue: () => Queue;
  readonly scribe: () => Scribe;
  readonly throttle: Throttle;
}

/** How long an unanswered cancellation is waited for before the call counts as given up. */
const GIVE_UP_MS = 10_000;
/** How long an answer may still be fetched by resuming a stream, at least. */
const RESUME_MIN_MS = 30_000;

export class Dispatcher {
  readonly #context: EngineContext;
  readonly #hooks: DispatcherHooks;
  readonly #underWay: UnderWay;
  readonly #departures = new Departures();

  constructor(context: EngineContext, hooks: DispatcherHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.#underWay = new UnderWay(context.gate);
  }

  get inFlight(): number {
    return this.#underWay.inFlight;
  }

  /** In flight for somebody, or with an intent or outcome that is being written. */
  get awaited(): number {
    return this.#underWay.awaited;
  }

  /** The call in flight, if there is exactly one. */
  get onlyCall(): LiveCall | undefined {
    return this.#underWay.only();
  }

  callOf(upstreamId: string): LiveCall | undefined {
    return this.#underWay.find(upstreamId);
  }

  // ── Ways out ──────────────────────────────────────────────────────────────────────────────────

  /** The channel over which a new call of that session may go at once; undefined where it has to wait. */
  openChannel(sessionId: string): Channel | undefined {
    if (this.#hooks.queue().isBlockingFor(sessionId)) return undefined;
    const supervisor = this.#hooks.supervisor();
    const channel = supervisor.serving;
    if (channel === undefined || supervisor.gatedUntil > this.#context.world.now())
      return undefined;
    return this.#context.gate.hasRoom ? channel : undefined;
  }

  /** Sends a call of which nothing is on disk (yet): a read. */
  sendUnjournalled(call: LiveCall, channel: Channel): void {
    const upstreamId = channel.nextId();
    beginFirstAttempt(call, upstreamId, this.#context.world.now());
    if (this.#departures.isClear) {
      this.#send(call, channel, upstreamId);
      return;
    }
    call.phase = "committing";
    this.#departures.leave(this.#departures.take(), () => {
      this.#write(() => this.#afterIntent(call, channel, upstreamId));
    });
  }

  /** The fast path of a journalled call: one commit straight to `sent`, then the bytes (T1'). */
  sendJournalled(call: LiveCall, channel: Channel): void {
    const upstreamId = channel.nextId();
    call.phase = "committing";
    beginFirstAttempt(call, upstreamId, this.#context.world.now());
    this.#intend(call, channel, upstreamId, () => this.#hooks.scribe().admit(call));
  }

  /** Puts a new call into the queue and on disk (T1). */
  enqueue(call: LiveCall): void {
    this.#hooks.queue().add(call, "main");
    this.#write(async () => {
      if (!(await this.#hooks.scribe().admit(call))) return;
      this.#hooks.queue().page(call);
      this.#hooks.queue().pump(call.row.sessionId);
    });
    // After the admission was posted: a hold that is over already ends a call that has its row.
    this.#hooks.keeper().watch(call);
  }

  /** A call that is on disk already: deferred, or left by a dead process. It runs in the late lane. */
  adopt(call: LiveCall): void {
    call.isJournalled = true;
    this.#hooks.queue().add(call, "late");
    this.#hooks.keeper().watch(call);
    this.#hooks.queue().pump(call.row.sessionId);
  }

  /** A call of the backlog goes (T2). */
  dispatch(call: LiveCall, channel: Channel): void {
    const upstreamId = channel.nextId();
    const at = this.#context.world.now();
    const attempt = call.row.attempt + 1;
    const what: CallChange = { kind: "dispatch", id: call.row.id, attempt, upstreamId, at };
    this.#intend(call, channel, upstreamId, async () => {
      if (await change(call, what)) return this.#hooks.scribe().hasRequest(call);
      await this.#hooks.scribe().refused(call);
      return false;
    });
  }

  /** Writes the intent to send a call; if that is done, the call leaves in its place. */
  #intend(
    call: LiveCall,
    channel: Channel,
    upstreamId: string,
    write: () => Promise<boolean>,
  ): void {
    const place = this.#departures.take();
    this.#write(async () => {
      const isWritten = await write();
      this.#departures.leave(
        place,
        isWritten
          ? () => {
              this.#write(() => this.#afterIntent(call, channel, upstreamId));
            }
          : undefined,
      );
    });
  }

  /** Ends a waiting call that must not be sent any more. */
  async stop(call: LiveCall, how: CallChange): Promise<void> {
    if (await change(call, how)) this.#hooks.scribe().end(call, undefined);
  }

  /** The intent is on disk. Bytes leave now, unless the world has changed meanwhile. */
  async #afterIntent(call: LiveCall, channel: Channel, upstreamId: string): Promise<void> {
    if (call.givenUp !== undefined) {
      this.#hooks.queue().leave(call, false);
      const scribe = this.#hooks.scribe();
      if (await scribe.giveUp(call, false)) scribe.end(call, undefined);
    } else if (this.#hooks.supervisor().serving !== channel) {
      const gone = failure("reset", "the connection went down before the call was sent");
      await this.#hooks.scribe().conclude(call, { kind: "refused", failure: gone }, undefined);
    } else {
      this.#send(call, channel, upstreamId);
    }
  }

  #send(call: LiveCall, channel: Channel, upstreamId: string): void {
    const { request } = call;
    call.phase = "sent";
    call.sendings++;
    this.#underWay.sent(upstreamId, call);
    const about = { kind: "request", id: upstreamId, safety: call.row.safety } as const;
    if (request !== undefined && channel.send(withUpstreamId(request, upstreamId), about)) return;
    const gone = failure("reset", "the connection was gone before a byte left");
    this.onOutcome(upstreamId, { kind: "refused", failure: gone });
  }

  #write(work: () => Promise<void>): void {
    this.#underWay.write(work).catch(this.#context.fatal);
  }

  #conclude(call: LiveCall, outcome: Outcome, reply: ReplyMessage | undefined): void {
    const { scribe, throttle } = this.#hooks;
    this.#write(() => throttle.writing(reply, scribe().conclude(call, outcome, reply)));
  }

  // ── Ways back ─────────────────────────────────────────────────────────────────────────────────

  /** The upstream's reply; false if no call is in flight under its id (late, duplicate, unknown). */
  onReply(message: ReplyMessage): boolean {
    const { id } = message;
    const call = typeof id === "string" ? this.#underWay.take(id) : undefined;
    if (call === undefined) return false;
    this.#context.tally.replied(this.#context.world.now() - (call.row.sentAt ?? 0));
    if (call.isJournalled || call.recording !== undefined) {
      this.#conclude(call, { kind: "replied", errorCode: message.error?.code }, message);
    } else {
      // Nothing of it is on disk, and a reply settles it whatever it says (J1).
      call.stopGiveUp?.();
      this.#hooks.scribe().end(call, message);
      this.#context.gate.useRoom();
    }
    return true;
  }

  onOutcome(upstreamId: string, outcome: Exclude<Outcome, { kind: "replied" }>): void {
    const call = this.#underWay.take(upstreamId);
    if (call === undefined) return;
    if (outcome.kind === "refused") call.sendings--;
    const cause = outcome.failure;
    if (outcome.kind === "lost" && FAILURES[cause.kind].countsForBreaker) {
      this.#hooks.supervisor().strike();
    }
    if (cause.kind === "rate_limited") {
      const untilAt = this.#context.world.now() + (cause.retryAfterMs ?? 1_000);
      this.#hooks.supervisor().gate(untilAt);
      this.#hooks.queue().slowDown(untilAt);
    }
    this.#conclude(call, outcome, undefined);
  }

  /** The connection is gone: everything in flight is lost, except what may still be fetched. */
  onDown(cause: Failure, resumable: ReadonlySet<string>): void {
    this.#hooks.queue().down();
    for (const [id, call] of this.#underWay.calls()) {
      if (resumable.has(id)) {
        this.#giveResumeTime(id, call, cause);
        continue;
      }
      this.#underWay.take(id);
      if (cause.kind === "process_exit") call.crashes++;
      this.#conclude(call, { kind: "lost", failure: cause }, undefined);
    }
  }

  #giveResumeTime(id: string, call: LiveCall, cause: Failure): void {
    const { world } = this.#context;
    const delay = Math.max(RESUME_MIN_MS, call.row.deadlineAt - world.now());
    world.timer(delay, () => {
      if (this.callOf(id) !== call || this.#hooks.supervisor().serving !== undefined) return;
      this.onOutcome(id, { kind: "lost", failure: cause });
    });
  }

  // ── Giving up ─────────────────────────────────────────────────────────────────────────────────

  /** Its caller no longer wants it. Resolves when that is settled as far as it can be now. */
  async cancel(call: LiveCall, cause: string): Promise<void> {
    if (call.phase === "ended" || call.givenUp !== undefined) return;
    call.givenUp = cause;
    const at = this.#context.world.now();
    const { id } = call.row;
    if (call.phase === "queued") {
      const what: CallChange = { kind: "cancel", id, from: "queued", mayHaveRun: false, cause, at };
      if (await change(call, what)) {
        this.#hooks.scribe().end(call, undefined);
        return;
      }
    }
    const { upstreamId } = call.row;
    if (upstreamId === undefined || this.callOf(upstreamId) !== call) return;
    const channel = this.#hooks.supervisor().serving;
    const text = this.#context.dialect.cancel(JSON.stringify(upstreamId), cause);
    channel?.send(text, { kind: "notification" });
    call.stopGiveUp = this.#context.world.timer(GIVE_UP_MS, () => {
      if (this.#underWay.take(upstreamId) === undefined) return;
      channel?.connection?.forget(upstreamId);
      this.#conclude(call, { kind: "lost", failure: failure("timeout", cause) }, undefined);
    });
  }

  /**
   * The end of the end: what is still in flight gets no answer any more, and its callers are told.
   * `isLeft`: calls that may be sent again stay on disk as they are, for the next process.
   */
  async abandon(cause: string, isLeft: (call: LiveCall) => boolean = () => false): Promise<void> {
    const calls = this.#underWay.calls().filter(([, call]) => !isLeft(call));
    for (const [id] of calls) this.#underWay.take(id);
    const scribe = this.#hooks.scribe();
    await Promise.all(
      calls.map(async ([, call]) => {
        // The window is the upstream's: other lines go on, also where somebody else ended the call.
        this.#hooks.queue().leave(call, false);
        const words = `no answer came before the end: ${cause}`;
        const isMine =
          call.givenUp === undefined
            ? scribe.bury(call, "outcome_unknown", words)
            : scribe.giveUp(call, true);
        if (await isMine) scribe.end(call, undefined);
      }),
    );
    this.#context.gate.useRoom();
  }
}
