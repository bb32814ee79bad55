/**
 * Finds out by WebSocket pings whether a silent connection is still alive. Any frame is life.
 *
 * PU1. Only an idle connection is judged: a server that computes an answer may well not pong. Pings go
 *      out all the same, so that the network in between keeps the connection and the system notices
 *      a peer that is gone.
 * PU2. A server that has never ponged is not judged.
 */
import type { CancelTimer, World } from "../../base/world.ts";

const MISSES_MAX = 3;

export interface PulseEvents {
  ping(): void;
  /** A request is in flight. */
  isBusy(): boolean;
  onDead(silentMs: number): void;
}

export class Pulse {
  readonly #world: World;
  readonly #everyMs: number;
  readonly #events: PulseEvents;
  #cancel: CancelTimer | undefined;
  #lifeAt: number;
  #misses = 0;
  #hasPonged = false;

  /** Pings at once, so that it is soon known whether the server pongs; then after `everyMs` of silence. */
  constructor(world: World, everyMs: number, events: PulseEvents) {
    this.#world = world;
    this.#everyMs = everyMs;
    this.#events = events;
    this.#lifeAt = world.monotonic();
    events.ping();
    this.#schedule(everyMs);
  }

  sawLife(): void {
    this.#lifeAt = this.#world.monotonic();
    this.#misses = 0;
  }

  sawPong(): void {
    this.#hasPonged = true;
    this.sawLife();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(delayMs: number): void {
    this.#cancel = this.#world.timer(delayMs, () => {
      // After a stall of ours the timer is due before frames were looked at: read them first.
      this.#world.soon(() => {
        if (this.#cancel !== undefined) this.#look();
      });
    });
  }

  #look(): void {
    const silentMs = this.#world.monotonic() - this.#lifeAt;
    if (silentMs < this.#everyMs) {
      this.#schedule(this.#everyMs - silentMs);
      return;
    }
    if (this.#events.isBusy() || !this.#hasPonged) this.#misses = 0;
    if (this.#misses >= MISSES_MAX) {
      this.#events.onDead(silentMs);
      return;
    }
    this.#misses += 1;
    this.#events.ping();
    this.#schedule(this.#everyMs);
  }
}
