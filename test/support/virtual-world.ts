/**
 * A `World` in which time is data: nothing happens until a test advances the clock, and the same seed
 * gives the same run.
 *
 * V1. Timers fire in order of their due time, those due at once in order of their making; the clock
 *     stands exactly on the due time while one fires.
 * V2. Between two timers all promise reactions and `soon` callbacks have run.
 * V3. Only `advance` and `runUntil` move the monotonic clock; `suspend` and `stepWallClock` move the
 *     wall clock alone, as a sleeping laptop and a corrected clock do.
 */
import { idMaker, keyedDigest, type CancelTimer, type World } from "../../src/base/world.ts";

export interface VirtualWorldOptions {
  readonly seed?: number;
  /** Wall clock at the start, epoch ms. */
  readonly startAt?: number;
}

interface Timer {
  readonly dueAt: number;
  readonly order: number;
  readonly fire: () => void;
}

/** More firings in one `advance` than any test needs: a timer that re-arms itself with no delay. */
const FIRINGS_MAX = 200_000;
/** More turns than any chain of `soon` callbacks needs: one that re-queues itself for ever. */
const TURNS_MAX = 20_000;

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

export class VirtualWorld implements World {
  readonly seed: number;
  #wall: number;
  // Far from the wall clock and not 0, so that a mix-up of the two clocks shows.
  #monotonic = 5_000;
  #timers: Timer[] = [];
  #order = 0;
  #soon: (() => void)[] = [];
  #randomState: number;
  readonly #makeId = idMaker();
  #isRunning = false;

  constructor({ seed = 1, startAt = 1_800_000_000_000 }: VirtualWorldOptions = {}) {
    this.seed = seed;
    this.#wall = startAt;
    this.#randomState = seed >>> 0;
  }

  now(): number {
    return Math.floor(this.#wall);
  }

  monotonic(): number {
    return this.#monotonic;
  }

  timer(delayMs: number, fire: () => void): CancelTimer {
    if (Number.isNaN(delayMs)) throw new Error("a timer with the delay NaN");
    const dueAt = this.#monotonic + Math.max(0, delayMs);
    const timer: Timer = { dueAt, order: this.#order++, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(fire: () => void): void {
    this.#soon.push(fire);
  }

  /** mulberry32. */
  random(): number {
    this.#randomState = (this.#randomState + 0x6d2b79f5) >>> 0;
    let t = this.#randomState;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  newId(prefix: string): string {
    const random = Uint8Array.from({ length: 12 }, () => Math.floor(this.random() * 256));
    return this.#makeId(prefix, this.now(), random);
  }

  secret(bytes: number): string {
    const random = Uint8Array.from({ length: bytes }, () => Math.floor(this.random() * 256));
    return Buffer.from(random).toString("base64url");
  }

  digest(key: string, text: string | Iterable<string>): string {
    return keyedDigest(key, text);
  }

  litter(): void {
    // Nothing here depends on when garbage goes.
  }

  /** Timers that have neither fired nor been cancelled. */
  get pendingTimers(): number {
    return this.#timers.length;
  }

  /** How long until the next timer fires, ms; undefined without one. */
  get nextTimerMs(): number | undefined {
    const next = this.#next(Infinity);
    return next === undefined ? undefined : next.dueAt - this.#monotonic;
  }

  /** Runs promise reactions and `soon` callbacks until none is left; moves no clock, fires no timer. */
  async settle(): Promise<void> {
    for (let turns = 0; turns < TURNS_MAX; turns++) {
      await turn();
      const batch = this.#soon;
      if (batch.length === 0) return;
      this.#soon = [];
      for (const fire of batch) {
        fire();
        // As in Node: promise reactions run between two immediates.
        await Promise.resolve();
      }
    }
    throw new Error(`a soon callback keeps queueing itself (seed ${String(this.seed)})`);
  }

  /** Moves both clocks on by `ms`, firing what falls due. Rejects with what a timer throws. */
  async advance(ms: number): Promise<void> {
    await this.#run(ms, () => false);
  }

  /**
   * Moves on from timer to timer until `predicate` holds, and stops there. Rejects if it does not
   * within `maxMs` of virtual time.
   */
  async runUntil(predicate: () => boolean, maxMs: number): Promise<void> {
    if (await this.#run(maxMs, predicate)) return;
    throw new Error(
      `not within ${String(maxMs)} ms of virtual time (seed ${String(this.seed)}): ${String(predicate)}`,
    );
  }

  /** The machine sleeps: the wall clock goes on, the monotonic clock and all timers stand still. */
  suspend(ms: number): void {
    this.#wall += ms;
  }

  /** The wall clock is corrected by `ms`, forwards or backwards. */
  stepWallClock(ms: number): void {
    this.#wall += ms;
  }

  async #run(ms: number, isDone: () => boolean): Promise<boolean> {
    if (this.#isRunning) throw new Error("advance() while the world already runs");
    this.#isRunning = true;
    try {
      const endAt = this.#monotonic + ms;
      await this.settle();
      for (let firings = 0; !isDone(); firings++) {
        if (firings > FIRINGS_MAX) {
          throw new Error(`a timer keeps re-arming itself (seed ${String(this.seed)})`);
        }
        const next = this.#next(endAt);
        this.#moveTo(next?.dueAt ?? endAt);
        if (next === undefined) return isDone();
        this.#timers = this.#timers.filter((other) => other !== next);
        next.fire();
        await this.settle();
      }
      return true;
    } finally {
      this.#isRunning = false;
    }
  }

  #next(endAt: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueAt > endAt) continue;
      if (next === undefined || timer.dueAt < next.dueAt) next = timer;
    }
    return next;
  }

  #moveTo(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}
