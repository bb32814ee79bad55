/** The row of a session that begins with a client's handshake. */
import { type SessionRow, sessionIdOf } from "../core/session.ts";
import type { ClientLink } from "../ports.ts";
import { jsonText } from "../wire/json-text.ts";
import type { JsonObject } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";

/**
 * Without a resume by single answers (SSE, WebSocket) a client that is to come back does so soon:
 * docs/SPEC.md, "Sessions".
 */
const LINK_TIMEOUT_MAX_MS = 7_200_000;

export function newSession(
  context: EngineContext,
  link: ClientLink,
  handshake: JsonObject,
): SessionRow {
  const { world, identity, dialect, settings } = context;
  const now = world.now();
  const keyDigest = link.key === undefined ? undefined : keyDigestOf(context, link.key);
  const isHttp = link.transport === "http";
  return {
    id: keyDigest === undefined ? world.newId("s") : sessionIdOf(keyDigest),
    keyDigest,
    principal: link.principal,
    transport: link.transport,
    peer: link.peer,
    protocolVersion: "",
    upstream: identity.upstream,
    credentials: identity.credentials,
    era: dialect.era,
    handshake: jsonText(handshake),
    logLevel: undefined,
    subscriptions: [],
    createdAt: now,
    lastSeenAt: now,
    endedAt: undefined,
    detachedAt: undefined,
    timeoutMs: isHttp
      ? settings.sessionTimeoutMs
      : Math.min(settings.sessionTimeoutMs, LINK_TIMEOUT_MAX_MS),
  };
}

/** Keys are unguessable by themselves; on disk there is only what can't be turned back. */
export function keyDigestOf({ world }: EngineContext, key: string): string {
  return world.digest("session", key);
}
