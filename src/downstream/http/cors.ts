/**
 * What a browser has to hear before it lets a page use us (Fetch standard, "CORS protocol"): it asks
 * first whether it may, without a token, and shows the page an answer only if that names its origin.
 *
 * G14. Only a page whose `Host` and `Origin` passed hears that it may; nothing but its own origin is
 *      repeated. Credentials of the browser's own (cookies) are never asked for.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { answerEmpty } from "./answers.ts";
import { originText, readOrigin } from "./authority.ts";
import { checkHost, checkOrigin, type DistinctHeaders, type DoorPolicy } from "./guard.ts";

/** How long a browser remembers that it may, s. */
const REMEMBERED_S = "600";

const PREFLIGHT: readonly string[] = [
  ["Access-Control-Allow-Methods", "GET, POST, DELETE"],
  [
    "Access-Control-Allow-Headers",
    "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version",
  ],
  ["Access-Control-Max-Age", REMEMBERED_S],
].flat();

/**
 * Puts into `response` what lets an allowed page read it, whatever it will be. True where that was all
 * that the browser asked: then it is answered.
 */
export function welcomePage(
  request: IncomingMessage,
  response: ServerResponse,
  policy: DoorPolicy,
): boolean {
  const headers: DistinctHeaders = request.headersDistinct;
  const origin = readOrigin(headers["origin"]?.[0] ?? "");
  if (origin === undefined) return false;
  if (checkHost(headers["host"], policy) ?? checkOrigin(headers["origin"], policy)) return false;
  response.setHeader("Access-Control-Allow-Origin", originText(origin));
  response.setHeader("Access-Control-Expose-Headers", "Mcp-Session-Id, WWW-Authenticate");
  response.setHeader("Vary", "Origin");
  const isAsking =
    request.method === "OPTIONS" && headers["access-control-request-method"] !== undefined;
  if (isAsking) answerEmpty(response, 204, PREFLIGHT);
  return isAsking;
}
