/**
 * What many sessions ask of the one upstream connection that they share, as one wish: a server that
 * knows one client sees one log level and each subscription once.
 *
 * Source of the levels: RFC 5424 as MCP uses it (2025-11-25, Logging).
 */
import type { JsonObject } from "../wire/message.ts";
import { type Revision, REVISIONS } from "../wire/revisions.ts";
import type { SessionRow } from "./session.ts";

const LEVELS = [
  "debug",
  "info",
  "notice",
  "warning",
  "error",
  "critical",
  "alert",
  "emergency",
] as const;

const rank = (level: string): number => {
  const at = (LEVELS as readonly string[]).indexOf(level);
  return at === -1 ? 0 : at;
};

type Wishes = Pick<SessionRow, "logLevel" | "subscriptions">;

/** The most verbose level that anybody asked for; undefined where nobody did. */
export function sharedLogLevel(sessions: Iterable<Wishes>): string | undefined {
  let lowest: string | undefined;
  for (const { logLevel } of sessions) {
    if (logLevel === undefined) continue;
    if (lowest === undefined || rank(logLevel) < rank(lowest)) lowest = logLevel;
  }
  return lowest;
}

/** A session that never chose a level gets what the server sends by itself. */
export function wantsLog(session: Wishes, level: string): boolean {
  return session.logLevel === undefined || rank(level) >= rank(session.logLevel);
}

/** Every resource that anybody is subscribed to, once. */
export function sharedSubscriptions(sessions: Iterable<Wishes>): readonly string[] {
  const uris = new Set<string>();
  for (const { subscriptions } of sessions) for (const uri of subscriptions) uris.add(uri);
  return [...uris];
}

/**
 * What a shared connection is initialised with: for nobody in particular, so nothing is declared that
 * only a certain client could answer (sampling, elicitation, roots).
 */
export function sharedHandshake(version: string): JsonObject {
  return {
    protocolVersion: (REVISIONS[0] as Revision).version,
    capabilities: {},
    clientInfo: { name: "holdfast", version },
  };
}
