/**
 * Calls that wait, in lanes: a session has a main lane, and a late one for what is deferred or was left by
 * a dead process.
 *
 * Q4. A lane is first in, first out by order of acceptance; a call that comes back takes its old place.
 * Q5. At most one writing call of a lane is under way, and at most `READS_MAX` reads begin beside each
 *     other while other sessions wait.
 * Q6. Lanes concern backlogs only; while nothing waits, nothing is limited.
 */
import type { LiveCall } from "./live-call.ts";
import type { Claim } from "./turns.ts";

/** Reads of one lane that are under way at once; a session alone may use the whole window. */
export const READS_MAX = 4;

export class Lane {
  readonly sessionId: string;
  readonly isLate: boolean;
  /** Slots that it has asked for, first come first. What goes is the head at the time of the grant. */
  readonly claims: Claim[] = [];
  /** In order; calls that ended elsewhere stay until they come to the head. */
  #calls: LiveCall[] = [];
  #at = 0;
  #size = 0;
  /** Calls that left it and have not come back. */
  readonly #underWay = new Set<LiveCall>();

  constructor(sessionId: string, isLate: boolean) {
    this.sessionId = sessionId;
    this.isLate = isLate;
  }

  get size(): number {
    return this.#size;
  }

  /** Nothing waits, is under way or asks for a slot. */
  get isIdle(): boolean {
    return this.#size === 0 && this.#underWay.size === 0 && this.claims.length === 0;
  }

  /** A call of this lane is being committed: nothing new may be on the wire before it. */
  get isLeaving(): boolean {
    for (const call of this.#underWay) if (call.phase === "committing") return true;
    return false;
  }

  add(call: LiveCall): void {
    this.#size++;
    const last = this.#calls.at(-1);
    if (last === undefined || last.order < call.order || this.#at >= this.#calls.length) {
      this.#calls.push(call);
      return;
    }
    let i = this.#calls.length;
    while (i > this.#at && (this.#calls[i - 1] as LiveCall).order > call.order) i--;
    this.#calls.splice(i, 0, call);
  }

  /** The call that is next, without taking it. */
  head(): LiveCall | undefined {
    for (;;) {
      const call = this.#calls[this.#at];
      if (call === undefined) {
        this.#calls = [];
        this.#at = 0;
        return undefined;
      }
      if (call.phase === "queued") return call;
      this.#at++;
    }
  }

  /** Takes the head, which waits. */
  take(): void {
    this.head();
    this.#at++;
    this.#size--;
    if (this.#at > 1_000 && this.#at * 2 > this.#calls.length) {
      this.#calls = this.#calls.slice(this.#at);
      this.#at = 0;
    }
  }

  /** The calls, from the head on, that may go beside those that are under way. */
  ready(readsMax: number): readonly LiveCall[] {
    let reads = readsMax;
    let writes = 1;
    for (const { row } of this.#underWay) {
      if (row.safety === "read") reads--;
      else writes--;
    }
    const ready: LiveCall[] = [];
    for (let i = this.#at; i < this.#calls.length; i++) {
      const call = this.#calls[i] as LiveCall;
      if (call.phase !== "queued") continue;
      // Invariant Q5: writes one at a time, so that their order is the order of effects.
      if ((call.row.safety === "read" ? reads-- : writes--) <= 0) break;
      ready.push(call);
    }
    return ready;
  }

  /** The call that was taken is being sent. */
  went(call: LiveCall): void {
    this.#underWay.add(call);
  }

  cameBack(call: LiveCall): void {
    this.#underWay.delete(call);
  }

  /** A call in this lane ended or moves elsewhere; it is no longer counted. */
  drop(call: LiveCall): void {
    this.#size--;
    const i = this.#calls.indexOf(call, this.#at);
    if (i >= 0) this.#calls.splice(i, 1);
  }

  /** 1 for the head; only calls that still wait are counted. */
  position(call: LiveCall): number {
    let position = 1;
    for (let i = this.#at; i < this.#calls.length; i++) {
      const other = this.#calls[i] as LiveCall;
      if (other === call) return position;
      if (other.phase === "queued") position++;
    }
    return position;
  }

  waiting(): readonly LiveCall[] {
    return this.#calls.slice(this.#at).filter((call) => call.phase === "queued");
  }
}

/** Both lanes of one session. */
export interface Lanes {
  readonly main: Lane;
  readonly late: Lane;
}

export const newLanes = (sessionId: string): Lanes => ({
  main: new Lane(sessionId, false),
  late: new Lane(sessionId, true),
});
