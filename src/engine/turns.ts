/**
 * Whose turn it is: the order in which the calls of many sessions leave the backlog of one upstream.
 * A lane claims a slot for each call that may go; a free slot is granted to one of the claims.
 *
 * Q7. Sessions take turns by bytes (deficit round robin): a turn is worth `QUANTUM_BYTES` of requests, and
 *     for a larger one a session saves up over several turns while the others have theirs. A small
 *     request counts as `CALL_MIN_BYTES`: it keeps the server busy, too, and one session's hundreds of
 *     them must not pass in one turn.
 * Q8. While another session waits in its class, one session holds at most half of the window, rounded up.
 * Q9. Claims of callers who wait come before those of deferred calls, but a waiting deferred claim is
 *     passed over at most nine times in a row.
 */
import type { Queue, QueueAddOptions } from "p-queue";
import { assert, must, unreachable } from "../base/assert.ts";

/** The wish of a lane for one slot. */
export interface Claim {
  /** The session whose turn it uses. */
  readonly sessionId: string;
  /** Of a late lane: nobody waits for it, or its caller was told that it runs late. */
  readonly isDeferred: boolean;
  /** Of the request that will probably go. */
  readonly bytes: number;
  /** The slot is there. False where nothing may go any more: then it goes back at once. */
  readonly granted: (slot: Slot) => boolean;
}

/** Room for one call in the window of the upstream. */
export interface Slot {
  /** The call came back; `isGood`: with a reply. Exactly once. */
  leave(isGood: boolean): void;
}

export interface ClaimOptions extends QueueAddOptions {
  readonly claim?: Claim;
}

export interface TurnRules {
  /** Whether anything at all may go now. */
  isOpen(): boolean;
  /** Slots in all, free or not. */
  window(): number;
}

/** What a session may send in one turn. */
export const QUANTUM_BYTES = 64 * 1024;
/** What a call counts for at least. */
export const CALL_MIN_BYTES = 16 * 1024;
/** Of so many grants in a row one goes to a deferred claim that waits. */
export const DEFERRED_EVERY = 10;

type Run = () => Promise<unknown>;

interface Entry {
  readonly claim: Claim;
  readonly run: Run;
}

interface Turn {
  readonly entries: Entry[];
  /** Bytes that it may still send in this turn; what is too little for its next call stays. */
  credit: number;
  isBegun: boolean;
}

/** The claims of one class, session by session; the first session has its turn. */
class Ring {
  /** In the order of their turns: a map keeps the order in which its keys came. */
  readonly #turns = new Map<string, Turn>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whether another session has a claim here. */
  hasOthers(sessionId: string): boolean {
    return this.#turns.size > (this.#turns.has(sessionId) ? 1 : 0);
  }

  add(entry: Entry): void {
    const { sessionId } = entry.claim;
    const turn = this.#turns.get(sessionId) ?? { entries: [], credit: 0, isBegun: false };
    turn.entries.push(entry);
    this.#turns.set(sessionId, turn);
    this.#size++;
  }

  /** Takes out the entry whose turn it is. `mayTake` must hold for some session that has one. */
  take(mayTake: (sessionId: string) => boolean): Entry {
    let refusals = 0;
    for (;;) {
      const [sessionId, turn] = must(this.#turns.entries().next().value, "a claim to grant");
      const entry = must(turn.entries[0], "a claim of the session whose turn it is");
      const bytes = Math.max(entry.claim.bytes, CALL_MIN_BYTES);
      if (mayTake(sessionId)) {
        refusals = 0;
        if (!turn.isBegun) turn.credit += QUANTUM_BYTES;
        turn.isBegun = true;
        if (bytes <= turn.credit) {
          turn.credit -= bytes;
          this.remove(entry.claim);
          return entry;
        }
      } else {
        assert(++refusals <= this.#turns.size, "a session that may take the free slot");
        // Only what is too little is saved: who has its share already would save up for a burst.
        if (bytes <= turn.credit) turn.credit = 0;
      }
      turn.isBegun = false;
      this.#turns.delete(sessionId);
      this.#turns.set(sessionId, turn);
    }
  }

  /** A session without claims loses its credit: it could save up for a burst. */
  remove(claim: Claim): void {
    const turn = this.#turns.get(claim.sessionId);
    const at = turn?.entries.findIndex((entry) => entry.claim === claim) ?? -1;
    if (turn === undefined || at < 0) return;
    turn.entries.splice(at, 1);
    this.#size--;
    if (turn.entries.length === 0) this.#turns.delete(claim.sessionId);
  }

  runs(): Run[] {
    return [...this.#turns.values()].flatMap((turn) => turn.entries.map((entry) => entry.run));
  }
}

/** The queue class of the upstream's p-queue, which keeps the count of slots. */
export class Turns implements Queue<Run, ClaimOptions> {
  readonly #rules: TurnRules;
  readonly #interactive = new Ring();
  readonly #deferred = new Ring();
  /** Slots that a session holds. */
  readonly #held = new Map<string, number>();
  #sinceDeferred = 0;

  constructor(rules: TurnRules) {
    this.#rules = rules;
  }

  /** Claims that wait, whether anything may go or not. */
  get waiting(): number {
    return this.#interactive.size + this.#deferred.size;
  }

  /** Claims that may be granted now: all, or none while the gate is closed. */
  get size(): number {
    const { waiting } = this;
    return waiting > 0 && this.#rules.isOpen() ? waiting : 0;
  }

  enqueue(run: Run, options?: Partial<ClaimOptions>): void {
    const claim = must(options?.claim, "the claim of a task");
    this.#ringOf(claim).add({ claim, run });
  }

  dequeue(): Run {
    const isDeferred =
      this.#deferred.size > 0 &&
      (this.#interactive.size === 0 || this.#sinceDeferred >= DEFERRED_EVERY - 1);
    const ring = isDeferred ? this.#deferred : this.#interactive;
    const share = Math.ceil(this.#rules.window() / 2);
    const { claim, run } = ring.take(
      (sessionId) => !ring.hasOthers(sessionId) || this.held(sessionId) < share,
    );
    this.#sinceDeferred = isDeferred || this.#deferred.size === 0 ? 0 : this.#sinceDeferred + 1;
    this.#held.set(claim.sessionId, this.held(claim.sessionId) + 1);
    return run;
  }

  /** The lane no longer wants a slot. Does nothing for a claim that was granted. */
  withdraw(claim: Claim): void {
    this.#ringOf(claim).remove(claim);
  }

  /** A slot of that session is free again. */
  left(sessionId: string): void {
    const held = this.held(sessionId) - 1;
    if (held > 0) this.#held.set(sessionId, held);
    else this.#held.delete(sessionId);
  }

  /** Whether a claim of another session waits that does not come after those of this one anyway. */
  isWantedBeside(sessionId: string, isDeferred: boolean): boolean {
    return (
      this.#interactive.hasOthers(sessionId) || (isDeferred && this.#deferred.hasOthers(sessionId))
    );
  }

  held(sessionId: string): number {
    return this.#held.get(sessionId) ?? 0;
  }

  /** p-queue asks with a priority alone; here that is the class of a claim. */
  filter({ priority = 0 }: Readonly<Partial<ClaimOptions>>): Run[] {
    return (priority > 0 ? this.#interactive : this.#deferred).runs();
  }

  /** A claim of another class is another claim: lanes withdraw and claim anew. */
  setPriority(): never {
    return unreachable("a claim changes its class" as never);
  }

  #ringOf(claim: Claim): Ring {
    return claim.isDeferred ? this.#deferred : this.#interactive;
  }
}
