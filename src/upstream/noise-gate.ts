/** Lets a few reports of noise through in a while and counts the others, so that a flood stays short. */
import type { World } from "../base/world.ts";

const WINDOW_MS = 10_000;
const PER_WINDOW_MAX = 5;

export class NoiseGate {
  readonly #world: World;
  readonly #report: (what: string) => void;
  #windowEndsAt = 0;
  #passed = 0;
  #withheld = 0;

  constructor(world: World, report: (what: string) => void) {
    this.#world = world;
    this.#report = report;
  }

  /** `describe` is called only if the report is let through. */
  noise(describe: () => string): void {
    const now = this.#world.monotonic();
    if (now >= this.#windowEndsAt) {
      this.flush();
      this.#windowEndsAt = now + WINDOW_MS;
      this.#passed = 0;
    }
    if (this.#passed < PER_WINDOW_MAX) {
      this.#passed++;
      this.#report(describe());
    } else {
      this.#withheld++;
    }
  }

  /** Reports how much was withheld since the last report, if anything was. */
  flush(): void {
    const count = this.#withheld;
    this.#withheld = 0;
    if (count > 0) this.#report(`${String(count)} more like these`);
  }
}
