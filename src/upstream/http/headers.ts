/**
 * The headers of every exchange with one server, prebuilt: a POST adds its length and nothing else.
 * Values are never logged; what a peer gave us is checked before it becomes a header.
 */
import { validateHeaderName, validateHeaderValue } from "node:http";
import { ConfigError } from "../../base/errors.ts";
import { revisionOf } from "../../wire/revisions.ts";

/** Headers that the transport itself decides. */
const OURS = new Set([
  "accept",
  "accept-encoding",
  "connection",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "last-event-id",
  "mcp-protocol-version",
  "mcp-session-id",
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-protocol",
  "sec-websocket-version",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const SESSION_ID = /^[\x21-\x7e]{1,1024}$/;

/** A session id must be visible ASCII (specification, "Session Management"). */
export const isSessionId = (value: string): boolean => SESSION_ID.test(value);

/**
 * The configured headers as name, value, name, value …. Throws `ConfigError` for a header or a
 * user and password that can't be sent, or a header that the transport decides; the message never shows a value.
 */
export function configuredHeaders(url: URL, headers: Readonly<Record<string, string>>): string[] {
  const flat: string[] = [];
  const names = new Set<string>();
  for (const [name, value] of Object.entries(headers)) {
    if (OURS.has(name.toLowerCase())) {
      throw new ConfigError(`header "${name}" can't be configured: the transport sets it`);
    }
    try {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch {
      throw new ConfigError(`header "${name}" has a name or value that HTTP does not allow`);
    }
    names.add(name.toLowerCase());
    flat.push(name, value);
  }
  if (!names.has("user-agent")) flat.push("user-agent", "mcp-holdfast");
  if (url.username !== "" && !names.has("authorization")) {
    flat.push("authorization", `Basic ${Buffer.from(userAndPassword(url)).toString("base64")}`);
  }
  return flat;
}

function userAndPassword({ username, password }: URL): string {
  try {
    return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  } catch {
    throw new ConfigError(
      "the user or password in the URL has a % that begins no escape (%25 is one)",
    );
  }
}

export class HeaderSet {
  readonly #configured: readonly string[];
  #sessionId: string | undefined;
  #protocolVersion: string | undefined;
  #common: readonly string[];
  #post: readonly string[];

  /** `configured`: from `configuredHeaders`. */
  constructor(url: URL, configured: readonly string[]) {
    this.#configured = ["host", url.host, "accept-encoding", "identity", ...configured];
    this.#common = this.#configured;
    this.#post = [];
    this.#build();
  }

  get sessionId(): string | undefined {
    return this.#sessionId;
  }

  /** The version that the handshake agreed on. */
  get protocolVersion(): string | undefined {
    return this.#protocolVersion;
  }

  setSession(id: string): void {
    this.#sessionId = id;
    this.#build();
  }

  setProtocolVersion(version: string): void {
    this.#protocolVersion = version;
    this.#build();
  }

  forPost(body: string): string[] {
    return [...this.#post, "content-length", String(Buffer.byteLength(body))];
  }

  forGet(lastEventId: string | undefined): string[] {
    const headers = [...this.#common, "accept", "text/event-stream"];
    if (lastEventId !== undefined) headers.push("last-event-id", eventIdHeader(lastEventId));
    return headers;
  }

  forDelete(): string[] {
    return [...this.#common];
  }

  #build(): void {
    const common = [...this.#configured];
    if (this.#sessionId !== undefined) common.push("mcp-session-id", this.#sessionId);
    const version = this.#protocolVersion;
    if (version !== undefined && revisionOf(version).hasVersionHeader) {
      common.push("mcp-protocol-version", version);
    }
    this.#common = common;
    this.#post = [
      ...common,
      "content-type",
      "application/json",
      "accept",
      "application/json, text/event-stream",
    ];
  }
}

/** Event ids are UTF-8 on the stream; node:http writes header values as Latin-1. */
const eventIdHeader = (id: string): string => Buffer.from(id, "utf8").toString("latin1");

/** An event id that can be sent back in a header. */
export function isEventId(id: string): boolean {
  return id !== "" && id.length <= 4_096 && !/[\x00-\x1f\x7f]/.test(id);
}
