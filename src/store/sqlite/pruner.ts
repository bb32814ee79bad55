/**
 * Retention in short steps: payloads of calls that ended long ago are dropped, the records of older
 * ones deleted, and at last what belongs to no call any more.
 *
 * E1. A step changes at most `CHANGED_MAX` calls and looks at `SEEN_MAX` of them, so that the writer
 *     is never kept from its work for long; the last step may look at all.
 * E2. Live calls and rows in quarantine stay as they are.
 */
import type { Database, Statement } from "better-sqlite3";
import { sessionOverAt } from "../../core/session.ts";
import { readSession } from "./answers.ts";
import type { Pruned } from "./protocol.ts";
import type { SideStatements } from "./side-statements.ts";
import type { CallStatements } from "./statements.ts";

const CHANGED_MAX = 500;
const SEEN_MAX = 5000;

type Found = readonly [seq: number, id: string, isOld: 0 | 1];

export class Pruner {
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  readonly #find: Statement;
  readonly #first: Statement;
  readonly #delete: Statement;
  readonly #deleteOrigins: Statement;

  /** Calls were deleted, by this process or one before, whose origins may have no other. */
  #mayHaveLeft = true;

  constructor(db: Database, calls: CallStatements, side: SideStatements) {
    this.#calls = calls;
    this.#side = side;
    this.#first = db.prepare("select min(seq) from call where seq > ?").pluck();
    this.#find = db
      .prepare(
        `select seq, id, settled_at < :records from call
         where seq between :first and :last and seq not in (select seq from quarantine)
           and state in ('done', 'failed', 'expired', 'cancelled', 'dead')
           and (settled_at < :records
                or settled_at < :results and (request <> '' or reply is not null))
         order by seq limit ${CHANGED_MAX}`,
      )
      .raw();
    this.#delete = db.prepare("delete from call where seq = ?");
    this.#deleteOrigins = db.prepare(
      "delete from origin where number not in (select origin from call)",
    );
  }

  step(results: number, records: number, after: number): Pruned {
    const first = this.#first.get(after) as number | null;
    if (first === null) return this.#finish(records);
    const last = first + SEEN_MAX - 1;
    const found = this.#find.all({ results, records, first, last }) as Found[];
    let deleted = 0;
    for (const [seq, id, isOld] of found) {
      if (isOld === 1) deleted += this.#delete.run(seq).changes;
      else this.#calls.dropPayloads(id);
    }
    if (deleted > 0) {
      this.#mayHaveLeft = true;
      this.#calls.forget();
    }
    const isWhole = found.length < CHANGED_MAX;
    return { deleted, next: isWhole ? last : found.at(-1)?.[0] };
  }

  #finish(records: number): Pruned {
    // Looks at every call (E1), so only where it may find something.
    if (this.#mayHaveLeft && this.#deleteOrigins.run().changes > 0) this.#calls.forget();
    this.#mayHaveLeft = false;
    for (const { id, body } of this.#side.idleSessions(records)) {
      const isOver = body === undefined || sessionOverAt(readSession(body)) < records;
      if (isOver) this.#side.deleteSession(id);
    }
    return { deleted: 0, next: undefined };
  }
}
