/** One process of `--workers`: plays what it is sent, and sends back what came of it. */
import { must } from "../../src/base/assert.ts";
import { onUnhandledRejection } from "./simulation.ts";
import { newTotals, portable } from "./totals.ts";
import { doJobs, type Job } from "./work.ts";

process.on("unhandledRejection", onUnhandledRejection);

const send = must(process.send, "the channel to the first process").bind(process);

process.on("message", ({ batch, isBailing }: { batch: readonly Job[]; isBailing: boolean }) => {
  const totals = newTotals();
  void doJobs(batch, totals, isBailing).then(() => {
    send(portable(totals));
  });
});
