/**
 * One JSON-RPC message as raw text, with just enough read out of it to route it.
 *
 * M1. The text is never re-serialised: ids and progress tokens are replaced in place, so everything
 *     else (unknown members, key order, number spelling) goes through as it came (promise P8).
 * M2. Validation is the minimum of JSON-RPC 2.0: an object, `jsonrpc: "2.0"`, a method or exactly one
 *     of result and error, an id that is a string, a number, null or absent.
 * M3. A text of so many objects and arrays that its values would take far more memory than itself is
 *     not read: memory is bounded by the bytes of messages (promise P7).
 * M4. Of a large reply only the text is kept: most are passed on without a look at their result.
 */
import { LARGE_FROM } from "../base/large.ts";
import { EDGE_BYTES, idOfOversize } from "./framing.ts";
import { containersIn, cutOut, memberOf, membersOf, type Span } from "./json-span.ts";
import { jsonText } from "./json-text.ts";

export type Id = string | number;

interface Raw {
  /** The message as it came, without the line end. */
  readonly text: string;
}

export interface RequestMessage extends Raw {
  readonly kind: "request";
  readonly id: Id;
  /** The id as it was spelled: the key under which a peer's requests are told apart. */
  readonly idText: string;
  readonly method: string;
  readonly params: JsonObject | undefined;
  readonly idSpan: Span;
}

export interface NotificationMessage extends Raw {
  readonly kind: "notification";
  readonly method: string;
  readonly params: JsonObject | undefined;
}

export interface ReplyMessage extends Raw {
  readonly kind: "reply";
  /** Undefined where the peer sent `id: null` or none: an answer to nothing that we know. */
  readonly id: Id | undefined;
  readonly idSpan: Span | undefined;
  /** The parsed `result`; undefined in an error reply. That of a large reply is parsed each time (M4). */
  readonly result: unknown;
  readonly error: JsonRpcError | undefined;
}

/** Not a message. `id` is there where it could be read, so that the sender can be answered. */
export interface Malformed {
  readonly kind: "malformed";
  readonly code: -32700 | -32600;
  readonly reason: string;
  readonly idText: string | undefined;
}

/** An array of messages: legal on 2025-03-26 only. */
export interface Batch {
  readonly kind: "batch";
  readonly texts: readonly string[];
}

export type Message = RequestMessage | NotificationMessage | ReplyMessage;

export type JsonObject = Readonly<Record<string, unknown>>;

export interface JsonRpcError {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function malformed(code: -32700 | -32600, reason: string, idText?: string): Malformed {
  return { kind: "malformed", code, reason, idText };
}

/**
 * Most objects and arrays of one message. Of empty ones, or ones in each other, each takes up to 120
 * bytes for two of text; a result of 16 MiB may still hold half a million records.
 */
export const CONTAINERS_MAX = 500_000;

/** Reads one message. Never throws. */
export function parseMessage(text: string): Message | Batch | Malformed {
  // A shorter text can't hold as many.
  if (text.length > CONTAINERS_MAX && containersIn(text, CONTAINERS_MAX) > CONTAINERS_MAX) {
    const id = idOfOversize(text.slice(0, EDGE_BYTES), text.slice(-EDGE_BYTES));
    return malformed(-32600, `more than ${String(CONTAINERS_MAX)} objects and arrays`, id);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return malformed(-32700, `not valid JSON: ${(error as Error).message}`);
  }
  if (Array.isArray(value)) return batchOf(text, value.length);
  if (!isObject(value)) return malformed(-32600, `expected a JSON object, got ${typeof value}`);
  return classify(text, value);
}

function batchOf(text: string, length: number): Batch | Malformed {
  if (length === 0) return malformed(-32600, "an empty batch");
  return { kind: "batch", texts: membersOf(text).map((m) => text.slice(m.start, m.end)) };
}

function classify(text: string, value: JsonObject): Message | Malformed {
  const members = membersOf(text);
  let idSpan: Span | undefined;
  for (const member of members) {
    if (member.key !== "id") continue;
    if (idSpan !== undefined) return malformed(-32600, "the member id stands twice");
    idSpan = member;
  }
  const id = value["id"];
  const isId = typeof id === "string" || typeof id === "number";
  const idText = isId && idSpan !== undefined ? cutOut(text, idSpan) : undefined;
  if (value["jsonrpc"] !== "2.0") return malformed(-32600, 'jsonrpc is not "2.0"', idText);
  const method = value["method"];
  if (method !== undefined) {
    if (typeof method !== "string") return malformed(-32600, "method is not a string", idText);
    if ("result" in value || "error" in value) {
      return malformed(-32600, "a method together with a result or error", idText);
    }
    return classifyCall(text, value, method, idSpan, idText);
  }
  return classifyReply(text, value, idSpan, idText);
}

function classifyCall(
  text: string,
  value: JsonObject,
  method: string,
  idSpan: Span | undefined,
  idText: string | undefined,
): Message | Malformed {
  const params = isObject(value["params"]) ? value["params"] : undefined;
  if (idSpan === undefined) return { kind: "notification", text, method, params };
  if (idText === undefined) {
    return malformed(-32600, "the id of a request is neither a string nor a number");
  }
  return { kind: "request", text, id: value["id"] as Id, idText, method, params, idSpan };
}

function classifyReply(
  text: string,
  value: JsonObject,
  idSpan: Span | undefined,
  idText: string | undefined,
): ReplyMessage | Malformed {
  const hasResult = "result" in value;
  const error = value["error"];
  const hasError = "error" in value;
  if (hasResult === hasError) {
    const what = hasResult
      ? "both a result and an error"
      : "neither a method, a result nor an error";
    return malformed(-32600, what, idText);
  }
  if (idSpan !== undefined && idText === undefined && value["id"] !== null) {
    return malformed(-32600, "the id of a reply is neither a string, a number nor null");
  }
  const id = idText === undefined ? undefined : (value["id"] as Id);
  if (!hasError) {
    if (text.length >= LARGE_FROM) return largeReply(text, id, idSpan);
    return { kind: "reply", text, id, idSpan, result: value["result"], error: undefined };
  }
  if (!isObject(error)) return malformed(-32600, "error is not an object", idText);
  const code = typeof error["code"] === "number" ? error["code"] : 0;
  const message = typeof error["message"] === "string" ? error["message"] : "";
  const data = error["data"];
  return { kind: "reply", text, id, idSpan, result: undefined, error: { code, message, data } };
}

/** M4. */
function largeReply(text: string, id: Id | undefined, idSpan: Span | undefined): ReplyMessage {
  return {
    kind: "reply",
    text,
    id,
    idSpan,
    get result() {
      return (JSON.parse(text) as JsonObject)["result"];
    },
    error: undefined,
  };
}

interface Splice {
  readonly span: Span;
  readonly by: string;
}

function splice(text: string, splices: Splice[]): string {
  splices.sort((a, b) => a.span.start - b.span.start);
  let result = "";
  let at = 0;
  for (const { span, by } of splices) {
    result += text.slice(at, span.start) + by;
    at = span.end;
  }
  return result + text.slice(at);
}

/** Where `params._meta.progressToken` stands, if there is one. */
export function progressTokenSpan(text: string): Span | undefined {
  return memberOf(text, "params", "_meta", "progressToken");
}

/** The request under another id and, where it has one, another progress token. */
export function withUpstreamId(request: RequestMessage, id: string): string {
  const by = JSON.stringify(id);
  const splices: Splice[] = [{ span: request.idSpan, by }];
  const meta = request.params?.["_meta"];
  const token = isObject(meta) ? meta["progressToken"] : undefined;
  // Anything else is no token: the server shall see it and refuse it as if we were not there.
  if (typeof token === "string" || typeof token === "number") {
    const span = progressTokenSpan(request.text);
    if (span !== undefined) splices.push({ span, by });
  }
  return splice(request.text, splices);
}

/** The message under another id, given as JSON text. A reply without an id is returned as it is. */
export function withIdText(message: RequestMessage | ReplyMessage, idText: string): string {
  if (message.idSpan === undefined) return message.text;
  return splice(message.text, [{ span: message.idSpan, by: idText }]);
}

/** A message with one nested member's value replaced by JSON text; unchanged if it is not there. */
export function withMember(text: string, path: readonly string[], valueText: string): string {
  const span = memberOf(text, ...path);
  return span === undefined ? text : splice(text, [{ span, by: valueText }]);
}

export const formatResult = (idText: string, result: unknown): string =>
  `{"jsonrpc":"2.0","id":${idText},"result":${jsonText(result)}}`;

export const formatError = (idText: string | undefined, error: JsonRpcError): string =>
  `{"jsonrpc":"2.0","id":${idText ?? "null"},"error":${jsonText(error)}}`;

export const formatRequest = (id: Id, method: string, params?: unknown): string =>
  jsonText({ jsonrpc: "2.0", id, method, ...(params === undefined ? {} : { params }) });

export const formatNotification = (method: string, params?: unknown): string =>
  jsonText({ jsonrpc: "2.0", method, ...(params === undefined ? {} : { params }) });
