/** The pace of a backlog: a configured rate, waits that a server asked for, and the widening window. */
import type { World } from "../base/world.ts";

const WIDEN_AFTER_MS = 250;

export class Pace {
  readonly #world: World;
  readonly #ratePerSecond: number | undefined;
  readonly #wake: () => void;
  #nextAt = 0;
  #stopWake: (() => void) | undefined;
  #wakeAt = Infinity;
  #isWidening = false;

  /** `ratePerSecond`: undefined for no fixed rate. */
  constructor(world: World, ratePerSecond: number | undefined, wake: () => void) {
    this.#world = world;
    this.#ratePerSecond = ratePerSecond;
    this.#wake = wake;
  }

  /** True if one more call may go now; otherwise a wake-up is planned. */
  mayGo(): boolean {
    if (this.#ratePerSecond === undefined) return true;
    const now = this.#world.now();
    const gapMs = 1_000 / this.#ratePerSecond;
    // A clock that was set back must not stretch the gap.
    this.#nextAt = Math.min(this.#nextAt, now + gapMs);
    if (now < this.#nextAt) {
      this.wakeAt(this.#nextAt);
      return false;
    }
    this.#nextAt = Math.max(now, this.#nextAt) + gapMs;
    return true;
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

  /** After a moment without room, lets `widen` make some. */
  widenLater(widen: () => void): void {
    if (this.#isWidening) return;
    this.#isWidening = true;
    this.#world.timer(WIDEN_AFTER_MS, () => {
      this.#isWidening = false;
      widen();
      this.#wake();
    });
  }
}
