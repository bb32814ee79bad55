/**
 * Journals as the command line sees them: read-only beside a running proxy and without one, and opened
 * for one change where none runs. Every read is one short transaction.
 */
import { errorText, RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { CallRow } from "../core/call.ts";
import type { SessionRow } from "../core/session.ts";
import type { CallFilter, Journal, Log } from "../ports.ts";
import { journalFiles, journalNumbers, upstreamsWithJournals } from "./layout.ts";
import { lockLooking } from "./looking.ts";
import { isMarkedAbandoned } from "./marks.ts";
import { decodeRow } from "./rows.ts";
import { readSession } from "./sqlite/answers.ts";
import { loadDriver, openReading } from "./sqlite/connection.ts";
import type { Driver } from "./sqlite/connection.ts";
import { tryLock } from "./sqlite/lock.ts";
import { openSqliteJournal } from "./sqlite/open.ts";
import { SideStatements } from "./sqlite/side-statements.ts";
import { CallStatements } from "./sqlite/statements.ts";
import type { QuarantinedRow } from "./sqlite/statements.ts";

export interface ReadJournal {
  readonly path: string;
  readonly number: number;
  /** The folder's name: the first 16 characters of the upstream's digest. */
  readonly upstreamDigest16: string;
  /** What its processes kept: `owner`, `upstream`, `credentials`, … Empty if it can't be read. */
  readonly facts: ReadonlyMap<string, string>;
  readonly isAbandoned: boolean;
  /** Calls by state. */
  readonly counts: Readonly<Record<string, number>>;
  readonly sessions: number;
  readonly damaged: readonly QuarantinedRow[];
  /** Why it can't be read, in words. */
  readonly problem: string | undefined;
}

/** Rejects with `JournalError` where the native module is missing. No folder is no journals. */
export async function readJournals(folder: string): Promise<ReadJournal[]> {
  const driver = await loadDriver();
  const journals: ReadJournal[] = [];
  for (const upstreamDigest16 of upstreamsWithJournals(folder)) {
    for (const number of journalNumbers(folder, upstreamDigest16)) {
      const files = journalFiles(folder, upstreamDigest16, number);
      const isAbandoned = isMarkedAbandoned(files.abandonedPath);
      const { path } = files;
      journals.push({ path, number, upstreamDigest16, isAbandoned, ...describe(driver, path) });
    }
  }
  return journals;
}

function describe(
  driver: Driver,
  path: string,
): Pick<ReadJournal, "facts" | "counts" | "sessions" | "damaged" | "problem"> {
  try {
    return withReading(driver, path, (side, calls, damaged) => {
      const facts = new Map(side.kept(""));
      const counts = side.countByState();
      damaged.push(...calls.quarantined());
      return { facts, counts, sessions: side.countSessions(), damaged, problem: undefined };
    });
  } catch (error) {
    return {
      facts: new Map(),
      counts: {},
      sessions: 0,
      damaged: [],
      problem: errorText(error),
    };
  }
}

/** Calls of one journal, newest first; damaged rows are left out. Throws an SQLite error. */
export async function readCalls(path: string, filter: CallFilter): Promise<CallRow[]> {
  const driver = await loadDriver();
  return withReading(driver, path, (_side, calls) =>
    calls
      .list(filter)
      .map(decodeRow)
      .filter((row) => typeof row !== "string"),
  );
}

/** Sessions of one journal, in the order in which they began; damaged ones are left out. Throws an SQLite error. */
export async function readSessions(path: string): Promise<SessionRow[]> {
  const driver = await loadDriver();
  return withReading(driver, path, (side) =>
    side.sessions().flatMap(({ body }) => (body === undefined ? [] : [readSession(body)])),
  );
}

/** One call with its payloads. Throws an SQLite error. */
export async function readCall(path: string, id: string): Promise<CallRow | undefined> {
  const driver = await loadDriver();
  return withReading(driver, path, (_side, calls) => {
    const [values] = calls.read("id = ?", id);
    const row = values === undefined ? undefined : decodeRow(values);
    return typeof row === "string" ? undefined : row;
  });
}

/** Calls in a state that is not terminal. Throws an SQLite error. */
export function countLiveIn(driver: Driver, path: string): number {
  const db = openReading(driver, path);
  try {
    // Its process died, or is still busy, before there was a schema.
    if (db.pragma("user_version", { simple: true }) === 0) return 0;
    return new SideStatements(db).countLive();
  } finally {
    db.close();
  }
}

/**
 * Opens a journal for a change while no proxy has it. Rejects with `RefusedError` where one has; the
 * caller closes it. `recover` is not called: rows stay as their process left them.
 */
export async function openForCommand(
  world: World,
  log: Log,
  folder: string,
  journal: Pick<ReadJournal, "upstreamDigest16" | "number">,
): Promise<Journal> {
  const files = journalFiles(folder, journal.upstreamDigest16, journal.number);
  const driver = await loadDriver();
  const looking = lockLooking(driver, folder);
  const lock = tryLock(driver, files.lockPath);
  if (lock === undefined) {
    looking.release();
    throw new RefusedError(`${files.path} is in use by a running proxy; ask that one instead`);
  }
  const release = () => {
    lock.release();
    looking.release();
  };
  try {
    const opened = await openSqliteJournal({
      world,
      log,
      path: files.path,
      highWaterPath: files.highWaterPath,
      ballastPath: files.ballastPath,
      durability: "full",
      dropsDelivered: true,
      onGone: release,
    });
    return opened.journal;
  } catch (error) {
    release();
    throw error;
  }
}

function withReading<T>(
  driver: Driver,
  path: string,
  read: (side: SideStatements, calls: CallStatements, damaged: QuarantinedRow[]) => T,
): T {
  const db = openReading(driver, path);
  const damaged: QuarantinedRow[] = [];
  try {
    db.exec("begin");
    const calls = new CallStatements(db, false, (row) => damaged.push(row));
    const result = read(new SideStatements(db), calls, damaged);
    db.exec("commit");
    return result;
  } finally {
    db.close();
  }
}
