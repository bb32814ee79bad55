/**
 * The one checker: what a run proves about Holdfast, whoever drove it. Compares the three ledgers of an
 * `Evidence` (clients, journals, upstreams) with what the design promises, invariant by invariant, as
 * strictly as the design permits; `invariants/` holds one file for each group of them.
 *
 *     rows        I1 (nothing vanishes), I2 and I11 (what ended stays), I9 (recovery), P7 (bounds)
 *     executions  I3 (no ghosts), I4 (how often), I8 (the truth of rows)
 *     answers     I1 (everybody is told), I5 (results), I6 (nothing crossed), I8 (the truth of answers), I11
 *     order       I7 (first in, first out), I10 (connections)
 *     promises    P5a (never late), T13 (withdrawn, left), S3 (repetitions), I6 (sessions)
 *     measures    L1 to L4, R1 to R4
 *
 * What the design leaves open is not judged: reads that pass straight through have no row; a power loss may
 * take what was written last of a read; payloads go with delivery or retention; a call that comes back to
 * its place, or is told to run late, has no place in the order of the others. I12 (nothing readable on
 * disk) comes with encryption, and looks at files; the database fence of I10 comes with many nodes.
 *
 * Pure, and linear in the evidence but for sorting.
 */
import type { Evidence, Figures, Verdict } from "./evidence.ts";
import { checkAnswers } from "./invariants/answers.ts";
import { checkExecutions } from "./invariants/executions.ts";
import { checkMeasures } from "./invariants/measures.ts";
import { checkOrder } from "./invariants/order.ts";
import { checkPromises } from "./invariants/promises.ts";
import { checkRows } from "./invariants/rows.ts";
import { lastOf, type Ledger, ledgerOf } from "./ledger.ts";
import { Report } from "./report.ts";

export function check(evidence: Evidence): Verdict {
  const report = new Report(evidence.run);
  for (const text of evidence.fatal) report.add("fatal", undefined, text);
  const ledger = ledgerOf(evidence);
  checkRows(ledger, report);
  checkExecutions(ledger, report);
  checkAnswers(ledger, report);
  checkOrder(ledger, report);
  checkPromises(ledger, report);
  checkMeasures(ledger, report);
  return { findings: report.findings, figures: figuresOf(ledger, report) };
}

function figuresOf({ evidence, rows }: Ledger, { counts }: Report): Figures {
  const ends = [...rows.values()].map(lastOf);
  return {
    asked: evidence.asked.length,
    answered: evidence.asked.filter(({ told }) => told.length > 0).length,
    executions: evidence.executions.length,
    ...counts,
    inDoubt: ends.filter(({ executed, state }) => executed === "unknown" && state !== "failed")
      .length,
    resolved: ends.filter(({ executed, isDoubted }) => executed === "yes" && isDoubted).length,
  };
}

/** The sum of many runs. */
export function addFigures(all: readonly Figures[]): Figures {
  const sum = (name: keyof Figures) => all.reduce((total, figures) => total + figures[name], 0);
  return {
    asked: sum("asked"),
    answered: sum("answered"),
    executions: sum("executions"),
    lost: sum("lost"),
    unsafeDuplicates: sum("unsafeDuplicates"),
    ghosts: sum("ghosts"),
    untrueExecuted: sum("untrueExecuted"),
    inDoubt: sum("inDoubt"),
    resolved: sum("resolved"),
  };
}
