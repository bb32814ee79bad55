/**
 * Calls in SQLite. A change is read, judged by the reference (`apply()` of core) and written by one
 * guarded statement, all inside the caller's transaction; the guard's row count decides.
 *
 * Q1. A row whose checksums or columns are wrong is put into `quarantine`, reported, and from then on
 *     neither handed out nor changed nor deleted.
 * Q2. What is remembered of open rows is forgotten with a rollback (`forget`).
 */
import type { Database, Statement } from "better-sqlite3";
import { Bug, assert } from "../../base/assert.ts";
import { apply, isRepeatable } from "../../core/call.ts";
import type { CallChange, CallRow } from "../../core/call.ts";
import {
  CODEC_TEXT,
  META_COLUMNS,
  REPLY_AT,
  REQUEST_AT,
  decodeRow,
  encodeRow,
  rowSum,
  textSum,
} from "../rows.ts";
import type { RowValues, SqlValue } from "../rows.ts";

const META = META_COLUMNS.join(", ");
const SUMS = "request_codec, request_sum, reply_codec, reply_sum, sum";
/** Where the five columns of `SUMS` begin in a row read with them. */
const SUMS_AT = META_COLUMNS.length;
const NOT_QUARANTINED = "seq not in (select seq from quarantine)";
/** Columns that a change may write. */
const CHANGING = [
  "deadline_at",
  "acknowledged_at",
  "state",
  "reason",
  "executed",
  "attempt",
  "is_doubted",
  "upstream_id",
  "sent_at",
  "settled_at",
  "delivered_at",
  "cause",
  "note",
] as const;
const CHANGING_AT = CHANGING.map((name) => META_COLUMNS.indexOf(name));
/** Open rows remembered, so that a change need not read its row again. */
const REMEMBERED_MAX = 4096;

/** A row without its payloads, and the checksums that stand for them. */
interface Known {
  readonly row: CallRow;
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
  readonly #insert: Statement;
  readonly #readMeta: Statement;
  readonly #change: Statement;
  readonly #settle: Statement;
  readonly #drop: Statement;
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
    const marks = Array.from({ length: META_COLUMNS.length + 7 }, () => "?").join(", ");
    this.#insert = db.prepare(
      `insert into call (${META}, ${SUMS}, request, reply) values (${marks})`,
    );
    this.#readMeta = db
      .prepare(`select ${META}, ${SUMS} from call where id = ? and ${NOT_QUARANTINED}`)
      .raw();
    const set = `update call set ${CHANGING.map((name) => `${name} = ?`).join(", ")}, sum = ?`;
    // The old state, attempt and checksum guard the write: nothing but the judged row is changed.
    const guard = "where seq = ? and state = ? and attempt = ? and sum = ?";
    this.#change = db.prepare(`${set} ${guard}`);
    this.#settle = db.prepare(`${set}, reply_codec = ?, reply_sum = ?, reply = ? ${guard}`);
    this.#drop = db.prepare(
      `${set}, request = '', request_sum = 0, reply = null, reply_sum = 0 ${guard}`,
    );
    this.#quarantine = db.prepare("insert or ignore into quarantine (seq, id, why) values (?,?,?)");
  }

  /** Inserts a row under this seq. */
  insert(values: RowValues, seq: number): void {
    const meta = [seq, ...values.slice(1, META_COLUMNS.length)];
    const request = values[REQUEST_AT] ?? null;
    const reply = values[REPLY_AT] ?? null;
    const requestSum = textSum(request);
    const replySum = textSum(reply);
    const sum = rowSum(meta, requestSum, replySum);
    this.#insert.run(...meta, CODEC_TEXT, requestSum, CODEC_TEXT, replySum, sum, request, reply);
    const row = decodeRow([...meta, "", null]);
    if (typeof row === "string") throw new Bug(`admitted call ${String(values[1])}: ${row}`);
    this.#remember({ row, requestSum, replySum, sum });
  }

  /** False where the change is refused; nothing is written then. */
  change(change: CallChange): boolean {
    const known = this.#known.get(change.id) ?? this.#look(change.id);
    if (known === undefined) return false;
    const next = apply(known.row, change);
    if (next === undefined) return false;
    this.#write(known, next, change);
    return true;
  }

  #write(known: Known, next: CallRow, change: CallChange): void {
    const isDropping =
      change.kind === "deliver" && this.#dropsDelivered && !isRepeatable(next.state);
    const reply = change.kind === "settle" ? change.reply : undefined;
    const requestSum = isDropping ? 0 : known.requestSum;
    const replySum = isDropping ? 0 : reply === undefined ? known.replySum : textSum(reply);
    const row: CallRow = { ...next, request: "", reply: undefined };
    const values = encodeRow(row);
    const sum = rowSum(values, requestSum, replySum);
    const set = CHANGING_AT.map((at) => values[at] ?? null);
    const { seq, state, attempt } = known.row;
    const guard = [seq, state, attempt, known.sum];
    const { changes } = isDropping
      ? this.#drop.run(...set, sum, ...guard)
      : reply === undefined
        ? this.#change.run(...set, sum, ...guard)
        : this.#settle.run(...set, sum, CODEC_TEXT, replySum, reply, ...guard);
    assert(changes === 1, `call ${change.id} is not what it was when it was judged`);
    if (row.deliveredAt === undefined) this.#remember({ row, requestSum, replySum, sum });
    else this.#known.delete(change.id);
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
    if (typeof row === "string" || rowSum(read, requestSum, replySum) !== sum) {
      this.#setAside(read, typeof row === "string" ? row : "its checksum is wrong");
      return undefined;
    }
    return { row, requestSum, replySum, sum };
  }

  /** Whole rows that pass every check, by a condition on `call`; others go into quarantine. */
  read(condition: string, ...parameters: SqlValue[]): RowValues[] {
    const rows: RowValues[] = [];
    const statement = this.#db
      .prepare(
        `select ${META}, ${SUMS}, request, reply from call where ${NOT_QUARANTINED} and ${condition}`,
      )
      .raw();
    for (const read of statement.all(...parameters) as SqlValue[][]) {
      const checked = checkRow(read);
      if (typeof checked === "string") this.#setAside(read, checked);
      else rows.push(checked);
    }
    return rows;
  }

  /** Newest first. */
  list(states: readonly string[] | undefined, limit: number | undefined): RowValues[] {
    const wanted = states ?? [];
    const filter = states === undefined ? "true" : `state in (${wanted.map(() => "?").join(",")})`;
    return this.read(`${filter} order by seq desc limit ?`, ...wanted, limit ?? -1);
  }

  quarantined(): QuarantinedRow[] {
    return this.#db
      .prepare("select seq, id, why from quarantine order by seq")
      .all() as QuarantinedRow[];
  }

  #setAside(read: readonly SqlValue[], why: string): void {
    const row = { seq: Number(read[0]), id: String(read[1]), why };
    if (!this.#db.readonly) this.#quarantine.run(row.seq, row.id, row.why);
    this.#onQuarantine(row);
  }

  /** After a rollback (Q2), and after rows were changed past `change`. */
  forget(): void {
    this.#known.clear();
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
  if (rowSum(meta, Number(requestSum), Number(replySum)) !== sum) return "its checksum is wrong";
  const values = [...meta, request ?? null, reply ?? null];
  const row = decodeRow(values);
  return typeof row === "string" ? row : values;
}
