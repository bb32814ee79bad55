/** The rules of recovery that every journal shares. */
import { must } from "../base/assert.ts";
import { apply } from "../core/call.ts";
import type { CallChange, CallRow } from "../core/call.ts";

/** How long a result that nobody took is offered to an identical call. */
export const UNDELIVERED_MS = 600_000;

export interface RecoveredRow {
  readonly change: CallChange;
  readonly row: CallRow;
}

/** What a start does to this row; undefined where it stays as it is. */
export function recoverRow(row: CallRow, now: number): RecoveredRow | undefined {
  const change = recoveryChange(row, now);
  if (change === undefined) return undefined;
  return { change, row: must(apply(row, change), `recovery of ${row.id} from ${row.state}`) };
}

function recoveryChange(row: CallRow, now: number): CallChange | undefined {
  const { id, attempt } = row;
  if (row.state === "sent") {
    const cause = "the proxy ended while the call was in flight";
    return { kind: "doubt", id, attempt, cause, at: now };
  }
  if (row.state === "queued" && row.deadlineAt <= now) {
    return {
      kind: "expire",
      id,
      cause: "its time ran out while the proxy was not running",
      at: now,
    };
  }
  return undefined;
}

/** Whether this ended row is offered again after a start at `now`. */
export function isUndelivered(row: CallRow, now: number): boolean {
  return (
    row.settledAt !== undefined &&
    row.settledAt >= now - UNDELIVERED_MS &&
    row.deliveredAt === undefined &&
    row.fingerprint !== undefined
  );
}
