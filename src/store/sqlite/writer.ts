/**
 * Carries out batches of commands on the one writing connection: one batch, one transaction.
 *
 * B1. A batch is committed before any of its results is known outside; after an error of its
 *     transaction none of its results is given.
 * B2. The commit is synced if any command of the batch asks for it and `durability` allows it. The WAL
 *     is one file: a synced commit carries every earlier one.
 * B3. On a full disk the ballast goes, admits are refused, and results are still recorded.
 * B4. Each commit that writes counts up `head.commits`; after a synced one the mark beside follows.
 */
import type { Database, Statement } from "better-sqlite3";
import { must, unreachable } from "../../base/assert.ts";
import { JournalError, errorText } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import { troubleOf } from "./connection.ts";
import type { BatchReply, Command, Refusal, ThreadOptions } from "./protocol.ts";
import { Pruner } from "./pruner.ts";
import { Recoverer } from "./recoverer.ts";
import { type SideFiles, sideFilesOf } from "./side-files.ts";
import { CallStatements } from "./statements.ts";
import { SideStatements } from "./side-statements.ts";
import type { Head, StoredSession } from "./side-statements.ts";

/** Commands that write; a batch without any needs no transaction of its own kind. */
const WRITES: ReadonlySet<Command[0]> = new Set<Command[0]>([
  "admit",
  "change",
  "recover",
  "saveSession",
  "keep",
  "prune",
]);

const FULL: Refusal = {
  refused: "full",
  text: "the disk of the state folder is full; calls are not accepted until there is room",
};

export class Writer {
  readonly #db: Database;
  readonly #world: World;
  readonly #options: ThreadOptions;
  readonly #calls: CallStatements;
  readonly #side: SideStatements;
  readonly #pruner: Pruner;
  readonly #recoverer: Recoverer;
  readonly #beside: SideFiles;
  readonly #begin: Statement;
  readonly #commit: Statement;
  #warnings: string[] = [];
  #isSyncing = true;
  #isFull = false;
  #head: Head;
  #rows: number;
  #syncMs: number | undefined;

  /** `db` comes from `openWriting`. Throws SQLite errors. */
  constructor(
    db: Database,
    world: World,
    options: ThreadOptions,
    beside: SideFiles = sideFilesOf(db, options),
  ) {
    this.#db = db;
    this.#world = world;
    this.#options = options;
    this.#calls = new CallStatements(db, options.dropsDelivered, (row) => {
      this.#warnings.push(
        `call ${row.id} (row ${row.seq}) of ${options.path} is damaged and set aside: ${row.why}`,
      );
    });
    this.#side = new SideStatements(db, (what) => {
      this.#warnings.push(`${what} of ${options.path} is damaged and not used`);
    });
    this.#pruner = new Pruner(db, this.#calls, this.#side, beside.archive);
    this.#beside = beside;
    this.#begin = db.prepare("begin immediate");
    this.#commit = db.prepare("commit");
    this.#head = this.#side.head();
    this.#rows = this.#side.countCalls();
    this.#recoverer = new Recoverer(db, this.#calls, this.#side, {
      world,
      mark: this.#beside.mark.read(),
      stepRows: options.recoverStepRows,
    });
    if (this.#recoverer.hasNewSuspicion) this.run([["keep", ...this.#recoverer.suspicionFact()]]);
  }

  get wentBackwards(): boolean {
    return this.#recoverer.wentBackwards !== undefined;
  }

  /** Calls in a state that is not terminal. */
  countLive(): number {
    return this.#side.countLive();
  }

  /** Carries out a batch. Throws `JournalError("io")` where the connection can't be used any more. */
  run(batch: readonly Command[]): BatchReply {
    let results: unknown[];
    const isSynced = this.#wantsSync(batch);
    try {
      results = this.#transact(batch, isSynced);
    } catch (error) {
      results = this.#recoverFromTrouble(batch, isSynced, error);
    }
    if (this.#syncMs !== undefined) this.#writeMark();
    const warnings = this.#warnings;
    const syncMs = this.#syncMs;
    this.#warnings = [];
    this.#syncMs = undefined;
    return { results, commits: this.#head.commits, rows: this.#rows, syncMs, warnings };
  }

  #wantsSync(batch: readonly Command[]): boolean {
    const { durability } = this.#options;
    if (durability === "process") return false;
    return batch.some(
      (command) =>
        ((command[0] === "admit" || command[0] === "change") && command[2]) ||
        command[0] === "recover" ||
        (durability === "always" && WRITES.has(command[0])),
    );
  }

  #transact(batch: readonly Command[], isSynced: boolean): unknown[] {
    if (!batch.some((command) => WRITES.has(command[0]))) {
      return batch.map((command) => this.#do(command));
    }
    this.#setSyncing(isSynced);
    const { seq, commits } = this.#head;
    const rows = this.#rows;
    if (this.#isFull && this.#beside.ballast.hasRoomAgain()) {
      this.#isFull = false;
      this.#warnings.push("there is room on the disk again; calls are accepted");
    }
    this.#begin.run();
    try {
      const results = batch.map((command) => this.#do(command));
      this.#head.commits++;
      this.#side.moveHead(this.#head.seq, this.#head.commits);
      const before = this.#world.monotonic();
      this.#commit.run();
      if (isSynced) this.#syncMs = this.#world.monotonic() - before;
      return results;
    } catch (error) {
      // SQLite has rolled back by itself after some errors.
      if (this.#db.inTransaction) this.#db.exec("rollback");
      this.#calls.forget();
      this.#head.seq = seq;
      this.#head.commits = commits;
      this.#rows = rows;
      throw error;
    }
  }

  /** The mark only detects: a journal whose mark can't be written is as durable as any. */
  #writeMark(): void {
    try {
      this.#beside.mark.write(this.#head);
    } catch (error) {
      this.#warnings.push(`${this.#options.highWaterPath}: ${errorText(error)}`);
    }
  }

  #setSyncing(isSynced: boolean): void {
    if (this.#isSyncing === isSynced) return;
    this.#db.pragma(isSynced ? "synchronous = full" : "synchronous = normal");
    this.#isSyncing = isSynced;
  }

  /** B3: once more without admits; if even that finds no room, every write is refused. */
  #recoverFromTrouble(batch: readonly Command[], isSynced: boolean, error: unknown): unknown[] {
    const trouble = troubleOf(error);
    if (trouble === undefined) throw error;
    if (trouble !== "full") {
      throw new JournalError("io", `${this.#options.path}: ${errorText(error)}`, error);
    }
    this.#becomeFull(errorText(error));
    try {
      return this.#transact(batch, isSynced);
    } catch (again) {
      if (troubleOf(again) !== "full") throw again;
      return batch.map((command) => (WRITES.has(command[0]) ? FULL : this.#do(command)));
    }
  }

  /** Said once; the ballast's room serves first to empty the WAL, which gives its own room back. */
  #becomeFull(text: string): void {
    if (!this.#isFull) this.#warnings.push(`${this.#options.path}: ${text}; ${FULL.text}`);
    this.#isFull = true;
    this.#beside.ballast.release();
    try {
      this.#beside.wal.checkpointAll();
    } catch (error) {
      if (troubleOf(error) !== "full") throw error;
      this.#warnings.push(`${this.#options.path}: no room even to empty the WAL`);
    }
  }

  #do(command: Command): unknown {
    switch (command[0]) {
      case "admit":
        if (this.#isFull) return FULL;
        this.#calls.insert(command[1], ++this.#head.seq, command[3]);
        this.#rows++;
        return this.#head.seq;
      case "change":
        return this.#calls.change(command[1], command[3]);
      case "find":
        return this.#calls.read("id = ?", command[1])[0];
      case "list":
        return this.#calls.list(command[1]);
      case "recover":
        return this.#recoverer.step(command[1], command[2], command[3]);
      case "saveSession":
        this.#side.saveSession(command[1], command[2], command[3]);
        return true;
      case "findSession":
        return this.#bodies(this.#side.findSession(command[1]))[0];
      case "sessions":
        return this.#bodies(this.#side.sessions());
      case "keep":
        this.#side.keep(command[1], command[2]);
        return true;
      case "kept":
        return this.#side.kept(command[1]);
      case "prune": {
        const step = this.#pruner.step(command[1], command[2], this.#world.now());
        if (step.trouble !== undefined)
          this.#warnings.push(`${this.#options.path}: ${step.trouble}`);
        this.#rows -= step.deleted;
        return step;
      }
      case "tidy":
        this.#tidy();
        return true;
      default:
        return unreachable(command);
    }
  }

  /** Damaged ones are left out, and warned of. */
  #bodies(sessions: readonly StoredSession[]): string[] {
    const bodies: string[] = [];
    for (const { id, body } of sessions) {
      if (body !== undefined) bodies.push(body);
      else this.#warnings.push(`session ${id} of ${this.#options.path} is damaged and not used`);
    }
    return bodies;
  }

  /** Nothing to do amid other work: the next idle moment comes. */
  #tidy(): void {
    if (this.#db.inTransaction) return;
    try {
      if (!this.#isFull) this.#beside.ballast.ensure();
      this.#beside.wal.checkpointIdle();
    } catch (error) {
      if (troubleOf(error) === "io") throw error;
      this.#warnings.push(`${this.#options.path}: ${errorText(error)}`);
    }
  }

  /** After a reply went out: keeps the WAL small. */
  afterBatch(): void {
    try {
      this.#beside.wal.checkpointIfLong();
    } catch (error) {
      const trouble = must(troubleOf(error), errorText(error));
      if (trouble === "io") throw new JournalError("io", errorText(error), error);
    }
  }

  /** Checkpoints all and closes. */
  close(): void {
    try {
      this.#beside.wal.checkpointAll();
    } finally {
      this.#beside.mark.close();
      this.#db.close();
    }
  }
}
