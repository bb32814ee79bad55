/**
 * The journal on disk as the engine sees it: collects commands, hands them to the journal thread in
 * batches, and settles promises once their batch is committed.
 *
 * G1. At most one batch is in flight; the next is all that arrived meanwhile, but of large payloads no
 *     more than memory has room for. No timer delays a commit.
 * G2. What nobody waits for (`applyLater`) rides with the next batch, or goes alone when it gets quiet.
 * G3. When the thread is lost, everything in flight or posted later rejects with `io`: nothing is known
 *     about it.
 */
import { assert, must } from "../../base/assert.ts";
import { deferred, type Deferred } from "../../base/async.ts";
import { JournalError } from "../../base/errors.ts";
import type { CancelTimer, World } from "../../base/world.ts";
import { type CallChange, type CallRow, mustSync } from "../../core/call.ts";
import type { JournalFilter } from "../../core/call-filter.ts";
import type { SessionRow } from "../../core/session.ts";
import type { JournalStats } from "../../core/status.ts";
import type { Journal, Log, Recovery } from "../../ports.ts";
import { encodeRow, type RowValues } from "../rows.ts";
import { readRow, readSession, statsOf } from "./answers.ts";
import { type BatchWaiter, NextBatch, packed } from "./next-batch.ts";
import { isRefusal, type ThreadMessage } from "./protocol.ts";
import type { BatchReply, Command, JournalThread, Pruned, RecoveredStep } from "./protocol.ts";
import { Recovered } from "./recovered.ts";
import { SyncTimes } from "./sync-times.ts";

/** After so much quiet, what nobody waits for is written and the WAL tidied. */
const QUIET_MS = 500;
/** So many changes that nobody waits for go even without company. */
const LATER_MAX = 512;
/** After a batch of so many commands the next waits one more turn. */
const BUSY_FROM = 8;

export interface SqliteJournalOptions {
  readonly world: World;
  readonly log: Log;
  readonly path: string;
  /** Its process went on without it: what is live in it may have run since. */
  readonly isAbandoned?: boolean;
  /**
   * Called by `close`, when the connection is gone; twice does no harm. Not when the thread is lost: a
   * lost journal stays locked, for its live calls may go on in memory.
   */
  readonly onGone: () => void;
}

export class SqliteJournal implements Journal {
  readonly #thread: JournalThread;
  readonly #options: SqliteJournalOptions;
  readonly #syncTimes = new SyncTimes();
  readonly #next = new NextBatch();
  #inFlight: readonly (BatchWaiter | undefined)[] | undefined;
  #later: CallChange[] = [];
  #isWoken = false;
  /** Commands in the last batch. */
  #lastSize = 0;
  /** Nothing was posted since the last tidying. */
  #isTidy = false;
  #stopQuiet: CancelTimer | undefined;
  /** What every later call is rejected with. */
  #end: JournalError | undefined;
  #closing: Deferred<undefined> | undefined;
  #gone: Promise<void> | undefined;
  #commits = 0;
  #rows = 0;

  /** `thread` has said that its journal is open. */
  constructor(thread: JournalThread, options: SqliteJournalOptions) {
    this.#thread = thread;
    this.#options = options;
    thread.on("message", (message: ThreadMessage) => {
      this.#onMessage(message);
    });
    thread.on("error", (error) => {
      this.#break(`the journal thread failed: ${error.stack ?? error.message}`);
    });
    thread.on("exit", () => {
      this.#break("the journal thread ended");
    });
    this.#becomeQuiet();
  }

  async recover(now: number): Promise<Recovery> {
    const isAbandoned = this.#options.isAbandoned === true;
    const recovered = new Recovered();
    // Step by step, so that a session that begins meanwhile is saved between two of them.
    for (let after: number | undefined = 0; after !== undefined;) {
      const step = await this.#post(["recover", now, isAbandoned, after]);
      after = recovered.add(step as RecoveredStep);
    }
    const { report, live, remembered } = recovered;
    return { report, live: live.map(readRow), remembered: remembered.map(readRow) };
  }

  async admit(row: CallRow): Promise<number> {
    assert(row.state === "queued" || row.state === "sent", `call ${row.id} admitted ${row.state}`);
    return (await this.#post(["admit", encodeRow(row), mustSync(row)])) as number;
  }

  async apply(change: CallChange, sync: boolean): Promise<boolean> {
    return (await this.#post(["change", change, sync])) as boolean;
  }

  applyLater(change: CallChange): void {
    if (this.#end !== undefined) return;
    this.#later.push(change);
    if (this.#later.length >= LATER_MAX) this.#wake();
    else if (this.#inFlight === undefined && !this.#isWoken) this.#becomeQuiet();
  }

  async find(id: string): Promise<CallRow | undefined> {
    const values = (await this.#post(["find", id])) as RowValues | undefined;
    return values === undefined ? undefined : readRow(values);
  }

  async list(filter: JournalFilter): Promise<readonly CallRow[]> {
    const rows = (await this.#post(["list", filter])) as RowValues[];
    return rows.map(readRow);
  }

  async saveSession(row: SessionRow): Promise<void> {
    await this.#post(["saveSession", row.id, JSON.stringify(row), row.lastSeenAt]);
  }

  async findSession(id: string): Promise<SessionRow | undefined> {
    const body = (await this.#post(["findSession", id])) as string | undefined;
    return body === undefined ? undefined : readSession(body);
  }

  async sessions(): Promise<readonly SessionRow[]> {
    return ((await this.#post(["sessions"])) as string[]).map(readSession);
  }

  async keep(key: string, value: string | undefined): Promise<void> {
    await this.#post(["keep", key, value ?? null]);
  }

  async kept(prefix: string): Promise<ReadonlyMap<string, string>> {
    return new Map((await this.#post(["kept", prefix])) as [string, string][]);
  }

  async prune(results: number, records: number, bytesMax?: number): Promise<number> {
    const retention = { results, records, bytesMax: bytesMax ?? null };
    let deleted = 0;
    for (let after: number | undefined = 0; after !== undefined;) {
      const step = (await this.#post(["prune", retention, after])) as Pruned;
      deleted += step.deleted;
      after = step.next;
    }
    return deleted;
  }

  stats(): JournalStats {
    const fsyncMs = this.#syncTimes.median();
    return statsOf(this.#options.path, { fsyncMs, commits: this.#commits, rows: this.#rows });
  }

  async close(): Promise<void> {
    if (this.#gone !== undefined) return this.#gone.then(this.#options.onGone);
    if (this.#closing !== undefined) return this.#closing.promise;
    const closing = deferred<undefined>();
    this.#closing = closing;
    this.#end = new JournalError("closed", `the journal ${this.#options.path} is closed`);
    this.#stopBeingQuiet();
    this.#flush();
    return closing.promise;
  }

  #post(command: Command): Promise<unknown> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const result = new Promise<unknown>((resolve, reject) => {
      this.#takeLater();
      this.#isTidy = false;
      this.#next.push(command, { resolve, reject });
    });
    this.#wake();
    return result;
  }

  /** Before anything else is posted, so that changes keep their order. */
  #takeLater(): void {
    for (const change of this.#later) this.#next.push(["change", change, false], undefined);
    this.#later = [];
  }

  /**
   * The batch goes after this turn's input has been read, so that one turn makes one batch. Amid many
   * calls one more turn is waited for: the answers just given set more going, which share the commit.
   */
  #wake(): void {
    if (this.#isWoken || this.#inFlight !== undefined) return;
    this.#isWoken = true;
    this.#stopBeingQuiet();
    const { world } = this.#options;
    const flush = () => {
      this.#isWoken = false;
      if (this.#inFlight === undefined) this.#flush();
    };
    const isBusy = this.#lastSize >= BUSY_FROM;
    world.soon(() => {
      if (isBusy) world.soon(flush);
      else flush();
    });
  }

  #flush(): void {
    if (this.#gone !== undefined || this.#inFlight !== undefined) return;
    this.#takeLater();
    if (this.#next.size === 0) {
      if (this.#closing === undefined) return;
      this.#inFlight = [];
      this.#thread.postMessage("close");
      return;
    }
    const { commands, waiters } = this.#next.take();
    this.#inFlight = waiters;
    this.#lastSize = waiters.length;
    const parcel = packed(commands);
    this.#thread.postMessage(parcel.commands, parcel.transfer);
  }

  /** Some time after the last work: writes what nobody waits for; else tidies, once. */
  #becomeQuiet(): void {
    if (this.#stopQuiet !== undefined || this.#end !== undefined) return;
    this.#stopQuiet = this.#options.world.timer(QUIET_MS, () => {
      this.#stopQuiet = undefined;
      if (this.#end !== undefined || this.#inFlight !== undefined || this.#isWoken) return;
      if (this.#later.length === 0) {
        this.#isTidy = true;
        this.#next.push(["tidy"], undefined);
      }
      this.#flush();
    });
  }

  #stopBeingQuiet(): void {
    this.#stopQuiet?.();
    this.#stopQuiet = undefined;
  }

  #onMessage(message: ThreadMessage): void {
    if (message.kind === "batch") this.#settle(message.reply);
    else if (message.kind === "broken") this.#break(message.text);
    else if (message.kind === "closed") this.#goGone();
  }

  #settle(reply: BatchReply): void {
    const waiters = must(this.#inFlight, "the batch that was answered");
    this.#inFlight = undefined;
    this.#commits = reply.commits;
    this.#rows = reply.rows;
    this.#syncTimes.add(reply.syncMs);
    for (const warning of reply.warnings) this.#options.log("warn", warning);
    for (const [at, waiter] of waiters.entries()) {
      const result = reply.results[at];
      if (isRefusal(result)) waiter?.reject(new JournalError(result.refused, result.text));
      else waiter?.resolve(result);
    }
    this.#afterSettle();
  }

  #afterSettle(): void {
    if (this.#closing !== undefined) this.#flush();
    else if (this.#next.size > 0) this.#wake();
    else if (!this.#isTidy || this.#later.length > 0) this.#becomeQuiet();
  }

  #break(text: string): void {
    if (this.#gone !== undefined) return;
    const error = new JournalError("io", text);
    this.#end ??= error;
    if (this.#closing === undefined) this.#options.log("error", `journal lost: ${text}`);
    const waiters = [...(this.#inFlight ?? []), ...this.#next.drop()];
    this.#inFlight = undefined;
    this.#later = [];
    this.#goGone();
    for (const waiter of waiters) waiter?.reject(error);
  }

  #goGone(): void {
    if (this.#gone !== undefined) return;
    this.#stopBeingQuiet();
    // The thread ends by itself after its last word; this is for one that failed half-way.
    this.#gone = this.#thread.terminate().then(() => {
      if (this.#closing === undefined) return;
      this.#options.onGone();
      this.#closing.resolve(undefined);
    });
  }
}
