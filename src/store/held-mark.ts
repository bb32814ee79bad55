/**
 * The mark that a journal carries when its live calls may have run since it was written: it holds less
 * than was once synced, or was put in place from a file (an import, a restored backup).
 *
 * It is a fact inside the database and not a file beside it: it is there with the first row or not at
 * all, and goes wherever the database is copied to. Under it no call but a read runs by itself (X1), none
 * is said not to have run (X4), and the journal is no process's own (F2). Recovery takes it away once
 * nothing of that time is live any more.
 */
import type { RecoveryReport } from "../core/status.ts";
import { isObject } from "../wire/message.ts";

export type HeldMark = NonNullable<RecoveryReport["wentBackwards"]>;

/** The key of the fact. */
export const HELD_MARK = "journal.went_backwards";

export function heldMarkText(mark: HeldMark): string {
  return JSON.stringify(mark);
}

/**
 * What `heldMarkText` wrote, by this version or one before. Undefined for what is damaged: it is a mark all
 * the same, of everything in the journal.
 */
export function readHeldMark(text: string): HeldMark | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isObject(value)) return undefined;
    const isWhole =
      typeof value["expectedSeq"] === "number" && typeof value["foundSeq"] === "number";
    return isWhole ? (value as unknown as HeldMark) : undefined;
  } catch {
    return undefined;
  }
}

/** Mark of a journal that was put in place from a file and ends at `seq`. `because`: words for a person. */
export function broughtIn(seq: number, because: string): HeldMark {
  return { expectedSeq: seq, foundSeq: seq, because };
}

/** Why the calls of the journal at `path` wait for a person, in words. */
export function whyHeld(path: string, mark: HeldMark): string {
  return mark.because === undefined
    ? `${path} holds less than it once did (a restored backup?)`
    : `${path} was ${mark.because}`;
}
