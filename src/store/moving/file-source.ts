/**
 * A journal on disk as a source of an export, read-only, beside its proxy or without one.
 *
 * MV4. Each page is a read transaction of its own: one that lasted would keep its proxy from emptying
 *      the WAL.
 */
import type { Database } from "better-sqlite3";
import { RefusedError } from "../../base/errors.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { decodeRow } from "../rows.ts";
import { readSession } from "../sqlite/answers.ts";
import { openReading } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { CallStatements } from "../sqlite/statements.ts";
import type { QuarantinedRow } from "../sqlite/statements.ts";
import { MIGRATIONS } from "../sqlite/migrations.ts";
import type { ExportSource } from "./export.ts";
import type { JournalRecord } from "./shapes.ts";

/** A page ends with the call that reaches one of these. */
const PAGE_CALLS = 500;
const PAGE_BYTES = 4 * 1024 * 1024;

export interface FileSourceOptions {
  readonly path: string;
  readonly about: JournalRecord;
  /** Empty: calls of all states. */
  readonly states: readonly string[];
  /** Only calls and sessions with this upstream in their rows: of a daemon's journal, a server's name. */
  readonly upstream: string | undefined;
  /** A damaged call or session, which is left out, in words. */
  readonly onDamaged: (what: string) => void;
}

/**
 * The caller closes it. Undefined for a journal whose process died before there was a schema. Throws
 * `RefusedError` for a newer schema, and an SQLite error where there is no journal.
 */
export function openFileSource(driver: Driver, options: FileSourceOptions): FileSource | undefined {
  const db = openReading(driver, options.path);
  try {
    const version = db.pragma("user_version", { simple: true }) as number;
    if (version > MIGRATIONS.length)
      throw new RefusedError(
        `${options.path} was written by a newer Holdfast; export it with that`,
      );
    if (version > 0) return new FileSource(db, options);
  } catch (error) {
    db.close();
    throw error;
  }
  db.close();
  return undefined;
}

export class FileSource implements ExportSource {
  readonly about: JournalRecord;
  readonly #db: Database;
  readonly #options: FileSourceOptions;
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  /** A condition on calls, and what is bound to it. */
  readonly #isWanted: string;
  readonly #bound: readonly string[];
  #fromSeq = 0;

  constructor(db: Database, options: FileSourceOptions) {
    this.about = options.about;
    this.#options = options;
    this.#db = db;
    const onDamaged = ({ id, why }: QuarantinedRow) => {
      options.onDamaged(`call ${id} of ${options.path} is damaged and left out: ${why}`);
    };
    this.#calls = new CallStatements(db, false, onDamaged);
    this.#side = new SideStatements(db);
    this.#calls.quarantined().forEach(onDamaged);
    const { states, upstream } = options;
    const ofState = states.length === 0 ? "true" : `state in (${states.map(() => "?").join(",")})`;
    const ofUpstream =
      upstream === undefined
        ? "true"
        : "call.origin in (select number from origin where upstream = ?)";
    this.#isWanted = `${ofState} and ${ofUpstream}`;
    this.#bound = [...states, ...(upstream === undefined ? [] : [upstream])];
  }

  /** The upstreams that its calls and sessions name. */
  upstreams(): string[] {
    const ofCalls = this.#db.prepare("select distinct upstream from origin").pluck().all();
    return [...new Set([...(ofCalls as string[]), ...this.#sessions().map((row) => row.upstream)])];
  }

  lastSeq(): Promise<number> {
    return Promise.resolve(this.#side.head().seq);
  }

  sessions(): Promise<readonly SessionRow[]> {
    const { path, upstream, onDamaged } = this.#options;
    for (const { id, body } of this.#side.sessions())
      if (body === undefined) onDamaged(`session ${id} of ${path} is damaged and left out`);
    const isWanted = (row: SessionRow) => upstream === undefined || row.upstream === upstream;
    return Promise.resolve(this.#sessions().filter(isWanted));
  }

  #sessions(): SessionRow[] {
    return this.#side
      .sessions()
      .flatMap(({ body }) => (body === undefined ? [] : [readSession(body)]));
  }

  /** When the newest calls were accepted, newest first, at most `limit`. */
  newest(limit: number): readonly number[] {
    return this.#db
      .prepare(`select accepted_at from call where ${this.#isWanted} order by seq desc limit ?`)
      .pluck()
      .all(...this.#bound, limit) as number[];
  }

  /** From now on only the newest `count` calls are given. */
  keepNewest(count: number): void {
    const seq = this.#db
      .prepare(`select seq from call where ${this.#isWanted} order by seq desc limit 1 offset ?`)
      .pluck()
      .get(...this.#bound, count) as number | undefined;
    this.#fromSeq = seq ?? 0;
  }

  page(afterSeq: number): Promise<readonly CallRow[]> {
    this.#db.exec("begin");
    try {
      for (let after = Math.max(afterSeq, this.#fromSeq); ;) {
        const last = this.#endOfPage(after);
        if (last === undefined) return Promise.resolve([]);
        const rows = this.#read(after, last);
        // Where all of a page is damaged there may still be more.
        if (rows.length > 0) return Promise.resolve(rows);
        after = last;
      }
    } finally {
      this.#db.exec("commit");
    }
  }

  #read(after: number, last: number): CallRow[] {
    return this.#calls
      .read(`seq > ? and seq <= ? and ${this.#isWanted} order by seq`, after, last, ...this.#bound)
      .map(decodeRow)
      .filter((row) => typeof row !== "string");
  }

  /** The sizes are told by the rows' headers, without their payloads. */
  #endOfPage(after: number): number | undefined {
    const sizes = this.#db
      .prepare(
        `select seq, octet_length(request) + coalesce(octet_length(reply), 0) from call
         where seq > ? and ${this.#isWanted} order by seq limit ${PAGE_CALLS}`,
      )
      .raw()
      .all(after, ...this.#bound) as [number, number][];
    let bytes = 0;
    for (const [seq, size] of sizes) {
      bytes += size;
      if (bytes >= PAGE_BYTES) return seq;
    }
    return sizes.at(-1)?.[0];
  }

  close(): void {
    this.#db.close();
  }
}
