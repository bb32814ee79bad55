/** Sessions, facts, the head and counts of a journal. */
import { crc32 } from "node:zlib";
import type { Database, Statement } from "better-sqlite3";
import type { SqlValue } from "../rows.ts";

export interface Head {
  dbId: string;
  /** The number of the last call that was admitted. */
  seq: number;
  commits: number;
}

export interface StoredSession {
  readonly id: string;
  /** Undefined where it is damaged. */
  readonly body: string | undefined;
}

const LIVE = "('queued', 'sent', 'tasked', 'in_doubt')";

export class SideStatements {
  readonly #db: Database;
  readonly #moveHead: Statement;
  readonly #saveSession: Statement;
  /** Made when it is needed: a journal of an earlier version, which is only read, has no checksums. */
  #keep: Statement | undefined;
  readonly #forget: Statement;
  readonly #onDamaged: (what: string) => void;

  /** `onDamaged` is told which facts are damaged, and left out. */
  constructor(db: Database, onDamaged: (what: string) => void = () => undefined) {
    this.#db = db;
    this.#onDamaged = onDamaged;
    this.#moveHead = db.prepare("update head set seq = ?, commits = ?");
    this.#saveSession = db.prepare(
      `insert into session (id, seen_at, body, sum) values (?, ?, ?, ?)
       on conflict (id) do update set seen_at = excluded.seen_at, body = excluded.body, sum = excluded.sum`,
    );
    this.#forget = db.prepare("delete from fact where key = ?");
  }

  head(): Head {
    const statement = this.#db.prepare('select db_id as "dbId", seq, commits from head');
    return statement.get() as Head;
  }

  moveHead(seq: number, commits: number): void {
    this.#moveHead.run(seq, commits);
  }

  #count(sql: string): number {
    return this.#db.prepare(sql).pluck().get() as number;
  }

  countCalls(): number {
    return this.#count("select count(*) from call");
  }

  countSessions(): number {
    return this.#count("select count(*) from session");
  }

  countLive(): number {
    return this.#count(
      `select count(*) from call where delivered_at is null and state in ${LIVE}
       and seq not in (select seq from quarantine)`,
    );
  }

  countQuarantined(): number {
    return this.#count("select count(*) from quarantine");
  }

  countByState(): Record<string, number> {
    const statement = this.#db
      .prepare(
        `select state, count(*) from call
         where seq not in (select seq from quarantine) group by state order by state`,
      )
      .raw();
    return Object.fromEntries(statement.all() as [string, number][]);
  }

  saveSession(id: string, body: string, seenAt: number): void {
    this.#saveSession.run(id, seenAt, body, crc32(body));
  }

  /** One or none. */
  findSession(id: string): StoredSession[] {
    return this.#readSessions("id = ?", id);
  }

  /** In the order in which they were first saved. */
  sessions(): StoredSession[] {
    return this.#readSessions("true order by rowid");
  }

  /** Sessions that were last seen before this, and of which there is no call any more. */
  idleSessions(before: number): StoredSession[] {
    const isFree = "id not in (select session_id from origin)";
    return this.#readSessions(`seen_at < ? and ${isFree}`, before);
  }

  deleteSession(id: string): void {
    this.#db.prepare("delete from session where id = ?").run(id);
  }

  #readSessions(condition: string, ...parameters: SqlValue[]): StoredSession[] {
    const statement = this.#db
      .prepare(`select id, body, sum from session where ${condition}`)
      .raw();
    return (statement.all(...parameters) as [string, string, number][]).map(([id, body, sum]) => ({
      id,
      body: crc32(body) === sum ? body : undefined,
    }));
  }

  /** `null` forgets the fact. */
  keep(key: string, value: string | null): void {
    if (value === null) this.#forget.run(key);
    else {
      this.#keep ??= this.#db.prepare(
        `insert into fact (key, value, sum) values (?, ?, ?)
         on conflict (key) do update set value = excluded.value, sum = excluded.sum`,
      );
      this.#keep.run(key, value, factSum(key, value));
    }
  }

  #sumOfFact(): string {
    const columns = "select count(*) from pragma_table_info('fact') where name = 'sum'";
    return this.#count(columns) === 1 ? "sum" : "null";
  }

  /** Without damaged ones. A fact of an earlier version has no checksum. */
  kept(prefix: string): [string, string][] {
    const statement = this.#db
      .prepare(
        `select key, value, ${this.#sumOfFact()} from fact where instr(key, ?) = 1 order by key`,
      )
      .raw();
    const kept: [string, string][] = [];
    for (const [key, value, sum] of statement.all(prefix) as [string, string, number | null][]) {
      if (sum === null || sum === factSum(key, value)) kept.push([key, value]);
      else this.#onDamaged(`fact ${key}`);
    }
    return kept;
  }
}

const factSum = (key: string, value: string): number => crc32(`${key.length}:${key};${value}`);
