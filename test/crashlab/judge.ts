/**
 * Says of what was found on a disk whether it keeps the promises that had been made. The judge knows
 * what was asked for and when (`History`), and nothing of how the store works.
 */
import { isTerminal } from "../../src/core/call.ts";
import type { CallRow } from "../../src/core/call.ts";
import { recoverRow } from "../../src/store/recovery.ts";
import { textOf } from "./history.ts";
import type { History, Span } from "./history.ts";
import type { Contents, Inspected, Reopened } from "./reopen.ts";

/** What is wrong with one image: promises that were not kept, and things that never were. */
export interface Judgement {
  /** Calls, sessions or facts that were promised and are not there, or only as they were before. */
  readonly lost: readonly string[];
  /** Everything else: rows that never were, changes out of order, damage, a recovery that differs. */
  readonly corrupt: readonly string[];
}

/** `at`: how many operations may, and must, have been carried out. */
export function judge(history: History, at: Span, reopened: Reopened, now: number): Judgement {
  const lost: string[] = [];
  const corrupt: string[] = [];
  if (reopened.integrity !== "ok") corrupt.push(`integrity: ${reopened.integrity}`);
  if (reopened.wentBackwards) corrupt.push("said to have gone backwards");
  corrupt.push(...reopened.warnings.map((warning) => `warned: ${warning}`));
  judgeContents(history, at, reopened.found, lost, corrupt);
  judgeRecovery(reopened, now, corrupt);
  return { lost, corrupt };
}

function judgeContents(
  history: History,
  at: Span,
  found: Contents,
  lost: string[],
  corrupt: string[],
): void {
  let least = 0;
  let most = at.most;
  const narrow = (what: string, spans: readonly Span[]) => {
    const span = spans.find(({ least, most }) => least <= at.most && most >= at.least);
    if (span !== undefined) {
      least = Math.max(least, span.least);
      most = Math.min(most, span.most);
    } else if (spans.length === 0) corrupt.push(`${what} is as it never was`);
    else if (spans.some((each) => each.most < at.least)) lost.push(what);
    else corrupt.push(`${what} is as nobody had asked for yet`);
  };
  for (const id of history.callIds) narrow(id, history.spansOfCall(id, found.calls.get(id)));
  for (const id of history.sessionIds)
    narrow(`session ${id}`, history.spansOfSession(id, found.sessions.get(id)));
  for (const key of history.factKeys)
    narrow(`fact ${key}`, history.spansOfFact(key, found.facts.get(key)));
  for (const id of found.calls.keys())
    if (!history.knowsCall(id)) corrupt.push(`${id} was never asked for`);
  if (least > most && corrupt.length === 0 && lost.length === 0)
    corrupt.push(`something of operation ${least} is there, something of ${most + 1} is not`);
}

/** A recovery does to each row what the rules say, and a second one nothing. */
function judgeRecovery(reopened: Reopened, now: number, corrupt: string[]): void {
  const live: CallRow[] = [];
  for (const row of reopened.found.rows) {
    const expected = recoverRow(row, now, true)?.row ?? row;
    if (reopened.recovered.calls.get(row.id) !== textOf(expected))
      corrupt.push(`${row.id} was not recovered as the rules say`);
    if (!isTerminal(expected.state)) live.push(expected);
  }
  const inOrder = live.sort((a, b) => a.seq - b.seq).map(({ id }) => id);
  if (inOrder.join() !== reopened.live.join()) corrupt.push("what is live is not all that is live");
  if (reopened.recovered.rows.length !== reopened.found.rows.length)
    corrupt.push("recovery added or removed rows");
  if (reopened.changes[1] !== 0) corrupt.push("a second recovery found something to do");
  for (const [id, text] of reopened.recovered.calls)
    if (reopened.again.calls.get(id) !== text)
      corrupt.push(`${id} was changed by a second recovery`);
}

/**
 * What is wrong with what a damaged journal handed out, after its recovery at `now`. A call that is in
 * quarantine, or a session that was warned of, may be missing; nothing may be other than it was.
 */
export function judgeInspected(
  history: History,
  at: Span,
  inspected: Inspected,
  now: number,
): string[] {
  const problems: string[] = [];
  const { calls, sessions, facts } = inspected.contents;
  for (const id of history.callIds) {
    const rows = history
      .versionsOfCall(id, at)
      .map((row) => (row === undefined ? undefined : (recoverRow(row, now, true)?.row ?? row)));
    if (rows.some((row) => row !== undefined && inspected.quarantined.has(row.seq))) {
      if (calls.has(id)) problems.push(`${id} is in quarantine and handed out`);
      continue;
    }
    const text = calls.get(id);
    const row = rows.find((each) => (each === undefined ? undefined : textOf(each)) === text);
    if (row === undefined && (text !== undefined || !rows.includes(undefined)))
      problems.push(text === undefined ? `${id} is missing` : `${id} is not what it was`);
    if (inspected.foundById.get(id) !== text) problems.push(`${id} is another by its id`);
    const isLive = row !== undefined && !isTerminal(row.state);
    if (isLive !== inspected.live.includes(id)) problems.push(`${id} is not live as it should be`);
  }
  for (const id of calls.keys())
    if (!history.knowsCall(id)) problems.push(`${id} was never asked for`);
  const overlaps = (span: Span) => span.least <= at.most && span.most >= at.least;
  for (const id of history.sessionIds) {
    const isWarnedOf = inspected.warnings.some((warning) => warning.startsWith(`session ${id} `));
    if (!isWarnedOf && !history.spansOfSession(id, sessions.get(id)).some(overlaps))
      problems.push(`session ${id} is not what it was`);
  }
  for (const id of sessions.keys())
    if (!history.knowsSession(id)) problems.push(`session ${id} was never asked for`);
  // A damaged key can't be told by its name.
  const isMissingFine = inspected.warnings.some((warning) => warning.startsWith("fact "));
  for (const key of new Set([...history.factKeys, ...facts.keys()]))
    if (isMissingFine && !facts.has(key)) continue;
    else if (!history.spansOfFact(key, facts.get(key)).some(overlaps))
      problems.push(`fact ${key} is not what it was`);
  return problems;
}
