/** The members of each kind of record, in the order in which they are written, and what they hold. */
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";

/** The journal that the records after it come from. */
export interface JournalRecord {
  /** Digest that names the upstream's folder: SHA-256 in hex, or the first 16 characters of it. */
  readonly upstream: string;
  /** Keyed digest of the credentials of its process; undefined if it was never told. */
  readonly credentials: string | undefined;
  /** What a person calls the upstream. */
  readonly name: string;
}

/** What a member holds; with `?` it may be absent. */
export type Shape = "text" | "text?" | "number" | "number?" | "boolean" | "texts";

export const CALL: Readonly<Record<keyof CallRow, Shape>> = {
  id: "text",
  seq: "number",
  sessionId: "text",
  upstream: "text",
  credentials: "text",
  method: "text",
  tool: "text?",
  safety: "text",
  fingerprint: "text?",
  schema: "text?",
  request: "text",
  acceptedAt: "number",
  deadlineAt: "number",
  acknowledgedAt: "number?",
  state: "text",
  reason: "text?",
  executed: "text",
  attempt: "number",
  isDoubted: "boolean",
  upstreamId: "text?",
  sentAt: "number?",
  settledAt: "number?",
  deliveredAt: "number?",
  reply: "text?",
  cause: "text?",
  note: "text?",
  redriveOf: "text?",
};

export const SESSION: Readonly<Record<keyof SessionRow, Shape>> = {
  id: "text",
  keyDigest: "text?",
  principal: "text",
  transport: "text",
  peer: "text",
  protocolVersion: "text",
  upstream: "text",
  credentials: "text",
  era: "text",
  handshake: "text",
  logLevel: "text?",
  subscriptions: "texts",
  createdAt: "number",
  lastSeenAt: "number",
  endedAt: "number?",
  detachedAt: "number?",
  timeoutMs: "number",
};

export const JOURNAL: Readonly<Record<keyof JournalRecord, Shape>> = {
  upstream: "text",
  credentials: "text?",
  name: "text",
};

/** The members of `value` in the order of its shapes, so that equal records are equal lines. */
export function inOrder<T extends object>(value: T, shapes: Readonly<Record<keyof T, Shape>>): T {
  const names = Object.keys(shapes) as (keyof T)[];
  return Object.fromEntries(names.map((name) => [name, value[name]])) as T;
}
