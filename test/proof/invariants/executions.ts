/**
 * What ran, against what the journal says was sent and what callers were told: no ghosts (I3), never more
 * often than the class allows (I4), and `executed` true of every row (I8).
 */
import type { Execution } from "../evidence.ts";
import {
  type Group,
  lastOf,
  type Ledger,
  type RowHistory,
  safetyOf,
  versionIn,
  viewSince,
} from "../ledger.ts";
import type { Report } from "../report.ts";

/** Sendings of one read or idempotent call whose outcome may be lost (promise P2). */
const SENDINGS_MAX = 3;

export function checkExecutions(ledger: Ledger, report: Report): void {
  checkIds(ledger, report);
  checkAbandoned(ledger, report);
  const powerLosses = ledger.evidence.views.filter((view) => view.isAfterPowerLoss).length;
  for (const group of ledger.groups.values()) {
    if (group.asks.length === 0) {
      for (const { tool } of group.executions)
        report.add("I3", group.nonce, `${tool} ran, and nobody had asked`, "ghosts");
      continue;
    }
    checkGhosts(ledger, group, report);
    checkCount(ledger, group, powerLosses, report);
    checkTruth(ledger, group, report);
    if (safetyOf(group) !== "read") checkWrittenFirst(group, report);
  }
}

const times = (n: number): string => (n === 1 ? "once" : `${String(n)} times`);

/** How often these rows were sent, each at most so often; of those that say `no` nothing counts if `isTrue`. */
function sendings(rows: readonly RowHistory[], most: number, isTrue: boolean): number {
  return rows.reduce((sum, history) => {
    const { executed, attempt } = lastOf(history);
    return sum + (isTrue && executed === "no" ? 0 : Math.min(attempt, most));
  }, 0);
}

const ids = (rows: readonly RowHistory[]): string =>
  rows
    .map((history) => {
      const { state, executed, attempt } = lastOf(history);
      return `${history.id} ${state}, executed ${executed}, ${String(attempt)} sendings`;
    })
    .join("; ");

/** An id of ours goes out once. */
function checkIds({ evidence }: Ledger, report: Report): void {
  const seen = new Map<string, Execution>();
  for (const execution of evidence.executions) {
    const { requestId, nonce, link } = execution;
    if (requestId === undefined) continue;
    const other = seen.get(requestId);
    if (other === undefined) seen.set(requestId, execution);
    else if (other.nonce === nonce)
      report.add(
        "I4",
        nonce,
        `ran twice under the id ${requestId}, over ${other.link} and ${link}`,
      );
    else report.add("I6", nonce, `ran under the id ${requestId}, which call ${other.nonce} had`);
  }
}

/** Everything that ran was asked for, under an id that a row knows. */
function checkGhosts(ledger: Ledger, group: Group, report: Report): void {
  const { asks, rows, executions, nonce } = group;
  for (const { upstream, tool } of executions) {
    if (!asks.some((ask) => ask.upstream === upstream && ask.tool === tool))
      report.add("I6", nonce, `ran as ${tool} at ${upstream}, where nobody had asked for it`);
  }
  // A row that was sent once names the id of that sending; of more of them it names the last.
  const isNamed = rows.length > 0 && rows.every((history) => lastOf(history).attempt <= 1);
  if (!isNamed || ledger.hasUnlinked || safetyOf(group) === "read") return;
  const known = new Set(rows.map((history) => lastOf(history).upstreamId));
  for (const { requestId } of executions) {
    if (requestId === undefined || known.has(requestId)) continue;
    report.add(
      "I3",
      nonce,
      `ran under the id ${requestId}, which no row has: ${ids(rows)}`,
      "ghosts",
    );
  }
}

function checkCount(
  { hasUnlinked }: Ledger,
  group: Group,
  powerLosses: number,
  report: Report,
): void {
  const { asks, rows, executions, nonce } = group;
  const ran = executions.length;
  const safety = safetyOf(group);
  const about = `${safety}, ran ${times(ran)}; ${ids(rows)}`;
  if (safety === "read") {
    const redrives = rows.filter((history) => lastOf(history).redriveOf !== undefined).length;
    const most = (asks.length + redrives) * SENDINGS_MAX * (1 + powerLosses);
    // One that passes straight through is in no journal; once it is, all its sendings are counted there.
    const isCounted = asks.length === 1 && rows.length > 0 && powerLosses === 0;
    if (ran > most || (isCounted && ran > sendings(rows, SENDINGS_MAX, false)))
      report.add("I4", nonce, about);
    return;
  }
  const each = safety === "unsafe" ? 1 : SENDINGS_MAX;
  if (rows.length === 0) {
    if (ran > (hasUnlinked ? asks.length * each : 0))
      report.add("I3", nonce, `${safety}, ran ${times(ran)} without a row`, "ghosts");
    return;
  }
  if (ran > sendings(rows, each, false))
    report.add("I4", nonce, about, safety === "unsafe" ? "unsafeDuplicates" : undefined);
  else if (rows.length > 1 && ran > sendings(rows, each, true))
    report.add("I8", nonce, about, "untrueExecuted");
}

/** `no` means never, `yes` means at least once, and `unknown` has a cause. */
/** What went on in memory is not said not to have run by the journal that it left, either. */
function checkAbandoned({ histories, groups }: Ledger, report: Report): void {
  for (const history of histories) {
    const group = groups.get(history.nonce ?? "");
    const { executed, id, state } = lastOf(history);
    if (history.journal.kind !== "abandoned" || executed !== "no" || group === undefined) continue;
    if (group.asks.length > 1 || group.executions.length === 0) continue;
    const text = `row ${id} of an abandoned journal is ${state}, executed no, and ran`;
    report.add("I8", group.nonce, text, "untrueExecuted");
  }
}

function checkTruth(ledger: Ledger, group: Group, report: Report): void {
  const { rows, executions, nonce } = group;
  const ran = executions.length;
  for (const history of rows) {
    const { executed, upstreamId, id, state } = lastOf(history);
    if (executed === "no" && executions.some(({ requestId }) => isSame(requestId, upstreamId)))
      report.add("I8", nonce, `row ${id} is ${state}, executed no, and ran`, "untrueExecuted");
    else if (executed === "no" && rows.length === 1 && ran > 0 && group.asks.length === 1)
      report.add(
        "I8",
        nonce,
        `row ${id} is ${state}, executed no, and ran ${times(ran)}`,
        "untrueExecuted",
      );
    if (executed === "unknown" && state !== "failed" && !hasCause(ledger, group))
      report.add(
        "I8",
        nonce,
        `row ${id} is ${state}, executed unknown, but nothing had gone wrong`,
        "untrueExecuted",
      );
  }
  const sure = rows.filter((history) => lastOf(history).executed === "yes");
  if (ran < sure.length && !ledger.liedAbout.has(nonce))
    report.add(
      "I8",
      nonce,
      `executed yes, but it ran ${times(ran)}: ${ids(sure)}`,
      "untrueExecuted",
    );
}

const isSame = (a: string | undefined, b: string | undefined): boolean =>
  a !== undefined && a === b;

/** Something that explains an unknown outcome: a fault that may have hit it, or its client's own doing. */
function hasCause({ evidence, slackMs }: Ledger, { asks, nonce }: Group): boolean {
  if (asks.some(({ isCancelled, isAbandoned }) => isCancelled || isAbandoned)) return true;
  const askedAt = Math.min(...asks.map(({ at }) => at ?? -Infinity));
  return evidence.faults.some(({ at, kind, nonces }) => {
    if (nonces !== undefined) return nonces.includes(nonce);
    // A death is over at once; what was asked after it was not hit. By real clocks it is a while under way.
    return slackMs > 0 || at >= askedAt || !kind.startsWith("kill proxy");
  });
}

/** Commit before the first byte: what ran before a view was taken is sent in that view. */
function checkWrittenFirst(group: Group, report: Report): void {
  const { rows, executions, nonce } = group;
  // What has no row at all was counted before.
  if (rows.length === 0) return;
  // What became of a call after its journal was abandoned is in no view of that journal.
  if (rows.some(({ journal }) => journal.kind === "abandoned")) return;
  for (const [i, { at }] of executions.entries()) {
    const written = rows.reduce((sum, history) => {
      const index = viewSince(history.journal, at);
      // After the last view of its journal nobody looked.
      if (index === undefined) return sum + lastOf(history).attempt;
      return sum + (versionIn(history, index)?.attempt ?? 0);
    }, 0);
    if (i < written) continue;
    const text = `ran ${times(i + 1)} before the journal knew of more than ${String(written)} sendings`;
    report.add("I3", nonce, text, "ghosts");
    return;
  }
}
