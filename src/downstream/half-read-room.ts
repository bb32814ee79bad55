/**
 * The room that half-read messages of all clients share. A client that sends a large one slowly, or many
 * clients at once, would otherwise fill the memory before anything is known of their calls.
 *
 * HR1. Half-read messages take no more than `bytesMax` together, besides one that is read on.
 * HR2. The one that was large first is read on in any case, so one after the other is finished or given up;
 *      and what is small is never held.
 */

/** Up to this size a message is not counted: as many as there are connections are no burden. */
const SMALL_BYTES = 64 * 1024;

/** One message on its way in. */
export interface Flow {
  /** Reads no more of it until `flowOn`. */
  hold(): void;
  flowOn(): void;
}

export class HalfReadRoom {
  readonly #bytesMax: number;
  /** Large ones that are being read, with their bytes so far, oldest first. */
  readonly #flows = new Map<Flow, number>();
  readonly #held = new Set<Flow>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** So many bytes of it are there now. May hold it, and others. */
  grew(flow: Flow, bytes: number): void {
    if (bytes <= SMALL_BYTES) return;
    this.#bytes += bytes - (this.#flows.get(flow) ?? 0);
    this.#flows.set(flow, bytes);
    if (this.#bytes > this.#bytesMax) this.#holdAllButOldest();
  }

  /** Whether it is large, and neither read to its end nor given up. */
  has(flow: Flow): boolean {
    return this.#flows.has(flow);
  }

  /** It is read to its end, or given up. */
  left(flow: Flow): void {
    const bytes = this.#flows.get(flow);
    if (bytes === undefined) return;
    this.#flows.delete(flow);
    this.#bytes -= bytes;
    this.#letGo(flow);
    const [oldest] = this.#flows.keys();
    if (this.#bytes <= this.#bytesMax) for (const one of [...this.#held]) this.#letGo(one);
    else if (oldest !== undefined) this.#letGo(oldest);
  }

  #holdAllButOldest(): void {
    const [, ...others] = this.#flows.keys();
    for (const flow of others) {
      if (this.#held.has(flow)) continue;
      this.#held.add(flow);
      flow.hold();
    }
  }

  #letGo(flow: Flow): void {
    if (this.#held.delete(flow)) flow.flowOn();
  }
}
