/**
 * What many calls have in common (session, upstream, tool and the like), stored once: a call's row
 * holds only the number of its origin.
 *
 * O1. The numbers remembered here are in the database, or the transaction that wrote them still runs;
 *     they are forgotten with a rollback and after a deletion.
 */
import type { Database, Statement } from "better-sqlite3";
import { ORIGIN_COLUMNS, originSum } from "../rows.ts";
import type { RowValues, SqlValue } from "../rows.ts";

export interface Origin {
  readonly number: number;
  /** Its part of the checksum of each of its calls. */
  readonly sum: number;
  readonly values: RowValues;
}

/** A process has few sessions and calls few tools; this bounds what a strange one costs. */
const REMEMBERED_MAX = 1024;
const LENGTH = ORIGIN_COLUMNS.length;

export class Origins {
  readonly #known = new Map<string, Origin>();
  readonly #find: Statement;
  readonly #insert: Statement;

  constructor(db: Database) {
    const same = ORIGIN_COLUMNS.map((name) => `${name} is ?`).join(" and ");
    this.#find = db.prepare(`select number from origin where ${same}`).pluck();
    this.#insert = db.prepare(
      `insert into origin (${ORIGIN_COLUMNS.join(", ")}) values (?, ?, ?, ?, ?, ?, ?)`,
    );
  }

  /** The origin of a row, written if it is new. */
  of(values: RowValues): Origin {
    // Session and tool nearly always tell; the other columns are compared, being equal nearly always.
    const key = `${values[0]} ${values[4]}`;
    const known = this.#known.get(key);
    if (known !== undefined && isSame(known.values, values)) return known;
    const columns = values.slice(0, LENGTH);
    const origin = { number: this.#numberOf(columns), sum: originSum(values), values: columns };
    if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
    this.#known.set(key, origin);
    return origin;
  }

  #numberOf(columns: readonly SqlValue[]): number {
    const found = this.#find.get(...columns) as number | undefined;
    return found ?? Number(this.#insert.run(...columns).lastInsertRowid);
  }

  forget(): void {
    this.#known.clear();
  }
}

function isSame(columns: RowValues, values: RowValues): boolean {
  for (let at = 0; at < LENGTH; at++) if (columns[at] !== values[at]) return false;
  return true;
}
