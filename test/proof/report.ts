/** Findings as they come up, and the figures that they count for. */
import type { Figures, Finding } from "./evidence.ts";

type Counted = "lost" | "unsafeDuplicates" | "ghosts" | "untrueExecuted";

export class Report {
  readonly findings: Finding[] = [];
  readonly counts: Pick<Figures, Counted>;
  readonly #run: string;
  readonly #counts: Record<Counted, number> = {
    lost: 0,
    unsafeDuplicates: 0,
    ghosts: 0,
    untrueExecuted: 0,
  };

  constructor(run: string) {
    this.#run = run;
    this.counts = this.#counts;
  }

  /** `text`: what was seen; the run and the call are put before it. */
  add(invariant: string, nonce: string | undefined, text: string, counts?: Counted): void {
    const about = nonce === undefined ? this.#run : `${this.#run}, call ${nonce}`;
    this.findings.push({ invariant, nonce, text: `${about}: ${text}` });
    if (counts !== undefined) this.#counts[counts]++;
  }
}
