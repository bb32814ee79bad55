/**
 * What clients were told, against the journal. Whoever asked and stayed is told (I1), once (I11), of its
 * own call (I6), after the commit of what it is told (I5, I8), with the very bytes of the result (I5), and
 * nothing runs after a "no" (I3) or later than it was told (P5a).
 */
import { isTerminal } from "../../../src/core/call.ts";
import type { Asked, Told } from "../evidence.ts";
import {
  type Group,
  lastOf,
  type Ledger,
  mayLosePower,
  type RowHistory,
  safetyOf,
  versionIn,
  viewSince,
} from "../ledger.ts";
import type { Report } from "../report.ts";
import { hasWord, isSameAnswer, isSameResult } from "../texts.ts";

export function checkAnswers(ledger: Ledger, report: Report): void {
  const principals = principalsOf(ledger, report);
  for (const group of ledger.groups.values()) {
    checkLiving(ledger, group, report);
    for (const ask of group.asks) {
      checkToldAtAll(ledger, group, ask, report);
      checkToldOnce(ledger, group, ask, report);
      for (const told of ask.told) {
        const { nonce } = told;
        if (nonce !== undefined && nonce !== group.nonce && !ledger.liedAbout.has(group.nonce))
          report.add("I6", group.nonce, `was given the answer to call ${nonce}: ${head(told)}`);
        if (told.executed !== undefined) checkOwn(ledger, group, ask, told, principals, report);
        else if (told.nonce !== undefined) checkRelayed(ledger, group, told, report);
      }
    }
  }
}

const head = ({ text }: Told): string => (text.length > 160 ? `${text.slice(0, 160)}…` : text);

/** Whose sessions these are. A session of one client never holds calls of another (I6). */
function principalsOf(ledger: Ledger, report: Report): ReadonlyMap<string, string> {
  const owners = new Map<string, Asked>();
  const principals = new Map<string, string>();
  for (const { asks, rows, nonce } of ledger.groups.values()) {
    const [ask] = asks;
    // Of repetitions it can't be told which of them made the row, unless all are of one session.
    if (ask === undefined || asks.some(({ session }) => session !== ask.session)) continue;
    for (const history of rows) {
      const { sessionId } = lastOf(history);
      const owner = owners.get(sessionId);
      owners.set(sessionId, owner ?? ask);
      principals.set(sessionId, ask.principal);
      if (owner === undefined || owner.session === ask.session) continue;
      const text = `session ${ask.session} shares ${sessionId} with ${owner.session}, call ${owner.nonce}`;
      report.add("I6", nonce, text);
    }
  }
  return principals;
}

// ── Everybody has an answer ─────────────────────────────────────────────────────────────────────

/** Faults are over by the end: nothing is under way any more. */
function checkLiving({ liedAbout }: Ledger, group: Group, report: Report): void {
  for (const history of group.rows) {
    const row = lastOf(history);
    if (history.isPowerLost || history.journal.kind === "memory") continue;
    if (!isTerminal(row.state))
      report.add(
        "I1",
        group.nonce,
        `row ${row.id} (${row.safety}) is ${row.state} at the end`,
        "lost",
      );
    const answer = row.reply === undefined ? undefined : speaksOf(row.reply, group);
    if (answer === false && !liedAbout.has(group.nonce))
      report.add("I6", group.nonce, `row ${row.id} has another call's reply: ${row.reply ?? ""}`);
  }
}

/** Whether a result speaks of the group's call; undefined where it is an error, or names no call. */
function speaksOf(reply: string, { nonce, executions }: Group): boolean | undefined {
  const at = reply.indexOf('"result"');
  return executions.length === 0 || at < 0 ? undefined : hasWord(reply, nonce, at);
}

function checkToldAtAll(ledger: Ledger, group: Group, ask: Asked, report: Report): void {
  const { nonce, rows } = group;
  const wasLostWithPower = rows.some(({ isPowerLost }) => isPowerLost);
  if (ask.isAcknowledged && rows.length === 0 && !mayBeGone(ledger, group))
    report.add("I1", nonce, `its client was told that it is kept, and no journal has it`, "lost");
  if (ask.told.length > 0 || ask.isCancelled || ask.isAbandoned || wasLostWithPower) return;
  // It may have died with its process before it was accepted; then its client knows of no promise.
  const mayBeUnknown = ask.incarnation < ledger.incarnations;
  if (rows.length === 0 && mayBeUnknown && (!ask.isAcknowledged || mayBeGone(ledger, group)))
    return;
  if (rows.some(({ journal }) => journal.kind !== "disk") && mayBeUnknown) return;
  const [row] = rows.map(lastOf);
  const what = row === undefined ? "there is no row of it" : `row ${row.id} is ${row.state}`;
  report.add("I1", nonce, `nobody ever answered its client; ${what}`, "lost");
}

/** No journal need have it any more: a read that went with the power, or rows that nobody can assign. */
function mayBeGone({ evidence, hasUnlinked }: Ledger, group: Group): boolean {
  const lostPower = evidence.views.some((view) => view.isAfterPowerLoss);
  return hasUnlinked || (lostPower && safetyOf(group) === "read");
}

/** A second answer may come only where the mark of the first had not survived a death in between. */
function checkToldOnce(ledger: Ledger, { nonce }: Group, ask: Asked, report: Report): void {
  const { told } = ask;
  for (let i = 1; i < told.length; i++) {
    const before = told[i - 1] as Told;
    const again = told[i] as Told;
    const deaths = ledger.journals.flatMap(({ views }) =>
      views.slice(0, -1).filter(({ at }) => at >= (before.since ?? before.at) && at <= again.at),
    );
    // The answer of a read need not survive the power, and then it is read again.
    const isReadAgain =
      ask.safety === "read" && deaths.some(({ isAfterPowerLoss }) => isAfterPowerLoss);
    if (isReadAgain || (deaths.length > 0 && isRepeated(before, again))) continue;
    report.add("I11", nonce, `was answered again: ${head(before)} and then ${head(again)}`);
  }
}

/** What a process that does not know of the first answer may say: the same, or how a late call ended. */
function isRepeated(before: Told, again: Told): boolean {
  if (before.executed === "pending") return true;
  if (before.executed !== again.executed || before.callId !== again.callId) return false;
  return before.nonce === undefined || before.text === again.text;
}

// ── Answers of ours ─────────────────────────────────────────────────────────────────────────────

function checkOwn(
  ledger: Ledger,
  group: Group,
  ask: Asked,
  told: Told,
  principals: ReadonlyMap<string, string>,
  report: Report,
): void {
  const { nonce } = group;
  const { executed, callId } = told;
  if (executed === "no") checkNotRun(group, ask, told, report);
  const history = callId === undefined ? undefined : ledger.rows.get(callId);
  if (history === undefined) {
    // A refused call has no row, and neither has a read that passes straight through.
    const mayBeMissing =
      executed === "no" || (executed !== "pending" && safetyOf(group) === "read");
    if (!mayBeMissing)
      report.add(
        "I1",
        nonce,
        `was told ${String(executed)} of ${String(callId)}, which no journal has`,
        "lost",
      );
    return;
  }
  if (history.nonce !== undefined && history.nonce !== nonce)
    report.add("I6", nonce, `was told of ${history.id}, which is call ${history.nonce}`);
  const principal = principals.get(lastOf(history).sessionId);
  if (principal !== undefined && principal !== ask.principal)
    report.add("I6", nonce, `${ask.principal} was told of ${history.id}, a call of ${principal}`);
  checkCommitted(ledger, group, history, told, report);
  const replies = repliesOf(history);
  const isResult = told.nonce !== undefined;
  // The reply may have gone with its delivery before anybody looked.
  if (
    isResult &&
    replies.length > 0 &&
    !replies.some((reply) => reply === "" || isSameResult(reply, told.text))
  )
    report.add(
      "I5",
      nonce,
      `was given a result again that ${history.id} does not have: ${head(told)}`,
    );
}

/** What a client was told "no" of did not run, and does not run afterwards. */
function checkNotRun(group: Group, ask: Asked, told: Told, report: Report): void {
  const { executions, nonce, asks, rows } = group;
  // Beside its own call others of the group may have run; `executions.ts` counts those.
  if (asks.length > 1 || rows.length > 1 || executions.length === 0) return;
  const later = executions.find(({ at }) => at > told.at);
  const by = `${ask.client} was told no (${String(told.callId)})`;
  if (later !== undefined)
    report.add("I3", nonce, `${by}, and then it ran over ${later.link}`, "ghosts");
  else report.add("I8", nonce, `${by}, and it had run`, "untrueExecuted");
}

/** Nothing is said of a call before it is on disk. */
function checkCommitted(
  ledger: Ledger,
  group: Group,
  history: RowHistory,
  told: Told,
  report: Report,
): void {
  const { journal, id } = history;
  const { executed } = told;
  const index = viewSince(journal, told.at);
  if (journal.kind === "abandoned" || index === undefined) return;
  const row = versionIn(history, index);
  const view = journal.views[index];
  if (row === undefined || view === undefined) {
    // It had its row later, or it was gone: `rows.ts` speaks of what vanished.
    if (index < history.first)
      report.add(
        "I1",
        group.nonce,
        `was told ${String(executed)} of ${id} before it had a row`,
        "lost",
      );
    return;
  }
  if (view.isAfterPowerLoss && mayLosePower(row)) return;
  if (executed === "pending") {
    checkPromise(ledger, group, history, row.acknowledgedAt, told, report);
    return;
  }
  if (row.executed === executed && isTerminal(row.state)) return;
  const text = `was told ${String(executed)} of ${id}, which is ${row.state}, executed ${row.executed}, in ${view.label}`;
  report.add("I8", group.nonce, text, "untrueExecuted");
}

const EXPIRY = '"expiresAt":"';

/** A caller that was told `pending`: until when, and that this is kept. */
function checkPromise(
  { setBackMs }: Ledger,
  { nonce }: Group,
  history: RowHistory,
  acknowledgedAt: number | undefined,
  told: Told,
  report: Report,
): void {
  const { id, first, versions, journal } = history;
  if (acknowledgedAt === undefined)
    report.add("P5a", nonce, `was told that ${id} runs late, and its row does not say so`);
  const ended = versions.findIndex(({ state }) => isTerminal(state));
  const view = ended < 0 ? undefined : journal.views[first + ended];
  if (view !== undefined && view.at < (told.since ?? told.at))
    report.add(
      "I8",
      nonce,
      `was told that ${id} is pending, which had ended in ${view.label}`,
      "untrueExecuted",
    );
  const at = told.text.indexOf(EXPIRY);
  if (at < 0) return;
  const start = at + EXPIRY.length;
  const expiresAt = Date.parse(told.text.slice(start, told.text.indexOf('"', start)));
  const { sentAt, deadlineAt } = lastOf(history);
  if (sentAt !== undefined && sentAt > expiresAt + setBackMs)
    report.add(
      "P5a",
      nonce,
      `${id} was sent at ${String(sentAt)}, after the ${String(expiresAt)} that was told`,
    );
  if (deadlineAt !== expiresAt)
    report.add(
      "P5a",
      nonce,
      `${id} has the deadline ${String(deadlineAt)}, and ${String(expiresAt)} was told`,
    );
}

// ── Answers of the upstream ─────────────────────────────────────────────────────────────────────

/** All replies that the row was seen with: one, or none where it was dropped before. */
const repliesOf = ({ versions }: RowHistory): readonly string[] => [
  ...new Set(versions.flatMap(({ reply }) => (reply === undefined ? [] : [reply]))),
];

/** A result is on disk before its client has it, and stays what it was. */
function checkRelayed(ledger: Ledger, group: Group, told: Told, report: Report): void {
  const { nonce, rows, asks } = group;
  if (group.executions.length === 0 && !ledger.liedAbout.has(nonce))
    report.add("I8", nonce, `was given a result, and never ran: ${head(told)}`, "untrueExecuted");
  const isRead = safetyOf(group) === "read";
  if (rows.length === 0) {
    if (!isRead && !ledger.hasUnlinked)
      report.add("I1", nonce, `was given a result that no journal has: ${head(told)}`, "lost");
    return;
  }
  // Repeated reads are calls of their own, and those that passed straight through have no row.
  if (isRead && asks.length > 1) return;
  const troubles = rows.map((history) => resultTrouble(history, told));
  if (troubles.includes(undefined)) return;
  report.add("I5", nonce, `was given a result, but ${troubles.join("; ")}: ${head(told)}`);
}

/** Why this row is not the one that the result comes from; undefined where it is, as far as was seen. */
function resultTrouble(history: RowHistory, told: Told): string | undefined {
  const { journal, id } = history;
  const index = viewSince(journal, told.at);
  if (journal.kind === "abandoned" || index === undefined || history.isPowerLost) return undefined;
  const row = versionIn(history, index);
  const view = journal.views[index];
  if (row === undefined || view === undefined)
    return index < history.first ? `${id} was not there yet` : undefined;
  if (view.isAfterPowerLoss && mayLosePower(row)) return undefined;
  if (row.state !== "done" && row.state !== "failed")
    return `${id} is ${row.state} in ${view.label}`;
  const replies = repliesOf(history);
  if (
    replies.length === 0 ||
    replies.some((reply) => reply === "" || isSameAnswer(reply, told.text))
  )
    return undefined;
  return `${id} has another: ${replies.join(" ")}`;
}
