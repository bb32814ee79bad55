/** What many runs come to. */
import { addFigures } from "../proof/checker.ts";
import type { Figures, Finding } from "../proof/evidence.ts";
import type { Judged } from "./judge.ts";
import type { Plan } from "./plan.ts";

/** A run that something was found in. */
export interface Failing {
  readonly name: string;
  /** Not known of one that did not end: nobody can play it to make it smaller. */
  readonly plan: Plan | undefined;
  readonly findings: readonly Finding[];
}

export interface Totals {
  runs: number;
  kills: number;
  findings: number;
  figures: Figures;
  readonly hits: Map<string, number>;
  /** The first of them; more say no more. */
  readonly failing: Failing[];
}

const FAILING_MAX = 10;

export function newTotals(): Totals {
  return {
    runs: 0,
    kills: 0,
    findings: 0,
    figures: addFigures([]),
    hits: new Map(),
    failing: [],
  };
}

export function addRun(totals: Totals, judged: Judged, plan: Plan): void {
  totals.runs++;
  totals.kills += judged.kills;
  totals.findings += judged.findings.length;
  if (judged.figures !== undefined) totals.figures = addFigures([totals.figures, judged.figures]);
  for (const [name, count] of judged.hits) addHits(totals, name, count);
  if (judged.findings.length === 0 || totals.failing.length >= FAILING_MAX) return;
  totals.failing.push({ name: judged.name, plan, findings: judged.findings.slice(0, 20) });
}

/** A run that said nothing for so long that its process was killed. */
export function addStuck(totals: Totals, name: string, afterMs: number): void {
  const text = `did not end within ${String(afterMs / 1_000)} s; its process was killed`;
  totals.runs++;
  totals.findings++;
  if (totals.failing.length >= FAILING_MAX) return;
  totals.failing.push({
    name,
    plan: undefined,
    findings: [{ invariant: "run", nonce: undefined, text }],
  });
}

export function addTotals(totals: Totals, more: Portable): void {
  totals.runs += more.runs;
  totals.kills += more.kills;
  totals.findings += more.findings;
  totals.figures = addFigures([totals.figures, more.figures]);
  for (const [name, count] of more.hits) addHits(totals, name, count);
  totals.failing.push(...more.failing.slice(0, FAILING_MAX - totals.failing.length));
}

/** As it goes from one process to another. */
export interface Portable extends Omit<Totals, "hits"> {
  readonly hits: readonly (readonly [string, number])[];
}

export const portable = (totals: Totals): Portable => ({ ...totals, hits: [...totals.hits] });

function addHits({ hits }: Totals, name: string, count: number): void {
  hits.set(name, (hits.get(name) ?? 0) + count);
}
