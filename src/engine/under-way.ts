/**
 * What one line has under way: calls in flight by their upstream ids, and writes of intents and outcomes.
 * All of it counts for the upstream's limit on concurrency, which is the gate's.
 */
import type { Gate } from "./gate.ts";
import type { LiveCall } from "./live-call.ts";

export class UnderWay {
  readonly #gate: Gate;
  readonly #inFlight = new Map<string, LiveCall>();
  #writing = 0;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Writes, and calls in flight but those given up: nobody waits for what may still come of them. */
  get awaited(): number {
    let awaited = this.#writing;
    for (const call of this.#inFlight.values()) if (call.givenUp === undefined) awaited++;
    return awaited;
  }

  find(upstreamId: string): LiveCall | undefined {
    return this.#inFlight.get(upstreamId);
  }

  /** The call in flight, if there is exactly one. */
  only(): LiveCall | undefined {
    if (this.#inFlight.size !== 1) return undefined;
    for (const call of this.#inFlight.values()) return call;
    return undefined;
  }

  /** The calls in flight, as they are now. */
  calls(): readonly (readonly [string, LiveCall])[] {
    return [...this.#inFlight];
  }

  sent(upstreamId: string, call: LiveCall): void {
    this.#inFlight.set(upstreamId, call);
    this.#gate.enter();
  }

  /** Takes the call out; undefined if none is in flight under that id. */
  take(upstreamId: string): LiveCall | undefined {
    const call = this.#inFlight.get(upstreamId);
    if (call === undefined) return undefined;
    this.#inFlight.delete(upstreamId);
    this.#gate.exit();
    return call;
  }

  /** Runs something that writes. When it is over, the room that it took is used. */
  async write(work: () => Promise<void>): Promise<void> {
    this.#writing++;
    this.#gate.enter();
    try {
      await work();
    } finally {
      this.#writing--;
      this.#gate.exit();
      this.#gate.useRoom();
    }
  }
}
