/**
 * What callers are told: replies of the upstream under their own ids, and Holdfast's own answers, in
 * words for people and models and in `holdfast/call` for programs.
 *
 * A1. Words describe; they never command the reader (a "do NOT retry" freezes some models).
 * A2. `executed` is read from the row, after the change that it speaks of was committed.
 */
import { isTerminal, type CallRow, type Executed } from "../core/call.ts";
import { FAILURES } from "../core/failure.ts";
import type { Link } from "../core/connection.ts";
import { RPC } from "../base/errors.ts";
import {
  formatError,
  formatResult,
  isObject,
  parseMessage,
  withIdText,
  type JsonObject,
  type ReplyMessage,
} from "../wire/message.ts";

export const META_KEY = "holdfast/call";

/** The machine form of what is said about a call. */
export interface CallReport {
  readonly callId: string;
  readonly state: string;
  readonly executed: Executed;
  readonly upstream: string;
  /** ISO 8601: since when the upstream is away, or when the call was sent. */
  readonly since: string;
  readonly attempt: number;
  readonly nextRetryMs?: number;
  readonly queuePosition?: number;
  readonly expiresAt?: string;
}

export interface Situation {
  readonly upstreamName: string;
  readonly link: Link;
  readonly now: number;
  readonly nextAttemptAt: number | undefined;
  readonly queuePosition?: number;
}

const iso = (at: number): string => new Date(at).toISOString();

export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${String(s)} s`;
  if (s < 7200) return `${String(Math.round(s / 60))} min`;
  return `${String(Math.round(s / 3600))} h`;
}

function ordinal(n: number): string {
  const tail = n % 100;
  if (tail >= 11 && tail <= 13) return `${String(n)}th`;
  return `${String(n)}${["th", "st", "nd", "rd"][n % 10] ?? "th"}`;
}

/** "'github' has been away for 21 s (exited with code 7; …)". */
export function describeTrouble(at: Situation): string {
  const { link, upstreamName, now } = at;
  if (link.state === "serving") {
    if (at.nextAttemptAt === undefined) return `'${upstreamName}' is connected and busy`;
    const why = link.breaker.state === "closed" ? "asked to slow down" : "failed call after call";
    return `'${upstreamName}' ${why} and gets nothing for another ${duration(at.nextAttemptAt - now)}`;
  }
  const awayFor = duration(now - (link.troubleSince ?? link.since));
  if (link.failure === undefined) return `'${upstreamName}' has been starting for ${awayFor}`;
  const told = FAILURES[link.failure.kind].told;
  return `'${upstreamName}' has been away for ${awayFor} (it ${told}: ${link.failure.message})`;
}

/** The line of a progress notification while a call waits. */
export function describeWaiting(at: Situation): string {
  const place = at.queuePosition === undefined ? "queued" : `queued ${ordinal(at.queuePosition)}`;
  const next =
    at.nextAttemptAt === undefined || at.link.state === "serving"
      ? ""
      : `; next attempt in ${duration(at.nextAttemptAt - at.now)}`;
  return `${place}; ${describeTrouble(at)}${next}`;
}

function report(row: CallRow, at: Situation): CallReport {
  const wasSent = row.state === "dead" && row.reason === "outcome_unknown";
  const since = wasSent ? (row.sentAt ?? row.acceptedAt) : (at.link.troubleSince ?? row.acceptedAt);
  return {
    callId: row.id,
    state: row.state,
    executed: isTerminal(row.state) ? row.executed : "pending",
    upstream: at.upstreamName,
    since: iso(since),
    attempt: row.attempt,
    ...(at.nextAttemptAt === undefined
      ? {}
      : { nextRetryMs: Math.max(0, Math.round(at.nextAttemptAt - at.now)) }),
    ...(at.queuePosition === undefined ? {} : { queuePosition: at.queuePosition }),
    ...(isTerminal(row.state) || row.acknowledgedAt === undefined
      ? {}
      : { expiresAt: iso(row.deadlineAt) }),
  };
}

/** An answer of ours: an `isError` result for a tool, an error for everything else. */
export function ownAnswer(row: CallRow, idText: string, at: Situation, words: string): string {
  const what = report(row, at);
  if (row.method === "tools/call") {
    return formatResult(idText, {
      content: [{ type: "text", text: words }],
      isError: true,
      _meta: { [META_KEY]: what },
    });
  }
  return formatError(idText, { code: RPC.internal, message: words, data: what });
}

/** The words for a call that ended without an answer of the upstream, or waits beyond its caller. */
export function wordsFor(row: CallRow, at: Situation): string {
  const waited = duration(at.now - row.acceptedAt);
  const unknown = `It was sent${row.sentAt === undefined ? "" : ` at ${iso(row.sentAt)}`} and may or may not have taken effect (call ${row.id}).`;
  switch (row.state) {
    case "expired":
      if (row.executed === "unknown") {
        return `Outcome unknown: no answer came from '${at.upstreamName}' (${row.cause ?? "it is away"}). ${unknown} It will not be sent again.`;
      }
      return `Not executed: ${row.cause ?? describeTrouble(at)}. The call waited ${waited} and was withdrawn; it will not run later. Calling again is safe.`;
    case "queued":
      return `Not executed yet: ${describeTrouble(at)}. The call is queued as ${row.id} and will run when '${at.upstreamName}' is back, until ${iso(row.deadlineAt)}. The same call repeated returns its outcome; \`holdfast calls show ${row.id}\` shows it, \`holdfast calls cancel ${row.id}\` withdraws it.`;
    case "cancelled":
      return row.executed === "no"
        ? `Not executed: the call was withdrawn (${row.cause ?? "cancelled"}).`
        : `Outcome unknown: the call was given up (${row.cause ?? "cancelled"}). ${unknown}`;
    case "dead":
      return deadWords(row, at, unknown);
    case "failed":
      return row.executed === "yes"
        ? `Executed, but the answer could not be taken: ${row.cause ?? "unknown cause"} (call ${row.id}).`
        : `Not executed: ${row.cause ?? "the server refused the request"}.`;
    case "sent":
    case "tasked":
    case "in_doubt":
    case "done":
      return `The call ${row.id} is ${row.state}.`;
  }
}

/** The words for a call that was left by another process and that this one must not run. */
export function heldWords(row: CallRow, isSound: boolean): string {
  const why = isSound
    ? "It was accepted for another target or under other credentials, and was not sent"
    : "It was left in a journal that is not sound (a restored backup, a lost disk), and may have run already";
  return `Not decided: call ${row.id} waits for a person until ${iso(row.deadlineAt)}. ${why}. This proxy does not send it. \`holdfast calls show ${row.id}\` shows it, \`holdfast calls cancel ${row.id}\` withdraws it.`;
}

function deadWords(row: CallRow, at: Situation, unknown: string): string {
  const cause = row.cause ?? "the connection was lost";
  if (row.executed === "unknown") {
    const poison =
      row.reason === "poison" ? " The server went down each time while this call was running." : "";
    return `Outcome unknown: no answer came from '${at.upstreamName}' (${cause}). ${unknown} It was not sent again.${poison}`;
  }
  return `Not executed: ${cause}. The call was withdrawn and will not run later.`;
}

/** The reply that is kept in the journal, under the caller's id. Undefined if there is none. */
export function storedReply(
  row: CallRow,
  idText: string,
  note: JsonObject | undefined,
): string | undefined {
  if (row.reply === undefined) return undefined;
  const message = parseMessage(row.reply);
  if (message.kind !== "reply") return undefined;
  const { result } = message;
  if (note === undefined || !isObject(result)) return withIdText(message, idText);
  const meta = isObject(result["_meta"]) ? result["_meta"] : {};
  return formatResult(idText, { ...result, _meta: { ...meta, [META_KEY]: note } });
}

/** The upstream's reply under the caller's id, otherwise untouched. */
export function relayedReply(message: ReplyMessage, idText: string): string {
  return withIdText(message, idText);
}
