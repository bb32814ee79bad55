/** The rules of recovery that every journal shares. */
import { must } from "../base/assert.ts";
import { apply } from "../core/call.ts";
import type { CallChange, CallRow } from "../core/call.ts";

/** How long a result that nobody took is offered to an identical call. */
export const REMEMBERED_MS = 600_000;

export interface RecoveredRow {
  readonly change: CallChange;
  readonly row: CallRow;
}

/** What a start does to this row; undefined where it stays as it is. `isSound`: nothing is missing. */
export function recoverRow(row: CallRow, now: number, isSound: boolean): RecoveredRow | undefined {
  const change = recoveryChange(row, now, isSound);
  if (change === undefined) return undefined;
  return { change, row: must(apply(row, change), `recovery of ${row.id} from ${row.state}`) };
}

function recoveryChange(row: CallRow, now: number, isSound: boolean): CallChange | undefined {
  const { id, attempt } = row;
  if (row.state === "sent") {
    const cause = "the proxy ended while the call was in flight";
    return { kind: "doubt", id, attempt, cause, at: now };
  }
  // In a journal that went backwards, or was given up in mid-life, a queued row may have run since: it
  // is not said that it did not.
  if (row.state === "queued" && row.deadlineAt <= now && isSound) {
    return {
      kind: "expire",
      id,
      cause: "its time ran out while the proxy was not running",
      at: now,
    };
  }
  return undefined;
}

/** Whether a repetition of this ended row is answered from it, or warned of it, after a start at `now`. */
export function isRemembered(row: CallRow, now: number): boolean {
  const isRecent = row.settledAt !== undefined && row.settledAt >= now - REMEMBERED_MS;
  return (
    isRecent && row.fingerprint !== undefined && (row.deliveredAt === undefined || isOpenDoubt(row))
  );
}

/** Its outcome is unknown, and nobody has found it out since. */
const isOpenDoubt = (row: CallRow): boolean =>
  row.executed === "unknown" && row.state !== "failed" && row.note === undefined;
