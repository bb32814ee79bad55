/**
 * The WebSocket upstream: no revision of MCP has this transport, so what the SDKs do is done here:
 * subprotocol `mcp`, one JSON-RPC message in a text frame, the legacy life cycle, bound to the socket.
 */
import { ConfigError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Connector, Log } from "../ports.ts";
import { maskedUrl, maskOf } from "./http/classify.ts";
import { configuredHeaders } from "./http/headers.ts";
import { dialSocket, type DialParts } from "./websocket/dial.ts";

export interface WebSocketConnectorOptions {
  readonly world: World;
  readonly log: Log;
  /** `ws:` or `wss:`; a user and password in it become Basic authorization. */
  readonly url: string;
  /** Sent with the upgrade, variables already expanded; may hold `Authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The largest reply that is taken, bytes of its JSON text. Default 16 MiB. */
  readonly replyMaxBytes?: number;
  /** For DNS, TCP and TLS together, and again for the answer to the upgrade; ms. Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** After this much silence a ping is sent; ms. Default 15 s. */
  readonly pingEveryMs?: number;
  /** Words that are shown as `***` in every message (secrets from the configuration). */
  readonly maskValues?: readonly string[];
}

const REPLY_MAX_BYTES = 16 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 15_000;

/** Throws `ConfigError` for a URL or a header that can't be used; no value stands in its message. */
export function webSocketConnector(options: WebSocketConnectorOptions): Connector {
  const { world, log } = options;
  const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
  if (url === undefined || (url.protocol !== "ws:" && url.protocol !== "wss:")) {
    throw new ConfigError("the upstream's URL: expected ws://… or wss://…");
  }
  const flat = configuredHeaders(url, options.headers);
  const mask = maskOf([...(options.maskValues ?? []), url.password]);
  const target = maskedUrl(url, mask);
  // A fragment has no meaning for a WebSocket, and the package refuses it.
  url.hash = "";
  const parts: DialParts = {
    world,
    url,
    headers: paired(flat),
    mask,
    replyMaxBytes: options.replyMaxBytes ?? REPLY_MAX_BYTES,
    connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    pingEveryMs: options.pingEveryMs ?? PING_EVERY_MS,
  };
  return {
    kind: "ws",
    target,
    async dial(events, _resume, signal) {
      const outcome = await dialSocket(parts, events, signal);
      if (outcome.kind === "connected") log("debug", "WebSocket open", { upstream: target });
      return outcome;
    },
  };
}

/** Name, value, name, value … as an object. */
function paired(flat: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  flat.forEach((name, i) => {
    const value = flat[i + 1];
    if (i % 2 === 0 && value !== undefined) headers[name] = value;
  });
  return headers;
}
