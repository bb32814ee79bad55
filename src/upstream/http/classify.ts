/**
 * What an HTTP answer, or the lack of one, says about a request: facts only, no sockets.
 *
 * C1. "Refused" is said only where the request provably did not run: no byte left, or the server
 *     turned it away before processing (401, 403, 429, a lost session; 503 with Retry-After for
 *     requests that may be repeated).
 * C2. For an unsafe request every 5xx is in doubt, 503 included, unless its body is the JSON-RPC
 *     answer to that very request.
 * C3. A body counts as the answer only if it bears the id of the request that it answers.
 */
import { failure, type Failure } from "../../core/failure.ts";
import type { Outcome } from "../../core/verdict.ts";
import { parseMessage, type ReplyMessage } from "../../wire/message.ts";

const RETRY_AFTER_MIN_MS = 1_000;
const RETRY_AFTER_MAX_MS = 900_000;
const EXCERPT_CHARS = 200;

/** Codes by which a server says that it did not process the request. */
const NOT_PROCESSED = new Set([-32700, -32600, -32601, -32602]);

/** Words in a 400 body by which servers say that they do not know the session. */
const SESSION_WORDS = /session|not initialized/i;

/** The stricter form, for a -32600 that bears our id: a tool may well complain of its own "session". */
const SESSION_SENTENCE =
  /(?:no valid|unknown|invalid|missing|expired) session|session (?:id )?(?:is )?(?:not found|expired|terminated|invalid|required|unknown)|server not initialized/i;

/** The words of an HTTP answer that classification needs. */
export interface HttpAnswer {
  readonly status: number;
  readonly statusText: string;
  readonly location: string | undefined;
  readonly retryAfter: string | undefined;
  readonly authenticate: string | undefined;
  /** The body as far as it came; empty where it could not be read. */
  readonly body: string;
}

export interface RequestFacts {
  /** The JSON-RPC id; undefined for notifications and replies. */
  readonly id: string | undefined;
  readonly safety: "read" | "idempotent" | "unsafe";
  readonly isHandshake: boolean;
  /** The POST carried a session id. */
  readonly hasSession: boolean;
}

export type Judgement =
  /** The server's own JSON-RPC answer to this request. */
  | { readonly kind: "reply"; readonly message: ReplyMessage }
  | {
      readonly kind: "outcome";
      readonly outcome: Exclude<Outcome, { kind: "replied" }>;
      /** The whole connection is of no use any more. */
      readonly isDown: boolean;
    };

/** Hides what must not be logged. */
export type Mask = (text: string) => string;

export function maskOf(values: readonly string[]): Mask {
  const secrets = values.filter((value) => value.length > 0).sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((masked, secret) => masked.replaceAll(secret, "***"), text);
}

/** The URL for people: no user, no password, no query values, no masked words. */
export function maskedUrl(url: URL, mask: Mask): string {
  const names = [...url.searchParams.keys()].map((name) => `${encodeURIComponent(name)}=***`);
  const query = names.length > 0 ? `?${names.join("&")}` : "";
  return mask(`${url.protocol}//${url.host}${url.pathname}${query}`);
}

/**
 * `Retry-After` as ms from `now` (epoch ms), between 1 s and 15 min. Absent or unreadable is
 * undefined.
 */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - now;
  if (Number.isNaN(ms)) return undefined;
  return Math.min(RETRY_AFTER_MAX_MS, Math.max(RETRY_AFTER_MIN_MS, ms));
}

const oneLine = (text: string): string =>
  text
    .slice(0, EXCERPT_CHARS * 2)
    .replace(/[\s\u0000-\u001f\u007f]+/g, " ")
    .trim()
    .slice(0, EXCERPT_CHARS);

/** "HTTP 413 Payload Too Large: body…", one line, masked. */
export function describeAnswer(answer: HttpAnswer, mask: Mask): string {
  const reason = oneLine(answer.statusText);
  const status = `HTTP ${String(answer.status)}${reason === "" ? "" : ` ${reason}`}`;
  // Masked before it is cut: half a secret is a secret too.
  const body = oneLine(mask(answer.body));
  return mask(body === "" ? status : `${status}: ${body}`);
}

/** The server does not know the session: 404 where a session id was sent, or a 400 that says so. */
export function isSessionLoss(answer: HttpAnswer, hasSession: boolean): boolean {
  if (answer.status === 404) return hasSession;
  return answer.status === 400 && SESSION_WORDS.test(answer.body);
}

function replyIn(body: string, id: string | undefined): ReplyMessage | undefined {
  if (id === undefined || !body.startsWith("{")) return undefined;
  const message = parseMessage(body);
  return message.kind === "reply" && message.id === id ? message : undefined;
}

const refused = (why: Failure, isDown: boolean): Judgement => ({
  kind: "outcome",
  outcome: { kind: "refused", failure: why },
  isDown,
});

const rejected = (message: string): Judgement => ({
  kind: "outcome",
  outcome: { kind: "rejected", failure: failure("server_error", message) },
  isDown: false,
});

const lost = (why: Failure): Judgement => ({
  kind: "outcome",
  outcome: { kind: "lost", failure: why },
  isDown: false,
});

/** How long to wait for a server that asked us to slow down; 1 s where it did not say. */
export function rateLimited(answer: HttpAnswer, now: number, mask: Mask): Failure {
  return {
    ...failure("rate_limited", describeAnswer(answer, mask)),
    retryAfterMs: retryAfterMs(answer.retryAfter, now) ?? RETRY_AFTER_MIN_MS,
  };
}

export function authFailure(answer: HttpAnswer, mask: Mask): Failure {
  const challenge = answer.authenticate;
  const told = challenge === undefined ? "" : ` (WWW-Authenticate: ${oneLine(mask(challenge))})`;
  return failure("auth", `${describeAnswer({ ...answer, body: "" }, mask)}${told}`);
}

/**
 * The failure of an attempt to open a connection, or to take one up again, that was answered with a
 * status other than the wanted one.
 */
export function openingFailure(answer: HttpAnswer, now: number, mask: Mask): Failure {
  const { status } = answer;
  if (status === 401 || status === 403) return authFailure(answer, mask);
  if (status === 429 || (status === 503 && answer.retryAfter !== undefined)) {
    return rateLimited(answer, now, mask);
  }
  const told = describeAnswer(answer, mask);
  if (status < 300 || status >= 400) return failure("server_error", told);
  const where = shownLocation(answer.location, mask);
  return failure("server_error", `${told}: redirected to ${where}; not followed`);
}

/** What an answer to a POST with a status other than 2xx says about the request. */
export function judgeAnswer(
  answer: HttpAnswer,
  facts: RequestFacts,
  now: number,
  mask: Mask,
): Judgement {
  const { status } = answer;
  const told = describeAnswer(answer, mask);
  if (status === 401 || status === 403) return refused(authFailure(answer, mask), true);
  if (status === 429) return refused(rateLimited(answer, now, mask), false);
  if (status >= 500) return judgeServerError(answer, facts, now, mask);
  if (status === 408) return lost(failure("timeout", told));
  if (status >= 300 && status < 400) {
    return rejected(`${told}: redirected to ${shownLocation(answer.location, mask)}; not followed`);
  }
  if (status < 300) return lost(failure("protocol_error", `${told}: no answer in it`));
  const reply = replyIn(answer.body, facts.id);
  const code = reply?.error?.code;
  if (reply !== undefined && code !== undefined && NOT_PROCESSED.has(code) && status !== 404) {
    const isAboutSession = code === -32600 && SESSION_SENTENCE.test(answer.body);
    if (!isAboutSession) return { kind: "reply", message: reply };
  }
  // The handshake asks for a session: it can't have lost one.
  if (!facts.isHandshake && isSessionLoss(answer, facts.hasSession)) {
    return refused(failure("session_lost", told), true);
  }
  if (facts.safety === "read" || facts.isHandshake || isTurnedAway(answer)) return rejected(told);
  return lost(failure("server_error", told));
}

/** Statuses by which a server turns a request away by its envelope, before it looks at the call. */
const ENVELOPE = new Set([404, 405, 406, 411, 413, 414, 415, 417, 421, 426, 428, 431]);

/** Proven not to have run. A server may answer a tool's own trouble with any other 4xx (409, 422 …). */
function isTurnedAway({ status, body }: HttpAnswer): boolean {
  if (ENVELOPE.has(status)) return true;
  // As the official servers say what is wrong with a request; a page or a sentence says nothing.
  if (status !== 400 || !body.startsWith("{")) return false;
  const message = parseMessage(body);
  return message.kind === "reply" && message.error !== undefined;
}

function judgeServerError(
  answer: HttpAnswer,
  facts: RequestFacts,
  now: number,
  mask: Mask,
): Judgement {
  const reply = replyIn(answer.body, facts.id);
  if (reply !== undefined) return { kind: "reply", message: reply };
  const isTurnedAway = answer.status === 503 && answer.retryAfter !== undefined;
  if (isTurnedAway && facts.safety !== "unsafe") {
    return refused(rateLimited(answer, now, mask), false);
  }
  return lost(failure("server_error", describeAnswer(answer, mask)));
}

/** What a refused GET means for the request whose broken stream it wanted back. */
export type ResumptionVerdict =
  | { readonly kind: "wait"; readonly askedMs: number | undefined }
  /** The connection is down, but the stream may still be there for the next one. */
  | { readonly kind: "keep"; readonly failure: Failure }
  | { readonly kind: "lost"; readonly failure: Failure; readonly isDown: boolean };

export function judgeResumption(
  answer: HttpAnswer,
  hasSession: boolean,
  now: number,
  mask: Mask,
): ResumptionVerdict {
  const { status } = answer;
  const told = describeAnswer(answer, mask);
  if (status === 401 || status === 403) return { kind: "keep", failure: authFailure(answer, mask) };
  if (isSessionLoss(answer, hasSession)) {
    return { kind: "lost", failure: failure("session_lost", told), isDown: true };
  }
  if (status === 409 || status === 429 || status >= 500) {
    return { kind: "wait", askedMs: retryAfterMs(answer.retryAfter, now) };
  }
  const why = `the broken answer could not be taken up again: ${told}`;
  return { kind: "lost", failure: failure("reset", why), isDown: false };
}

function shownLocation(location: string | undefined, mask: Mask): string {
  if (location === undefined) return "nowhere (no Location)";
  const base = "http://relative.invalid";
  if (!URL.canParse(location, base)) return "an unreadable Location";
  const url = new URL(location, base);
  return maskedUrl(url, mask).replace(base, "");
}

// ── The network ─────────────────────────────────────────────────────────────────────────────────

/** How far a request had come when its socket failed. */
export type Stage = "connecting" | "securing" | "sent";

interface SystemError extends Error {
  readonly code?: string;
  readonly syscall?: string;
  readonly errors?: readonly Error[];
}

/** The kind of a network failure, and its cause in words. */
export function networkFailure(error: Error, stage: Stage): Failure {
  const system = error as SystemError;
  // An AggregateError (several addresses tried) has an empty message; its first part has the cause.
  const cause = error.message === "" ? (system.errors?.[0]?.message ?? "") : error.message;
  const code = system.code ?? "";
  const message = oneLine(cause === "" ? code || error.name : cause);
  if (stage === "sent") {
    return failure(code.startsWith("HPE_") ? "protocol_error" : "reset", message);
  }
  if (system.syscall === "getaddrinfo" || code === "ENOTFOUND" || code.startsWith("EAI_")) {
    return failure("dns", message);
  }
  if (stage === "securing") return failure("tls", message);
  if (code === "ETIMEDOUT") return failure("timeout", message);
  return failure("connect_refused", message);
}
