/**
 * Watches over calls that wait: progress ticks, the end of a hold, deferral, the deadline of a call
 * that nobody waits for. Decides nothing itself: `core/offline.ts` does.
 *
 * W1. Every queued call has a timer that ends its waiting, whatever else happens.
 * W2. A timer belongs to a waiter or a call and dies with it.
 */
import { holdMs, mayDefer, nextSendAt, nextWaitStep, type WaitFacts } from "../core/offline.ts";
import { unreachable } from "../base/assert.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall, Waiter } from "./live-call.ts";
import { change } from "./live-call.ts";
import { describeTrouble, describeWaiting, type Situation } from "./outbox.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { Supervisor } from "./supervisor.ts";

export interface KeeperHooks {
  readonly supervisor: () => Supervisor;
  readonly cataloguer: () => Cataloguer;
  position(call: LiveCall): number;
  /** The call is promised to run late: it goes to its own lane. */
  deferred(call: LiveCall): void;
  /** The call ended while it waited. */
  ended(call: LiveCall): void;
  /** Tells one waiter that the call stays queued beyond it. */
  tellPending(call: LiveCall, waiter: Waiter): void;
}

/** The first tick of our own progress; so small that the server's own values stay visible. */
const TICK_STEP = 0.000_001;

/** The wall clock and the monotonic one drift by as much, without a step of either. */
const SAME_INSTANT_MS = 10;

export class Keeper {
  readonly #context: EngineContext;
  readonly #hooks: KeeperHooks;
  readonly #deadlines = new Map<LiveCall, () => void>();
  readonly #watched = new Set<LiveCall>();

  constructor(context: EngineContext, hooks: KeeperHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  /** How long a call of this client may wait, ms. */
  holdMs(clientName: string, tool: string | undefined): number {
    return holdMs(this.#context.settings, clientName, tool);
  }

  /** The call is queued. */
  watch(call: LiveCall): void {
    this.#watched.add(call);
    for (const waiter of call.waiters) this.#look(call, waiter);
    if (call.waiters.size === 0 || call.row.acknowledgedAt !== undefined) this.#armDeadline(call);
  }

  watchWaiter(call: LiveCall, waiter: Waiter): void {
    if (call.phase === "queued") this.#look(call, waiter);
  }

  /** The call is being sent or has ended. */
  release(call: LiveCall): void {
    if (!this.#watched.delete(call)) return;
    this.#deadlines.get(call)?.();
    this.#deadlines.delete(call);
    for (const waiter of call.waiters) this.releaseWaiter(waiter);
  }

  /** This waiter no longer waits; a queued call that nobody waits for ends with its deadline. */
  left(call: LiveCall, waiter: Waiter): void {
    this.releaseWaiter(waiter);
    if (this.#watched.has(call) && call.waiters.size === 0) this.#armDeadline(call);
  }

  /** The end of this process, not of the call: whoever waits for a deferred one is told that it stays. */
  tellAllPending(call: LiveCall): void {
    for (const waiter of [...call.waiters]) this.#hooks.tellPending(call, waiter);
  }

  releaseWaiter(waiter: Waiter): void {
    waiter.stopTimer?.();
    waiter.stopTimer = undefined;
  }

  /** The upstream's state changed: some waits may end earlier. */
  review(): void {
    for (const call of [...this.#watched]) {
      for (const waiter of [...call.waiters]) this.#look(call, waiter);
    }
  }

  situation(call: LiveCall): Situation {
    const supervisor = this.#hooks.supervisor();
    const { settings, world } = this.#context;
    return {
      upstreamName: settings.upstreamName,
      link: supervisor.link,
      now: world.now(),
      nextAttemptAt: nextSendAt(supervisor.link, supervisor.connector.kind, world.now()),
      ...(call.phase === "queued" ? { queuePosition: this.#hooks.position(call) } : {}),
    };
  }

  #armDeadline(call: LiveCall): void {
    this.#deadlines.get(call)?.();
    const { world } = this.#context;
    const delay = call.row.deadlineAt - world.now();
    this.#deadlines.set(
      call,
      world.timer(delay, () => {
        // Timers longer than the platform's limit come early; the wall clock decides.
        if (world.now() < call.row.deadlineAt) this.#armDeadline(call);
        else this.#expire(call).catch(this.#context.fatal);
      }),
    );
  }

  #facts(call: LiveCall, waiter: Waiter): WaitFacts {
    const { settings, world } = this.#context;
    const supervisor = this.#hooks.supervisor();
    const { tool } = call.row;
    const facts = tool === undefined ? undefined : this.#hooks.cataloguer().tool(tool);
    const override = tool === undefined ? undefined : settings.tools[tool]?.defer;
    return {
      since: waiter.since,
      holdUntil: waiter.holdUntil,
      isAcknowledged: call.row.acknowledgedAt !== undefined,
      mayDefer: mayDefer(
        settings.defer,
        override,
        facts === undefined ? undefined : { safety: call.row.safety, isHarmless: facts.isHarmless },
      ),
      tickAt: waiter.tokenText === undefined ? undefined : waiter.tickAt,
      upstream: {
        state: supervisor.link.state,
        since: supervisor.link.since,
        nextAttemptAt: nextSendAt(supervisor.link, supervisor.connector.kind, world.now()),
      },
    };
  }

  #look(call: LiveCall, waiter: Waiter): void {
    if (call.phase !== "queued" || call.isWaitEnding || !call.waiters.has(waiter)) {
      this.releaseWaiter(waiter);
      return;
    }
    const { world, settings } = this.#context;
    const step = nextWaitStep(this.#facts(call, waiter), world.now());
    if (step.kind === "wait") {
      this.#wake(call, waiter, step.untilAt - world.now());
      return;
    }
    this.releaseWaiter(waiter);
    switch (step.kind) {
      case "tick":
        waiter.tickAt = world.now() + settings.progressEveryMs;
        this.#tick(call, waiter);
        this.#look(call, waiter);
        return;
      case "defer":
        this.#defer(call, waiter).catch(this.#context.fatal);
        return;
      case "pending":
        this.#hooks.tellPending(call, waiter);
        return;
      case "expire":
        this.#expire(call).catch(this.#context.fatal);
        return;
      default:
        unreachable(step);
    }
  }

  /** Looks again then. Each change of the upstream's state asks so for every call that waits. */
  #wake(call: LiveCall, waiter: Waiter, delayMs: number): void {
    const { world } = this.#context;
    const wakeAt = world.monotonic() + delayMs;
    // Another one for the same instant would be garbage, thousands of times a second.
    if (waiter.stopTimer !== undefined && Math.abs(wakeAt - waiter.wakeAt) < SAME_INSTANT_MS)
      return;
    this.releaseWaiter(waiter);
    waiter.wakeAt = wakeAt;
    waiter.stopTimer = world.timer(delayMs, () => {
      waiter.stopTimer = undefined;
      this.#look(call, waiter);
    });
  }

  #tick(call: LiveCall, waiter: Waiter): void {
    // Nobody is told that a call is queued before its row is on disk.
    if (waiter.tokenText === undefined || call.row.seq === 0) return;
    waiter.progress += TICK_STEP;
    const words = describeWaiting(this.situation(call));
    waiter.notify(this.#context.dialect.progress(waiter.tokenText, waiter.progress, words));
  }

  async #defer(call: LiveCall, waiter: Waiter): Promise<void> {
    const at = this.#context.world.now();
    const deadlineAt = at + this.#context.settings.deferTtlMs;
    call.isWaitEnding = true;
    const isWritten = change(call, { kind: "acknowledge", id: call.row.id, deadlineAt, at });
    // Late from here on: a slot that becomes free while this is written is for those deferred before it.
    this.#hooks.deferred(call);
    const isDeferred = await isWritten;
    call.isWaitEnding = false;
    // Refused: it is being sent or has ended at this moment, and an answer comes the ordinary way.
    if (!isDeferred) return;
    // A caller that has cancelled meanwhile is told nothing.
    if (call.waiters.has(waiter)) this.#hooks.tellPending(call, waiter);
    if (call.phase !== "queued") return;
    for (const other of [...call.waiters]) this.#look(call, other);
    this.#armDeadline(call);
  }

  async #expire(call: LiveCall): Promise<void> {
    const at = this.#context.world.now();
    const cause = describeTrouble(this.situation(call));
    if (call.isWaitEnding) return;
    call.isWaitEnding = true;
    const isMine = await change(call, { kind: "expire", id: call.row.id, cause, at });
    call.isWaitEnding = false;
    if (!isMine) return;
    this.#context.tally.expired++;
    this.#hooks.ended(call);
  }
}
