/**
 * The queue of one upstream connection: which waiting call goes next, and when.
 *
 * Q1. The main lane goes before the late one (deferred calls, calls left by a dead process); new calls
 *     never wait behind the late lane.
 * Q2. A call that left is in the window until it comes back, exactly once.
 * Q3. Payloads beyond `RESIDENT_MAX_BYTES` wait on disk.
 */
import { UNSAFE_PATIENCE_MS } from "../core/offline.ts";
import type { CallChange } from "../core/call.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import { Lane, Window } from "./backlog.ts";
import type { LiveCall } from "./live-call.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { Keeper } from "./keeper.ts";
import type { Supervisor } from "./supervisor.ts";
import { Pace } from "./pace.ts";

export interface QueueHooks {
  readonly supervisor: () => Supervisor;
  readonly cataloguer: () => Cataloguer;
  readonly keeper: () => Keeper;
  /** Whether one more call may be under way. */
  hasRoom(): boolean;
  /** Sends the call; it has left its lane and entered the window. */
  go(call: LiveCall, channel: Channel): void;
  /** Ends the call, which must not be sent any more; it has left its lane. */
  stop(call: LiveCall, how: CallChange): void;
}

export const RESIDENT_MAX_BYTES = 16 * 1024 * 1024;

export class Queue {
  readonly #context: EngineContext;
  readonly #hooks: QueueHooks;
  readonly #main = new Lane();
  readonly #late = new Lane();
  readonly #window: Window;
  readonly #pace: Pace;
  readonly #laneOf = new Map<LiveCall, Lane>();
  readonly #inWindow = new Map<LiveCall, Lane>();
  readonly #resident = new Set<LiveCall>();
  #residentBytes = 0;
  #isPaused = false;

  constructor(context: EngineContext, hooks: QueueHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.#window = new Window(context.settings.backlogWindow);
    this.#pace = new Pace(context.world, context.settings.replayRate, () => {
      this.pump();
    });
  }

  get size(): number {
    return this.#main.size + this.#late.size;
  }

  /** New calls have to wait: behind others, or because nothing is sent at all. */
  get isBlocking(): boolean {
    return this.#isPaused || this.#main.size > 0 || this.#isLeaving;
  }

  /** A call of the main lane is being committed: nothing new may be on the wire before it. */
  get #isLeaving(): boolean {
    for (const [call, lane] of this.#inWindow) {
      if (lane === this.#main && call.phase === "committing") return true;
    }
    return false;
  }

  get oldestAt(): number | undefined {
    const heads = [this.#main.head(), this.#late.head()].filter((call) => call !== undefined);
    return heads.length === 0 ? undefined : Math.min(...heads.map((call) => call.row.acceptedAt));
  }

  /** 1 for the call that is next. */
  position(call: LiveCall): number {
    return (this.#laneOf.get(call) ?? this.#main).position(call);
  }

  calls(): readonly LiveCall[] {
    return [...this.#main.waiting(), ...this.#late.waiting()];
  }

  /**
   * Takes out, in order, what outlives this session: what was promised to run late, and what a dead
   * process left and nobody waits for. It goes on elsewhere.
   */
  takeLasting(sessionId: string): readonly LiveCall[] {
    const lasting = this.calls().filter(
      ({ row, waiters }) =>
        row.acknowledgedAt !== undefined || (row.sessionId !== sessionId && waiters.size === 0),
    );
    for (const call of lasting) {
      this.#hooks.keeper().release(call);
      this.remove(call);
    }
    return lasting;
  }

  /** No new bytes leave; what waits stays. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.pump();
  }

  add(call: LiveCall, lane: "main" | "late"): void {
    const target = lane === "main" ? this.#main : this.#late;
    call.phase = "queued";
    this.#laneOf.set(call, target);
    target.add(call);
    this.#hooks.supervisor().use();
    this.#hooks.supervisor().replan();
  }

  /** A waiting call was promised to run late. */
  moveToLate(call: LiveCall): void {
    const lane = this.#laneOf.get(call);
    if (lane === undefined || lane === this.#late) return;
    lane.drop(call);
    this.#laneOf.set(call, this.#late);
    this.#late.add(call);
    this.pump();
  }

  /** The call ended, wherever it was. */
  remove(call: LiveCall): void {
    this.#laneOf.get(call)?.drop(call);
    this.#laneOf.delete(call);
    this.leave(call, false);
    if (this.#resident.delete(call)) this.#residentBytes -= call.bytes;
  }

  /** A call of the backlog came back; `isGood`: with a reply. Does nothing for other calls. */
  leave(call: LiveCall, isGood: boolean): void {
    const lane = this.#inWindow.get(call);
    if (lane === undefined) return;
    this.#inWindow.delete(call);
    if (lane.writing === call) lane.writing = undefined;
    this.#window.leave(isGood);
    this.pump();
  }

  /** A connection begins to serve: a recovery, so the window starts small. */
  restart(): void {
    this.#window.reset();
    this.pump();
  }

  /** The server asked to wait. */
  slowDown(untilAt: number): void {
    this.#window.halve();
    this.#pace.wakeAt(untilAt);
  }

  /** Lets go what may go now. Never waits for anything. */
  pump(): void {
    const supervisor = this.#hooks.supervisor();
    const channel = supervisor.serving;
    if (channel === undefined || this.#isPaused) return;
    if (this.size > 0 && supervisor.gatedUntil > this.#context.world.now()) {
      this.#pace.wakeAt(supervisor.gatedUntil);
      return;
    }
    if (this.#pumpLane(this.#main, channel)) this.#pumpLane(this.#late, channel);
  }

  /** False where the other lane must wait, too. */
  #pumpLane(lane: Lane, channel: Channel): boolean {
    for (let call = lane.head(); call !== undefined; call = lane.head()) {
      if (!this.#window.hasRoom) {
        if (this.#window.canWiden) {
          this.#pace.widenLater(() => {
            this.#window.widen();
          });
        }
        return false;
      }
      // Invariant Q5: writes of a lane one at a time, so that their order is the order of effects.
      if (call.row.safety !== "read" && lane.writing !== undefined) return true;
      const how = this.#stopped(call);
      if (how === undefined && (!this.#hooks.hasRoom() || !this.#pace.mayGo())) return false;
      this.#hooks.keeper().release(call);
      this.#laneOf.delete(call);
      lane.take();
      call.phase = "committing";
      if (how !== undefined) {
        this.#hooks.stop(call, how);
        continue;
      }
      this.#inWindow.set(call, lane);
      this.#window.enter();
      if (call.row.safety !== "read") lane.writing = call;
      this.#hooks.go(call, channel);
    }
    return true;
  }

  /** How a call that must not be sent any more ends; undefined if it may go. */
  #stopped(call: LiveCall): CallChange | undefined {
    const at = this.#context.world.now();
    const { id } = call.row;
    const cause = this.#changedTool(call);
    if (cause !== undefined) return { kind: "bury", id, reason: "tool_changed", cause, at };
    // A deferral that is being written comes first, and sets another deadline.
    if (call.row.deadlineAt <= at && !call.isWaitEnding) {
      return { kind: "expire", id, cause: "the time it was accepted for was over", at };
    }
    const [waiter] = call.waiters;
    const patience = waiter?.patienceMs;
    if (patience === undefined || waiter === undefined || call.row.safety !== "unsafe")
      return undefined;
    // Promised to run late: whoever waits for it now was not the one that it was promised to.
    if (call.row.acknowledgedAt !== undefined) return undefined;
    if (waiter.since + patience - at >= UNSAFE_PATIENCE_MS) return undefined;
    const words = "too little of its caller's patience was left for a call that can't be repeated";
    return { kind: "expire", id, cause: words, at };
  }

  /** Why the tool is no longer the one that the call was accepted for. */
  #changedTool(call: LiveCall): string | undefined {
    const { tool, schema } = call.row;
    const cataloguer = this.#hooks.cataloguer();
    if (tool === undefined || schema === undefined || !cataloguer.knowsTools) return undefined;
    const facts = cataloguer.tool(tool);
    if (!facts.isKnown) return `the tool '${tool}' is gone since the server came back`;
    if (this.#context.world.digest("", facts.schema) !== schema) {
      return `the input schema of '${tool}' has changed since the call was accepted`;
    }
    const own = this.#context.settings.tools[tool]?.safety;
    if ((own ?? facts.safety) === call.row.safety) return undefined;
    return `the annotations of '${tool}' have changed since the call was accepted`;
  }

  /** The call is on disk and waits: its payload stays in memory only within the bound. */
  page(call: LiveCall): void {
    if (call.phase !== "queued" || this.#resident.has(call)) return;
    if (this.#residentBytes + call.bytes > RESIDENT_MAX_BYTES) {
      call.request = undefined;
      call.row = { ...call.row, request: "" };
      return;
    }
    this.#resident.add(call);
    this.#residentBytes += call.bytes;
  }
}
