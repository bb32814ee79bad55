/**
 * Retention in short steps: payloads of calls that ended long ago are dropped, the records of older
 * ones deleted, over the journal's own bound the oldest ended calls, those first whose outcome was
 * delivered, and at last what belongs to no call any more. What is archived first is not lost.
 *
 * E1. A step changes at most `CHANGED_MAX` calls and looks at `SEEN_MAX` of them, so that the writer
 *     is never kept from its work for long; the last step may look at all.
 * E2. Live calls and rows in quarantine stay as they are.
 */
import type { Database, Statement } from "better-sqlite3";
import { sessionOverAt } from "../../core/session.ts";
import { readSession } from "./answers.ts";
import { errorText } from "../../base/errors.ts";
import type { Archived } from "./archive.ts";
import type { Pruned, Retention } from "./protocol.ts";
import type { SideFiles } from "./side-files.ts";
import type { SideStatements } from "./side-statements.ts";
import type { CallStatements } from "./statements.ts";

const CHANGED_MAX = 500;
const SEEN_MAX = 5000;

const ENDED = "('done', 'failed', 'expired', 'cancelled', 'dead')";

type Found = readonly [seq: number, id: string, isOld: 0 | 1];

export class Pruner {
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  readonly #find: Statement;
  readonly #oldest: Statement;
  readonly #first: Statement;
  readonly #delete: Statement;
  readonly #deleteOrigins: Statement;
  readonly #db: Database;
  readonly #archive: SideFiles["archive"];

  /** Calls were deleted, by this process or one before, whose origins may have no other. */
  #mayHaveLeft = true;

  constructor(
    db: Database,
    calls: CallStatements,
    side: SideStatements,
    archive?: SideFiles["archive"],
  ) {
    this.#db = db;
    this.#archive = archive;
    this.#calls = calls;
    this.#side = side;
    this.#first = db.prepare("select min(seq) from call where seq > ?").pluck();
    this.#find = db
      .prepare(
        `select seq, id, settled_at < :records from call
         where seq between :first and :last and seq not in (select seq from quarantine)
           and state in ${ENDED}
           and (settled_at < :records
                or settled_at < :results and (request <> '' or reply is not null))
         order by seq limit ${CHANGED_MAX}`,
      )
      .raw();
    this.#oldest = db
      .prepare(
        `select seq, id, octet_length(request) + ifnull(octet_length(reply), 0) from call
         where seq not in (select seq from quarantine)
           and state in ${ENDED} and (delivered_at is not null) = ?
         order by seq limit ${CHANGED_MAX}`,
      )
      .raw();
    this.#delete = db.prepare("delete from call where seq = ?");
    this.#deleteOrigins = db.prepare(
      "delete from origin where number not in (select origin from call)",
    );
  }

  /** `after`: of the step before, or 0. `now`: epoch ms. */
  step(retention: Retention, after: number, now: number): Pruned {
    const first = this.#first.get(after) as number | null;
    if (first === null) return this.#shrink(retention, after, now) ?? this.#finish(retention);
    const last = first + SEEN_MAX - 1;
    const { results, records } = retention;
    const found = this.#find.all({ results, records, first, last }) as Found[];
    const isWhole = found.length < CHANGED_MAX;
    return this.#take(found, isWhole ? last : found.at(-1)?.[0], now);
  }

  /** One step at the end of all, and again as long as the journal is over its bound. */
  #shrink({ bytesMax }: Retention, after: number, now: number): Pruned | undefined {
    const excess = bytesMax === null ? 0 : this.#usedBytes() - bytesMax;
    if (excess <= 0) return undefined;
    const delivered = this.#findOldest(1, excess);
    const found = delivered.length > 0 ? delivered : this.#findOldest(0, excess);
    return found.length === 0 ? undefined : this.#take(found, after, now);
  }

  /** The oldest ended calls, of those that were delivered or the others, up to `excess` bytes. */
  #findOldest(isDelivered: 0 | 1, excess: number): Found[] {
    const found: Found[] = [];
    let left = excess;
    const oldest = this.#oldest.iterate(isDelivered) as Iterable<[number, string, number]>;
    for (const [seq, id, bytes] of oldest) {
      found.push([seq, id, 1]);
      left -= bytes;
      if (left <= 0) break;
    }
    return found;
  }

  /** Pages that were freed stay in the file, and are used again: they don't count. */
  #usedBytes(): number {
    const pragma = (name: string) => this.#db.pragma(name, { simple: true }) as number;
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  }

  #take(found: readonly Found[], next: number | undefined, now: number): Pruned {
    try {
      this.#archive?.append(
        found.flatMap((one) => this.#read(one)),
        now,
      );
    } catch (error) {
      const trouble = `nothing was pruned, for it could not be archived: ${errorText(error)}`;
      return { deleted: 0, next: undefined, trouble };
    }
    let deleted = 0;
    for (const [seq, id, isOld] of found) {
      if (isOld === 1) deleted += this.#delete.run(seq).changes;
      else this.#calls.dropPayloads(id);
    }
    if (deleted > 0) {
      this.#mayHaveLeft = true;
      this.#calls.forget();
    }
    return { deleted, next };
  }

  /** Damaged ones are set aside by being read, and are not archived. */
  #read([seq, , isOld]: Found): Archived[] {
    return this.#calls
      .read("seq = ?", seq)
      .map((values) => [isOld === 1 ? "record" : "result", values]);
  }

  #finish({ records }: Retention): Pruned {
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
