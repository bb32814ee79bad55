/**
 * Journals of dead processes that this one has taken over beside its own.
 *
 * X3. A journal taken over as caretaker is let go when nothing in it lives any more.
 */
import { SHIELD_MS } from "../core/shield.ts";
import type { World } from "../base/world.ts";
import type { Journal } from "../ports.ts";
import type { Registry } from "./registry.ts";

export interface CaretakerParts {
  readonly world: World;
  readonly fatal: (error: unknown) => void;
  readonly registry: Registry;
  /** Calls of it wait to be taken over, or for a person. */
  needs(journal: Journal): boolean;
}

export class Caretaker {
  readonly #parts: CaretakerParts;
  /** Each with the timer that closes it once nothing in it lives. */
  readonly #journals = new Map<Journal, (() => void) | undefined>();

  constructor(parts: CaretakerParts) {
    this.#parts = parts;
  }

  take(journal: Journal): void {
    this.#journals.set(journal, undefined);
  }

  /** Of those on disk. */
  paths(): string[] {
    return [...this.#journals.keys()].flatMap((journal) => journal.stats().path ?? []);
  }

  /** Something ended: lets go of what is not needed any more. */
  review(): void {
    const { world, fatal, registry, needs } = this.#parts;
    for (const [journal, closing] of this.#journals) {
      if (closing !== undefined || registry.liveIn(journal) > 0 || needs(journal)) continue;
      // Outcomes that nobody was given stay within reach of a repetition as long as the shield lasts.
      const stopTimer = world.timer(SHIELD_MS, () => {
        this.#journals.delete(journal);
        registry.removeJournal(journal);
        journal.close().catch(fatal);
      });
      this.#journals.set(journal, stopTimer);
    }
  }

  async stop(): Promise<void> {
    for (const stopTimer of this.#journals.values()) stopTimer?.();
    await Promise.all([...this.#journals.keys()].map((journal) => journal.close()));
    this.#journals.clear();
  }
}
