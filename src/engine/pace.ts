/**
 * The pace at which the backlog of an upstream leaves: a configured rate, waits that a server asked for,
 * and the widening window. One pace for all lines to it.
 */
import type { World } from "../base/world.ts";

const WIDEN_AFTER_MS = 250;

export class Pace {
  readonly #world: World;
  /** Between two calls, ms. */
  #gapMs = 0;
  readonly #wake: () => void;
  #nextAt = 0;
  #stopWake: (() => void) | undefined;
  #wakeAt = Infinity;
  #isWidening = false;

  /** `ratePerSecond`: undefined for no fixed rate. */
  constructor(world: World, ratePerSecond: number | undefined, wake: () => void) {
    this.#world = world;
    this.#wake = wake;
    this.change(ratePerSecond);
  }

  change(ratePerSecond: number | undefined): void {
    this.#gapMs = ratePerSecond === undefined ? 0 : 1_000 / ratePerSecond;
    this.#nextAt = 0;
  }

  /** True if one more call may go now; otherwise a wake-up is planned. */
  isDue(): boolean {
    if (this.#gapMs === 0) return true;
    const now = this.#world.now();
    // A clock that was set back must not stretch the gap.
    this.#nextAt = Math.min(this.#nextAt, now + this.#gapMs);
    if (now >= this.#nextAt) return true;
    this.wakeAt(this.#nextAt);
    return false;
  }

  /** A call went. */
  went(): void {
    this.#nextAt = Math.max(this.#world.now(), this.#nextAt) + this.#gapMs;
  }

  wakeAt(at: number): void {
    if (this.#wakeAt <= at) return;
    this.#stopWake?.();
    this.#wakeAt = at;
    this.#stopWake = this.#world.timer(at - this.#world.now(), () => {
      this.#wakeAt = Infinity;
      this.#wake();
    });
  }

  /** After a moment, lets `widen` make room. */
  widenLater(widen: () => void): void {
    if (this.#isWidening) return;
    this.#isWidening = true;
    this.#world.timer(WIDEN_AFTER_MS, () => {
      this.#isWidening = false;
      widen();
    });
  }
}
