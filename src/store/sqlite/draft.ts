/**
 * A journal that is being made from rows of another: nobody sees it before it is whole.
 *
 * MV5. Until `seal` it stands under a name that no process takes for a journal's; what a kill leaves of
 *      it is cleared away by the next that looks (`clearDraft`).
 */
import { renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { Database, Statement } from "better-sqlite3";
import { JournalError, errorText } from "../../base/errors.ts";
import { isTerminal } from "../../core/call.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import {
  CHANGING_COLUMNS,
  OWN_COLUMNS,
  REQUEST_AT,
  SEQ_AT,
  asInUtf8,
  changingOf,
  encodeRow,
  lifelongSum,
  ownOf,
  rowSum,
  textSum,
} from "../rows.ts";
import { syncFile, syncFolder } from "../layout.ts";
import type { JournalFiles } from "../layout.ts";
import { HELD_MARK, broughtIn, heldMarkText } from "../held-mark.ts";
import { openWriting, troubleOf } from "./connection.ts";
import { readSession } from "./answers.ts";
import type { Driver } from "./connection.ts";
import { Origins } from "./origins.ts";
import { SideStatements } from "./side-statements.ts";

/** So many calls, or so many bytes of them, are written at once: the WAL is emptied in between. */
const STEP_CALLS = 10_000;
const STEP_BYTES = 32 * 1024 * 1024;

/** Removes what a kill left of a draft of this journal, whose lock the caller holds. */
export function clearDraft({ draftPath }: JournalFiles): void {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${draftPath}${suffix}`, { force: true });
}

export class Draft {
  readonly #files: JournalFiles;
  readonly #db: Database;
  readonly #side: SideStatements;
  readonly #origins: Origins;
  readonly #insert: Statement;
  readonly #find: Statement;
  #seq = 0;
  #isLive = false;
  #stepCalls = 0;
  #stepBytes = 0;

  /** For a journal that does not exist and whose lock the caller holds. */
  constructor(driver: Driver, files: JournalFiles) {
    this.#files = files;
    clearDraft(files);
    this.#db = openWriting(driver, files.draftPath);
    try {
      this.#side = new SideStatements(this.#db);
      this.#origins = new Origins(this.#db);
      const sums = ["request_sum", "reply_sum", "sum", "request", "reply"];
      const columns = [...OWN_COLUMNS, "origin", ...CHANGING_COLUMNS, ...sums];
      const marks = columns.map(() => "?").join(", ");
      this.#insert = this.#db.prepare(`insert into call (${columns.join(", ")}) values (${marks})`);
      this.#find = this.#db.prepare("select 1 from call where id = ?");
      this.#db.exec("begin immediate");
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** Calls so far. */
  get calls(): number {
    return this.#seq;
  }

  has(callId: string): boolean {
    return this.#find.get(callId) !== undefined;
  }

  /** A legal row as it is, under the next seq. Its id is not in it. */
  addCall(row: CallRow): void {
    this.#try(() => {
      const seq = this.#seq + 1;
      // What came over a wire was UTF-8; in a file anything can stand as an escape.
      const values = encodeRow(row).map((one) => (typeof one === "string" ? asInUtf8(one) : one));
      values[SEQ_AT] = seq;
      const { number, sum: originSum } = this.#origins.of(values);
      const changing = changingOf(values);
      const [request = null, reply = null] = values.slice(REQUEST_AT);
      const requestSum = textSum(request);
      const replySum = textSum(reply);
      const sum = rowSum(changing, lifelongSum(values, originSum), requestSum, replySum);
      const sums = [requestSum, replySum, sum];
      this.#insert.run(...ownOf(values), number, ...changing, ...sums, request, reply);
      this.#seq = seq;
      if (!isTerminal(row.state)) this.#isLive = true;
      this.#stepCalls++;
      this.#stepBytes += row.request.length + (row.reply?.length ?? 0);
      if (this.#stepCalls >= STEP_CALLS || this.#stepBytes >= STEP_BYTES) this.#step();
    });
  }

  /** Of two states of one session the later counts. */
  addSession(row: SessionRow): void {
    this.#try(() => {
      const [known] = this.#side.findSession(row.id);
      if (known?.body !== undefined && readSession(known.body).lastSeenAt > row.lastSeenAt) return;
      this.#side.saveSession(row.id, JSON.stringify(row), row.lastSeenAt);
    });
  }

  keep(key: string, value: string): void {
    this.#try(() => {
      this.#side.keep(key, value);
    });
  }

  #step(): void {
    this.#db.exec("commit");
    this.#db.pragma("wal_checkpoint(truncate)");
    this.#db.exec("begin immediate");
    this.#stepCalls = 0;
    this.#stepBytes = 0;
  }

  /**
   * All is written and has reached the platter. Where calls of it are live it gets the mark that holds
   * them for a person, with `because` for the words. `publish` is what is left to do.
   */
  seal(because: string): void {
    this.#try(() => {
      if (this.#isLive) this.#side.keep(HELD_MARK, heldMarkText(broughtIn(this.#seq, because)));
      this.#side.moveHead(this.#seq, 1);
      this.#db.exec("commit");
      this.#db.pragma("wal_checkpoint(truncate)");
    });
    this.#db.close();
    syncFile(this.#files.draftPath);
  }

  /** Gives it its name, after `seal`: from now on it is a journal. */
  publish(): void {
    const { draftPath, path } = this.#files;
    renameSync(draftPath, path);
    syncFolder(dirname(path));
  }

  /** Leaves nothing of it, before `publish`; afterwards it does no harm. */
  discard(): void {
    this.#db.close();
    clearDraft(this.#files);
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      const trouble = troubleOf(error);
      if (trouble === undefined) throw error;
      throw new JournalError(
        trouble,
        `${this.#files.path} can't be made: ${errorText(error)}`,
        error,
      );
    }
  }
}
