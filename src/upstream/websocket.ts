/**
 * The WebSocket upstream: no revision of MCP has this transport, so what the SDKs do is done here:
 * subprotocol `mcp`, one JSON-RPC message in a text frame, the legacy life cycle, bound to the socket.
 */
import type { World } from "../base/world.ts";
import type { Connector, Log } from "../ports.ts";
import {
  CONNECT_TIMEOUT_MS,
  readRemote,
  type RemoteOptions,
  REPLY_MAX_BYTES,
} from "./http/remote.ts";
import { dialSocket, type DialParts } from "./websocket/dial.ts";

export interface WebSocketConnectorOptions extends RemoteOptions {
  readonly world: World;
  readonly log: Log;
  /** The largest reply that is taken, bytes of its JSON text. Default 16 MiB. */
  readonly replyMaxBytes?: number;
  /** For DNS, TCP and TLS together, and again for the answer to the upgrade; ms. Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** After this much silence a ping is sent; ms. Default 15 s. */
  readonly pingEveryMs?: number;
}

const PING_EVERY_MS = 15_000;

/** Throws `ConfigError` for a URL or a header that can't be used; no value stands in its message. */
export function webSocketConnector(options: WebSocketConnectorOptions): Connector {
  const { world, log } = options;
  const { url, headers, mask, target } = readRemote(options, ["ws", "wss"]);
  // A fragment has no meaning for a WebSocket, and the package refuses it.
  url.hash = "";
  const parts: DialParts = {
    world,
    url,
    headers: paired(headers),
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
