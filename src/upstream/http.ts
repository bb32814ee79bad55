/**
 * The Streamable HTTP upstream, legacy era (2025-03-26 to 2025-11-25): one POST a request, answers as
 * JSON or as an event stream that is resumed when it breaks, and the server's own stream.
 *
 * What proves that a request did not run stands in `http/classify.ts`; nothing here judges beyond
 * that. There is no response timeout: the caller's patience decides.
 */
import type { World } from "../base/world.ts";
import type { Connector, Log } from "../ports.ts";
import { HttpClient } from "./http/client.ts";
import type { HostParts } from "./http/connection.ts";
import { dial } from "./http/dial.ts";
import { HeaderSet } from "./http/headers.ts";
import {
  CONNECT_TIMEOUT_MS,
  readRemote,
  type RemoteOptions,
  REPLY_MAX_BYTES,
} from "./http/remote.ts";

export interface HttpConnectorOptions extends RemoteOptions {
  readonly world: World;
  readonly log: Log;
  /** The largest reply that is taken, bytes of its JSON text. Default 16 MiB. */
  readonly replyMaxBytes?: number;
  /** For DNS, TCP and TLS together, ms; never for an answer. Default 10 s. */
  readonly connectTimeoutMs?: number;
}

/** Throws `ConfigError` for a URL or a header that can't be used; no value stands in its message. */
export function httpConnector(options: HttpConnectorOptions): Connector {
  const { world, log } = options;
  const { url, headers, mask, target } = readRemote(options, ["http", "https"]);
  const connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  const makeParts = (): HostParts => ({
    world,
    client: new HttpClient(world, url, connectTimeoutMs),
    headers: new HeaderSet(url, headers),
    mask,
    replyMaxBytes: options.replyMaxBytes ?? REPLY_MAX_BYTES,
    patienceMs: connectTimeoutMs,
  });
  return {
    kind: "http",
    target,
    async dial(events, resume, signal) {
      const outcome = await dial(makeParts, events, resume, signal);
      if (outcome.kind === "connected" && resume !== undefined) {
        const told = outcome.isResumed ? "session taken up again" : "the old session is gone";
        log("info", told, { upstream: target });
      }
      return outcome;
    },
  };
}
