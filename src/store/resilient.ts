/**
 * A journal that survives the loss of its disk in mid-life: after an I/O error it goes on in memory
 * with the live calls that it knows, and leaves a mark so that no later process runs them again.
 *
 * M1. The caller never sees `io`: what was in flight when the disk was lost is done again in memory, in
 *     the order in which it was asked for. What had failed for the caller before is not.
 * M2. `full` is no loss: admits are refused, results go on being recorded.
 */
import { JournalError, errorText } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { apply, isTerminal } from "../core/call.ts";
import type { CallChange, CallRow } from "../core/call.ts";
import type { JournalFilter } from "../core/call-filter.ts";
import { sessionOverAt } from "../core/session.ts";
import type { SessionRow } from "../core/session.ts";
import type { JournalStats } from "../core/status.ts";
import type { Journal, Log, Recovery } from "../ports.ts";
import { markAbandoned } from "./marks.ts";
import { openMemoryJournal } from "./memory.ts";

export interface ResilientOptions {
  readonly world: World;
  readonly log: Log;
  readonly abandonedPath: string;
  readonly dropsDelivered: boolean;
  /** Writes the mark at `abandonedPath`. Default: a file. */
  readonly mark?: typeof markAbandoned;
}

export function resilientJournal(disk: Journal, options: ResilientOptions): Journal {
  return new ResilientJournal(disk, options);
}

interface Pending {
  readonly again: (memory: Journal) => Promise<unknown>;
  /** What came of it in memory, once it was done again. */
  repeated?: Promise<unknown>;
}

class ResilientJournal implements Journal {
  readonly #disk: Journal;
  readonly #options: ResilientOptions;
  readonly #live = new Map<string, CallRow>();
  readonly #sessions = new Map<string, SessionRow>();
  /** Saved before it was known which there were. */
  #early: Set<string> | undefined = new Set();
  readonly #facts = new Map<string, string>();
  readonly #pending = new Set<Pending>();
  #seq = 0;
  #memory: Journal | undefined;

  constructor(disk: Journal, options: ResilientOptions) {
    this.#disk = disk;
    this.#options = options;
  }

  async recover(now: number): Promise<Recovery> {
    const recovery = await this.#do((journal) => journal.recover(now));
    for (const row of recovery.live) this.#learn(row);
    for (const row of recovery.remembered) this.#seq = Math.max(this.#seq, row.seq);
    for (const [key, value] of await this.kept("")) this.#facts.set(key, value);
    for (const session of await this.sessions())
      if (this.#early?.has(session.id) !== true) this.#learnSession(session);
    this.#early = undefined;
    return recovery;
  }

  async admit(row: CallRow): Promise<number> {
    const seq = await this.#do((journal) => journal.admit(row));
    this.#learn({ ...row, seq });
    return seq;
  }

  async apply(change: CallChange, sync: boolean): Promise<boolean> {
    const isDone = await this.#do((journal) => journal.apply(change, sync));
    if (isDone) this.#note(change);
    return isDone;
  }

  applyLater(change: CallChange): void {
    (this.#memory ?? this.#disk).applyLater(change);
    this.#note(change);
  }

  find(id: string): Promise<CallRow | undefined> {
    return this.#do((journal) => journal.find(id));
  }

  list(filter: JournalFilter): Promise<readonly CallRow[]> {
    return this.#do((journal) => journal.list(filter));
  }

  async saveSession(row: SessionRow): Promise<void> {
    this.#early?.add(row.id);
    this.#learnSession(row);
    await this.#do((journal) => journal.saveSession(row));
  }

  findSession(id: string): Promise<SessionRow | undefined> {
    return this.#do((journal) => journal.findSession(id));
  }

  sessions(): Promise<readonly SessionRow[]> {
    return this.#do((journal) => journal.sessions());
  }

  async keep(key: string, value: string | undefined): Promise<void> {
    if (value === undefined) this.#facts.delete(key);
    else this.#facts.set(key, value);
    await this.#do((journal) => journal.keep(key, value));
  }

  kept(prefix: string): Promise<ReadonlyMap<string, string>> {
    return this.#do((journal) => journal.kept(prefix));
  }

  prune(resultsBefore: number, recordsBefore: number, bytesMax?: number): Promise<number> {
    for (const session of this.#sessions.values())
      if (sessionOverAt(session) < recordsBefore) this.#sessions.delete(session.id);
    return this.#do((journal) => journal.prune(resultsBefore, recordsBefore, bytesMax));
  }

  stats(): JournalStats {
    return (this.#memory ?? this.#disk).stats();
  }

  async close(): Promise<void> {
    await this.#memory?.close();
    await this.#disk.close();
  }

  async #do<T>(step: (journal: Journal) => Promise<T>): Promise<T> {
    if (this.#memory !== undefined) return step(this.#memory);
    const pending: Pending = { again: step };
    this.#pending.add(pending);
    try {
      return await step(this.#disk);
    } catch (error) {
      if (!(error instanceof JournalError) || error.trouble !== "io") throw error;
      this.#switch(error);
      return (await pending.repeated) as T;
    } finally {
      this.#pending.delete(pending);
    }
  }

  #learn(row: CallRow): void {
    this.#seq = Math.max(this.#seq, row.seq);
    this.#live.set(row.id, row);
  }

  #learnSession(row: SessionRow): void {
    if (row.endedAt === undefined) this.#sessions.set(row.id, row);
    else this.#sessions.delete(row.id);
  }

  #note(change: CallChange): void {
    const row = this.#live.get(change.id);
    const next = row === undefined ? undefined : apply(row, change);
    if (next === undefined) return;
    if (isTerminal(next.state)) this.#live.delete(next.id);
    else this.#live.set(next.id, next);
  }

  /** Once; everything in flight is done again at once, so that nothing later overtakes it. */
  #switch(error: JournalError): void {
    if (this.#memory !== undefined) return;
    const { world, log, abandonedPath, dropsDelivered, mark = markAbandoned } = this.#options;
    const degraded = `the journal on disk was lost, calls don't survive this process any more: ${error.message}`;
    log("error", degraded);
    try {
      mark(abandonedPath, world.now());
    } catch (failure) {
      log(
        "error",
        `the lost journal could not be marked (${abandonedPath}): ${errorText(failure)}`,
      );
    }
    const memory = openMemoryJournal(world, {
      degraded,
      dropsDelivered,
      seed: {
        rows: this.#live.values(),
        sessions: this.#sessions.values(),
        facts: this.#facts,
        seq: this.#seq,
      },
    });
    this.#memory = memory;
    for (const pending of this.#pending) pending.repeated = pending.again(memory);
  }
}
