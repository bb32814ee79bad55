/** The world of a simulated process: its timers are effects, and what they throw ends it. */
import type { CancelTimer } from "../../src/base/world.ts";
import { MortalWorld } from "../support/mortal-world.ts";
import type { World } from "../../src/base/world.ts";

export class ProcessWorld extends MortalWorld {
  readonly #effect: (name: string, act: () => void) => void;

  constructor(inner: World, effect: (name: string, act: () => void) => void) {
    super(inner);
    this.#effect = effect;
  }

  override timer(delayMs: number, fire: () => void): CancelTimer {
    return super.timer(delayMs, () => {
      this.#effect("timer", fire);
    });
  }
}
