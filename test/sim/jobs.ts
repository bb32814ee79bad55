/** What the simulation is asked to play, one after the other. */
import { type Depth, exhaust } from "./exhaustive.ts";
import { planOf } from "./generate.ts";
import { judge } from "./judge.ts";
import { regressions } from "./regressions.ts";
import { SCENARIOS } from "./scenarios.ts";
import { addRun, type Totals } from "./totals.ts";

export type Job =
  | { readonly kind: "seed"; readonly seed: number }
  | { readonly kind: "scenario"; readonly name: string; readonly depth: Depth }
  | { readonly kind: "regression"; readonly name: string };

export const nameOf = (job: Job): string =>
  job.kind === "seed" ? `seed ${String(job.seed)}` : job.name;

export interface JobOptions {
  readonly totals: Totals;
  /** Stop at the first failing run. */
  readonly isBailing: boolean;
  /** Told before each run; a job can have thousands. */
  readonly onRun?: (job: Job, name: string) => void;
}

export async function doJobs(jobs: readonly Job[], options: JobOptions): Promise<void> {
  for (const job of jobs) {
    await doJob(job, options);
    if (options.isBailing && options.totals.findings > 0) return;
  }
}

async function doJob(job: Job, { totals, onRun }: JobOptions): Promise<void> {
  const told = (name: string) => onRun?.(job, name);
  switch (job.kind) {
    case "seed": {
      told(nameOf(job));
      const plan = planOf(job.seed);
      addRun(totals, await judge(plan, { name: nameOf(job) }), plan);
      return;
    }
    case "scenario": {
      const scenario = SCENARIOS.find(({ name }) => name === job.name);
      if (scenario !== undefined)
        await exhaust(scenario, { totals, depth: job.depth, onRun: told });
      return;
    }
    case "regression": {
      told(job.name);
      const plan = regressions().find(({ name }) => name === job.name)?.plan;
      if (plan !== undefined) addRun(totals, await judge(plan, { name: job.name }), plan);
    }
  }
}
