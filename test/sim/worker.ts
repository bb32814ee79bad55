/** One process of `--workers`: plays what it is sent, and sends back what came of it. */
import { must } from "../../src/base/assert.ts";
import { doJobs, type Job } from "./jobs.ts";
import { onUnhandledRejection } from "./simulation.ts";
import { newTotals, portable } from "./totals.ts";
import type { Report } from "./work.ts";

process.on("unhandledRejection", onUnhandledRejection);

const channel = must(process.send, "the channel to the first process").bind(process);
const send = (report: Report) => channel(report);

process.on("message", ({ batch, isBailing }: { batch: readonly Job[]; isBailing: boolean }) => {
  const totals = newTotals();
  const onRun = (job: Job, name: string) => send({ kind: "run", job, name });
  void doJobs(batch, { totals, isBailing, onRun }).then(() => {
    send({ kind: "done", totals: portable(totals) });
  });
});
