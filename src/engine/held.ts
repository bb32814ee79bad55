/**
 * Calls left by a dead process that this one must not run: they stay on disk for a person and end with
 * their deadline.
 *
 * X4. `executed: "no"` is said of such a call only where its journal is sound; another process may have
 *     gone on with the calls of an abandoned one, and one that went backwards forgot what it sent.
 */
import { type CallChange, type CallRow, mustSync } from "../core/call.ts";
import { type SessionRow, wasAskedIn } from "../core/session.ts";
import type { Shield } from "../core/shield.ts";
import type { Journal, Recovery } from "../ports.ts";
import { parseMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";

/** Whether this left-over row may have run since it was written, whatever it says itself. */
export function maySinceHaveRun(
  { isAbandoned, recovery }: { readonly isAbandoned: boolean; readonly recovery: Recovery },
  row: CallRow,
): boolean {
  const { wentBackwards } = recovery.report;
  return isAbandoned || (wentBackwards !== undefined && row.seq <= wentBackwards.foundSeq);
}

interface HeldCall {
  readonly journal: Journal;
  readonly row: CallRow;
  readonly isSound: boolean;
  readonly stopTimer: () => void;
}

const NOBODY =
  "left by a proxy with other credentials or an unsound journal, and nobody took it up";

type HeldContext = Pick<EngineContext, "world" | "fatal">;

export class Held {
  readonly #context: HeldContext;
  readonly #shield: Shield;
  readonly #onEnded: () => void;
  readonly #calls = new Map<string, HeldCall>();

  constructor(context: HeldContext, shield: Shield, onEnded: () => void) {
    this.#context = context;
    this.#shield = shield;
    this.#onEnded = onEnded;
  }

  has(id: string): boolean {
    return this.#calls.has(id);
  }

  /** The held call that was asked in this session under this id. */
  find(session: SessionRow, idText: string): string | undefined {
    for (const [id, { row }] of this.#calls) {
      if (row.redriveOf !== undefined || !wasAskedIn(session, row)) continue;
      const request = parseMessage(row.request);
      if (request.kind === "request" && request.idText === idText) return id;
    }
    return undefined;
  }

  /** Whether it is certain that it did not run: its journal is sound. */
  isSound(id: string): boolean {
    return this.#calls.get(id)?.isSound === true;
  }

  get size(): number {
    return this.#calls.size;
  }

  add(journal: Journal, row: CallRow, isSound: boolean): void {
    const { world, fatal } = this.#context;
    const stopTimer = world.timer(Math.max(0, row.deadlineAt - world.now()), () => {
      this.#end(row.id, NOBODY, true).catch(fatal);
    });
    this.#calls.set(row.id, { journal, row, isSound, stopTimer });
  }

  /** Leaves all of them to `other`. */
  moveTo(other: Held): void {
    const calls = [...this.#calls.values()];
    this.stop();
    for (const { journal, row, isSound } of calls) other.add(journal, row, isSound);
  }

  /** A person withdraws it; false if it is not held, or somebody else's change came first. */
  cancel(id: string, cause: string): Promise<boolean> {
    return this.#end(id, cause, false);
  }

  stop(): void {
    for (const { stopTimer } of this.#calls.values()) stopTimer();
    this.#calls.clear();
  }

  async #end(id: string, cause: string, isTimeout: boolean): Promise<boolean> {
    const call = this.#calls.get(id);
    if (call === undefined) return false;
    this.#calls.delete(id);
    call.stopTimer();
    const { journal, row, isSound } = call;
    const at = this.#context.world.now();
    const what: CallChange =
      isTimeout && isSound
        ? { kind: "expire", id, cause, at }
        : { kind: "cancel", id, from: "queued", mayHaveRun: !isSound, cause, at };
    const isMine = await journal.apply(what, mustSync(row, what));
    if (isMine && (row.isDoubted || !isSound)) this.#shield.rememberDoubt(row, at);
    this.#onEnded();
    return isMine;
  }
}
