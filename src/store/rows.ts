/**
 * Rows of the `call` table and the domain's `CallRow`: one order of columns for the message to the
 * journal thread, for binding and for reading, asserted on the way in and on the way out.
 *
 * W1. A row is written only if it is legal (`illegality` finds nothing); an illegal one is a bug.
 * W2. A row is handed out only if its checksums match and it is legal; any other is quarantined.
 * W3. The checksum of a row covers every semantic column; payloads enter it by their own checksums,
 *     and what never changes by one sum that is taken once, so that a change of state reads neither.
 */
import { crc32 } from "node:zlib";
import { Bug } from "../base/assert.ts";
import { CALL_STATES, isTerminal } from "../core/call.ts";
import type { CallRow, CallState, DeadReason, Executed, Safety } from "../core/call.ts";

export type SqlValue = string | number | null;
/** The values of `META_COLUMNS`, then request and reply. */
export type RowValues = readonly SqlValue[];

/** What many calls have in common: stored once, as a row of `origin`. */
export const ORIGIN_COLUMNS = [
  "session_id",
  "upstream",
  "credentials",
  "method",
  "tool",
  "safety",
  "schema",
] as const;

/** What a call itself keeps for life. */
export const OWN_COLUMNS = ["seq", "id", "fingerprint", "accepted_at", "redrive_of"] as const;

/** What a change may write. */
export const CHANGING_COLUMNS = [
  "deadline_at",
  "acknowledged_at",
  "state",
  "reason",
  "executed",
  "attempt",
  "is_doubted",
  "upstream_id",
  "sent_at",
  "settled_at",
  "delivered_at",
  "cause",
  "note",
] as const;

/** The semantic columns but for the payloads, in the order in which the checksum takes them. */
export const META_COLUMNS = [...ORIGIN_COLUMNS, ...OWN_COLUMNS, ...CHANGING_COLUMNS] as const;

const OWN_AT = ORIGIN_COLUMNS.length;
const CHANGING_AT = OWN_AT + OWN_COLUMNS.length;
const META_LENGTH = META_COLUMNS.length;
export const SEQ_AT = OWN_AT;
export const ID_AT = OWN_AT + 1;
export const STATE_AT = CHANGING_AT + CHANGING_COLUMNS.indexOf("state");
export const REQUEST_AT = META_LENGTH;
export const REPLY_AT = META_LENGTH + 1;

/** Payloads are plain text so far; other codecs (encryption) get other numbers. */
export const CODEC_TEXT = 0;

const SAFETIES: readonly string[] = ["read", "idempotent", "unsafe"];
const REASONS: readonly string[] = ["outcome_unknown", "tool_changed", "blocked", "poison"];
const EXECUTED: readonly string[] = ["no", "yes", "unknown", "pending"];

const orNull = <T extends SqlValue>(value: T | undefined): T | null => value ?? null;

/** Half a surrogate pair (a tool may be named so) does not survive UTF-8; it would break the sum. */
export const asInUtf8 = (value: string): string => value.replace(/\p{Surrogate}/gu, "\ufffd");

const wellFormed = (value: string | undefined): string | null =>
  value === undefined ? null : asInUtf8(value);

/** Throws `Bug` for a row that must not exist (W1). */
export function assertLegal(row: CallRow): void {
  const wrong = illegality(row);
  if (wrong !== undefined) throw new Bug(`call ${row.id}: ${wrong}`);
}

/** Throws `Bug` for a row that must not exist (W1). */
export function encodeRow(row: CallRow): RowValues {
  assertLegal(row);
  return [
    row.sessionId,
    row.upstream,
    row.credentials,
    wellFormed(row.method),
    wellFormed(row.tool),
    row.safety,
    orNull(row.schema),
    row.seq,
    row.id,
    orNull(row.fingerprint),
    row.acceptedAt,
    orNull(row.redriveOf),
    row.deadlineAt,
    orNull(row.acknowledgedAt),
    row.state,
    orNull(row.reason),
    row.executed,
    row.attempt,
    row.isDoubted ? 1 : 0,
    orNull(row.upstreamId),
    orNull(row.sentAt),
    orNull(row.settledAt),
    orNull(row.deliveredAt),
    wellFormed(row.cause),
    wellFormed(row.note),
    row.request,
    orNull(row.reply),
  ];
}

/** The values of `CHANGING_COLUMNS`. */
export function changingValues(row: CallRow): SqlValue[] {
  return [
    row.deadlineAt,
    orNull(row.acknowledgedAt),
    row.state,
    orNull(row.reason),
    row.executed,
    row.attempt,
    row.isDoubted ? 1 : 0,
    orNull(row.upstreamId),
    orNull(row.sentAt),
    orNull(row.settledAt),
    orNull(row.deliveredAt),
    wellFormed(row.cause),
    wellFormed(row.note),
  ];
}

/** A value read from disk that is not what its column holds. The text says which. */
class Unreadable extends Error {}

function text(values: RowValues, at: number): string {
  const value = values[at];
  if (typeof value !== "string") throw new Unreadable(`column ${at} holds no text`);
  return value;
}

function maybeText(values: RowValues, at: number): string | undefined {
  return values[at] === null ? undefined : text(values, at);
}

function number(values: RowValues, at: number): number {
  const value = values[at];
  if (typeof value !== "number") throw new Unreadable(`column ${at} holds no number`);
  return value;
}

function maybeNumber(values: RowValues, at: number): number | undefined {
  return values[at] === null ? undefined : number(values, at);
}

function decode(values: RowValues): CallRow {
  return {
    sessionId: text(values, 0),
    upstream: text(values, 1),
    credentials: text(values, 2),
    method: text(values, 3),
    tool: maybeText(values, 4),
    safety: text(values, 5) as Safety,
    schema: maybeText(values, 6),
    seq: number(values, 7),
    id: text(values, 8),
    fingerprint: maybeText(values, 9),
    acceptedAt: number(values, 10),
    redriveOf: maybeText(values, 11),
    deadlineAt: number(values, 12),
    acknowledgedAt: maybeNumber(values, 13),
    state: text(values, 14) as CallState,
    reason: maybeText(values, 15) as DeadReason | undefined,
    executed: text(values, 16) as Executed,
    attempt: number(values, 17),
    isDoubted: number(values, 18) === 1,
    upstreamId: maybeText(values, 19),
    sentAt: maybeNumber(values, 20),
    settledAt: maybeNumber(values, 21),
    deliveredAt: maybeNumber(values, 22),
    cause: maybeText(values, 23),
    note: maybeText(values, 24),
    request: text(values, REQUEST_AT),
    reply: maybeText(values, REPLY_AT),
  };
}

/** The row, or in words why it may not be used (W2). Checksums are the caller's business. */
export function decodeRow(values: RowValues): CallRow | string {
  try {
    const row = decode(values);
    return illegality(row) ?? row;
  } catch (error) {
    if (error instanceof Unreadable) return error.message;
    throw error;
  }
}

/** Why this row can't be: a state that contradicts its other columns. Undefined for a legal row. */
export function illegality(row: CallRow): string | undefined {
  if (!CALL_STATES.includes(row.state)) return `unknown state ${row.state}`;
  const isEnded = isTerminal(row.state);
  const wasSent = row.state === "sent" || row.state === "tasked" || row.state === "in_doubt";
  if (!SAFETIES.includes(row.safety)) return `unknown safety ${row.safety}`;
  if (!EXECUTED.includes(row.executed)) return `unknown execution ${row.executed}`;
  if (row.reason !== undefined && !REASONS.includes(row.reason)) return `reason ${row.reason}`;
  if (!Number.isInteger(row.attempt) || row.attempt < 0) return `attempt ${row.attempt}`;
  if (!Number.isInteger(row.seq) || row.seq < 0) return `seq ${row.seq}`;
  if (isEnded === (row.executed === "pending")) return `${row.state} but ${row.executed}`;
  if (isEnded !== (row.settledAt !== undefined)) return `${row.state} settled ${row.settledAt}`;
  if (!isEnded && row.deliveredAt !== undefined) return `delivered while ${row.state}`;
  if ((row.state === "dead") !== (row.reason !== undefined)) return `${row.state}, ${row.reason}`;
  if (wasSent && row.attempt === 0) return `${row.state} without an attempt`;
  if (row.attempt > 0 && (row.sentAt === undefined || row.upstreamId === undefined))
    return `attempt ${row.attempt} without its time or id`;
  if (row.state === "in_doubt" && !row.isDoubted) return "in doubt but not doubted";
  if (row.isDoubted && row.executed === "no") return "doubted, yet said not to have run";
  return undefined;
}

export function textSum(text: SqlValue | undefined): number {
  return typeof text === "string" ? crc32(text) : 0;
}

/** The length before each text keeps neighbours apart; a null differs from every text and number. */
function joined(values: RowValues, from: number, to: number): string {
  let text = "";
  for (let at = from; at < to; at++) {
    const value = values[at];
    if (typeof value === "string") text += `${value.length}:${value};`;
    else text += value === null ? "~;" : `${value};`;
  }
  return text;
}

/** The part of a row's checksum that is the same for all calls of one origin. */
export function originSum(values: RowValues): number {
  return crc32(joined(values, 0, OWN_AT));
}

/** The part of a row's checksum that never changes. */
export function lifelongSum(values: RowValues, origin = originSum(values)): number {
  return crc32(joined(values, OWN_AT, CHANGING_AT), origin);
}

/** The checksum of a row (W3); `changing` are the values of `CHANGING_COLUMNS`. */
export function rowSum(
  changing: RowValues,
  lifelong: number,
  requestSum: number,
  replySum: number,
): number {
  const text = joined(changing, 0, CHANGING_COLUMNS.length);
  return crc32(`${text}${requestSum};${replySum}`, lifelong);
}

/** The values of `OWN_COLUMNS` among those of a row. */
export function ownOf(values: RowValues): SqlValue[] {
  return values.slice(OWN_AT, CHANGING_AT);
}

/** The values of `CHANGING_COLUMNS` among those of a row. */
export function changingOf(values: RowValues): SqlValue[] {
  return values.slice(CHANGING_AT, META_LENGTH);
}
