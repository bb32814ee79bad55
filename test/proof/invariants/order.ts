/**
 * Orders. Calls of one session to one upstream that waited run in the order in which they were accepted
 * (I7), and nothing runs over an older connection after something ran over a newer one (I10).
 *
 * Compared are first sendings that were answered: a call that went back to its place, or whose line was
 * lost, may come later than those behind it. Calls that were told to run late have a lane of their own.
 */
import type { CallRow } from "../../../src/core/call.ts";
import type { Asked, Execution } from "../evidence.ts";
import { type Group, lastOf, type Ledger } from "../ledger.ts";
import type { Report } from "../report.ts";

/** A call that was asked once, sent once and ran once. */
interface Once {
  readonly nonce: string;
  readonly ask: Asked;
  readonly execution: Execution;
  /** Undefined for a read that passed straight through. */
  readonly row: CallRow | undefined;
}

export function checkOrder(ledger: Ledger, report: Report): void {
  const onces = [...ledger.groups.values()].flatMap((group) => onceOf(ledger, group));
  checkLanes(ledger, onces, report);
  checkPipes(onces, report);
  checkLinks(ledger, onces, report);
}

function onceOf(ledger: Ledger, { nonce, asks, rows, executions }: Group): readonly Once[] {
  const [ask] = asks;
  const [execution] = executions;
  const [history] = rows;
  if (ask === undefined || execution === undefined) return [];
  if (asks.length > 1 || executions.length > 1 || rows.length > 1) return [];
  if (ledger.liedAbout.has(nonce)) return [];
  if (history === undefined)
    return ledger.hasUnlinked ? [] : [{ nonce, ask, execution, row: undefined }];
  const row = lastOf(history);
  if (row.attempt !== 1 || row.redriveOf !== undefined) return [];
  return [{ nonce, ask, execution, row }];
}

function by<T>(items: readonly T[], keyOf: (item: T) => string): ReadonlyMap<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [item]);
    else known.push(item);
  }
  return groups;
}

interface Queued extends Once {
  readonly row: CallRow & { readonly sentAt: number };
}

/** The main lane of each session, and its late one. */
function checkLanes({ slackMs, rows }: Ledger, onces: readonly Once[], report: Report): void {
  const waited = onces.filter((once): once is Queued => {
    const { row } = once;
    if (row?.state !== "done" || row.safety === "read" || row.sentAt === undefined) return false;
    return row.sentAt - row.acceptedAt > slackMs;
  });
  const journalOf = ({ row }: Queued) => rows.get(row.id)?.journal.name ?? "";
  const main = waited.filter(({ row }) => row.acknowledgedAt === undefined);
  const mainOf = (once: Queued) =>
    JSON.stringify([once.row.sessionId, once.ask.upstream, journalOf(once), once.ask.incarnation]);
  for (const lane of by(main, mainOf).values()) checkLane(lane, () => true, report);
  const late = waited.filter(({ row }) => row.acknowledgedAt !== undefined);
  const lateOf = (once: Queued) =>
    JSON.stringify([once.row.sessionId, once.ask.upstream, journalOf(once)]);
  for (const lane of by(late, lateOf).values()) checkLane(lane, wereLateTogether, report);
}

/** Both were in the late lane before either of them left it; at the same instant it may be on its way. */
function wereLateTogether(a: Queued, b: Queued): boolean {
  const late = Math.max(a.row.acknowledgedAt ?? Infinity, b.row.acknowledgedAt ?? Infinity);
  return late < Math.min(a.row.sentAt, b.row.sentAt);
}

function checkLane(
  lane: Queued[],
  areComparable: (a: Queued, b: Queued) => boolean,
  report: Report,
): void {
  lane.sort((a, b) => a.row.seq - b.row.seq);
  for (let i = 1; i < lane.length; i++) {
    const before = lane[i - 1] as Queued;
    const after = lane[i] as Queued;
    if (before.execution.at <= after.execution.at || !areComparable(before, after)) continue;
    const text = `number ${String(after.row.seq)} of ${after.row.sessionId} ran before number ${String(before.row.seq)}, call ${before.nonce}, and both had waited`;
    report.add("I7", after.nonce, text);
  }
}

/** From one pipe to another nothing overtakes, also where nothing has to wait. */
function checkPipes(onces: readonly Once[], report: Report): void {
  const piped = onces.filter(
    ({ ask, execution, row }) =>
      ask.isInOrder === true && execution.isOrdered === true && row?.acknowledgedAt === undefined,
  );
  const pipeOf = ({ ask, execution }: Once) =>
    JSON.stringify([execution.link, ask.session, ask.incarnation]);
  for (const pipe of by(piped, pipeOf).values()) {
    pipe.sort((a, b) => a.ask.order - b.ask.order);
    for (let i = 1; i < pipe.length; i++) {
      const before = pipe[i - 1] as Once;
      const after = pipe[i] as Once;
      if (before.execution.at <= after.execution.at) continue;
      const text = `overtook call ${before.nonce} of ${after.ask.session} on its way to ${after.execution.link}`;
      report.add("I7", after.nonce, text);
    }
  }
}

/** Per session and upstream: over links in the order in which they were first used. */
function checkLinks({ evidence }: Ledger, onces: readonly Once[], report: Report): void {
  const answered = new Set<Execution>();
  for (const { row, ask, execution } of onces) {
    const hasResult = ask.told.some(({ nonce }) => nonce !== undefined);
    if (row === undefined ? hasResult : row.state === "done") answered.add(execution);
  }
  const told = evidence.executions.filter(({ session }) => session !== undefined);
  const lineOf = ({ session, upstream }: Execution) => JSON.stringify([session, upstream]);
  for (const line of by(told, lineOf).values()) {
    line.sort((a, b) => a.at - b.at);
    const ages = new Map<string, number>();
    let newest = "";
    for (const execution of line) {
      const age = ages.get(execution.link) ?? ages.size;
      if (!ages.has(execution.link)) newest = execution.link;
      ages.set(execution.link, age);
      if (execution.link === newest || !answered.has(execution)) continue;
      const text = `ran over ${execution.link}, and was answered, after ${newest} had been in use`;
      report.add("I10", execution.nonce, text);
    }
  }
}
