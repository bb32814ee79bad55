/** Makes the connector for what a run wraps. */
import type { World } from "../base/world.ts";
import type { Connector, Log } from "../ports.ts";
import type { HttpConnectorOptions } from "../upstream/http.ts";
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
    const { url, headers } = target;
    const replyMaxBytes = settings.resultMaxBytes;
    return lazyHttp({ world, log, maskValues, url, headers, replyMaxBytes }, plan.targetText);
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

/** The HTTP upstream is loaded only where it is used: start-up time is a promise. */
function lazyHttp(options: HttpConnectorOptions, target: string): Connector {
  let connector: Connector | undefined;
  return {
    kind: "http",
    target,
    async dial(events, resume, signal) {
      connector ??= (await import("../upstream/http.ts")).httpConnector(options);
      return connector.dial(events, resume, signal);
    },
  };
}
