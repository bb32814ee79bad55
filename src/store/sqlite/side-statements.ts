/** Sessions, facts, the head and counts of a journal, and the deletion of old calls. */
import { crc32 } from "node:zlib";
import type { Database, Statement } from "better-sqlite3";
import type { SqlValue } from "../rows.ts";

const ENDED = "('done', 'failed', 'expired', 'cancelled', 'dead')";
const LIVE = "('queued', 'sent', 'tasked', 'in_doubt')";

export class SideStatements {
  readonly #db: Database;
  readonly #moveHead: Statement;
  readonly #saveSession: Statement;
  readonly #keep: Statement;
  readonly #forget: Statement;

  constructor(db: Database) {
    this.#db = db;
    this.#moveHead = db.prepare("update head set seq = ?, commits = ?");
    this.#saveSession = db.prepare(
      `insert into session (id, ended_at, body, sum) values (?, ?, ?, ?)
       on conflict (id) do update set ended_at = excluded.ended_at, body = excluded.body, sum = excluded.sum`,
    );
    this.#keep = db.prepare(
      "insert into fact values (?, ?) on conflict (key) do update set value = excluded.value",
    );
    this.#forget = db.prepare("delete from fact where key = ?");
  }

  head(): { dbId: string; seq: number; commits: number } {
    const statement = this.#db.prepare('select db_id as "dbId", seq, commits from head');
    return statement.get() as { dbId: string; seq: number; commits: number };
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

  saveSession(id: string, body: string, endedAt: number | null): void {
    this.#saveSession.run(id, endedAt, body, crc32(body));
  }

  findSession(id: string): { readonly body: string } | "damaged" | undefined {
    const statement = this.#db.prepare("select body, sum from session where id = ?").raw();
    const [body, sum] = (statement.get(id) ?? []) as SqlValue[];
    if (typeof body !== "string") return undefined;
    return crc32(body) === sum ? { body } : "damaged";
  }

  /** `null` forgets the fact. */
  keep(key: string, value: string | null): void {
    if (value === null) this.#forget.run(key);
    else this.#keep.run(key, value);
  }

  kept(prefix: string): [string, string][] {
    const statement = this.#db
      .prepare("select key, value from fact where instr(key, ?) = 1 order by key")
      .raw();
    return statement.all(prefix) as [string, string][];
  }

  /** Calls that ended before `before` and still have a payload, at most `count`. */
  withPayload(before: number, count: number): string[] {
    const statement = this.#db
      .prepare(
        `select id from call where settled_at < ? and state in ${ENDED}
         and (request <> '' or reply is not null) limit ?`,
      )
      .pluck();
    return statement.all(before, count) as string[];
  }

  /** Deletes calls that ended before `before`, and sessions that did; returns the number of calls. */
  prune(before: number): number {
    const calls = this.#db.prepare(
      `delete from call where settled_at < ? and state in ${ENDED}
       and seq not in (select seq from quarantine)`,
    );
    this.#db.prepare("delete from session where ended_at < ?").run(before);
    return calls.run(before).changes;
  }
}
