/** What a failure drill yields: figures with their limits, for a test and for a table. */
import type { Lab } from "../support/lab.ts";

export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: "ms" | "calls" | "rows" | "s";
  /** At most this; undefined where it is told and not judged. */
  readonly max?: number;
  /** Whatever else the machine does, it is the same. */
  readonly isProcessorTime?: boolean;
}

export interface Drill {
  readonly name: string;
  /** Rejects where something is wrong that is no figure. */
  readonly run: (lab: Lab) => Promise<readonly Figure[]>;
  /** A loaded machine makes times longer, never shorter: the best of so many rounds is judged. */
  readonly rounds: number;
}

/**
 * What is over its limit, in words. `slack`: the machine has other work, and may take so many times as
 * long; what the processor spends on something stays the same.
 */
export const overIn = (figures: readonly Figure[], slack = 1): readonly string[] =>
  figures
    .filter(
      ({ value, max, isProcessorTime }) =>
        max !== undefined && value > (isProcessorTime === true ? max : max * slack),
    )
    .map(
      ({ what, value, unit, max }) => `${what}: ${value.toFixed(1)} ${unit}, limit ${String(max)}`,
    );

/** Of figures of the same drill, one round each, the best of every one. */
export function bestOf(rounds: readonly (readonly Figure[])[]): readonly Figure[] {
  const [first = []] = rounds;
  return first.map((figure) => {
    const values = rounds.flatMap((round) =>
      round.filter(({ what }) => what === figure.what).map(({ value }) => value),
    );
    return { ...figure, value: Math.min(...values) };
  });
}
