/**
 * The order in which calls leave over one line.
 *
 * D7. Calls leave in the order in which they came, also where one needs a commit and the next does not:
 *     a direct connection would keep it.
 */

/** The place of one call in the order; it leaves when its `send` is known and all before it have left. */
export interface Place {
  send: (() => void) | undefined;
}

const NOTHING = () => {};

export class Departures {
  readonly #places: Place[] = [];

  /** Nobody has to leave first. */
  get isClear(): boolean {
    return this.#places.length === 0;
  }

  take(): Place {
    const place: Place = { send: undefined };
    this.#places.push(place);
    return place;
  }

  /** What holds `place` may leave now; without `send` it goes no further, and the others may pass. */
  leave(place: Place, send: () => void = NOTHING): void {
    place.send = send;
    // Out of the order before it goes: a sending that makes another call leave must not meet it again.
    for (let next = this.#places[0]; next?.send !== undefined; next = this.#places[0]) {
      this.#places.shift();
      next.send();
    }
  }
}
