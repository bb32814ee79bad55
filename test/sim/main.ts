/**
 * `npm run sim`: plays seeds, and the exhaustive scenarios, and says what was found.
 *
 *     npm run sim -- --seeds 2000 --from 1 --workers 2      random histories
 *     npm run sim -- --exhaustive                           every scenario × every crash point
 *     npm run sim -- --replay 17 | --replay plan.json       one run, with all that is known of it
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { FULL, QUICK } from "./exhaustive.ts";
import { planOf } from "./generate.ts";
import type { Job } from "./jobs.ts";
import { judge } from "./judge.ts";
import type { Plan } from "./plan.ts";
import { printReplay, printFailure, printTotals } from "./print.ts";
import { regressions } from "./regressions.ts";
import { SCENARIOS } from "./scenarios.ts";
import { shrink } from "./shrink.ts";
import { onUnhandledRejection } from "./simulation.ts";
import { newTotals, type Totals } from "./totals.ts";
import { runJobs } from "./work.ts";

const HELP = `Deterministic simulation of Holdfast: the real engine and the real SQL, a virtual clock, scripted
clients and servers, and a crash wherever one can be.

  --seeds N      how many random histories (default 300)
  --from S       the first seed (default 1)
  --exhaustive   instead: every scenario × every crash point in it × occurrences 1 to 3, and a second
                 crash at each of the first points of the recovery that follows
  --quick        of the exhaustive runs only the first occurrences, and one second crash
  --share K/N    only the K-th of N parts of the exhaustive runs, from 1 (default 1/1)
  --regressions  also: every plan that once failed
  --workers W    processes to work in (default 1); from two on, a run that does not end within two
                 minutes is given up, and is a finding
  --replay X     one run: a seed, or a file with a plan
  --no-shrink    do not make failing plans smaller
  --bail         stop at the first failing run
  --json FILE    write the figures there, too
  --help         this text
`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "300" },
    from: { type: "string", default: "1" },
    exhaustive: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    share: { type: "string", default: "1/1" },
    regressions: { type: "boolean", default: false },
    workers: { type: "string", default: "1" },
    replay: { type: "string" },
    "no-shrink": { type: "boolean", default: false },
    bail: { type: "boolean", default: false },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

process.on("unhandledRejection", onUnhandledRejection);

function number(name: "seeds" | "from" | "workers"): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 0) throw new Error(`--${name} is no whole number`);
  return value;
}

async function replay(what: string): Promise<number> {
  const isSeed = /^\d+$/.test(what);
  const plan = isSeed ? planOf(Number(what)) : (JSON.parse(readFileSync(what, "utf8")) as Plan);
  return (await printReplay(plan, isSeed ? `seed ${what}` : what)) ? 0 : 1;
}

function jobs(): Job[] {
  const [part = 1, of = 1] = values.share.split("/").map(Number);
  const all: Job[] = values.exhaustive
    ? SCENARIOS.filter((_, at) => at % of === part - 1).map(({ name }) => ({
        kind: "scenario" as const,
        name,
        depth: values.quick ? QUICK : FULL,
      }))
    : Array.from({ length: number("seeds") }, (_, at) => ({
        kind: "seed" as const,
        seed: number("from") + at,
      }));
  if (values.regressions)
    all.push(...regressions().map(({ name }) => ({ kind: "regression" as const, name })));
  return all;
}

/** A failing plan is made smaller, for a person to read and for the regressions. */
async function explain(totals: Totals): Promise<void> {
  for (const failing of totals.failing) {
    const small =
      values["no-shrink"] || failing.plan === undefined
        ? undefined
        : await shrink(failing.plan, async (plan) => {
            const { findings } = await judge(plan, { name: failing.name });
            return findings.some(({ invariant }) => invariant === failing.findings[0]?.invariant);
          });
    printFailure(failing, small);
  }
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.replay !== undefined) return replay(values.replay);
  const startedAt = performance.now();
  const totals = newTotals();
  await runJobs(jobs(), { workers: number("workers"), isBailing: values.bail, totals });
  await explain(totals);
  const seconds = (performance.now() - startedAt) / 1_000;
  const figures = printTotals(totals, seconds);
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify(figures, undefined, 2)}\n`);
  return totals.findings > 0 ? 1 : 0;
}

process.exitCode = await main();
