/** What the headers of a request to `/mcp/NAME` must say, checked before anything else of it. Pure. */
import type { IncomingHttpHeaders } from "node:http";
import { isKnownRevision, REVISIONS } from "../../wire/revisions.ts";
import { trouble, type Trouble } from "./answers.ts";

const JSON_TYPE = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;

/** The body of a POST is plain JSON, and both forms of answer are taken. */
export function postTrouble(headers: IncomingHttpHeaders): Trouble | undefined {
  if (!JSON_TYPE.test(headers["content-type"] ?? "")) {
    return trouble(415, "Content-Type must be application/json");
  }
  const encoding = headers["content-encoding"] ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    return trouble(415, "a body with a Content-Encoding is not taken");
  }
  if (accepts(headers, "application/json") && accepts(headers, "text/event-stream")) {
    return undefined;
  }
  return trouble(406, "Accept must name both application/json and text/event-stream");
}

export function getTrouble(headers: IncomingHttpHeaders): Trouble | undefined {
  if (accepts(headers, "text/event-stream")) return undefined;
  return trouble(406, "Accept must name text/event-stream");
}

function accepts(headers: IncomingHttpHeaders, type: string): boolean {
  const accept = headers.accept;
  if (accept === undefined) return false;
  const subtypes = `${type.slice(0, type.indexOf("/"))}/*`;
  for (const range of accept.toLowerCase().split(",")) {
    const name = range.split(";", 1)[0]?.trim();
    if (name === type || name === subtypes || name === "*/*") return true;
  }
  return false;
}

/** Both forms of answer are taken, and the stream of events is named first (RFC 9110, 12.5.1, without q). */
export function prefersEvents({ accept = "" }: IncomingHttpHeaders): boolean {
  const events = accept.indexOf("text/event-stream");
  const json = accept.indexOf("application/json");
  return events !== -1 && events < json;
}

/** `MCP-Protocol-Version` may be missing; if it is there, it names a version that we speak. */
export function versionTrouble(headers: IncomingHttpHeaders): Trouble | undefined {
  const version = versionOf(headers);
  if (version === undefined || isKnownRevision(version)) return undefined;
  const known = REVISIONS.map((revision) => revision.version).join(", ");
  return trouble(400, `MCP-Protocol-Version names a version other than ${known}`);
}

export const versionOf = (headers: IncomingHttpHeaders): string | undefined =>
  oneOf(headers["mcp-protocol-version"]);

export const keyOf = (headers: IncomingHttpHeaders): string | undefined =>
  oneOf(headers["mcp-session-id"]);

export const lastEventIdOf = (headers: IncomingHttpHeaders): string | undefined =>
  oneOf(headers["last-event-id"]);

/** A header that was sent twice is joined, and then is none of the values that we know. */
const oneOf = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(", ") : value;
