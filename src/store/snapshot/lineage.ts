/**
 * The journals here that hold the same calls as a snapshot: the one it was made of, and earlier restores.
 * Each is locked until `release`, so that none comes to life meanwhile. None is opened but by SQLite.
 * Others may have the same calls under an id of their own: one that was rebuilt or imported, or was
 * restored for another upstream. Those are known by the calls.
 */
import { existsSync } from "node:fs";
import { RefusedError, errorText } from "../../base/errors.ts";
import type { SnapshotHeader } from "../../core/snapshot.ts";
import { journalFiles, journalNumbers, upstreamsWithJournals } from "../layout.ts";
import type { JournalFiles } from "../layout.ts";
import { HighWaterFile } from "../marks.ts";
import { countLiveIn } from "../reader.ts";
import { openReading, sqliteCode } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { tryLock } from "../sqlite/lock.ts";
import type { Lock } from "../sqlite/lock.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { RESTORED, readRestoredFact } from "./prepare.ts";
import type { RestoredFact } from "./prepare.ts";

const LIVE = `delivered_at is null and state in ('queued', 'sent', 'tasked', 'in_doubt')
  and seq not in (select seq from quarantine)`;

/**
 * Throws `RefusedError` with what to do where a call that lives in the unpacked database at `path` lives
 * in any journal of the state folder, too (SR3).
 */
export function refuseIfTwice(driver: Driver, stateFolder: string, path: string): void {
  const live = liveIdsOf(driver, path);
  if (live.length === 0) return;
  for (const digest of upstreamsWithJournals(stateFolder)) {
    for (const number of journalNumbers(stateFolder, digest)) {
      const other = journalFiles(stateFolder, digest, number).path;
      const count = countOf(driver, other, live);
      if (count === 0) continue;
      throw new RefusedError(
        `calls of this snapshot live in ${other} (${count}), and would exist twice. Let that one's ` +
          "proxy run them, withdraw them (holdfast calls cancel), or restore into another folder " +
          "with --into.",
      );
    }
  }
}

function liveIdsOf(driver: Driver, path: string): string[] {
  const db = openReading(driver, path);
  try {
    return db.prepare(`select id from call where ${LIVE}`).pluck().all() as string[];
  } finally {
    db.close();
  }
}

/** How many of these calls live in the journal at `path`; none in one that can't be read. */
function countOf(driver: Driver, path: string, ids: readonly string[]): number {
  try {
    const db = openReading(driver, path);
    try {
      if (db.pragma("user_version", { simple: true }) === 0) return 0;
      const find = db.prepare(`select 1 from call where id = ? and ${LIVE}`);
      return ids.filter((id) => find.get(id) !== undefined).length;
    } finally {
      db.close();
    }
  } catch (error) {
    if (sqliteCode(error) === undefined) throw error;
    return 0;
  }
}

interface Relative {
  readonly files: JournalFiles;
  readonly restored: RestoredFact | undefined;
}

export class Lineage {
  readonly #driver: Driver;
  readonly #header: SnapshotHeader;
  readonly #relatives: Relative[] = [];
  readonly #locks: Lock[] = [];
  readonly #notes: string[] = [];
  /** How far the old journal came, as far as it or its mark tells. */
  #seq: number | undefined;
  #commits: number | undefined;

  constructor(driver: Driver, stateFolder: string, upstream: string, header: SnapshotHeader) {
    this.#driver = driver;
    this.#header = header;
    for (const number of journalNumbers(stateFolder, upstream)) {
      this.#look(journalFiles(stateFolder, upstream, number));
    }
    // A mark may be all that is left of it.
    const own = journalFiles(stateFolder, upstream, header.journal.number);
    if (!existsSync(own.path)) this.#readMark(own);
  }

  get seq(): number | undefined {
    return this.#seq;
  }

  get commits(): number | undefined {
    return this.#commits;
  }

  get notes(): readonly string[] {
    return this.#notes;
  }

  /** Throws `RefusedError` with what to do (SR3). */
  refuseIfAlive(): void {
    for (const { files, restored } of this.#relatives) {
      const { path } = files;
      const elsewhere = "or restore into another folder with --into";
      const lock = tryLock(this.#driver, files.lockPath);
      if (lock === undefined) {
        throw new RefusedError(
          `a proxy runs on ${path}, which holds the calls of this snapshot. End it first ` +
            `(holdfast status shows it), ${elsewhere}.`,
        );
      }
      this.#locks.push(lock);
      // Under the lock: nobody can add one any more.
      const live = countLiveIn(this.#driver, path);
      if (live > 0) {
        throw new RefusedError(
          `${path} holds calls that have not ended (${live}), which would exist twice. Start the server with ` +
            "Holdfast so that they run, withdraw them (holdfast calls cancel), move that journal " +
            `away with all files that begin with its number, ${elsewhere}.`,
        );
      }
      if (restored?.sha256 === this.#header.contentSha256) {
        throw new RefusedError(
          `this snapshot was restored already, as ${path}. To do so again move that journal away ` +
            `with all files that begin with its number, ${elsewhere}.`,
        );
      }
    }
  }

  release(): void {
    for (const lock of this.#locks.splice(0)) lock.release();
  }

  #look(files: JournalFiles): void {
    const { dbId } = this.#header.journal;
    try {
      const db = openReading(this.#driver, files.path);
      try {
        // Its process died before there was a schema, or is making it.
        if (db.pragma("user_version", { simple: true }) === 0) return;
        const side = new SideStatements(db);
        const head = side.head();
        const restored = readRestoredFact(new Map(side.kept(RESTORED)).get(RESTORED));
        const isOld = head.dbId === dbId;
        if (!isOld && restored?.dbId !== dbId) return;
        this.#relatives.push({ files, restored });
        if (isOld) this.#reached(head.seq, head.commits);
      } finally {
        db.close();
      }
    } catch (error) {
      if (error instanceof RefusedError) throw error;
      this.#notes.push(`${files.path} can't be read and stays as it is: ${errorText(error)}`);
    }
    this.#readMark(files);
  }

  #readMark({ highWaterPath }: JournalFiles): void {
    const mark = new HighWaterFile(highWaterPath).read();
    if (mark?.dbId === this.#header.journal.dbId) this.#reached(mark.seq, mark.commits);
  }

  #reached(seq: number, commits: number): void {
    this.#seq = Math.max(this.#seq ?? 0, seq);
    this.#commits = Math.max(this.#commits ?? 0, commits);
  }
}
