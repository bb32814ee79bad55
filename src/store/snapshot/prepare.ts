/** Makes of an unpacked database one that may be put in place: checked, and marked as restored. */
import type { Database } from "better-sqlite3";
import type { RestoredFrom, SnapshotHeader } from "../../core/snapshot.ts";
import { APPLICATION_ID } from "../sqlite/migrations.ts";
import type { Driver } from "../sqlite/connection.ts";
import { HELD_MARK, heldMarkText } from "../held-mark.ts";
import type { HeldMark } from "../held-mark.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { damaged } from "./format.ts";

/** The fact that a journal was restored: `RestoredFact` as JSON. It stays for good. */
export const RESTORED = "restored";

export interface RestoredFact extends RestoredFrom {
  /** Of the journal that the snapshot was made of. */
  readonly dbId: string;
  readonly sha256: string;
  /** As its last process called it. */
  readonly name: string;
  readonly target: string;
}

export interface Marking {
  readonly from: RestoredFrom;
  readonly upstream: string;
  /** The last seq that the old journal is known to have given out. */
  readonly expectedSeq: number;
}

/**
 * `path`: of the database, `origin` of the snapshot. Throws `RefusedError` where the database is not what
 * the head says.
 */
export function prepareDatabase(
  driver: Driver,
  path: string,
  origin: string,
  header: SnapshotHeader,
  marking: Marking,
): { held: number } {
  const db = new driver(path, { fileMustExist: true });
  try {
    // One file, without a WAL beside it that a rename would leave behind: readers can't clear one away.
    db.pragma("journal_mode = delete");
    db.pragma("synchronous = full");
    db.pragma("fullfsync = 1");
    check(db, origin, header);
    db.transaction(() => {
      mark(db, header, marking);
    })();
    return { held: countHeld(db) };
  } finally {
    db.close();
  }
}

/** The last step before it gets its name, with nobody else at it: what a journal is from its first page on. */
export function enterWal(driver: Driver, path: string): void {
  const db = new driver(path, { fileMustExist: true });
  try {
    db.pragma("synchronous = full");
    db.pragma("fullfsync = 1");
    db.pragma("journal_mode = wal");
  } finally {
    db.close();
  }
}

function check(db: Database, origin: string, { schema, journal }: SnapshotHeader): void {
  const pragma = (name: string) => db.pragma(name, { simple: true });
  if (pragma("application_id") !== APPLICATION_ID) throw damaged(origin, "it holds no journal");
  if (pragma("user_version") !== schema) throw damaged(origin, "its schema is not its head's");
  const found = pragma("integrity_check");
  if (found !== "ok") throw damaged(origin, `its database is: ${String(found)}`);
  const { dbId, seq, commits } = new SideStatements(db).head();
  if (dbId !== journal.dbId || seq !== journal.seq || commits !== journal.commits) {
    throw damaged(origin, "its database is not the one of its head");
  }
}

/** SR2. A new id: marks beside the old journal say nothing of this one. */
function mark(
  db: Database,
  header: SnapshotHeader,
  { from, upstream, expectedSeq }: Marking,
): void {
  const { dbId, name, target, seq } = header.journal;
  const side = new SideStatements(db);
  db.exec("update head set db_id = lower(hex(randomblob(16)))");
  // Their processes are not this machine's, or are gone.
  for (const [key] of side.kept("child:")) side.keep(key, null);
  side.keep("owner", null);
  side.keep("upstream", upstream);
  const because = `restored from a snapshot of ${new Date(from.snapshotAt).toISOString()}`;
  const held: HeldMark = { expectedSeq, foundSeq: seq, because, restored: from };
  side.keep(HELD_MARK, heldMarkText(held));
  const fact: RestoredFact = { ...from, dbId, sha256: header.contentSha256, name, target };
  side.keep(RESTORED, JSON.stringify(fact));
}

/** Calls that change something, and may have run since the snapshot. */
function countHeld(db: Database): number {
  return db
    .prepare(
      `select count(*) from call left join origin on origin.number = call.origin
       where delivered_at is null and state in ('queued', 'sent', 'tasked', 'in_doubt')
         and safety <> 'read' and seq not in (select seq from quarantine)`,
    )
    .pluck()
    .get() as number;
}

/** What a restored journal says of itself; undefined for any other, and where it can't be read. */
export function readRestoredFact(text: string | undefined): RestoredFact | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as RestoredFact;
  } catch {
    return undefined;
  }
}
