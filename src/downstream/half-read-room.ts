/**
 * The room that half-read messages of all clients share. A client that sends a large one slowly, or many
 * clients at once, would otherwise fill the memory before anything is known of their calls.
 *
 * HR1. Half-read messages take no more than `bytesMax` together, besides one that is read on.
 * HR2. The one that was large first is read on in any case, so one after the other is finished or given up;
 *      and what is small is never held.
 * HR3. Nobody waits for one that hardly sends: the one that is read on is given up when it comes more
 *      slowly than the largest may.
 */
import type { CancelTimer, World } from "../base/world.ts";

/** Up to this size a message is not counted: as many as there are connections are no burden. */
const SMALL_BYTES = 64 * 1024;
/** While others wait, the one that is read on is looked at so often. */
const TURN_MS = 5_000;
/** So much of it has to come in that time; at this pace 4 MiB take the 60 s that a request may take. */
const TURN_BYTES = 320 * 1024;

/** One message on its way in. */
export interface Flow {
  /** Reads no more of it until `flowOn`. */
  hold(): void;
  flowOn(): void;
  /** It is too slow for those that wait for it. Not if it is we who do not read it. */
  giveUp(): void;
}

export class HalfReadRoom {
  readonly #world: Pick<World, "timer">;
  readonly #bytesMax: number;
  /** Large ones that are being read, with their bytes so far, oldest first. */
  readonly #flows = new Map<Flow, number>();
  readonly #held = new Set<Flow>();
  #bytes = 0;
  /** The oldest, while others are held. */
  #watched: Flow | undefined;
  #stopTimer: CancelTimer | undefined;

  constructor(world: Pick<World, "timer">, bytesMax: number) {
    this.#world = world;
    this.#bytesMax = bytesMax;
  }

  /** So many bytes of it are there now. May hold it, and others. */
  grew(flow: Flow, bytes: number): void {
    if (bytes <= SMALL_BYTES) return;
    this.#bytes += bytes - (this.#flows.get(flow) ?? 0);
    this.#flows.set(flow, bytes);
    if (this.#bytes <= this.#bytesMax) return;
    // Where others are held all are that were there before.
    if (this.#held.size === 0) this.#holdAllButOldest();
    else this.#hold(flow);
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
    if (flow === this.#watched || this.#held.size === 0) this.#stopWatching();
    this.#watchOldest();
  }

  #holdAllButOldest(): void {
    for (const flow of this.#flows.keys()) this.#hold(flow);
    this.#watchOldest();
  }

  #hold(flow: Flow): void {
    const [oldest] = this.#flows.keys();
    if (flow === oldest || this.#held.has(flow)) return;
    this.#held.add(flow);
    flow.hold();
  }

  /** HR3. */
  #watchOldest(): void {
    const [oldest] = this.#flows;
    if (oldest === undefined || this.#held.size === 0 || this.#watched !== undefined) return;
    const [flow, before] = oldest;
    this.#watched = flow;
    this.#stopTimer = this.#world.timer(TURN_MS, () => {
      this.#stopWatching();
      if ((this.#flows.get(flow) ?? 0) - before < TURN_BYTES) flow.giveUp();
      this.#watchOldest();
    });
  }

  #stopWatching(): void {
    this.#stopTimer?.();
    this.#watched = undefined;
  }

  #letGo(flow: Flow): void {
    if (this.#held.delete(flow)) flow.flowOn();
  }
}
