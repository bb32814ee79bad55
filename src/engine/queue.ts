/**
 * The queue of one upstream connection: which waiting call of each session goes next, and when. Its lanes
 * claim slots at the upstream's gate, which many connections may share.
 *
 * Q1. New calls of a session wait behind its main lane alone: neither behind a late lane (deferred calls,
 *     calls left by a dead process) nor behind the backlog of another session.
 * Q2. A call that left is in the window until it comes back, exactly once.
 * Q3. Payloads beyond `RESIDENT_MAX_BYTES` wait on disk.
 */
import type { CallChange } from "../core/call.ts";
import { type Lane, type Lanes, newLanes, READS_MAX } from "./backlog.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import type { Keeper } from "./keeper.ts";
import { lastLook } from "./last-look.ts";
import type { LiveCall } from "./live-call.ts";
import type { Supervisor } from "./supervisor.ts";
import type { Claim, Slot } from "./turns.ts";

export interface QueueHooks {
  /** Whose calls these are. */
  readonly principal: string;
  readonly supervisor: () => Supervisor;
  readonly cataloguer: () => Cataloguer;
  readonly keeper: () => Keeper;
  /** Sends the call; it has left its lane and entered the window. */
  go(call: LiveCall, channel: Channel): void;
  /** Ends the call, which must not be sent any more; it has left its lane. */
  stop(call: LiveCall, how: CallChange): void;
}

/** A renewal of the connection is over some time, also amid the end, which is for good. */
export type Pause = "a renewal" | "the end";

export const RESIDENT_MAX_BYTES = 16 * 1024 * 1024;

const byOrder = (a: LiveCall, b: LiveCall) => a.order - b.order;

export class Queue {
  readonly #context: EngineContext;
  readonly #hooks: QueueHooks;
  readonly #sessions = new Map<string, Lanes>();
  /** Where each waiting call is. */
  readonly #laneOf = new Map<LiveCall, Lane>();
  readonly #inWindow = new Map<LiveCall, { readonly lane: Lane; readonly slot: Slot }>();
  readonly #resident = new Set<LiveCall>();
  #residentBytes = 0;
  /** Why nothing is sent. */
  readonly #pauses = new Set<Pause>();

  constructor(context: EngineContext, hooks: QueueHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  get size(): number {
    return this.#laneOf.size;
  }

  /** New calls of that session have to wait: behind others, or because nothing is sent at all. */
  isBlockingFor(sessionId: string): boolean {
    if (this.#pauses.size > 0) return true;
    const main = this.#sessions.get(sessionId)?.main;
    return main !== undefined && (main.size > 0 || main.isLeaving);
  }

  /** Nothing goes out: the line is at its end, or about to connect anew. */
  get isPaused(): boolean {
    return this.#pauses.size > 0;
  }

  get oldestAt(): number | undefined {
    const heads = this.#lanes().map((lane) => lane.head()?.row.acceptedAt ?? Infinity);
    const oldestAt = Math.min(...heads);
    return oldestAt === Infinity ? undefined : oldestAt;
  }

  /** 1 for the call that is next in its lane. */
  position(call: LiveCall): number {
    const lane = this.#laneOf.get(call) ?? this.#sessions.get(call.row.sessionId)?.main;
    return lane?.position(call) ?? 1;
  }

  /** What waits, in order: main lanes first. */
  calls(): readonly LiveCall[] {
    const all = [...this.#sessions.values()];
    return [
      ...all.flatMap(({ main }) => main.waiting()).sort(byOrder),
      ...all.flatMap(({ late }) => late.waiting()).sort(byOrder),
    ];
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
      this.#takeOut(call);
      this.#forgetIdle(call.row.sessionId);
    }
    return lasting;
  }

  // ── In and out ────────────────────────────────────────────────────────────────────────────────

  add(call: LiveCall, kind: "main" | "late"): void {
    const { sessionId } = call.row;
    const lanes = this.#sessions.get(sessionId) ?? newLanes(sessionId);
    this.#sessions.set(sessionId, lanes);
    call.phase = "queued";
    // Its text is enough: what was read from that takes as much again, and it may wait for long.
    call.request = undefined;
    this.#laneOf.set(call, lanes[kind]);
    lanes[kind].add(call);
    this.#hooks.supervisor().use();
    this.#hooks.supervisor().replan();
  }

  /** A waiting call was promised to run late. */
  moveToLate(call: LiveCall): void {
    const lane = this.#laneOf.get(call);
    const lanes = this.#sessions.get(call.row.sessionId);
    if (lane === undefined || lanes === undefined || lane === lanes.late) return;
    lane.drop(call);
    this.#laneOf.set(call, lanes.late);
    lanes.late.add(call);
    this.pump(call.row.sessionId);
  }

  /** The call ended, wherever it was. */
  remove(call: LiveCall): void {
    const hasWaited = this.#laneOf.has(call);
    this.#takeOut(call);
    this.leave(call, false);
    // It may have been what the next one waited behind.
    if (hasWaited) this.pump(call.row.sessionId);
    this.#forgetIdle(call.row.sessionId);
  }

  #takeOut(call: LiveCall): void {
    const lane = this.#laneOf.get(call);
    if (this.#resident.delete(call)) this.#residentBytes -= call.bytes;
    if (lane === undefined) return;
    this.#laneOf.delete(call);
    lane.drop(call);
    this.#trim(lane);
  }

  /** A call of the backlog came back; `isGood`: with a reply. Does nothing for other calls. */
  leave(call: LiveCall, isGood: boolean): void {
    const left = this.#inWindow.get(call);
    if (left === undefined) return;
    this.#inWindow.delete(call);
    left.lane.cameBack(call);
    // Its lane claims first, so that it takes its turn for the slot that becomes free now.
    this.pump(call.row.sessionId);
    left.slot.leave(isGood);
  }

  // ── When ──────────────────────────────────────────────────────────────────────────────────────

  /** No new bytes leave; what waits stays. */
  pause(why: Pause): void {
    this.#pauses.add(why);
    this.down();
  }

  /** The end of a renewal; what waits goes over the connection there is, or over the next. */
  resume(): void {
    this.#pauses.delete("a renewal");
    if (this.#hooks.supervisor().serving !== undefined) this.restart();
  }

  /** A connection begins to serve. */
  restart(): void {
    if (this.#pauses.size > 0) return;
    this.#context.gate.serving(this);
    this.pump();
  }

  /** Nothing can go over this connection any more. */
  down(): void {
    this.#context.gate.gone(this);
    for (const lane of this.#lanes()) {
      for (const claim of lane.claims.splice(0)) this.#context.gate.withdraw(claim);
    }
  }

  /** The server asked to wait. */
  slowDown(untilAt: number): void {
    this.#context.gate.slowDown(untilAt);
  }

  /** Claims slots for what may go now, of one session or of all. Never waits for anything. */
  pump(sessionId?: string): void {
    if (this.size === 0 || this.#openChannel() === undefined) return;
    const ids = sessionId === undefined ? [...this.#sessions.keys()] : [sessionId];
    for (const id of ids) {
      const lanes = this.#sessions.get(id);
      if (lanes === undefined) continue;
      this.#fit(lanes.main);
      this.#fit(lanes.late);
    }
  }

  #lanes(): readonly Lane[] {
    return [...this.#sessions.values()].flatMap(({ main, late }) => [main, late]);
  }

  #forgetIdle(sessionId: string): void {
    const lanes = this.#sessions.get(sessionId);
    if (lanes?.main.isIdle === true && lanes.late.isIdle) this.#sessions.delete(sessionId);
  }

  /** The channel over which what waits may go now. Where the server asked to wait, looks again then. */
  #openChannel(): Channel | undefined {
    const { serving, gatedUntil } = this.#hooks.supervisor();
    if (serving === undefined || this.#pauses.size > 0) return undefined;
    if (gatedUntil <= this.#context.world.now()) return serving;
    this.#context.gate.wakeAt(gatedUntil);
    return undefined;
  }

  #ready(lane: Lane): readonly LiveCall[] {
    const { gate, settings } = this.#context;
    const isCrowded = gate.isWantedBeside(lane.sessionId, lane.isLate);
    return lane.ready(isCrowded ? READS_MAX : settings.backlogWindow);
  }

  /** Withdraws claims for which no call may go; returns the calls that may. */
  #trim(lane: Lane): readonly LiveCall[] {
    const ready = this.#ready(lane);
    for (const claim of lane.claims.splice(ready.length)) this.#context.gate.withdraw(claim);
    return ready;
  }

  /** One claim for each call of the lane that may go. */
  #fit(lane: Lane): void {
    // Granted claims leave the list while this runs, each with the call that it was for.
    for (const call of this.#trim(lane).slice(lane.claims.length)) {
      const claim: Claim = {
        sessionId: lane.sessionId,
        isDeferred: lane.isLate,
        bytes: call.bytes,
        granted: (slot) => {
          lane.claims.splice(lane.claims.indexOf(claim), 1);
          return this.#takeSlot(lane, slot);
        },
      };
      lane.claims.push(claim);
      this.#context.gate.claim(claim);
    }
  }

  /** The head of the lane goes. False where none may. */
  #takeSlot(lane: Lane, slot: Slot): boolean {
    const channel = this.#openChannel();
    if (channel === undefined) return false;
    for (let [call] = this.#ready(lane); call !== undefined; [call] = this.#ready(lane)) {
      const how = lastLook(this.#context, this.#hooks.cataloguer(), this.#hooks.principal, call);
      this.#hooks.keeper().release(call);
      this.#laneOf.delete(call);
      lane.take();
      call.phase = "committing";
      if (how !== undefined) {
        this.#hooks.stop(call, how);
        continue;
      }
      lane.went(call);
      this.#inWindow.set(call, { lane, slot });
      this.#hooks.go(call, channel);
      return true;
    }
    return false;
  }

  /** The call is on disk and waits: its payload stays in memory only within the bound. */
  page(call: LiveCall): void {
    if (call.phase !== "queued" || this.#resident.has(call)) return;
    if (this.#residentBytes + call.bytes > RESIDENT_MAX_BYTES) {
      call.row = { ...call.row, request: "" };
      return;
    }
    this.#resident.add(call);
    this.#residentBytes += call.bytes;
  }
}
