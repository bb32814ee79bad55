/** The live calls of this process and the memory of earlier ones, over all lines and journals. */
import type { CallRow } from "../core/call.ts";
import { Shield } from "../core/shield.ts";
import type { Journal } from "../ports.ts";
import type { Line } from "./line.ts";
import type { LiveCall } from "./live-call.ts";

export interface Recalled {
  readonly row: CallRow;
  readonly journal: Journal;
}

/** So many calls are remembered as given or taken back: more than can cross a client's return on the way. */
const REMEMBERED_MAX = 4_096;

export class Registry {
  readonly shield = new Shield();
  readonly #live = new Map<string, { readonly call: LiveCall; line: Line }>();
  readonly #liveIn = new Map<Journal, number>();
  readonly #liveOf = new Map<string, number>();
  readonly #journals = new Set<Journal>();
  readonly #given = new Set<string>();
  readonly #takenBack = new Set<string>();
  #orders = 0;

  /** Orders calls by acceptance over all lines. */
  nextOrder(): number {
    return ++this.#orders;
  }

  add(call: LiveCall, line: Line): void {
    this.remove(call.row.id);
    this.#live.set(call.row.id, { call, line });
    this.#liveIn.set(call.journal, this.liveIn(call.journal) + 1);
    const { sessionId } = call.row;
    this.#liveOf.set(sessionId, (this.#liveOf.get(sessionId) ?? 0) + 1);
  }

  remove(callId: string): void {
    const known = this.#live.get(callId);
    if (known === undefined) return;
    this.#live.delete(callId);
    this.#liveIn.set(known.call.journal, this.liveIn(known.call.journal) - 1);
    const { sessionId } = known.call.row;
    const others = (this.#liveOf.get(sessionId) ?? 0) - 1;
    if (others > 0) this.#liveOf.set(sessionId, others);
    else this.#liveOf.delete(sessionId);
  }

  /** Whether calls of this session have not ended. */
  hasLive(sessionId: string): boolean {
    return this.#liveOf.has(sessionId);
  }

  /** A call of this session that was asked under this id, and that nobody here waits for. */
  findUnwaited(
    sessionId: string,
    idText: string,
  ): { readonly call: LiveCall; readonly line: Line } | undefined {
    if (!this.hasLive(sessionId)) return undefined;
    for (const live of this.#live.values()) {
      const { row, waiters } = live.call;
      // A person's repetition is no request of the client's.
      const isAsked = row.sessionId === sessionId && row.redriveOf === undefined;
      if (isAsked && waiters.size === 0 && live.call.idText === idText) return live;
    }
    return undefined;
  }

  find(callId: string): { readonly call: LiveCall; readonly line: Line } | undefined {
    return this.#live.get(callId);
  }

  /** The caller of this call has just been given its answer, or told that the call runs late. */
  gave(callId: string): void {
    remember(this.#given, callId);
  }

  wasGiven(callId: string): boolean {
    return this.#given.has(callId);
  }

  /** The caller of this call wants no answer any more, also where one still comes. */
  tookBack(callId: string): void {
    remember(this.#takenBack, callId);
  }

  wasTakenBack(callId: string): boolean {
    return this.#takenBack.has(callId);
  }

  liveIn(journal: Journal): number {
    return this.#liveIn.get(journal) ?? 0;
  }

  /** The wall clock was set back by so much: nobody shall wait longer for it. */
  setBack(ms: number): void {
    for (const { call } of this.#live.values()) {
      for (const waiter of call.waiters) {
        waiter.since -= ms;
        waiter.holdUntil -= ms;
        waiter.tickAt -= ms;
      }
    }
  }

  /** Calls that have not ended on this line. */
  liveOn(line: Line): number {
    let count = 0;
    for (const live of this.#live.values()) if (live.line === line) count++;
    return count;
  }

  addJournal(journal: Journal): void {
    this.#journals.add(journal);
  }

  removeJournal(journal: Journal): void {
    this.#journals.delete(journal);
    this.#liveIn.delete(journal);
  }

  get journals(): ReadonlySet<Journal> {
    return this.#journals;
  }

  /** A call's row, live or ended, from whichever journal has it. */
  async recall(callId: string): Promise<Recalled | undefined> {
    for (const journal of this.#journals) {
      const row = await journal.find(callId);
      if (row !== undefined) return { row, journal };
    }
    return undefined;
  }
}

function remember(ids: Set<string>, id: string): void {
  ids.add(id);
  if (ids.size <= REMEMBERED_MAX) return;
  for (const oldest of ids) {
    ids.delete(oldest);
    return;
  }
}
