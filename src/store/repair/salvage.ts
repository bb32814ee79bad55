/**
 * Reads what can still be read of a damaged journal, row by row, into a new one.
 *
 * RS1. A row is carried over as it was, checksums included, or not at all; one that fails a check, or of
 *      which only the id can be read, is set aside in the new journal, with what is known of it.
 * RS2. Calls that wait in the new journal are held for a person: rows that could not be read may have
 *      told that they ran since.
 */
import type { Database, Statement } from "better-sqlite3";
import { isObject } from "../../wire/message.ts";
import { META_COLUMNS, OWN_COLUMNS, CHANGING_COLUMNS, ID_AT, SEQ_AT } from "../rows.ts";
import type { RowValues, SqlValue } from "../rows.ts";
import type { HighWater } from "../marks.ts";
import { sqliteCode } from "../sqlite/connection.ts";
import { Origins } from "../sqlite/origins.ts";
import { HELD_MARK, broughtIn, heldMarkText } from "../held-mark.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { ALL_ROWS, checkRow } from "../sqlite/statements.ts";
import { liveCalls } from "../verify/finding.ts";
import type { Finding } from "../verify/finding.ts";
import { GREATEST_SEQ } from "../verify/standing.ts";
import type { Head } from "../verify/standing.ts";

export interface Salvaged {
  /** Calls carried over. */
  readonly rows: number;
  readonly sessions: number;
  /** Of them those that wait, and are held for a person. */
  readonly held: Pick<Finding, "calls" | "callCount">;
  /** Calls that could not be carried over, and what is known of them. */
  readonly setAside: readonly { readonly id: string; readonly why: string }[];
}

const ROWS_A_TIME = 256;
/** Single rows looked for on damaged pages; more numbers than that no journal gives out between clearings. */
const SINGLES_MAX = 10_000_000;
const SUMS = ["request_codec", "request_sum", "reply_codec", "reply_sum", "sum"];
const STATE_AT = META_COLUMNS.indexOf("state");
const TOOL_AT = META_COLUMNS.indexOf("tool");

/**
 * The rows of a statement up to the first that can't be read; false if there was one. What the new journal
 * has against a row that is `take`n (a full disk) is thrown, unless it is about that row alone.
 */
function readWhileReadable<T>(
  statement: () => Statement,
  take: (row: T) => void,
  ...parameters: SqlValue[]
): boolean {
  let isTaking = false;
  try {
    for (const row of statement().iterate(...parameters) as Iterable<T>) {
      isTaking = true;
      take(row);
      isTaking = false;
    }
    return true;
  } catch (error) {
    // Also a table that is not there, or not as it should be: nothing can be read of it.
    const code = sqliteCode(error);
    if (code === undefined || (isTaking && !code.startsWith("SQLITE_CONSTRAINT"))) throw error;
    return false;
  }
}

/** Fills `to`, which is new and open for writing, in one transaction. Throws errors of `to`. */
export function salvage(from: Database, to: Database, mark: HighWater | undefined): Salvaged {
  to.exec("begin immediate");
  const side = new SideStatements(to);
  const sessions = copySessions(from, to);
  copyFacts(from, side);
  const calls = new CallSalvage(from, to);
  calls.copyQuarantine();
  calls.copyCalls(mark?.seq ?? 0);
  moveHead(from, to, side, mark);
  const held = liveCalls(to);
  if (held.callCount > 0) {
    const { seq } = side.head();
    side.keep(HELD_MARK, heldMarkText(broughtIn(seq, "rebuilt from a damaged file")));
  }
  to.exec("commit");
  return { rows: side.countCalls(), sessions, held, setAside: calls.setAside };
}

function copySessions(from: Database, to: Database): number {
  const insert = to.prepare(
    "insert or ignore into session (id, seen_at, body, sum) values (?, ?, ?, ?)",
  );
  const sound = new Set<string>();
  readWhileReadable<{ id: string; body: string | undefined }>(
    () => from.prepare("select id from session"),
    ({ id }) => {
      try {
        const [stored] = new SideStatements(from).findSession(id);
        if (stored?.body !== undefined) sound.add(id);
      } catch (error) {
        if (sqliteCode(error) === undefined) throw error;
      }
    },
  );
  let count = 0;
  for (const id of sound) {
    const read = from.prepare("select id, seen_at, body, sum from session where id = ?").raw();
    count += insert.run(...(read.get(id) as SqlValue[])).changes;
  }
  return count;
}

/** Not from which file it was imported: what the damage took can be brought again from there. */
function copyFacts(from: Database, side: SideStatements): void {
  readWhileReadable<{ key: string; value: string }>(
    () => from.prepare("select key, value from fact"),
    ({ key, value }) => {
      const isPlain = key === "upstream" || key === "credentials";
      if (isPlain || isJsonObject(value)) side.keep(key, value);
    },
  );
}

function isJsonObject(text: string): boolean {
  try {
    return isObject(JSON.parse(text) as unknown);
  } catch {
    return false;
  }
}

/** No number is given out again, and a mark of the old file finds the new one no further back. */
function moveHead(
  from: Database,
  to: Database,
  side: SideStatements,
  mark: HighWater | undefined,
): void {
  const heads: Head[] = [];
  readWhileReadable<Head>(
    () => from.prepare('select db_id as "dbId", seq, commits from head'),
    (head) => heads.push(head),
  );
  const rows = to.prepare(`select ${GREATEST_SEQ}`).pluck().get() as number;
  const seqs = [rows, mark?.seq ?? 0, ...heads.map(({ seq }) => seq)];
  const commits = [mark?.commits ?? 0, ...heads.map((head) => head.commits)];
  side.moveHead(Math.max(...seqs), Math.max(...commits) + 1);
}

class CallSalvage {
  readonly #from: Database;
  readonly #origins: Origins;
  readonly #insert: Statement;
  readonly #quarantine: Statement;
  readonly #find: Statement;
  readonly #done = new Set<number>();
  readonly setAside: { id: string; why: string }[] = [];

  constructor(from: Database, to: Database) {
    this.#from = from;
    this.#origins = new Origins(to);
    const columns = [...OWN_COLUMNS, ...CHANGING_COLUMNS, ...SUMS, "request", "reply", "origin"];
    const marks = columns.map(() => "?").join(", ");
    this.#insert = to.prepare(`insert into call (${columns.join(", ")}) values (${marks})`);
    this.#find = to.prepare("select 1 from call where id = ?");
    this.#quarantine = to.prepare(
      "insert or ignore into quarantine (seq, id, why) values (?, ?, ?)",
    );
  }

  /** What was set aside before stays so, and is not read again. */
  copyQuarantine(): void {
    readWhileReadable<{ seq: number; id: string; why: string }>(
      () => this.#from.prepare("select seq, id, why from quarantine"),
      ({ seq, id, why }) => {
        this.#putAside(seq, id, why);
      },
    );
  }

  /** `seqAtLeast`: as far as the journal is known to have come. */
  copyCalls(seqAtLeast: number): void {
    const ids = this.#idsByIndex();
    const last = this.#lastSeq(seqAtLeast, ids);
    const some = () =>
      this.#from
        .prepare(`${ALL_ROWS} where call.seq > ? order by call.seq limit ${String(ROWS_A_TIME)}`)
        .raw();
    const one = () => this.#from.prepare(`${ALL_ROWS} where call.seq = ?`).raw();
    let singles = 0;
    for (let after = -1; ;) {
      const before = after;
      const isWhole = readWhileReadable<SqlValue[]>(
        some,
        (read) => {
          after = Number(read[SEQ_AT]);
          this.#carry(read);
        },
        after,
      );
      if (isWhole && after === before) break;
      if (isWhole) continue;
      // A page in the way: what lies on others is found by number.
      const end = Math.min(after + ROWS_A_TIME, last);
      for (let seq = after + 1; seq <= end; seq++)
        readWhileReadable<SqlValue[]>(one, (read) => this.#carry(read), seq);
      singles += ROWS_A_TIME;
      after += ROWS_A_TIME;
      if (after >= last || singles > SINGLES_MAX) break;
    }
    for (const [seq, id] of ids) {
      if (!this.#done.has(seq))
        this.#putAside(seq, id, "its page is damaged; only its id is known");
    }
  }

  /** From both ends, because one damaged page stops the reading. */
  #idsByIndex(): Map<number, string> {
    const ids = new Map<number, string>();
    for (const order of ["asc", "desc"]) {
      const isWhole = readWhileReadable<{ seq: number; id: string }>(
        () =>
          this.#from.prepare(
            `select seq, id from call indexed by sqlite_autoindex_call_1
             where id >= '' order by id ${order}`,
          ),
        ({ seq, id }) => ids.set(seq, id),
      );
      if (isWhole) break;
    }
    return ids;
  }

  #lastSeq(seqAtLeast: number, ids: ReadonlyMap<number, string>): number {
    let last = seqAtLeast;
    for (const seq of ids.keys()) last = Math.max(last, seq);
    for (const sql of ["select seq from head", "select max(seq) as seq from call"]) {
      readWhileReadable<{ seq: number | null }>(
        () => this.#from.prepare(sql),
        ({ seq }) => {
          last = Math.max(last, seq ?? 0);
        },
      );
    }
    return last;
  }

  #carry(read: readonly SqlValue[]): void {
    const seq = Number(read[SEQ_AT]);
    if (this.#done.has(seq)) return;
    const id = String(read[ID_AT]);
    const checked = checkRow(read);
    if (typeof checked !== "string" && this.#copy(read, checked)) {
      this.#done.add(seq);
      return;
    }
    const why = typeof checked === "string" ? checked : "another call has its id";
    const said = `${String(read[TOOL_AT] ?? "?")}, ${String(read[STATE_AT])}`;
    this.#putAside(seq, id, `${why} (its record said: ${said})`);
  }

  /** False where its id is there already. */
  #copy(read: readonly SqlValue[], values: RowValues): boolean {
    if (this.#find.get(values[ID_AT]) !== undefined) return false;
    const origin = this.#origins.of(values);
    this.#insert.run(...read.slice(SEQ_AT), origin.number);
    return true;
  }

  #putAside(seq: number, id: string, why: string): void {
    this.#done.add(seq);
    this.#quarantine.run(seq, id, why);
    this.setAside.push({ id, why });
  }
}
