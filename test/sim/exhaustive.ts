/**
 * One scenario, killed at every point that it passes: the first, second and third time; and after each
 * of these kills once more at each of the first points that the next process passes.
 */
import { judge } from "./judge.ts";
import type { Plan } from "./plan.ts";
import type { CrashPoint } from "./points.ts";
import type { Scenario } from "./scenarios.ts";
import { addRun, type Totals } from "./totals.ts";

export interface Depth {
  /** Occurrences of one point, from the first. */
  readonly occurrences: number;
  /** Points of the recovery at which it is killed again. */
  readonly again: number;
}

export const FULL: Depth = { occurrences: 3, again: 12 };
/** For `npm test`. */
export const QUICK: Depth = { occurrences: 1, again: 1 };

export async function exhaust(
  { name, plan }: Scenario,
  totals: Totals,
  depth: Depth = FULL,
): Promise<void> {
  const base = await judge(plan, { name });
  addRun(totals, base, plan);
  for (const [point, hits] of base.hits) {
    for (let occurrence = 1; occurrence <= Math.min(hits, depth.occurrences); occurrence++) {
      await killAt(name, plan, { name: point, occurrence }, totals, depth);
    }
  }
}

const wordsOf = ({ name, occurrence }: CrashPoint): string => `${name} (${String(occurrence)})`;

async function killAt(
  name: string,
  plan: Plan,
  first: CrashPoint,
  totals: Totals,
  depth: Depth,
): Promise<void> {
  let trace: readonly string[] | undefined;
  const killed = withKills(plan, [first]);
  const once = await judge(killed, {
    name: `${name}, killed at ${wordsOf(first)}`,
    onRestart: (points, kills) => {
      if (kills === 1) trace ??= points.trace();
    },
  });
  addRun(totals, once, killed);
  for (const second of firstOf(trace ?? [], depth.again)) {
    const killedTwice = withKills(plan, [first, second]);
    const words = `${name}, killed at ${wordsOf(first)} and then at ${wordsOf(second)}`;
    addRun(totals, await judge(killedTwice, { name: words }), killedTwice);
  }
}

const withKills = (plan: Plan, kills: readonly CrashPoint[]): Plan => ({ ...plan, kills });

/** The first points of a trace, each with how often it has come by then. */
function firstOf(trace: readonly string[], count: number): readonly CrashPoint[] {
  const seen = new Map<string, number>();
  return trace.slice(0, count).map((name) => {
    const occurrence = (seen.get(name) ?? 0) + 1;
    seen.set(name, occurrence);
    return { name, occurrence };
  });
}
