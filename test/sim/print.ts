/** What people are shown of runs. */
import type { Evidence } from "../proof/evidence.ts";
import { check } from "../proof/checker.ts";
import type { Plan } from "./plan.ts";
import { POINTS } from "./points.ts";
import { play } from "./simulation.ts";
import type { Failing, Totals } from "./totals.ts";

const print = (text: string) => process.stdout.write(`${text}\n`);

const TEXT_MAX = 400;
const short = (text: string) => (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text);

export function printFailure(failing: Failing, small: Plan | undefined): void {
  print(`\n${failing.name} FAILED`);
  if (failing.plan !== undefined) print(`knobs: ${JSON.stringify(failing.plan.knobs)}`);
  for (const { invariant, text } of failing.findings) print(`  ${invariant}: ${short(text)}`);
  const seed = /^seed (\d+)$/.exec(failing.name)?.[1];
  if (seed !== undefined) print(`see it again: npm run sim -- --replay ${seed}`);
  if (small === undefined) return;
  print("the small plan, for test/sim/regressions/NAME.json or --replay FILE:");
  print(JSON.stringify(small));
}

/** Plays one plan and shows its ledgers in order of events. True where nothing was found. */
export async function printReplay(plan: Plan, name: string): Promise<boolean> {
  const { evidence } = await play(plan, { name });
  print(`knobs: ${JSON.stringify(plan.knobs)}`);
  for (const step of plan.steps) print(`  ${JSON.stringify(step)}`);
  print("");
  for (const [at, text] of eventsOf(evidence)) print(`${String(at).padStart(6)}  ${text}`);
  const { findings } = check(evidence);
  print(`\nfindings: ${String(findings.length)}`);
  for (const { invariant, text } of findings) print(`  ${invariant}: ${text}`);
  return findings.length === 0;
}

function eventsOf(evidence: Evidence): readonly (readonly [number, string])[] {
  const events: [number, string][] = [];
  for (const ask of evidence.asked) {
    const { at = 0, nonce, tool, session, told, isAbandoned, cancelledAt, leftAt } = ask;
    events.push([at, `${nonce} ${tool} asked by ${session}${isAbandoned ? ", abandoned" : ""}`]);
    if (leftAt !== undefined) events.push([leftAt, `${nonce}'s client left`]);
    if (cancelledAt !== undefined) events.push([cancelledAt, `${nonce} cancelled`]);
    for (const one of told) events.push([one.at, `${nonce} answered: ${short(one.text)}`]);
  }
  for (const { at, nonce, tool, link, requestId } of evidence.executions)
    events.push([at, `${nonce} ${tool} runs over ${link} as ${requestId ?? ""}`]);
  for (const { at, kind, nonces } of evidence.faults)
    events.push([at, `fault: ${kind} (${nonces?.join(", ") ?? "any call"})`]);
  for (const { at, label, journal, rows } of evidence.views) {
    events.push([at, `${label}, ${journal} holds ${String(rows.length)} rows`]);
    for (const row of rows) {
      const nonce = /"nonce":"(n\d+)"/.exec(row.request)?.[1] ?? "";
      const { id, state, executed, attempt, cause } = row;
      const words = `${state}, executed ${executed}, ${String(attempt)} sendings`;
      events.push([at, `    ${nonce} ${id} ${words}${cause === undefined ? "" : `; ${cause}`}`]);
    }
  }
  return events.sort((a, b) => a[0] - b[0]);
}

/** Prints the figures, aligned, and returns them for the file. */
export function printTotals(totals: Totals, seconds: number): Readonly<Record<string, unknown>> {
  const { runs, kills, figures, hits, findings } = totals;
  const missed = POINTS.filter((name) => !hits.has(name));
  const rows: [string, string | number][] = [
    ["runs", runs],
    ["runs per second", (runs / seconds).toFixed(1)],
    ["kills of the proxy", kills],
    ["crash points registered", POINTS.length],
    ["crash points passed", POINTS.length - missed.length],
    ["calls asked", figures.asked],
    ["calls answered", figures.answered],
    ["executions", figures.executions],
    ["acknowledged calls lost", figures.lost],
    ["unsafe calls run twice", figures.unsafeDuplicates],
    ["ghosts", figures.ghosts],
    ["untrue executed", figures.untrueExecuted],
    ["outcome unknown", figures.inDoubt],
    ["in doubt, then resolved", figures.resolved],
    ["findings", findings],
  ];
  print("");
  for (const [name, value] of rows) print(`${name.padEnd(26)}${String(value).padStart(12)}`);
  if (missed.length > 0) print(`crash points not passed: ${missed.join(", ")}`);
  return { runs, seconds, kills, figures, findings, points: Object.fromEntries(hits), missed };
}
