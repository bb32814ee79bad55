/**
 * A journal for engine tests, around the one in memory: its commits can be held back and let go one by
 * one, so that every order of events can be driven; and it can be copied after any commit and taken up
 * by another proxy, as after a SIGKILL.
 *
 * Held work is applied in the order in which it was posted, as every journal does it.
 */
import type { CallChange, CallRow } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { CallFilter, Journal, Recovery } from "../../src/ports.ts";
import type { JournalStats } from "../../src/core/status.ts";
import { JournalError } from "../../src/base/errors.ts";
import type { World } from "../../src/base/world.ts";
import { openMemoryJournal, type MemorySeed } from "../../src/store/memory.ts";

export class StagedJournal implements Journal {
  readonly world: World;
  #inner: Journal;
  readonly #sessions = new Map<string, SessionRow>();
  readonly #facts = new Map<string, string>();
  readonly #held: (() => void)[] = [];
  #isHolding = false;
  #heldKind: string | undefined;
  #isDead = false;
  #seq: number;
  /** Told after every commit of a row, before whoever waits for it hears of it. */
  onCommit: (() => void) | undefined;
  /** The next inserts fail with this. */
  refuses: Error | undefined;
  /** Sessions can't be saved, because of this. */
  refusesSessions: Error | undefined;
  isClosed = false;

  constructor(world: World, seed?: MemorySeed) {
    this.world = world;
    this.#inner = openMemoryJournal(world, seed === undefined ? {} : { seed });
    this.#seq = seed?.seq ?? 0;
    for (const session of seed?.sessions ?? []) this.#sessions.set(session.id, session);
    for (const [key, value] of seed?.facts ?? []) this.#facts.set(key, value);
  }

  /** From now on nothing is committed until it is let go. `kind`: from the first such commit on. */
  hold(kind?: CallChange["kind"] | "admit" | "session"): void {
    this.#isHolding = true;
    this.#heldKind = kind;
  }

  get heldCount(): number {
    return this.#held.length;
  }

  /** Lets the next `count` held commits happen; without a count all, and holds no longer. */
  release(count?: number): void {
    if (count === undefined) this.#isHolding = false;
    for (const commit of this.#held.splice(0, count ?? this.#held.length)) commit();
  }

  /** The process is gone: nothing that it still wanted is committed, and nobody hears anything. */
  die(): void {
    this.#isDead = true;
    this.#held.length = 0;
  }

  /** What a crash at this instant leaves behind. */
  async image(): Promise<MemorySeed> {
    return {
      rows: [...(await this.#inner.list({}))].reverse(),
      sessions: [...this.#sessions.values()],
      facts: [...this.#facts],
      seq: this.#seq,
    };
  }

  #post<T>(kind: string, work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.isClosed) {
        reject(new JournalError("closed", "the journal is closed"));
        return;
      }
      const commit = () => {
        if (this.#isDead) return;
        work().then((value) => {
          if (this.#isDead) return;
          this.onCommit?.();
          resolve(value);
        }, reject);
      };
      const isHeld = this.#isHolding && (this.#heldKind ?? kind) === kind;
      if (isHeld || this.#held.length > 0) this.#held.push(commit);
      else commit();
    });
  }

  recover(now: number): Promise<Recovery> {
    return this.#inner.recover(now);
  }

  admit(row: CallRow): Promise<number> {
    const { refuses } = this;
    if (refuses !== undefined) return Promise.reject(refuses);
    return this.#post("admit", async () => (this.#seq = await this.#inner.admit(row)));
  }

  apply(change: CallChange, sync: boolean): Promise<boolean> {
    return this.#post(change.kind, () => this.#inner.apply(change, sync));
  }

  applyLater(change: CallChange): void {
    if (this.isClosed) return;
    void this.#post(change.kind, () => Promise.resolve(this.#inner.applyLater(change)));
  }

  find(id: string): Promise<CallRow | undefined> {
    return this.#inner.find(id);
  }

  list(filter: CallFilter): Promise<readonly CallRow[]> {
    return this.#inner.list(filter);
  }

  saveSession(row: SessionRow): Promise<void> {
    const { refusesSessions } = this;
    if (refusesSessions !== undefined) return Promise.reject(refusesSessions);
    return this.#post("session", () => {
      this.#sessions.set(row.id, row);
      return this.#inner.saveSession(row);
    });
  }

  findSession(id: string): Promise<SessionRow | undefined> {
    return this.#inner.findSession(id);
  }

  sessions(): Promise<readonly SessionRow[]> {
    return this.#inner.sessions();
  }

  keep(key: string, value: string | undefined): Promise<void> {
    if (value === undefined) this.#facts.delete(key);
    else this.#facts.set(key, value);
    return this.#inner.keep(key, value);
  }

  kept(prefix: string): Promise<ReadonlyMap<string, string>> {
    return this.#inner.kept(prefix);
  }

  prune(resultsBefore: number, recordsBefore: number, bytesMax?: number): Promise<number> {
    return this.#inner.prune(resultsBefore, recordsBefore, bytesMax);
  }

  stats(): JournalStats {
    return this.#inner.stats();
  }

  async close(): Promise<void> {
    const seed = await this.image();
    this.isClosed = true;
    // What is on disk can still be looked at.
    this.#inner = openMemoryJournal(this.world, { seed });
  }
}
