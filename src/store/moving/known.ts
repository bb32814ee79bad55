/** What the journals of a state folder have already, so that an import brings nothing a second time (MV7). */
import type { Database, Statement } from "better-sqlite3";
import { JournalError, errorText } from "../../base/errors.ts";
import { journalFiles, journalNumbers, upstreamsWithJournals } from "../layout.ts";
import { openReading } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { SideStatements } from "../sqlite/side-statements.ts";

/** The fact of a journal that it came from the file with this sum. */
export const IMPORTED = "imported";

interface KnownJournal {
  readonly path: string;
  readonly digest16: string;
  readonly side: SideStatements;
  readonly calls: Statement;
  readonly sessions: Statement;
}

/** The calls and sessions of all journals of a state folder, damaged ones too as far as they can be read. */
export class Known {
  readonly #dbs: Database[] = [];
  readonly #journals: KnownJournal[] = [];

  /** Throws `JournalError` where one can't be read. */
  constructor(driver: Driver, folder: string) {
    try {
      for (const digest of upstreamsWithJournals(folder)) {
        for (const number of journalNumbers(folder, digest))
          this.#add(driver, digest, journalFiles(folder, digest, number).path);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #add(driver: Driver, digest16: string, path: string): void {
    reading(path, () => {
      const db = openReading(driver, path);
      this.#dbs.push(db);
      // Its process died, or is still busy, before there was a schema.
      if (db.pragma("user_version", { simple: true }) === 0) return;
      const calls = db.prepare("select 1 from call where id = ?");
      const sessions = db.prepare("select 1 from session where id = ?");
      this.#journals.push({ path, digest16, side: new SideStatements(db), calls, sessions });
    });
  }

  /** Throws `JournalError` where that can't be told. */
  hasCall(id: string): boolean {
    return this.#journals.some(({ path, calls }) => hasRow(path, calls, id));
  }

  /** Throws `JournalError` where that can't be told. */
  hasSession(id: string): boolean {
    return this.#journals.some(({ path, sessions }) => hasRow(path, sessions, id));
  }

  /** A journal of this upstream came from the file with this sum. Throws `JournalError` where that can't be told. */
  wasImported(upstreamDigest16: string, sha256: string): boolean {
    return this.#journals.some(
      ({ path, digest16, side }) =>
        digest16 === upstreamDigest16 &&
        reading(path, () => new Map(side.kept(IMPORTED)).get(IMPORTED) === sha256),
    );
  }

  close(): void {
    for (const db of this.#dbs) db.close();
  }
}

const hasRow = (path: string, statement: Statement, id: string): boolean =>
  reading(path, () => statement.get(id) !== undefined);

function reading<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new JournalError(
      "io",
      `whether its calls are here already can't be told, because ${path} can't be read: ` +
        `${errorText(error)}. Mend it (holdfast verify --repair) or move that file away, then import again.`,
      error,
    );
  }
}
