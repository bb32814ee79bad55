/** Makes the connector for what a run wraps. */
import { ConfigError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { failure } from "../core/failure.ts";
import type { TransportKind } from "../core/transport.ts";
import type { Connector, Log } from "../ports.ts";
import { stdioConnector } from "../upstream/stdio.ts";
import type { ChildRecord } from "../upstream/stdio.ts";
import type { RunPlan } from "./options.ts";

/** Room for the envelope of a message beside the payload that an option bounds. */
export const FRAME_HEADROOM_BYTES = 64 * 1024;

export interface ConnectorParts {
  readonly world: World;
  readonly log: Log;
  /** A child was started, or nothing of it is left. */
  onChild(child: ChildRecord): void;
  onChildGone(pid: number): void;
}

export function newConnector(plan: RunPlan, parts: ConnectorParts): Connector {
  const { target, settings, maskValues } = plan;
  const { world, log } = parts;
  if (target.kind !== "stdio") {
    const { kind, url, headers } = target;
    const replyMaxBytes = settings.resultMaxBytes;
    const options = { world, log, maskValues, url, headers, replyMaxBytes };
    return lazily(kind, plan.targetText, () => REMOTE[kind](options));
  }
  return stdioConnector({
    world,
    log,
    maskValues,
    command: target.command,
    args: target.args,
    cwd: target.cwd,
    env: target.env,
    frameMaxBytes: settings.resultMaxBytes + FRAME_HEADROOM_BYTES,
    onChild: parts.onChild,
    onChildGone: parts.onChildGone,
  });
}

type RemoteKind = Exclude<TransportKind, "stdio">;

/** What the connectors to a URL are told; each has more options, with defaults. */
interface RemoteOptions {
  readonly world: World;
  readonly log: Log;
  readonly maskValues: readonly string[];
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly replyMaxBytes: number;
}

const REMOTE: Readonly<Record<RemoteKind, (options: RemoteOptions) => Promise<Connector>>> = {
  http: async (options) => (await import("../upstream/http.ts")).httpConnector(options),
  sse: async (options) => (await import("../upstream/sse.ts")).sseConnector(options),
  ws: async (options) => (await import("../upstream/websocket.ts")).webSocketConnector(options),
};

/**
 * A transport is loaded only where it is used: start-up time is a promise. What it finds wrong with the
 * configuration then is this server's trouble, and nobody else's.
 */
function lazily(kind: RemoteKind, target: string, load: () => Promise<Connector>): Connector {
  let connector: Connector | undefined;
  return {
    kind,
    target,
    async dial(events, resume, signal) {
      try {
        connector ??= await load();
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return { kind: "failed", failure: failure("spawn_failed", error.message) };
      }
      return connector.dial(events, resume, signal);
    },
  };
}
