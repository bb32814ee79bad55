/** The rows that calls begin with: accepted from a client, or repeated by a person's order (T15). */
import { RefusedError } from "../base/errors.ts";
import { type CallRow, isTerminal } from "./call.ts";

/** What every call has before anything has happened to it. */
export const FRESH = {
  seq: 0,
  acknowledgedAt: undefined,
  state: "queued",
  reason: undefined,
  executed: "pending",
  attempt: 0,
  isDoubted: false,
  upstreamId: undefined,
  sentAt: undefined,
  settledAt: undefined,
  deliveredAt: undefined,
  reply: undefined,
  cause: undefined,
  note: undefined,
  redriveOf: undefined,
} as const satisfies Partial<CallRow>;

/**
 * A new call with the request of an ended one, which stays as it is. A person ordered it, so it may run
 * late (promise P5a), for `ttlMs`. Throws `RefusedError` where there is nothing to repeat.
 */
export function repeatedCall(row: CallRow, id: string, now: number, ttlMs: number): CallRow {
  if (!isTerminal(row.state)) {
    throw new RefusedError(`call ${row.id} is ${row.state}; only one that ended can be repeated`);
  }
  if (row.request === "") {
    throw new RefusedError(`the request of call ${row.id} is not kept any more`);
  }
  return {
    ...row,
    ...FRESH,
    id,
    acceptedAt: now,
    acknowledgedAt: now,
    deadlineAt: now + ttlMs,
    redriveOf: row.id,
  };
}
