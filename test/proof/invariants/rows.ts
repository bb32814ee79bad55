/**
 * What journals may show over time. No row vanishes (I1), terminal rows stay as they are and every row is
 * one that the state machine can reach (I2, which with the views after late and second answers is also I11),
 * results stay until they were delivered or are past their retention (I5), recovering twice changes nothing
 * (I9), and no more calls live than the bounds allow (P7).
 */
import { type CallRow, type Executed, isTerminal } from "../../../src/core/call.ts";
import type { JournalView } from "../evidence.ts";
import { lastOf, type Ledger, mayLosePower, type RowHistory, versionIn } from "../ledger.ts";
import type { Report } from "../report.ts";

export function checkRows(ledger: Ledger, report: Report): void {
  for (const history of ledger.histories) {
    checkVanished(ledger, history, report);
    for (const [i, row] of history.versions.entries()) {
      const why = illegal(row);
      const before = history.versions[i - 1];
      // The same fault again in every view that follows would hide the others.
      if (why !== undefined && (before === undefined || illegal(before) !== why))
        report.add("I2", history.nonce, `row ${row.id} in ${viewOf(history, i).label} ${why}`);
      if (before !== undefined) checkStep(ledger, history, i, before, row, report);
    }
  }
  checkNumbers(ledger, report);
  checkSecondRecovery(ledger, report);
  checkBounds(ledger, report);
}

const viewOf = (history: RowHistory, version: number): JournalView =>
  history.journal.views[history.first + version] as JournalView;

/** Whether something that ended with this row may be gone after so long. */
function isPast(row: CallRow, view: JournalView, keptMs: number | undefined): boolean {
  if (keptMs === undefined || view.atMs === undefined || row.settledAt === undefined) return false;
  return row.settledAt < view.atMs - keptMs;
}

function checkVanished({ evidence }: Ledger, history: RowHistory, report: Report): void {
  if (!history.isVanished) return;
  const row = lastOf(history);
  const view = viewOf(history, history.versions.length);
  if (isPast(row, view, evidence.rules?.recordsMs)) return;
  const was = `row ${row.id} (${row.safety}, ${row.state}) was in ${viewOf(history, history.versions.length - 1).label}`;
  report.add("I1", history.nonce, `${was} and is gone in ${view.label}`, "lost");
}

// ── One row at one instant ──────────────────────────────────────────────────────────────────────

const ENDED_WITHOUT_ANSWER: readonly Executed[] = ["no", "unknown"];

/** Why no sequence of legal changes leads to this row; undefined where one does. */
export function illegal(row: CallRow): string | undefined {
  const { state, executed, attempt } = row;
  const isEnded = isTerminal(state);
  if (isEnded === (executed === "pending")) return `is ${state} and says executed ${executed}`;
  if (isEnded !== (row.settledAt !== undefined)) return `is ${state} but its end is not as that`;
  if ((state === "dead") !== (row.reason !== undefined))
    return `is ${state} for the reason ${String(row.reason)}`;
  if (executed === "no" && row.isDoubted) return `says executed no, but an attempt of it was lost`;
  if (row.deliveredAt !== undefined && !isEnded) return `is ${state} and delivered`;
  const hasLeft = row.sentAt !== undefined && row.upstreamId !== undefined;
  if (attempt > 0 !== hasLeft)
    return `has ${String(attempt)} attempts, sent at ${String(row.sentAt)}`;
  if (["sent", "in_doubt", "tasked", "done", "failed"].includes(state) && attempt === 0)
    return `is ${state} without an attempt`;
  if (state === "in_doubt" && !row.isDoubted) return `is in doubt, but no attempt of it was lost`;
  if (state === "done" && executed !== "yes") return `is done and says executed ${executed}`;
  if (["expired", "cancelled", "dead"].includes(state) && !ENDED_WITHOUT_ANSWER.includes(executed))
    return `is ${state} and says executed ${executed}`;
  if (row.reason === "outcome_unknown" && executed !== "unknown")
    return `died of an unknown outcome and says executed ${executed}`;
  return undefined;
}

// ── One row from one view to the next ───────────────────────────────────────────────────────────

/** What is fixed when a call is accepted. */
const BORN = [
  "seq",
  "sessionId",
  "upstream",
  "credentials",
  "method",
  "tool",
  "safety",
  "fingerprint",
  "schema",
  "acceptedAt",
  "redriveOf",
] as const;
/** What is fixed with its end; delivery, note and the dropping of payloads come after it. */
const ENDED = [
  "state",
  "reason",
  "executed",
  "attempt",
  "isDoubted",
  "upstreamId",
  "sentAt",
  "settledAt",
  "deadlineAt",
  "acknowledgedAt",
  "cause",
] as const;

function checkStep(
  ledger: Ledger,
  history: RowHistory,
  version: number,
  before: CallRow,
  row: CallRow,
  report: Report,
): void {
  const view = viewOf(history, version);
  const say = (invariant: string, text: string) => {
    report.add(invariant, history.nonce, `row ${row.id} ${text} in ${view.label}`);
  };
  const other = BORN.find((name) => before[name] !== row[name]);
  if (other !== undefined) say("I2", `has another ${other}: ${changed(before, row, other)}`);
  // What was written last of a read may have gone with the power, and it goes on from there.
  if (view.isAfterPowerLoss && mayLosePower(row)) return;
  if (isTerminal(before.state)) {
    const member = ENDED.find((name) => before[name] !== row[name]);
    if (member !== undefined)
      say("I2", `had ended, and has another ${member}: ${changed(before, row, member)}`);
    checkPayload(ledger, view, before, row, say);
    return;
  }
  if (row.attempt < before.attempt) say("I2", `has forgotten a sending`);
  if (before.isDoubted && !row.isDoubted) say("I2", `has forgotten that an attempt was lost`);
  if (before.acknowledgedAt !== undefined && row.acknowledgedAt !== before.acknowledgedAt)
    say("P5a", `has forgotten that its caller was told that it runs late`);
  if (before.deadlineAt !== row.deadlineAt && before.acknowledgedAt === row.acknowledgedAt)
    say("P5a", `has another deadline: ${changed(before, row, "deadlineAt")}`);
}

const changed = (before: CallRow, row: CallRow, member: keyof CallRow): string =>
  `${String(before[member])} became ${String(row[member])}`;

function checkPayload(
  { evidence }: Ledger,
  view: JournalView,
  before: CallRow,
  row: CallRow,
  say: (invariant: string, text: string) => void,
): void {
  // A mark need not survive the power, but what was read after the mark had been seen is not unread.
  if (before.deliveredAt !== undefined && before.deliveredAt !== row.deliveredAt) {
    if (!view.isAfterPowerLoss) say("I2", "has another instant of delivery");
  }
  if (before.reply === row.reply) return;
  if (before.reply === undefined || (row.reply !== undefined && row.reply !== "")) {
    say("I2", "had ended, and has another reply");
    return;
  }
  const mayDrop = row.deliveredAt !== undefined || isPast(row, view, evidence.rules?.resultsMs);
  if (!mayDrop) say("I5", "has lost its result, which nobody was given");
}

// ── Numbers ─────────────────────────────────────────────────────────────────────────────────────

/** Within a journal numbers rise with every insert, and none is given twice. */
function checkNumbers({ journals, histories }: Ledger, report: Report): void {
  for (const journal of journals) {
    const own = histories.filter((history) => history.journal === journal);
    own.sort((a, b) => a.first - b.first);
    const holders = new Map<number, RowHistory>();
    let next = 0;
    let highest = 0;
    for (const [index, view] of journal.views.entries()) {
      if (view.isAfterPowerLoss) highest = forgetLost(holders, index);
      const before = highest;
      for (; own[next]?.first === index; next++) {
        const history = own[next] as RowHistory;
        const { seq } = lastOf(history);
        const holder = holders.get(seq);
        if (holder !== undefined)
          report.add(
            "I2",
            history.nonce,
            `row ${history.id} has number ${String(seq)} of row ${holder.id}`,
          );
        else if (seq <= before)
          report.add(
            "I2",
            history.nonce,
            `row ${history.id} has number ${String(seq)}, after ${String(before)}`,
          );
        holders.set(seq, history);
        highest = Math.max(highest, seq);
      }
    }
  }
}

/** Numbers of rows that went with the power may be given again. Returns the highest that may not. */
function forgetLost(holders: Map<number, RowHistory>, index: number): number {
  let highest = 0;
  for (const [seq, history] of holders) {
    if (history.isPowerLost && versionIn(history, index) === undefined) holders.delete(seq);
    else if (!mayLosePower(lastOf(history)) || versionIn(history, index) !== undefined)
      highest = Math.max(highest, seq);
  }
  return highest;
}

// ── Whole views ─────────────────────────────────────────────────────────────────────────────────

function checkSecondRecovery({ journals, evidence }: Ledger, report: Report): void {
  for (const { views } of journals) {
    for (const [index, view] of views.entries()) {
      const before = views[index - 1];
      if (view.isAfterSecondRecovery !== true || before === undefined) continue;
      const rows = new Map(before.rows.map((row) => [row.id, row]));
      for (const row of view.rows) {
        const same = rows.get(row.id);
        const member = same === undefined ? "id" : differing(same, row);
        if (member !== undefined)
          report.add(
            "I9",
            undefined,
            `a second recovery changed ${member} of row ${row.id}, ${view.label}`,
          );
      }
      const ran = evidence.executions.filter(({ at }) => at > before.at && at <= view.at);
      for (const { nonce } of ran) report.add("I9", nonce, `ran during a recovery, ${view.label}`);
    }
  }
}

function differing(before: CallRow, row: CallRow): string | undefined {
  const names = Object.keys(row) as (keyof CallRow)[];
  return names.find((name) => before[name] !== row[name]);
}

function checkBounds({ evidence, journals }: Ledger, report: Report): void {
  const { callsPerSession, callsPerUpstream, callsPerProcess } = evidence.rules ?? {};
  for (const { views } of journals) {
    for (const view of views) {
      const live = view.rows.filter(({ state }) => !isTerminal(state));
      const over = (what: string, bound: number | undefined, keyOf: (row: CallRow) => string) => {
        if (bound === undefined) return;
        for (const [key, count] of tally(live, keyOf)) {
          if (count <= bound) continue;
          const text = `${String(count)} calls of ${what} ${key} live in ${view.label}, over ${String(bound)}`;
          report.add("P7", undefined, text);
        }
      };
      over("session", callsPerSession, ({ sessionId }) => sessionId);
      over("upstream", callsPerUpstream, ({ upstream }) => upstream);
      over("the process", callsPerProcess, () => "as a whole");
    }
  }
}

function tally(rows: readonly CallRow[], keyOf: (row: CallRow) => string) {
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(keyOf(row), (counts.get(keyOf(row)) ?? 0) + 1);
  return counts;
}
