/** Carries out mends in a journal that can be opened, in one synced transaction, and beside it. */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import type { Database } from "better-sqlite3";
import { unreachable } from "../../base/assert.ts";
import type { JournalFiles } from "../layout.ts";
import { HighWaterFile, clearAbandoned } from "../marks.ts";
import type { HighWater } from "../marks.ts";
import { openWriting } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { HELD_MARK, heldMarkText } from "../held-mark.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { tryLock } from "../sqlite/lock.ts";
import { DRAFT_ENDINGS } from "../verify/drafts.ts";
import { liveCalls } from "../verify/finding.ts";
import type { Mend } from "../verify/finding.ts";
import { GREATEST_SEQ } from "../verify/standing.ts";

type InFile = Extract<
  Mend,
  { kind: "setMode" | "remove" | "removeDraft" | "clearAbandoned" | "writeMark" }
>;
type InDatabase = Exclude<Mend, InFile | { kind: "rebuild" }>;

const IN_FILE: readonly string[] = [
  "setMode",
  "remove",
  "removeDraft",
  "clearAbandoned",
  "writeMark",
];

export const isInFile = (mend: Mend): mend is InFile => IN_FILE.includes(mend.kind);

/** What `--repair` does, as it is announced. */
export function wouldText(mend: Mend): string {
  return textOf(mend, ["sets", "deletes", "raises", "makes", "forgets", "rebuilds", "removes"]);
}

/** What was done. */
export function didText(mend: Mend): string {
  return textOf(mend, ["set", "deleted", "raised", "made", "forgot", "rebuilt", "removed"]);
}

type Verbs = readonly [
  set: string,
  drop: string,
  raise: string,
  make: string,
  forget: string,
  rebuild: string,
  remove: string,
];

function textOf(mend: Mend, [set, drop, raise, make, forget, rebuild, remove]: Verbs): string {
  switch (mend.kind) {
    case "setAside":
      return `${set} call ${mend.id} aside, where nothing runs it (${mend.why})`;
    case "dropOrigins":
      return `${drop} the origins that no call has`;
    case "dropSession":
      return `${drop} the damaged session ${mend.id}`;
    case "raiseHead":
      return `${raise} the head to the last row`;
    case "makeHead":
      return `${make} a new head; what waits is held for a person`;
    case "keepFact":
      return mend.value === null
        ? `${forget} the fact "${mend.key}"`
        : `${set} the fact "${mend.key}" anew; what waits is held for a person`;
    case "makeObject":
      return `${make} ${mend.name} anew`;
    case "reindex":
      return `${rebuild} the indices`;
    case "enterWal":
      return `${set} journal_mode to wal`;
    case "rebuild":
      return `${set} the file aside, and ${make} a new journal of what can be read; what waits is held for a person`;
    case "writeMark":
      return `${set} the mark anew from the head`;
    case "clearAbandoned":
      return `${remove} the mark of the journal that was given up`;
    case "setMode":
      return `${set} the mode of ${mend.path} to 0${mend.mode.toString(8)}`;
    case "remove":
    case "removeDraft":
      return `${remove} ${mend.path}`;
    default:
      return unreachable(mend);
  }
}

/**
 * Mends what is inside the database, whole or not at all, and moves the mark beside it on. The caller
 * holds the journal's lock and has kept a copy. Throws what `openWriting` throws, and SQLite errors.
 */
export function mendDatabase(
  driver: Driver,
  files: JournalFiles,
  mends: readonly InDatabase[],
): void {
  const mark = new HighWaterFile(files.highWaterPath);
  const before = mark.read();
  const db = openWriting(driver, files.path, true);
  try {
    db.exec("begin immediate");
    // First what the others are read and written by.
    const isShape = ({ kind }: InDatabase) => kind === "makeObject" || kind === "reindex";
    for (const mend of mends.filter(isShape)) mendOne(db, mend, before);
    for (const mend of mends.filter((one) => !isShape(one))) mendOne(db, mend, before);
    const side = new SideStatements(db);
    const head = side.head();
    const isBehind =
      before !== undefined && (before.dbId !== head.dbId || before.commits > head.commits);
    // The commit counts on; a journal that went backwards must not pass for one that did not by it.
    if (isBehind && liveCalls(db).callCount > 0) hold(side, before.seq, head.seq);
    side.moveHead(head.seq, head.commits + 1);
    db.exec("commit");
    if (!isBehind) mark.write({ ...head, commits: head.commits + 1 });
    db.pragma("wal_checkpoint(truncate)");
  } catch (error) {
    if (db.inTransaction) db.exec("rollback");
    throw error;
  } finally {
    mark.close();
    db.close();
  }
}

/** Every call that waits now is one for a person. */
function hold(side: SideStatements, expectedSeq: number, foundSeq: number): void {
  side.keep(HELD_MARK, heldMarkText({ expectedSeq, foundSeq }));
}

function mendOne(db: Database, mend: InDatabase, mark: HighWater | undefined): void {
  switch (mend.kind) {
    case "setAside":
      db.prepare("insert or ignore into quarantine (seq, id, why) values (?, ?, ?)").run(
        mend.seq,
        mend.id,
        mend.why,
      );
      return;
    case "dropOrigins":
      db.exec("delete from origin where number not in (select origin from call)");
      return;
    case "dropSession":
      new SideStatements(db).deleteSession(mend.id);
      return;
    case "raiseHead":
      db.exec(`update head set seq = max(seq, ${GREATEST_SEQ}), commits = max(commits, 1)`);
      return;
    case "makeHead":
      makeHead(db, mark);
      return;
    case "keepFact":
      new SideStatements(db).keep(mend.key, mend.value);
      return;
    case "makeObject":
      if (mend.isIndex) db.exec(`drop index if exists ${mend.name}`);
      db.exec(mend.sql);
      return;
    case "reindex":
      db.exec("reindex");
      return;
    case "enterWal":
      return; // Every connection that writes does it.
    default:
      return unreachable(mend);
  }
}

function makeHead(db: Database, mark: HighWater | undefined): void {
  const greatest = db.prepare(`select ${GREATEST_SEQ}`).pluck().get() as number;
  const seq = Math.max(greatest, mark?.seq ?? 0);
  db.prepare("insert into head values (1, lower(hex(randomblob(16))), ?, 1)").run(seq);
  if (liveCalls(db).callCount > 0) hold(new SideStatements(db), seq, seq);
}

/** Mends what is beside a database; false where it can't be now. Throws what the file system says. */
export function mendFile(driver: Driver, files: JournalFiles | undefined, mend: InFile): boolean {
  switch (mend.kind) {
    case "setMode":
      // A link that took the place of what was looked at is not followed.
      if (!lstatSync(mend.path).isSymbolicLink()) chmodSync(mend.path, mend.mode);
      return true;
    case "remove":
      rmSync(mend.path, { force: true });
      return true;
    case "removeDraft":
      return removeDraft(driver, mend.path, mend.lockPath);
    case "clearAbandoned":
      if (files !== undefined) clearAbandoned(files.abandonedPath);
      return true;
    case "writeMark":
      if (files !== undefined) writeMark(driver, files);
      return true;
    default:
      return unreachable(mend);
  }
}

/** Another maker may have come since it was looked at: false then. */
function removeDraft(driver: Driver, path: string, lockPath: string): boolean {
  const lock = tryLock(driver, lockPath);
  if (lock === undefined) return false;
  try {
    for (const ending of DRAFT_ENDINGS) rmSync(`${path}${ending}`, { force: true });
    return true;
  } finally {
    lock.release();
  }
}

/** The first synced commit of the next proxy would write it, too. */
function writeMark(driver: Driver, files: JournalFiles): void {
  const db = openWriting(driver, files.path);
  const mark = new HighWaterFile(files.highWaterPath);
  try {
    mark.write(new SideStatements(db).head());
  } finally {
    mark.close();
    db.close();
  }
}
