/**
 * Plays jobs here, or in several processes.
 *
 * SM3. With several processes a run that does not end is a finding with a name, and all others are played.
 *      It can't be stopped from within, since the proxy that spins in it has the thread: its process is
 *      killed, and what else was in its batch is played by another.
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { doJobs, type Job, nameOf } from "./jobs.ts";
import { addStuck, addTotals, type Portable, type Totals } from "./totals.ts";

export interface WorkOptions {
  /** From two on they are processes, and watched over. */
  readonly workers: number;
  readonly isBailing: boolean;
  readonly totals: Totals;
  /** For tests: what each process runs, and for how long one run may be silent, in ms. */
  readonly worker?: string;
  readonly patienceMs?: number;
}

/** From a process. */
export type Report =
  | { readonly kind: "run"; readonly job: Job; readonly name: string }
  | { readonly kind: "done"; readonly totals: Portable };

/** So many jobs go to a process at once. */
const BATCH = 50;
const WORKER = fileURLToPath(new URL("worker.ts", import.meta.url));
/** The longest runs take seconds. */
const PATIENCE_MS = 120_000;

type Batch = readonly Job[];

export async function runJobs(jobs: readonly Job[], options: WorkOptions): Promise<void> {
  const { workers, totals, isBailing } = options;
  if (workers <= 1) {
    await doJobs(jobs, { totals, isBailing });
    return;
  }
  const size = jobs[0]?.kind === "scenario" ? 1 : BATCH;
  const batches: Batch[] = [];
  for (let at = 0; at < jobs.length; at += size) batches.push(jobs.slice(at, at + size));
  await Promise.all(
    Array.from({ length: workers }, async () => {
      while ((await work(batches, options)) === "stuck");
    }),
  );
}

/** One process that takes batches until there are no more, or until it is stuck in one. */
function work(batches: Batch[], options: WorkOptions): Promise<"over" | "stuck"> {
  const { totals, isBailing, worker = WORKER } = options;
  return new Promise((resolve, reject) => {
    const child = fork(worker, { execArgv: process.execArgv });
    let batch: Batch | undefined;
    const watch = new Watch(child, options.patienceMs ?? PATIENCE_MS);
    const next = () => {
      const isOver = isBailing && totals.findings > 0;
      batch = isOver ? undefined : batches.shift();
      if (batch === undefined) {
        watch.end();
        child.disconnect();
      } else child.send({ batch, isBailing });
    };
    child.on("message", (report: Report) => {
      watch.see(report);
      if (report.kind === "run") return;
      addTotals(totals, report.totals);
      next();
    });
    child.on("error", reject);
    child.on("exit", (code) => {
      watch.end();
      const { stuck } = watch;
      if (stuck === undefined) {
        if (code === 0) resolve("over");
        else reject(new Error(`a worker of the simulation ended with code ${String(code)}`));
        return;
      }
      addStuck(totals, stuck.name, watch.patienceMs);
      const rest = batch?.filter((job) => nameOf(job) !== nameOf(stuck.job)) ?? [];
      if (rest.length > 0) batches.push(rest);
      resolve("stuck");
    });
    next();
  });
}

/** Kills a process whose run says nothing for too long. */
class Watch {
  readonly #child: ChildProcess;
  readonly patienceMs: number;
  #run: Extract<Report, { kind: "run" }> | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The run that did not end. */
  stuck: Extract<Report, { kind: "run" }> | undefined;

  constructor(child: ChildProcess, patienceMs: number) {
    this.#child = child;
    this.patienceMs = patienceMs;
  }

  see(report: Report): void {
    this.end();
    if (report.kind === "done") return;
    this.#run = report;
    this.#timer = setTimeout(() => {
      this.stuck = this.#run;
      this.#child.kill("SIGKILL");
    }, this.patienceMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
