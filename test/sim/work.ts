/** Plays jobs one after the other, here or in several processes. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Depth, exhaust } from "./exhaustive.ts";
import { planOf } from "./generate.ts";
import { judge } from "./judge.ts";
import { regressions } from "./regressions.ts";
import { SCENARIOS } from "./scenarios.ts";
import { addRun, addTotals, type Portable, type Totals } from "./totals.ts";

export type Job =
  | { readonly kind: "seed"; readonly seed: number }
  | { readonly kind: "scenario"; readonly name: string; readonly depth: Depth }
  | { readonly kind: "regression"; readonly name: string };

export interface WorkOptions {
  readonly workers: number;
  readonly isBailing: boolean;
  readonly totals: Totals;
}

/** So many jobs go to a process at once. */
const BATCH = 50;
const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));

export async function runJobs(jobs: readonly Job[], options: WorkOptions): Promise<void> {
  const { workers, totals, isBailing } = options;
  if (workers <= 1) {
    await doJobs(jobs, totals, isBailing);
    return;
  }
  const size = jobs[0]?.kind === "scenario" ? 1 : BATCH;
  const batches: (readonly Job[])[] = [];
  for (let at = 0; at < jobs.length; at += size) batches.push(jobs.slice(at, at + size));
  await Promise.all(Array.from({ length: workers }, () => work(batches, options)));
}

export async function doJobs(
  jobs: readonly Job[],
  totals: Totals,
  isBailing: boolean,
): Promise<void> {
  for (const job of jobs) {
    await doJob(job, totals);
    if (isBailing && totals.findings > 0) return;
  }
}

async function doJob(job: Job, totals: Totals): Promise<void> {
  switch (job.kind) {
    case "seed": {
      const plan = planOf(job.seed);
      addRun(totals, await judge(plan, { name: `seed ${String(job.seed)}` }), plan);
      return;
    }
    case "scenario": {
      const scenario = SCENARIOS.find(({ name }) => name === job.name);
      if (scenario !== undefined) await exhaust(scenario, totals, job.depth);
      return;
    }
    case "regression": {
      const plan = regressions().find(({ name }) => name === job.name)?.plan;
      if (plan !== undefined) addRun(totals, await judge(plan, { name: job.name }), plan);
    }
  }
}

/** One process that takes batches until there are no more. */
function work(batches: (readonly Job[])[], { totals, isBailing }: WorkOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(WORKER, { execArgv: process.execArgv });
    const next = () => {
      const isOver = isBailing && totals.findings > 0;
      const batch = isOver ? undefined : batches.shift();
      if (batch === undefined) child.disconnect();
      else child.send({ batch, isBailing });
    };
    child.on("message", (more: Portable) => {
      addTotals(totals, more);
      next();
    });
    child.on("error", reject);
    child.on("exit", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`a worker of the simulation ended with code ${String(code)}`));
    });
    next();
  });
}
