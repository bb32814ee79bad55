/**
 * The gate of one upstream: how much of the backlog, over all lines to it, is under way at once after a
 * recovery (the window), how fast it leaves (the pace), and how many calls may be under way at all.
 *
 * p-queue counts the slots of the window; `Turns`, its queue, says who is next. Its `interval` and
 * `timeout` stay unused: they read the clock of the process, and the pace must follow the world's, which
 * tests drive. For the same reason whatever keeps calls back (rate, concurrency) is asked for by
 * `Turns.size` each time p-queue looks, rather than told to p-queue. p-queue grants in the turn in which
 * a claim is made or the window grows, and a slot that was left a few microtasks later: the next intent
 * still shares the commit of the result that made room for it.
 *
 * Q10. At no grant are more calls of the backlog under way than the window has slots.
 * Q11. A claim is granted once or withdrawn, and a slot that nothing uses comes back.
 * Q12. With a limit on concurrency no call of any line goes beyond it, and room is used at once.
 */
import PQueue from "p-queue";
import { assert } from "../base/assert.ts";
import { deferred } from "../base/async.ts";
import type { World } from "../base/world.ts";
import type { Settings } from "../core/settings.ts";
import { Pace } from "./pace.ts";
import { type Claim, type ClaimOptions, Turns } from "./turns.ts";

/** A line that calls may go over. */
export interface GateLine {
  /** Claims slots for what may go. */
  pump(): void;
}

export type GateSettings = Pick<Settings, "backlogWindow" | "replayRate" | "concurrency">;

export interface GateContext {
  readonly world: World;
  readonly settings: GateSettings;
  readonly fatal: (error: unknown) => void;
}

/** p-queue makes its queue itself; here it gets the one that there is. */
const classOf = (turns: Turns) =>
  function () {
    return turns;
  } as unknown as new () => Turns;

export class Gate {
  readonly #context: GateContext;
  #settings: GateSettings;
  readonly #pace: Pace;
  readonly #turns: Turns;
  readonly #slots: PQueue<Turns, ClaimOptions>;
  readonly #lines = new Set<GateLine>();
  #window = 1;
  #underWay = 0;

  constructor(context: GateContext) {
    this.#context = context;
    this.#settings = context.settings;
    this.#pace = new Pace(context.world, context.settings.replayRate, () => {
      for (const line of this.#lines) line.pump();
      this.#grant();
    });
    this.#turns = new Turns({
      isOpen: () => this.hasRoom && this.#pace.isDue(),
      window: () => this.#window,
    });
    this.#slots = new PQueue({ concurrency: 1, queueClass: classOf(this.#turns) });
  }

  /** Other settings from now on. */
  change(settings: GateSettings): void {
    this.#settings = settings;
    this.#pace.change(settings.replayRate);
    this.#resize(this.#window);
    for (const line of this.#lines) line.pump();
  }

  // ── The window ────────────────────────────────────────────────────────────────────────────────

  /** Calls of the backlog that may be under way at once, now. */
  get window(): number {
    return this.#window;
  }

  /** Wants a slot. It may be granted before this returns. */
  claim(claim: Claim): void {
    const priority = claim.isDeferred ? 0 : 1;
    this.#slots.add(() => this.#use(claim), { claim, priority }).catch(this.#context.fatal);
    this.#widenLater();
  }

  withdraw(claim: Claim): void {
    this.#turns.withdraw(claim);
  }

  /** Whether another session waits for a slot that does not come after that one anyway. */
  isWantedBeside(sessionId: string, isDeferred: boolean): boolean {
    return this.#turns.isWantedBeside(sessionId, isDeferred);
  }

  /** Calls may go over that line. The first one after none could is a recovery: the window starts small. */
  serving(line: GateLine): void {
    if (this.#lines.size === 0) this.#resize(1);
    this.#lines.add(line);
  }

  gone(line: GateLine): void {
    this.#lines.delete(line);
  }

  /** The server asked one line to wait. */
  slowDown(untilAt: number): void {
    this.#resize(Math.max(1, Math.floor(this.#window / 2)));
    this.wakeAt(untilAt);
  }

  /** Looks again, then: what keeps a line from sending ends at that instant. */
  wakeAt(at: number): void {
    this.#pace.wakeAt(at);
  }

  /** Holds the slot until its call comes back. What it throws is p-queue's to hand on: a bug. */
  #use(claim: Claim): Promise<undefined> {
    const freed = deferred<undefined>();
    let isLeft = false;
    const leave = (isGood: boolean) => {
      assert(!isLeft, "a slot is left once");
      isLeft = true;
      this.#turns.left(claim.sessionId);
      // Slow start: each good reply makes room for one more.
      if (isGood) this.#resize(this.#window + 1);
      freed.resolve(undefined);
    };
    if (claim.granted({ leave })) this.#pace.went();
    else leave(false);
    return freed.promise;
  }

  #resize(size: number): void {
    this.#window = Math.min(this.#settings.backlogWindow, size);
    this.#grant();
  }

  /** Grants what may be granted: p-queue looks whenever it is told its concurrency. */
  #grant(): void {
    this.#slots.concurrency = this.#window;
    this.#widenLater();
  }

  /** Long calls must not hold up those behind them for their own length: room grows with time, too. */
  #widenLater(): void {
    if (!this.#isShort) return;
    this.#pace.widenLater(() => {
      if (this.#isShort) this.#resize(this.#window * 2);
    });
  }

  /** Claims wait for nothing but a slot, and there could be more slots. */
  get #isShort(): boolean {
    const isFull = this.#slots.pending >= this.#window;
    return this.#turns.waiting > 0 && isFull && this.#window < this.#settings.backlogWindow;
  }

  // ── Concurrency (option --concurrency) ────────────────────────────────────────────────────────

  /** Whether one more call may be under way, of the backlog or not. */
  get hasRoom(): boolean {
    const { concurrency } = this.#settings;
    return concurrency === undefined || this.#underWay < concurrency;
  }

  /** A call is in flight, or something of it is being written. */
  enter(): void {
    this.#underWay++;
  }

  /** That is over. Whoever says so calls `useRoom` when nothing follows in the same turn. */
  exit(): void {
    this.#underWay--;
  }

  /** With a limit, what came back makes room for a call that waits on any line. */
  useRoom(): void {
    if (this.#settings.concurrency !== undefined) this.#grant();
  }
}
