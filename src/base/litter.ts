/**
 * Collects what large payloads leave behind. A call of 3 MiB is in memory ten times before it is on disk:
 * its bytes, its text, its values, copies on their way. All of it is garbage at once, but V8 lets its heap
 * grow to several times of what is in use before it looks, and buffers hardly count for it.
 *
 * LI1. What is small costs nothing: only payloads of `LARGE_FROM` and more count.
 * LI2. One collection for each `COLLECT_FROM` of them, in a turn of its own: not amid the work, when
 *      much of it is still in use.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { LARGE_FROM } from "./large.ts";

/** Receiving, checking and writing so much takes some ten times as long as the collection. */
const COLLECT_FROM = 8 * 1024 * 1024;

/** Counts the litter of one thread. */
export class Litter {
  readonly #soon: (work: () => void) => void;
  readonly #collect: () => void;
  #size = 0;

  /** `soon`: as `World.soon`. */
  constructor(soon: (work: () => void) => void, collect: () => void) {
    this.#soon = soon;
    this.#collect = collect;
  }

  /** A payload of this size was handled, and is no longer needed as it came or soon will not be. */
  add(size: number): void {
    if (size < LARGE_FROM) return;
    const isDue = this.#size >= COLLECT_FROM;
    this.#size += size;
    if (isDue || this.#size < COLLECT_FROM) return;
    this.#soon(() => {
      this.#size = 0;
      this.#collect();
    });
  }
}

/**
 * Makes V8 collect all garbage of this thread, which takes some 10 ms. Node gives its programs no other
 * way to ask for it; where this one is closed too, V8 goes by its own measure.
 */
export function garbageCollector(): () => void {
  let collect: unknown;
  return () => {
    if (collect === undefined) {
      setFlagsFromString("--expose-gc");
      // Only a context that is made now has it.
      collect = runInNewContext("globalThis.gc ?? null");
    }
    if (typeof collect === "function") collect();
  };
}
