/** Tells followers what happens. Without a follower nothing is made and nothing is kept. */
import type { ProxyEvent } from "../core/event.ts";

export type Tell = (event: ProxyEvent) => void;

export class Feed {
  readonly #followers = new Set<Tell>();

  /** Returns what stops it. */
  follow(tell: Tell): () => void {
    this.#followers.add(tell);
    return () => {
      this.#followers.delete(tell);
    };
  }

  /** `make` runs only if somebody follows: it is on the path of every call. */
  tell(make: () => ProxyEvent): void {
    if (this.#followers.size === 0) return;
    const event = make();
    for (const tell of this.#followers) tell(event);
  }
}
