/** Findings as they come up, and the figures that they count for. */
import type { Figures, Finding } from "./evidence.ts";

type Counted = "lost" | "unsafeDuplicates" | "ghosts" | "untrueExecuted";

export class Report {
  readonly findings: Finding[] = [];
  readonly #run: string;
  /** Calls, not findings: one fault may be seen from several sides. */
  readonly #calls: Record<Counted, Set<string | undefined>> = {
    lost: new Set(),
    unsafeDuplicates: new Set(),
    ghosts: new Set(),
    untrueExecuted: new Set(),
  };

  constructor(run: string) {
    this.#run = run;
  }

  /** `text`: what was seen; the run and the call are put before it. */
  add(invariant: string, nonce: string | undefined, text: string, counts?: Counted): void {
    const about = nonce === undefined ? this.#run : `${this.#run}, call ${nonce}`;
    this.findings.push({ invariant, nonce, text: `${about}: ${text}` });
    if (counts !== undefined) this.#calls[counts].add(nonce);
  }

  get counts(): Pick<Figures, Counted> {
    const { lost, unsafeDuplicates, ghosts, untrueExecuted } = this.#calls;
    return {
      lost: lost.size,
      unsafeDuplicates: unsafeDuplicates.size,
      ghosts: ghosts.size,
      untrueExecuted: untrueExecuted.size,
    };
  }
}
