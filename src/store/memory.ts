/**
 * The journal in memory: the reference that every other journal is compared with, and the fallback
 * where the disk can't be used. What it holds dies with the process.
 */
import { assert } from "../base/assert.ts";
import { JournalError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { apply, isRepeatable } from "../core/call.ts";
import type { CallChange, CallRow } from "../core/call.ts";
import type { JournalFilter } from "../core/call-filter.ts";
import { sessionOverAt } from "../core/session.ts";
import type { SessionRow } from "../core/session.ts";
import type { JournalStats } from "../core/status.ts";
import type { Journal, Recovery } from "../ports.ts";
import { HELD_MARK, readHeldMark } from "./held-mark.ts";
import type { HeldMark } from "./held-mark.ts";
import { isRemembered, recoverRow } from "./recovery.ts";
import { encodeRow } from "./rows.ts";

/** What a memory journal starts with when it takes over from another. */
export interface MemorySeed {
  readonly rows: Iterable<CallRow>;
  readonly sessions: Iterable<SessionRow>;
  readonly facts: Iterable<readonly [string, string]>;
  /** The last seq given out. */
  readonly seq: number;
}

export interface MemoryOptions {
  readonly seed?: MemorySeed;
  /** Why this journal is used instead of one on disk. */
  readonly degraded?: string;
  /** A delivered row loses its payloads with the mark. */
  readonly dropsDelivered?: boolean;
}

export function openMemoryJournal(world: World, options: MemoryOptions = {}): Journal {
  return new MemoryJournal(world, options);
}

class MemoryJournal implements Journal {
  readonly #world: World;
  readonly #degraded: string | undefined;
  readonly #dropsDelivered: boolean;
  readonly #rows = new Map<string, CallRow>();
  readonly #sessions = new Map<string, SessionRow>();
  readonly #facts = new Map<string, string>();
  #seq: number;
  #commits = 0;
  #isClosed = false;

  constructor(world: World, options: MemoryOptions) {
    this.#world = world;
    this.#degraded = options.degraded;
    this.#dropsDelivered = options.dropsDelivered ?? false;
    this.#seq = options.seed?.seq ?? 0;
    for (const row of options.seed?.rows ?? []) this.#rows.set(row.id, row);
    for (const row of options.seed?.sessions ?? []) this.#sessions.set(row.id, row);
    for (const [key, value] of options.seed?.facts ?? []) this.#facts.set(key, value);
  }

  async recover(now: number): Promise<Recovery> {
    this.#step();
    const startedAt = this.#world.monotonic();
    const found: Record<string, number> = {};
    const mark = this.#heldMark();
    let expired = 0;
    let putInDoubt = 0;
    for (const row of this.#rows.values()) {
      found[row.state] = (found[row.state] ?? 0) + 1;
      const recovered = recoverRow(row, now, mark === undefined);
      if (recovered === undefined) continue;
      this.#rows.set(row.id, recovered.row);
      if (recovered.row.state === "in_doubt") putInDoubt++;
      else expired++;
    }
    const rows = [...this.#rows.values()].sort((a, b) => a.seq - b.seq);
    const tookMs = this.#world.monotonic() - startedAt;
    const live = rows.filter((row) => row.state === "queued" || row.state === "in_doubt");
    const held = mark === undefined ? {} : { wentBackwards: mark };
    if (mark !== undefined && !live.some(({ seq }) => seq <= mark.foundSeq))
      this.#facts.delete(HELD_MARK);
    return {
      report: { tookMs, found, expired, putInDoubt, ...held },
      live,
      remembered: rows.filter((row) => isRemembered(row, now)),
    };
  }

  #heldMark(): HeldMark | undefined {
    const text = this.#facts.get(HELD_MARK);
    if (text === undefined) return undefined;
    return readHeldMark(text) ?? { expectedSeq: this.#seq, foundSeq: this.#seq };
  }

  async admit(row: CallRow): Promise<number> {
    assert(row.state === "queued" || row.state === "sent", `call ${row.id} admitted ${row.state}`);
    encodeRow(row);
    this.#step();
    assert(!this.#rows.has(row.id), `call ${row.id} is admitted twice`);
    const seq = ++this.#seq;
    this.#rows.set(row.id, { ...row, seq });
    return seq;
  }

  async apply(change: CallChange, _sync: boolean): Promise<boolean> {
    this.#step();
    return this.#change(change);
  }

  applyLater(change: CallChange): void {
    if (!this.#isClosed) this.#change(change);
  }

  #change(change: CallChange): boolean {
    const row = this.#rows.get(change.id);
    const next = row === undefined ? undefined : apply(row, change);
    if (next === undefined) return false;
    encodeRow(next);
    const isDropping =
      change.kind === "deliver" && this.#dropsDelivered && !isRepeatable(next.state);
    this.#rows.set(next.id, isDropping ? { ...next, request: "", reply: undefined } : next);
    return true;
  }

  async find(id: string): Promise<CallRow | undefined> {
    this.#step();
    return this.#rows.get(id);
  }

  async list(filter: JournalFilter): Promise<readonly CallRow[]> {
    this.#step();
    const { states, sessionId, isUndelivered, afterSeq, limit } = filter;
    return [...this.#rows.values()]
      .filter((row) => afterSeq === undefined || row.seq > afterSeq)
      .filter((row) => states === undefined || states.includes(row.state))
      .filter((row) => sessionId === undefined || row.sessionId === sessionId)
      .filter((row) => isUndelivered !== true || row.deliveredAt === undefined)
      .sort((a, b) => (afterSeq === undefined ? b.seq - a.seq : a.seq - b.seq))
      .slice(0, limit);
  }

  async saveSession(row: SessionRow): Promise<void> {
    this.#step();
    this.#sessions.set(row.id, row);
  }

  async findSession(id: string): Promise<SessionRow | undefined> {
    this.#step();
    return this.#sessions.get(id);
  }

  async sessions(): Promise<readonly SessionRow[]> {
    this.#step();
    return [...this.#sessions.values()];
  }

  async keep(key: string, value: string | undefined): Promise<void> {
    this.#step();
    if (value === undefined) this.#facts.delete(key);
    else this.#facts.set(key, value);
  }

  async kept(prefix: string): Promise<ReadonlyMap<string, string>> {
    this.#step();
    return new Map([...this.#facts].filter(([key]) => key.startsWith(prefix)).sort(byKey));
  }

  async prune(resultsBefore: number, recordsBefore: number, bytesMax?: number): Promise<number> {
    this.#step();
    let deleted = this.#shrink(bytesMax ?? Infinity);
    const sessionIds = new Set<string>();
    for (const row of this.#rows.values()) {
      const { settledAt } = row;
      if (settledAt !== undefined && settledAt < recordsBefore) {
        this.#rows.delete(row.id);
        deleted++;
        continue;
      }
      sessionIds.add(row.sessionId);
      if (settledAt !== undefined && settledAt < resultsBefore)
        this.#rows.set(row.id, { ...row, request: "", reply: undefined });
    }
    for (const session of this.#sessions.values()) {
      const isOver = sessionOverAt(session) < recordsBefore;
      if (isOver && !sessionIds.has(session.id)) this.#sessions.delete(session.id);
    }
    return deleted;
  }

  /** Deletes the oldest ended rows, delivered ones first, until the others are within the bound. */
  #shrink(bytesMax: number): number {
    const rows = [...this.#rows.values()];
    let bytes = rows.reduce((sum, row) => sum + bytesOf(row), 0);
    let deleted = 0;
    const isKept = ({ deliveredAt }: CallRow) => (deliveredAt === undefined ? 1 : 0);
    for (const row of rows.sort((a, b) => isKept(a) - isKept(b) || a.seq - b.seq)) {
      if (bytes <= bytesMax) break;
      if (row.settledAt === undefined) continue;
      this.#rows.delete(row.id);
      bytes -= bytesOf(row);
      deleted++;
    }
    return deleted;
  }

  stats(): JournalStats {
    return {
      kind: "memory",
      path: undefined,
      degraded: this.#degraded,
      bytes: 0,
      walBytes: 0,
      fsyncMs: undefined,
      commits: this.#commits,
      rows: this.#rows.size,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #step(): void {
    if (this.#isClosed) throw new JournalError("closed", "the journal is closed");
    this.#commits++;
  }
}

/** About what a row takes beside its payloads. */
const ROW_BYTES = 512;
const bytesOf = ({ request, reply }: CallRow) => ROW_BYTES + request.length + (reply?.length ?? 0);

const byKey = ([a]: [string, string], [b]: [string, string]) => (a < b ? -1 : a > b ? 1 : 0);
