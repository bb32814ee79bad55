/**
 * The world of one process on a shared virtual world: when the process dies, its timers and callbacks
 * die with it, and the others' go on.
 */
import type { CancelTimer, World } from "../../src/base/world.ts";

export class MortalWorld implements World {
  readonly #inner: World;
  readonly #timers = new Set<CancelTimer>();
  #isDead = false;

  constructor(inner: World) {
    this.#inner = inner;
  }

  die(): void {
    this.#isDead = true;
    for (const stopTimer of this.#timers) stopTimer();
    this.#timers.clear();
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get pendingTimers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#inner.now();
  }

  monotonic(): number {
    return this.#inner.monotonic();
  }

  timer(delayMs: number, fire: () => void): CancelTimer {
    if (this.#isDead) return () => undefined;
    const stopTimer = this.#inner.timer(delayMs, () => {
      this.#timers.delete(stop);
      fire();
    });
    const stop = () => {
      this.#timers.delete(stop);
      stopTimer();
    };
    this.#timers.add(stop);
    return stop;
  }

  soon(fire: () => void): void {
    this.#inner.soon(() => {
      if (!this.#isDead) fire();
    });
  }

  random(): number {
    return this.#inner.random();
  }

  newId(prefix: string): string {
    return this.#inner.newId(prefix);
  }

  secret(bytes: number): string {
    return this.#inner.secret(bytes);
  }

  digest(key: string, text: string | Iterable<string>): string {
    return this.#inner.digest(key, text);
  }

  litter(size: number): void {
    this.#inner.litter(size);
  }
}
