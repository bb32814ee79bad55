/**
 * Queues of several lines to one upstream, with the real gate between them, on a virtual world. What a
 * queue sends is kept here until the test answers it; each sending is checked as it happens.
 */
import type { CallChange, Safety } from "../../src/core/call.ts";
import type { Settings } from "../../src/core/settings.ts";
import type { Cataloguer } from "../../src/engine/cataloguer.ts";
import type { Channel } from "../../src/engine/channel.ts";
import type { EngineContext } from "../../src/engine/context.ts";
import { Gate } from "../../src/engine/gate.ts";
import type { Keeper } from "../../src/engine/keeper.ts";
import { type LiveCall, newLiveCall } from "../../src/engine/live-call.ts";
import { Queue } from "../../src/engine/queue.ts";
import type { Supervisor } from "../../src/engine/supervisor.ts";
import type { Journal } from "../../src/ports.ts";
import { aRow } from "./builders.ts";
import { SETTINGS } from "./stage.ts";
import { VirtualWorld } from "./virtual-world.ts";

export type LaneName = "main" | "late";

export interface RigCall {
  readonly live: LiveCall;
  readonly session: string;
  readonly line: RigLine;
  lane: LaneName;
  state: "waiting" | "sent" | "over";
}

export interface RigLine {
  readonly queue: Queue;
  isServing: boolean;
  gatedUntil: number;
}

export interface NewCall {
  readonly safety?: Safety;
  readonly bytes?: number;
  readonly lane?: LaneName;
  readonly line?: number;
}

export class QueueRig {
  readonly world = new VirtualWorld();
  readonly gate: Gate;
  readonly lines: readonly RigLine[];
  readonly calls: RigCall[] = [];
  /** Calls in the order in which they were sent. */
  readonly sent: RigCall[] = [];
  readonly fatal: unknown[] = [];
  /** Most calls in flight that the window allowed and that were seen. */
  peak = 0;
  readonly #inFlight = new Set<RigCall>();
  readonly #byLive = new Map<LiveCall, RigCall>();

  constructor(settings: Partial<Settings> = {}, lines = 1) {
    const own: Settings = { ...SETTINGS, ...settings };
    const fatal = (error: unknown) => {
      this.fatal.push(error);
    };
    this.gate = new Gate({ world: this.world, settings: own, fatal });
    const identity = { credentials: aRow().credentials };
    const isRevoked = () => false;
    const context = {
      world: this.world,
      settings: own,
      identity,
      gate: this.gate,
      fatal,
      isRevoked,
    };
    this.lines = Array.from({ length: lines }, () =>
      this.#newLine(context as unknown as EngineContext),
    );
  }

  /** In the order in which they were sent. */
  get inFlight(): readonly RigCall[] {
    return [...this.#inFlight];
  }

  get waiting(): readonly RigCall[] {
    return this.calls.filter((call) => call.state === "waiting");
  }

  /** How many calls of each session are in flight. */
  heldBy(session: string): number {
    return this.inFlight.filter((call) => call.session === session).length;
  }

  /** Puts a call of that session into its lane, as one that is on disk. */
  add(session: string, what: NewCall = {}): RigCall {
    const { safety = "read", bytes = 100, lane = "main" } = what;
    const line = this.lines[what.line ?? 0] as RigLine;
    const row = aRow({ sessionId: session, safety, tool: undefined, schema: undefined });
    const made = newLiveCall(row, this.calls.length + 1, {} as Journal, undefined);
    const live: LiveCall = { ...made, bytes, isJournalled: true };
    const call: RigCall = { live, session, line, lane, state: "waiting" };
    live.row = { ...row, deadlineAt: this.world.now() + 1e9 };
    this.calls.push(call);
    this.#byLive.set(live, call);
    line.queue.add(live, lane);
    line.queue.pump(session);
    return call;
  }

  addMany(count: number, session: string, what: NewCall = {}): readonly RigCall[] {
    return Array.from({ length: count }, () => this.add(session, what));
  }

  /** The line's connection begins to serve. */
  up(line = 0): void {
    const one = this.lines[line] as RigLine;
    one.isServing = true;
    one.queue.restart();
  }

  /** The line's connection is gone; what was in flight there came to nothing. */
  down(line = 0): void {
    const one = this.lines[line] as RigLine;
    one.isServing = false;
    one.queue.down();
    for (const call of this.inFlight) if (call.line === one) this.end(call, false);
  }

  /** A sent call comes back, and what that makes room for goes. */
  async answer(call: RigCall, isGood = true): Promise<void> {
    this.end(call, isGood);
    await this.world.settle();
  }

  end(call: RigCall, isGood: boolean): void {
    call.state = "over";
    call.live.phase = "ended";
    this.#inFlight.delete(call);
    call.line.queue.leave(call.live, isGood);
    call.line.queue.remove(call.live);
  }

  /** A waiting call ends without having been sent. */
  withdraw(call: RigCall): void {
    call.state = "over";
    call.live.phase = "ended";
    call.line.queue.remove(call.live);
  }

  /** A sent call goes back to its place. */
  requeue(call: RigCall): void {
    this.#inFlight.delete(call);
    call.line.queue.leave(call.live, false);
    call.state = "waiting";
    call.line.queue.add(call.live, call.lane);
    call.line.queue.pump(call.session);
  }

  defer(call: RigCall): void {
    call.lane = "late";
    call.line.queue.moveToLate(call.live);
  }

  /** Answers whatever is in flight, first come first, until nothing waits. */
  async drain(): Promise<void> {
    await this.world.settle();
    for (let [call] = this.inFlight; call !== undefined; [call] = this.inFlight) {
      await this.answer(call);
    }
  }

  #newLine(context: EngineContext): RigLine {
    const line: RigLine = {
      isServing: false,
      gatedUntil: 0,
      queue: new Queue(context, {
        principal: "local",
        supervisor: () =>
          ({
            serving: line.isServing ? ({} as Channel) : undefined,
            gatedUntil: line.gatedUntil,
            use: () => undefined,
            replan: () => undefined,
          }) as unknown as Supervisor,
        cataloguer: () => ({ knowsTools: false }) as Cataloguer,
        keeper: () => ({ release: () => undefined }) as unknown as Keeper,
        go: (live) => {
          this.#went(live, line);
        },
        stop: (live: LiveCall, _how: CallChange) => {
          throw new Error(`call ${live.row.id} was stopped`);
        },
      }),
    };
    return line;
  }

  #went(live: LiveCall, line: RigLine): void {
    const call = this.#byLive.get(live);
    if (call?.state !== "waiting") throw new Error("a call was sent that does not wait");
    const isFirst = this.waiting.every(
      (other) =>
        other.session !== call.session ||
        other.lane !== call.lane ||
        other.live.order >= live.order,
    );
    if (!isFirst) throw new Error("a call overtook one of its own lane");
    if (!line.isServing || line.gatedUntil > this.world.now())
      throw new Error("a call went over a line that may not send");
    if (live.row.safety !== "read" && this.#hasWrite(call))
      throw new Error("two writes of one lane are under way");
    if (this.inFlight.length >= this.gate.window) throw new Error("beyond the window");
    call.state = "sent";
    live.phase = "sent";
    this.sent.push(call);
    this.#inFlight.add(call);
    this.peak = Math.max(this.peak, this.inFlight.length);
  }

  #hasWrite({ session, lane }: RigCall): boolean {
    return this.inFlight.some(
      (other) =>
        other.session === session && other.lane === lane && other.live.row.safety !== "read",
    );
  }
}
