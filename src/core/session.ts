/**
 * A downstream session: what a client told us about itself and what has to be restored at the upstream
 * after a reconnect. It survives connections; its row survives the process.
 */
import type { JsonObject } from "../wire/message.ts";
import { isObject } from "../wire/message.ts";
import type { ListKind } from "../wire/methods.ts";
import { canonical } from "./canonical.ts";
import type { TransportKind } from "./transport.ts";

/** The durable part. */
export interface SessionRow {
  /** `s_…`; made from the session's key where it has one (`sessionIdOf`). For people, never a secret. */
  readonly id: string;
  /** Digest of the key that opens the session to a returning client; undefined: it can't return. */
  readonly keyDigest: string | undefined;
  /** Whose it is: a token's id, or "local". Nobody else is given it. */
  readonly principal: string;
  readonly transport: TransportKind;
  /** What tells this client from others of its principal, as it says itself: display and matching only. */
  readonly peer: string;
  /** What was agreed in the handshake; empty before. */
  readonly protocolVersion: string;
  readonly upstream: string;
  readonly credentials: string;
  readonly era: "legacy" | "modern";
  /** The client's own `initialize` params as JSON; a later process initialises with the same. */
  readonly handshake: string;
  readonly logLevel: string | undefined;
  readonly subscriptions: readonly string[];
  readonly createdAt: number;
  readonly lastSeenAt: number;
  readonly endedAt: number | undefined;
  /** When its client's connection was lost, while it has none; a killed process writes nothing here. */
  readonly detachedAt: number | undefined;
  /** So long after `lastSeenAt` the session expires, ms. */
  readonly timeoutMs: number;
}

/** Ids of an earlier session of this client would mean something else to it now. */
export function wasAskedIn(
  session: Pick<SessionRow, "id" | "createdAt">,
  call: { readonly sessionId: string; readonly acceptedAt: number },
): boolean {
  return call.sessionId === session.id && call.acceptedAt >= session.createdAt;
}

/** The instant from which on nobody is given it back any more: its end, or else its expiry. */
export function sessionOverAt(row: SessionRow): number {
  return row.endedAt ?? row.lastSeenAt + row.timeoutMs;
}

/** What is known of the client from its handshake; display data and defaults only, never security. */
export interface ClientFacts {
  readonly name: string;
  readonly version: string;
  readonly protocolVersion: string;
  readonly capabilities: JsonObject;
}

export function clientFacts(handshake: JsonObject): ClientFacts {
  const info = isObject(handshake["clientInfo"]) ? handshake["clientInfo"] : {};
  const text = (value: unknown, otherwise: string) =>
    typeof value === "string" ? value : otherwise;
  return {
    name: text(info["name"], "unknown client"),
    version: text(info["version"], ""),
    protocolVersion: text(handshake["protocolVersion"], ""),
    capabilities: isObject(handshake["capabilities"]) ? handshake["capabilities"] : {},
  };
}

/** What is kept of one session in memory and on disk (promise P7): characters, and resources. */
const HANDSHAKE_MAX_CHARS = 262_144;
const SUBSCRIPTIONS_MAX = 1_000;
const SUBSCRIPTIONS_MAX_CHARS = 262_144;

/** Why a session can't begin with `initialize` params of that many characters; undefined if it can. */
export function handshakeRefusal(chars: number): string | undefined {
  if (chars <= HANDSHAKE_MAX_CHARS) return undefined;
  return `initialize has ${String(chars)} characters, and may have ${String(HANDSHAKE_MAX_CHARS)}`;
}

/** Why one more resource can't be subscribed to; undefined if it can. */
export function subscriptionRefusal(known: readonly string[], uri: string): string | undefined {
  if (known.includes(uri)) return undefined;
  if (known.length >= SUBSCRIPTIONS_MAX) {
    return `this session has ${String(SUBSCRIPTIONS_MAX)} subscriptions, and may not have more`;
  }
  const chars = known.reduce((sum, one) => sum + one.length, uri.length);
  if (chars <= SUBSCRIPTIONS_MAX_CHARS) return undefined;
  const max = String(SUBSCRIPTIONS_MAX_CHARS);
  return `the URIs of a session's subscriptions may have ${max} characters together`;
}

/** The public id of the session that a key opens; the key can't be made from it. */
export function sessionIdOf(keyDigest: string): string {
  return `s_${keyDigest.slice(0, 24)}`;
}

/** Whether its client may still come back to it. */
export function isOpen(session: SessionRow, now: number): boolean {
  return session.endedAt === undefined && session.lastSeenAt + session.timeoutMs > now;
}

/**
 * Two clients for whom an upstream behaves alike: same version asked for, same capabilities. A server
 * may list other tools for a client with sampling than for one without, so catalogues keep a variant
 * for each, and left-over calls run only over a connection initialised equally.
 */
export function handshakeVariant(handshake: JsonObject): string {
  return canonical([handshake["protocolVersion"], handshake["capabilities"] ?? {}]);
}

/** Digests of the lists that a client has been shown, so that `list_changed` goes out only for news. */
export type ShownLists = Partial<Record<ListKind, string>>;
