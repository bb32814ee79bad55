/** What the end of a WebSocket says: RFC 6455 §7.4.1, the IANA registry, and common private codes. */
import { failure, type Failure } from "../../core/failure.ts";
import type { Mask } from "../http/classify.ts";
import { plainLine } from "../stderr-ring.ts";

/** Our own frame was larger than the server takes. */
export const TOO_BIG = 1009;

const AUTH = new Set([1008, 4401, 4403]);
const MEANINGS: Readonly<Record<number, string>> = {
  1000: "normal",
  1001: "going away",
  1002: "protocol error",
  1003: "unsupported data",
  1007: "invalid data",
  1008: "policy violation",
  1009: "message too big",
  1011: "internal error",
  1012: "service restart",
  1013: "try again later",
  1014: "bad gateway",
};

export function closeFailure(code: number, reason: string, mask: Mask): Failure {
  // 1005 and 1006 never stand in a frame: the socket's own words for none.
  if (code === 1006) return failure("reset", "the connection broke without a close frame");
  if (code === 1005) return failure("reset", "the server closed the connection and gave no reason");
  const meaning = MEANINGS[code];
  const named = meaning === undefined ? String(code) : `${String(code)} ${meaning}`;
  const words = plainLine(mask(reason));
  const told = `the server closed the connection: ${named}${words === "" ? "" : `, "${words}"`}`;
  return failure(AUTH.has(code) ? "auth" : "reset", told);
}
