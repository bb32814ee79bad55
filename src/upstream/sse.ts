/**
 * The legacy HTTP+SSE upstream (2024-11-05): one event stream for all that the server says, and a POST
 * for each message to it. A session ends with its stream and is never taken up again.
 */
import type { World } from "../base/world.ts";
import { failure } from "../core/failure.ts";
import type { ConnectionEvents, Connector, DialOutcome, Log } from "../ports.ts";
import { HttpClient } from "./http/client.ts";
import { HeaderSet } from "./http/headers.ts";
import {
  CONNECT_TIMEOUT_MS,
  readRemote,
  type RemoteOptions,
  REPLY_MAX_BYTES,
} from "./http/remote.ts";
import { SseConnection, type SseParts } from "./sse/connection.ts";

export interface SseConnectorOptions extends RemoteOptions {
  readonly world: World;
  readonly log: Log;
  /** The largest reply that is taken, bytes of its JSON text. Default 16 MiB. */
  readonly replyMaxBytes?: number;
  /** For DNS, TCP and TLS together, and again for the endpoint event; ms. Default 10 s. */
  readonly connectTimeoutMs?: number;
  /** See `SseParts`; ms. Default 60 s. */
  readonly answerPatienceMs?: number;
}

const ANSWER_PATIENCE_MS = 60_000;

/** Throws `ConfigError` for a URL or a header that can't be used; no value stands in its message. */
export function sseConnector(options: SseConnectorOptions): Connector {
  const { world, log } = options;
  const { url, headers, mask, target } = readRemote(options, ["http", "https"]);
  const connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  const makeParts = (): SseParts => ({
    world,
    url,
    client: new HttpClient(world, url, connectTimeoutMs),
    headers: new HeaderSet(url, headers),
    mask,
    replyMaxBytes: options.replyMaxBytes ?? REPLY_MAX_BYTES,
    connectTimeoutMs,
    patienceMs: connectTimeoutMs,
    answerPatienceMs: options.answerPatienceMs ?? ANSWER_PATIENCE_MS,
  });
  return {
    kind: "sse",
    target,
    async dial(events, _resume, signal) {
      const outcome = await dial(makeParts(), events, signal);
      if (outcome.kind === "connected") log("debug", "event stream open", { upstream: target });
      return outcome;
    },
  };
}

function dial(
  parts: SseParts,
  events: ConnectionEvents,
  signal: AbortSignal,
): Promise<DialOutcome> {
  if (signal.aborted) {
    const why = failure("timeout", "the attempt to connect was given up");
    return Promise.resolve({ kind: "failed", failure: why });
  }
  return new Promise((resolve) => {
    const abandon = (): void => {
      void connection.close();
    };
    const connection = new SseConnection(parts, events, (why) => {
      signal.removeEventListener("abort", abandon);
      if (why === undefined) resolve({ kind: "connected", connection, isResumed: false });
      else resolve({ kind: "failed", failure: why });
    });
    signal.addEventListener("abort", abandon, { once: true });
  });
}
