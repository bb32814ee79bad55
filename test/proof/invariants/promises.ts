/**
 * What promises say beyond the invariants: nothing is sent after its hold, or after the time that its caller
 * was told (P5a); nothing is sent, and nothing said, after its caller withdrew it (T13); nothing is sent for
 * the first time after its client has left, unless it was promised to run late (T13); a repetition of a call
 * whose outcome is unknown is warned of once (S3); and over whose connection a call may go (I6).
 */
import { isTerminal } from "../../../src/core/call.ts";
import type { Asked, Told } from "../evidence.ts";
import {
  type Group,
  lastOf,
  type Ledger,
  type RowHistory,
  safetyOf,
  viewSince,
} from "../ledger.ts";
import type { Report } from "../report.ts";

/** So long an outcome matters to a repetition. */
const SHIELD_MS = 600_000;

export function checkPromises(ledger: Ledger, report: Report): void {
  for (const history of ledger.histories) checkDeadline(ledger, history, report);
  const isShielded = ledger.evidence.rules?.isShielded === true;
  const areAllOnDisk = ledger.journals.every(({ kind }) => kind === "disk");
  for (const group of ledger.groups.values()) {
    checkWithdrawn(ledger, group, report);
    checkLeftBehind(ledger, group, report);
    checkSessions(ledger, group, report);
    if (isShielded && areAllOnDisk && group.asks.length > 1) checkWarned(group, report);
  }
}

/** One clock wrote both instants. */
function checkDeadline({ setBackMs }: Ledger, history: RowHistory, report: Report): void {
  const { sentAt, deadlineAt, id, acknowledgedAt } = lastOf(history);
  if (sentAt === undefined || sentAt <= deadlineAt + setBackMs) return;
  const until = acknowledgedAt === undefined ? "its hold" : "what its caller was told";
  const text = `${id} was sent ${String(sentAt - deadlineAt)} ms after ${until} had ended`;
  report.add("P5a", history.nonce, text);
}

function checkWithdrawn(ledger: Ledger, group: Group, report: Report): void {
  const { slackMs } = ledger;
  const { asks, rows, nonce } = group;
  const [ask] = asks;
  if (asks.length > 1 || ask?.cancelledAt === undefined) return;
  const { cancelledAt, cancelledAtMs } = ask;
  const [history] = rows;
  if (history !== undefined && mayHaveForgotten(ledger, group, cancelledAt)) return;
  // A withdrawal is in memory alone: the next process does not know of it.
  const next = history === undefined ? undefined : viewSince(history.journal, cancelledAt);
  const until = history?.journal.views[next ?? -1]?.at ?? Infinity;
  const isTold = ask.told.some(({ at }) => at > cancelledAt + slackMs && at <= until);
  if (isTold && (history === undefined || !mayHaveEndedBefore(history, ask, slackMs)))
    report.add("T13", nonce, `was answered after its client had withdrawn it`);
  if (history === undefined || rows.length > 1 || cancelledAtMs === undefined) return;
  const { sentAt, acknowledgedAt, id } = lastOf(history);
  // What was promised to run late runs: a repetition may wait for it.
  if (acknowledgedAt !== undefined || sentAt === undefined) return;
  if (sentAt <= cancelledAtMs + slackMs) return;
  const text = `${id} was sent ${String(sentAt - cancelledAtMs)} ms after its client had withdrawn it`;
  report.add("T13", nonce, text);
}

/** What had been sent before may be sent once more: its client left when it was not waiting. */
function checkLeftBehind(ledger: Ledger, group: Group, report: Report): void {
  const { slackMs } = ledger;
  const { asks, rows, nonce } = group;
  const [ask] = asks;
  const [history] = rows;
  if (asks.length > 1 || rows.length > 1 || history === undefined) return;
  if (ask?.leftAt === undefined || ask.leftAtMs === undefined) return;
  if (mayHaveForgotten(ledger, group, ask.leftAt)) return;
  const { sentAt, acknowledgedAt, attempt, id } = lastOf(history);
  if (acknowledgedAt !== undefined || sentAt === undefined || attempt > 1) return;
  if (sentAt <= ask.leftAtMs + slackMs) return;
  const text = `${id} was sent ${String(sentAt - ask.leftAtMs)} ms after its client had left`;
  report.add("T13", nonce, text);
}

/** Its answer, or the word that it runs late, was there when it was withdrawn: its client may be given it. */
function mayHaveEndedBefore(history: RowHistory, ask: Asked, slackMs: number): boolean {
  const { settledAt, acknowledgedAt } = lastOf(history);
  const endedAt = Math.min(settledAt ?? Infinity, acknowledgedAt ?? Infinity);
  // Without a common clock nothing is known.
  return ask.cancelledAtMs === undefined || endedAt <= ask.cancelledAtMs + slackMs;
}

/**
 * Its process died before its end was on disk, and nobody had been told of that. Where the call ran from the
 * memory of a later process that lost its disk, the disk tells what it was before it ran.
 */
function mayHaveForgotten(ledger: Ledger, group: Group, since: number): boolean {
  const [history] = group.rows;
  const ranAt = group.executions[0]?.at ?? Infinity;
  return ledger.histories.some((one) => {
    if (one.id !== history?.id) return false;
    const isOwn = one === history;
    return one.versions.some((row, i) => {
      const view = one.journal.views[one.first + i];
      if (view === undefined || view.at < since) return false;
      return isOwn ? !isTerminal(row.state) : row.state === "queued" && view.at < ranAt;
    });
  });
}

/** A call goes over the connection of its session, or of an equal one after its process died. */
function checkSessions(
  ledger: Ledger,
  { asks, rows, executions, nonce }: Group,
  report: Report,
): void {
  for (const { session, link } of executions) {
    if (session === undefined || asks.length === 0) continue;
    if (asks.some((ask) => ask.session === session)) continue;
    // Nothing was asked in that session: whose it is can't be told.
    const principal = ledger.principals.get(session);
    const mayMove = asks.some(
      (ask) =>
        (principal ?? ask.principal) === ask.principal &&
        (ask.incarnation < ledger.incarnations ||
          ask.isAbandoned ||
          rows.some((history) => lastOf(history).acknowledgedAt !== undefined)),
    );
    if (!mayMove) report.add("I6", nonce, `ran over ${link}, a connection of session ${session}`);
  }
}

// ── The shield ──────────────────────────────────────────────────────────────────────────────────

/** The first repetition after a caller was told "unknown" is told so again, of the same call. */
function checkWarned(group: Group, report: Report): void {
  const { asks, rows, nonce } = group;
  if (safetyOf(group) === "read") return;
  for (const history of rows) {
    const row = lastOf(history);
    if (row.executed !== "unknown" || row.state === "failed" || row.note !== undefined) continue;
    const told = firstTold(asks, row.id);
    // Where its own caller was gone, the first that was told is a repetition, and was warned by that.
    if (told !== undefined && idIn(told.text) !== idIn(row.request)) continue;
    const next = asks.find(({ at }) => told !== undefined && at !== undefined && at > told.at);
    const answer = next?.told[0];
    if (next === undefined || answer === undefined || isOlder(rows, history)) continue;
    // A repetition that crossed the first answer on its way has used up the warning.
    if (timesTold(asks, row.id) > 1) continue;
    // Refused, by a bound or at the end: nothing was sent.
    if (answer.executed === "no" || answer.callId === row.id) continue;
    const text = `the call was repeated after ${row.id} had ended with an unknown outcome, and was not warned of it: ${answer.text}`;
    report.add("S3", nonce, text);
  }
}

/** The id of a request or an answer. */
const idIn = (text: string): string | undefined => /"id":("[^"]*"|\d+)/.exec(text)?.[1];

/** To how many of these the outcome of that call was said to be unknown. */
const timesTold = (asks: readonly Asked[], callId: string): number =>
  asks.filter(({ told }) => told.some((one) => one.callId === callId && one.executed === "unknown"))
    .length;

function firstTold(asks: readonly Asked[], callId: string): Told | undefined {
  const all = asks.flatMap(({ told }) => told).filter((one) => one.callId === callId);
  return all.filter(({ executed }) => executed === "unknown").sort((a, b) => a.at - b.at)[0];
}

/** Something else may be remembered of that call: a parallel one, or nothing after ten minutes. */
function isOlder(rows: readonly RowHistory[], history: RowHistory): boolean {
  const { settledAt, sessionId } = lastOf(history);
  if (settledAt === undefined || sessionId === "") return true;
  return rows.some((other) => {
    if (other === history) return false;
    const { acceptedAt } = lastOf(other);
    return acceptedAt <= settledAt || acceptedAt > settledAt + SHIELD_MS;
  });
}
