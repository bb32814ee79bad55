/**
 * Calls in SQLite. A change is read, judged by the reference (`apply()` of core) and written by one
 * guarded statement, all inside the caller's transaction; the guard's row count decides.
 *
 * Q1. A row whose checksums or columns are wrong is put into `quarantine`, reported, and from then on
 *     neither handed out nor changed nor deleted.
 * Q2. What is remembered of open rows is forgotten with a rollback (`forget`).
 */
import { crc32 } from "node:zlib";
import type { Database, Statement } from "better-sqlite3";
import { Bug, assert } from "../../base/assert.ts";
import { apply, isRepeatable } from "../../core/call.ts";
import type { CallChange, CallRow } from "../../core/call.ts";
import type { JournalFilter } from "../../core/call-filter.ts";
import {
  CHANGING_COLUMNS,
  CODEC_TEXT,
  ID_AT,
  META_COLUMNS,
  OWN_COLUMNS,
  SEQ_AT,
  assertLegal,
  changingOf,
  changingValues,
  decodeRow,
  lifelongSum,
  ownOf,
  rowSum,
  textSum,
} from "../rows.ts";
import type { RowValues, SqlValue } from "../rows.ts";
import { Origins } from "./origins.ts";

const META = META_COLUMNS.join(", ");
const SUMS = "request_codec, request_sum, reply_codec, reply_sum, sum";
/** A call whose origin is missing has to be seen, too: it is damaged. */
const CALLS = "call left join origin on origin.number = call.origin";
/** Where the five columns of `SUMS` begin in a row read with them. */
const SUMS_AT = META_COLUMNS.length;
const NOT_QUARANTINED = "seq not in (select seq from quarantine)";
/** Whole rows with their sums, as `checkRow` takes them. */
export const ALL_ROWS = `select ${META}, ${SUMS}, request, reply from ${CALLS}`;
/** Without those that were set aside; a condition and an order may follow. */
export const WHOLE_ROWS = `${ALL_ROWS} where ${NOT_QUARANTINED}`;
const OF_SESSION = "call.origin in (select number from origin where session_id = ?)";
const NO_PAYLOADS = "request = '', request_sum = 0, reply = null, reply_sum = 0";
/** Open rows remembered, so that a change need not read its row again. */
const REMEMBERED_MAX = 4096;

type ChangingColumn = (typeof CHANGING_COLUMNS)[number];

/**
 * What each change writes of what `apply()` of core says. A column forgotten here would leave a row
 * whose checksum is wrong.
 */
const WRITTEN: Record<CallChange["kind"], readonly ChangingColumn[]> = {
  dispatch: ["state", "attempt", "upstream_id", "sent_at"],
  settle: ["state", "executed", "settled_at", "cause"],
  requeue: ["state", "cause"],
  doubt: ["state", "is_doubted", "cause"],
  bury: ["state", "reason", "executed", "settled_at", "cause"],
  expire: ["state", "executed", "settled_at", "cause"],
  cancel: ["state", "executed", "settled_at", "cause"],
  acknowledge: ["deadline_at", "acknowledged_at"],
  deliver: ["delivered_at"],
  annotate: ["note"],
};

/** One change's update: bound are the values at `at`, the new checksum, a reply, then seq and old sum. */
interface Update {
  readonly at: readonly number[];
  readonly statement: Statement;
}

/** A row without its payloads, and the checksums that stand for them. */
interface Known {
  readonly row: CallRow;
  readonly lifelong: number;
  readonly requestSum: number;
  readonly replySum: number;
  readonly sum: number;
}

export interface QuarantinedRow {
  readonly seq: number;
  readonly id: string;
  readonly why: string;
}

export class CallStatements {
  readonly #db: Database;
  readonly #dropsDelivered: boolean;
  readonly #known = new Map<string, Known>();
  readonly #origins: Origins;
  readonly #insert: Statement;
  readonly #readMeta: Statement;
  readonly #drop: Statement;
  readonly #updates = new Map<CallChange["kind"] | "drop", Update>();
  readonly #quarantine: Statement;
  readonly #onQuarantine: (row: QuarantinedRow) => void;

  /** `dropsDelivered`: a delivered row loses its payloads with the mark. */
  constructor(
    db: Database,
    dropsDelivered: boolean,
    onQuarantine: (row: QuarantinedRow) => void = () => undefined,
  ) {
    this.#db = db;
    this.#dropsDelivered = dropsDelivered;
    this.#onQuarantine = onQuarantine;
    this.#origins = new Origins(db);
    const columns = [
      ...OWN_COLUMNS,
      "origin",
      ...CHANGING_COLUMNS,
      "request_sum",
      "sum",
      "request",
    ];
    const marks = columns.map((name) => (name === "request" ? "cast(? as text)" : "?")).join(", ");
    this.#insert = db.prepare(`insert into call (${columns.join(", ")}) values (${marks})`);
    this.#readMeta = db
      .prepare(`select ${META}, ${SUMS} from ${CALLS} where id = ? and ${NOT_QUARANTINED}`)
      .raw();
    this.#drop = db.prepare(`update call set sum = ?, ${NO_PAYLOADS} where seq = ? and sum = ?`);
    this.#quarantine = db.prepare("insert or ignore into quarantine (seq, id, why) values (?,?,?)");
  }

  /** Inserts a live row under this seq. `bytes`: its request, instead of the one among the values. */
  insert(values: RowValues, seq: number, bytes?: Uint8Array): void {
    const numbered = [...values];
    numbered[SEQ_AT] = seq;
    const row = decodeRow(numbered);
    if (typeof row === "string") throw new Bug(`admitted call ${String(values[ID_AT])}: ${row}`);
    const origin = this.#origins.of(numbered);
    const own = ownOf(numbered);
    const changing = changingOf(numbered);
    const lifelong = lifelongSum(numbered, origin.sum);
    const request = bytes ?? row.request;
    const requestSum = crc32(request);
    const sum = rowSum(changing, lifelong, requestSum, 0);
    this.#insert.run(...own, origin.number, ...changing, requestSum, sum, request);
    this.#remember({ row: { ...row, request: "" }, lifelong, requestSum, replySum: 0, sum });
  }

  /** False where the change is refused; nothing is written then. `reply`: instead of a settlement's own. */
  change(change: CallChange, reply?: Uint8Array): boolean {
    const known = this.#known.get(change.id) ?? this.#look(change.id);
    if (known === undefined) return false;
    const next = apply(known.row, change);
    if (next === undefined) return false;
    this.#write(known, next, change, reply);
    return true;
  }

  #write(known: Known, next: CallRow, change: CallChange, bytes: Uint8Array | undefined): void {
    assertLegal(next);
    const { lifelong } = known;
    let { requestSum, replySum } = known;
    let row = next;
    const replies: (SqlValue | Uint8Array)[] = [];
    if (change.kind === "settle") {
      row = { ...next, reply: undefined };
      const reply = bytes ?? change.reply;
      replySum = crc32(reply);
      replies.push(replySum, reply);
    }
    const isDropping =
      change.kind === "deliver" && this.#dropsDelivered && !isRepeatable(next.state);
    if (isDropping) {
      requestSum = 0;
      replySum = 0;
    }
    const changing = changingValues(row);
    const sum = rowSum(changing, lifelong, requestSum, replySum);
    const { at, statement } = this.#updateFor(change.kind, isDropping);
    const bound = at.map((column) => changing[column]);
    const { changes } = statement.run(...bound, sum, ...replies, known.row.seq, known.sum);
    assert(changes === 1, `call ${change.id} is not what it was when it was judged`);
    if (row.deliveredAt !== undefined) this.#known.delete(change.id);
    else this.#remember({ row, lifelong, requestSum, replySum, sum });
  }

  /** Guarded by the old checksum, which covers all columns: nothing but the judged row is changed. */
  #updateFor(kind: CallChange["kind"], isDropping: boolean): Update {
    const name = isDropping ? "drop" : kind;
    const known = this.#updates.get(name);
    if (known !== undefined) return known;
    const set = [...WRITTEN[kind], "sum"].map((name) => `${name} = ?`);
    if (kind === "settle") set.push("reply_sum = ?", "reply = cast(? as text)");
    if (isDropping) set.push(NO_PAYLOADS);
    const update = {
      at: WRITTEN[kind].map((name) => CHANGING_COLUMNS.indexOf(name)),
      statement: this.#db.prepare(`update call set ${set.join(", ")} where seq = ? and sum = ?`),
    };
    this.#updates.set(name, update);
    return update;
  }

  /** Drops the payloads of an ended call and keeps its record. */
  dropPayloads(id: string): void {
    const known = this.#known.get(id) ?? this.#look(id);
    if (known === undefined) return;
    const sum = rowSum(changingValues(known.row), known.lifelong, 0, 0);
    this.#drop.run(sum, known.row.seq, known.sum);
    this.#known.delete(id);
  }

  #remember(known: Known): void {
    const { id } = known.row;
    if (this.#known.size >= REMEMBERED_MAX && !this.#known.has(id)) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(id, known);
  }

  #look(id: string): Known | undefined {
    const read = this.#readMeta.get(id) as SqlValue[] | undefined;
    if (read === undefined) return undefined;
    const requestSum = Number(read[SUMS_AT + 1]);
    const replySum = Number(read[SUMS_AT + 3]);
    const sum = Number(read[SUMS_AT + 4]);
    const row = decodeRow([...read.slice(0, SUMS_AT), "", null]);
    const lifelong = lifelongSum(read);
    if (
      typeof row === "string" ||
      rowSum(changingOf(read), lifelong, requestSum, replySum) !== sum
    ) {
      this.#setAside(read, typeof row === "string" ? row : "its checksum is wrong");
      return undefined;
    }
    return { row, lifelong, requestSum, replySum, sum };
  }

  /** Whole rows that pass every check, by a condition on `call`; others go into quarantine. */
  read(condition: string, ...parameters: SqlValue[]): RowValues[] {
    const rows: RowValues[] = [];
    const statement = this.#db.prepare(`${WHOLE_ROWS} and ${condition}`).raw();
    for (const read of statement.all(...parameters) as SqlValue[][]) {
      const checked = checkRow(read);
      if (typeof checked === "string") this.#setAside(read, checked);
      else rows.push(checked);
    }
    return rows;
  }

  list({ states, sessionId, isUndelivered, afterSeq, limit }: JournalFilter): RowValues[] {
    const wanted = states?.map(() => "?").join(",");
    const conditions = [
      // The condition of the index `call_open`: of what is open only the rows wanted are read.
      isUndelivered === true ? "delivered_at is null" : "true",
      wanted === undefined ? "true" : `state in (${wanted})`,
      sessionId === undefined ? "true" : OF_SESSION,
      // Said for nothing, it would have all rows read by number instead of the open ones by their index.
      afterSeq === undefined ? "true" : "seq > ?",
    ].join(" and ");
    const values = [states, sessionId, afterSeq].flatMap((value) => value ?? []);
    const order = afterSeq === undefined ? "seq desc" : "seq";
    return this.read(`${conditions} order by ${order} limit ?`, ...values, limit ?? -1);
  }

  quarantined(): QuarantinedRow[] {
    return this.#db
      .prepare("select seq, id, why from quarantine order by seq")
      .all() as QuarantinedRow[];
  }

  #setAside(read: readonly SqlValue[], why: string): void {
    const row = { seq: Number(read[SEQ_AT]), id: String(read[ID_AT]), why };
    if (!this.#db.readonly) this.#quarantine.run(row.seq, row.id, row.why);
    this.#onQuarantine(row);
  }

  /** After a rollback (Q2), and after rows were changed past `change`. */
  forget(): void {
    this.#known.clear();
    this.#origins.forget();
  }
}

/** The values of a row read with its sums, or in words what is wrong with it. */
export function checkRow(read: readonly SqlValue[]): RowValues | string {
  const meta = read.slice(0, SUMS_AT);
  const [requestCodec, requestSum, replyCodec, replySum, sum, request, reply] = read.slice(SUMS_AT);
  if (requestCodec !== CODEC_TEXT || replyCodec !== CODEC_TEXT)
    return "its payload is in a form unknown to this version";
  if (textSum(request) !== requestSum) return "the checksum of its request is wrong";
  if (textSum(reply) !== replySum) return "the checksum of its reply is wrong";
  const expected = rowSum(
    changingOf(read),
    lifelongSum(read),
    Number(requestSum),
    Number(replySum),
  );
  if (expected !== sum) return "its checksum is wrong";
  const values = [...meta, request ?? null, reply ?? null];
  const row = decodeRow(values);
  return typeof row === "string" ? row : values;
}
