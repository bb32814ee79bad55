/** The connections that are open, so that a stop can wait for their end and every one gets its beat. */
import { deferred, type Deferred } from "../base/async.ts";
import type { CancelTimer, World } from "../base/world.ts";
import type { Carrier } from "./kept-link.ts";

export class OpenCarriers<C extends Carrier> {
  readonly #world: World;
  readonly #open = new Set<C>();
  #stopBeat: CancelTimer | undefined;
  #emptied: Deferred<void> | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  add(carrier: C): void {
    this.#open.add(carrier);
  }

  delete(carrier: C): void {
    this.#open.delete(carrier);
    if (this.#open.size === 0) this.#emptied?.resolve();
  }

  /** Calls `beat` for each open connection every `everyMs`, until the end: one timer for all of them. */
  beat(everyMs: number, beat: (carrier: C) => void): void {
    this.#stopBeat = this.#world.timer(everyMs, () => {
      this.beat(everyMs, beat);
      // Timers that are late fire before what came meanwhile has been read.
      this.#world.soon(() => {
        for (const carrier of this.#open) beat(carrier);
      });
    });
  }

  /** Resolves when all have ended; those that have not within `graceMs` are cut. */
  async end(graceMs: number): Promise<void> {
    this.#stopBeat?.();
    if (this.#open.size === 0) return;
    this.#emptied = deferred();
    const cancelTimer = this.#world.timer(graceMs, () => {
      for (const carrier of this.#open) carrier.destroy();
    });
    await this.#emptied.promise;
    cancelTimer();
  }
}
