/**
 * A journal without a thread of its own: every command is a batch, carried out at once by the code that
 * the journal thread runs. Opens in a moment, so that thousands can be.
 */
import type { Database } from "better-sqlite3";
import { JournalError } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import { mustSync } from "../../src/core/call.ts";
import type { CallChange, CallRow } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { Recovery } from "../../src/ports.ts";
import { makeFolders } from "../../src/store/layout.ts";
import { encodeRow } from "../../src/store/rows.ts";
import { readRow } from "../../src/store/sqlite/answers.ts";
import { openWriting } from "../../src/store/sqlite/connection.ts";
import type { Driver } from "../../src/store/sqlite/connection.ts";
import { isRefusal } from "../../src/store/sqlite/protocol.ts";
import type { Command, Pruned, RecoveredStep } from "../../src/store/sqlite/protocol.ts";
import { Recovered } from "../../src/store/sqlite/recovered.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import type { Worked } from "./operations.ts";
import { filesIn } from "./reopen.ts";

export class DirectJournal implements Worked {
  readonly #db: Database;
  readonly #writer: Writer;
  /** The connection can't be used any more, as a thread says before it ends. */
  #lost: JournalError | undefined;

  /** Throws what a start would be refused with. */
  constructor(driver: Driver, folder: string, upstream: string) {
    makeFolders(folder, upstream);
    const files = filesIn(folder, upstream);
    this.#db = openWriting(driver, files.path);
    try {
      const options = { ...files, durability: "full", dropsDelivered: true } as const;
      this.#writer = new Writer(this.#db, realWorld(), options);
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  async recover(now: number): Promise<Recovery> {
    const recovered = new Recovered();
    for (let after: number | undefined = 0; after !== undefined;)
      after = recovered.add(this.#run(["recover", now, false, after]) as RecoveredStep);
    const { report, live, remembered } = recovered;
    return { report, live: live.map(readRow), remembered: remembered.map(readRow) };
  }

  async admit(row: CallRow): Promise<number> {
    return this.#run(["admit", encodeRow(row), mustSync(row)]) as number;
  }

  async apply(change: CallChange, sync: boolean): Promise<boolean> {
    return this.#run(["change", change, sync]) as boolean;
  }

  applyLater(change: CallChange): void {
    try {
      this.#run(["change", change, false]);
    } catch (error) {
      // Nobody waits for it, so nobody is told.
      if (!(error instanceof JournalError)) throw error;
    }
  }

  async saveSession(row: SessionRow): Promise<void> {
    this.#run(["saveSession", row.id, JSON.stringify(row), row.lastSeenAt]);
  }

  async keep(key: string, value: string | undefined): Promise<void> {
    this.#run(["keep", key, value ?? null]);
  }

  async prune(resultsBefore: number, recordsBefore: number): Promise<number> {
    const retention = { results: resultsBefore, records: recordsBefore, bytesMax: null };
    let deleted = 0;
    for (let after: number | undefined = 0; after !== undefined;) {
      const step = this.#run(["prune", retention, after]) as Pruned;
      deleted += step.deleted;
      after = step.next;
    }
    return deleted;
  }

  async close(): Promise<void> {
    if (this.#lost === undefined) this.#writer.close();
    else this.#db.close();
  }

  #run(command: Command): unknown {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      const [result] = this.#writer.run([command]).results;
      this.#writer.afterBatch();
      if (isRefusal(result)) throw new JournalError(result.refused, result.text);
      return result;
    } catch (error) {
      if (error instanceof JournalError && error.trouble !== "full") this.#lost = error;
      throw error;
    }
  }
}
