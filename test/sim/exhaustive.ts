/**
 * One scenario, killed at every point that it passes: the first, second and third time; and after each
 * of these kills once more at each of the first points that the next process passes.
 */
import { judge, type Judged } from "./judge.ts";
import type { Plan } from "./plan.ts";
import type { CrashPoint } from "./points.ts";
import type { Scenario } from "./scenarios.ts";
import type { PlayOptions } from "./simulation.ts";
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

export interface ExhaustOptions {
  readonly totals: Totals;
  readonly depth: Depth;
  /** Told before each run. */
  readonly onRun?: (name: string) => void;
}

export async function exhaust({ name, plan }: Scenario, options: ExhaustOptions): Promise<void> {
  const { depth } = options;
  const base = await run(plan, { name }, options);
  for (const [point, hits] of base.hits) {
    for (let occurrence = 1; occurrence <= Math.min(hits, depth.occurrences); occurrence++) {
      await killAt(name, plan, { name: point, occurrence }, options);
    }
  }
}

async function run(
  plan: Plan,
  how: PlayOptions,
  { totals, onRun }: ExhaustOptions,
): Promise<Judged> {
  onRun?.(how.name);
  const judged = await judge(plan, how);
  addRun(totals, judged, plan);
  return judged;
}

const wordsOf = ({ name, occurrence }: CrashPoint): string => `${name} (${String(occurrence)})`;

async function killAt(
  name: string,
  plan: Plan,
  first: CrashPoint,
  options: ExhaustOptions,
): Promise<void> {
  let trace: readonly string[] | undefined;
  const once: PlayOptions = {
    name: `${name}, killed at ${wordsOf(first)}`,
    onRestart: (points, kills) => {
      if (kills === 1) trace ??= points.trace();
    },
  };
  await run(withKills(plan, [first]), once, options);
  for (const second of firstOf(trace ?? [], options.depth.again)) {
    const words = `${name}, killed at ${wordsOf(first)} and then at ${wordsOf(second)}`;
    await run(withKills(plan, [first, second]), { name: words }, options);
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
