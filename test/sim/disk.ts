/**
 * The disk of a simulated machine: the journals of one state folder with their side files. The database
 * is SQLite's own, in memory; what the disk does wrong is done here.
 *
 * DK1. A kill leaves the database at the last commit.
 * DK2. A power loss leaves it at any commit from the last synced one on; a mark is never newer than the
 *      commit that it speaks of, and may be older.
 * DK3. A commit that fails with an I/O error may be on the platter all the same.
 */
import Database from "better-sqlite3";
import type { HighWater } from "../../src/store/marks.ts";
import { migrate } from "../../src/store/migrate.ts";
import type { SideFiles } from "../../src/store/sqlite/side-files.ts";

const LIVE = "select count(*) from call where state in ('queued', 'sent', 'tasked', 'in_doubt')";

const PAGES_OF_BALLAST = 512;

/** A migrated database without rows: every journal of every run begins as its copy. */
const TEMPLATE = ((): Buffer => {
  const db = new Database(":memory:");
  migrate(db, "template");
  const image = db.serialize();
  db.close();
  return image;
})();

/** What is wrong with the disk at the moment. */
export interface DiskTrouble {
  isFull: boolean;
  /** The next writing commit fails; `isWritten`: and is on the platter all the same. */
  ioError: { readonly isWritten: boolean } | undefined;
  /** How long an fsync takes at most, ms. */
  syncMs: number;
}

/** One journal with what is beside it. */
export class SimFile {
  readonly number: number;
  readonly #trouble: DiskTrouble;
  readonly #keepsHistory: boolean;
  #image: Buffer = TEMPLATE;
  #db: Database.Database | undefined;
  /** Images of commits from the last synced one on (DK2). */
  #unsynced: Buffer[] = [TEMPLATE];
  #marks: (HighWater | undefined)[] = [undefined];
  #isBallastThere = true;
  isAbandoned = false;
  /** A process has it locked. */
  isLocked = false;

  constructor(number: number, trouble: DiskTrouble, keepsHistory: boolean) {
    this.number = number;
    this.#trouble = trouble;
    this.#keepsHistory = keepsHistory;
  }

  get path(): string {
    return `simulated journal ${String(this.number)}`;
  }

  /** The writing connection. */
  open(): Database.Database {
    const db = new Database(this.#image);
    db.pragma("foreign_keys = on");
    db.pragma("secure_delete = on");
    this.#db = db;
    this.fill();
    return failing(db, this.#trouble, () => {
      this.committed(true);
    });
  }

  /** The disk became full, or has room again. */
  fill(): void {
    if (this.#db === undefined) return;
    const pages = this.#db.pragma("page_count", { simple: true }) as number;
    const room = this.#isBallastThere ? 0 : PAGES_OF_BALLAST;
    this.#db.pragma(`max_page_count = ${String(this.#trouble.isFull ? pages + room : 1 << 30)}`);
  }

  /** A batch has been committed. Once for each. */
  committed(isSynced: boolean): void {
    if (!this.#keepsHistory || this.#db === undefined) return;
    const image = this.#db.serialize();
    if (isSynced) this.#unsynced = [];
    this.#unsynced.push(image);
  }

  /** Its process was killed, or closed it. */
  close(): void {
    this.isLocked = false;
    const db = this.#db;
    this.#db = undefined;
    if (db === undefined) return;
    if (db.inTransaction) db.exec("rollback");
    this.#image = db.serialize();
    db.close();
  }

  /** The machine lost its power. `random`: in [0, 1), which of the possible disks is left. */
  losePower(random: () => number): void {
    const possible = this.#unsynced;
    this.close();
    const left = possible[Math.floor(random() * possible.length)] ?? this.#image;
    this.#image = left;
    this.#unsynced = [left];
    this.#marks = this.#marks.slice(0, 1 + Math.floor(random() * this.#marks.length));
  }

  /** Calls that have not ended. */
  countLive(): number {
    const db = this.#db ?? this.look();
    const count = db.prepare(LIVE).pluck().get() as number;
    if (db !== this.#db) db.close();
    return count;
  }

  /** The disk as it is now, for somebody who only looks. */
  look(): Database.Database {
    return new Database(this.#db?.serialize() ?? this.#image);
  }

  beside(wrote: () => boolean): SideFiles {
    return {
      mark: {
        read: () => this.#marks.at(-1),
        write: (mark) => {
          // Only after a synced commit.
          this.committed(true);
          if (!wrote()) return;
          if (!this.#keepsHistory) this.#marks = [];
          this.#marks.push({ ...mark });
        },
        close: () => undefined,
      },
      ballast: {
        ensure: () => {
          if (!this.#trouble.isFull) this.#isBallastThere = true;
        },
        release: () => {
          this.#isBallastThere = false;
          this.fill();
        },
        hasRoomAgain: () => {
          if (this.#trouble.isFull) return false;
          this.fill();
          return true;
        },
      },
      wal: {
        checkpointIfLong: () => undefined,
        checkpointIdle: () => undefined,
        checkpointAll: () => undefined,
      },
    };
  }
}

/** The connection, whose commits fail where the disk does. */
function failing(
  db: Database.Database,
  trouble: DiskTrouble,
  onWritten: () => void,
): Database.Database {
  const prepare = db.prepare.bind(db);
  const known = new Map<string, Database.Statement>();
  db.prepare = ((sql: string) => {
    // To prepare costs more than to run, and a run opens many connections.
    const statement = known.get(sql) ?? prepare(sql);
    if (known.has(sql)) return statement;
    known.set(sql, statement);
    if (sql !== "commit") return statement;
    const run = statement.run.bind(statement);
    statement.run = () => {
      const error = trouble.ioError;
      if (error === undefined) return run();
      trouble.ioError = undefined;
      if (error.isWritten) {
        run();
        onWritten();
      }
      throw new Database.SqliteError("disk I/O error", "SQLITE_IOERR_FSYNC");
    };
    return statement;
  }) as typeof db.prepare;
  return db;
}

/** The state folder of one upstream, or of a daemon. */
export class SimDisk {
  readonly trouble: DiskTrouble = { isFull: false, ioError: undefined, syncMs: 5 };
  readonly files: SimFile[] = [];
  readonly #keepsHistory: boolean;

  /** `keepsHistory`: the machine may lose its power. */
  constructor(keepsHistory: boolean) {
    this.#keepsHistory = keepsHistory;
  }

  file(number: number): SimFile {
    const known = this.files[number - 1];
    if (known !== undefined) return known;
    const file = new SimFile(this.files.length + 1, this.trouble, this.#keepsHistory);
    this.files.push(file);
    return file;
  }

  setFull(isFull: boolean): void {
    this.trouble.isFull = isFull;
    for (const file of this.files) file.fill();
  }
}
