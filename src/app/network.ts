/** Puts the network listener of `serve` together: one server, its door, and the transports behind it. */
import type { World } from "../base/world.ts";
import { mcpRoute } from "../downstream/http/mcp.ts";
import { httpListener } from "../downstream/http/server.ts";
import { sseRoute } from "../downstream/sse.ts";
import { webSocketRoute } from "../downstream/websocket.ts";
import type { Gatekeeper, Log, NetworkListener } from "../ports.ts";
import { FRAME_HEADROOM_BYTES } from "./connectors.ts";
import { doorPolicy } from "./listen.ts";
import type { RunPlan, Settings } from "./options.ts";

/** A session has its stream to the client, and requests beside it. */
const CONNECTIONS_PER_SESSION = 4;

export interface NetworkParts {
  readonly world: World;
  readonly log: Log;
  readonly gatekeeper: Gatekeeper;
  readonly settings: Settings;
  /** At the start; what one of them bounds more tightly is refused when it is accepted. */
  readonly upstreams: Iterable<RunPlan>;
}

export function networkListener(parts: NetworkParts): NetworkListener {
  const { world, log, gatekeeper, settings } = parts;
  const bounds = [...parts.upstreams].map((plan) => plan.settings.requestMaxBytes);
  const requestMaxBytes = Math.max(settings.requestMaxBytes, ...bounds) + FRAME_HEADROOM_BYTES;
  const linksMax = settings.maxSessions;
  const policy = doorPolicy(settings);
  return httpListener({
    world,
    log,
    gatekeeper,
    ...settings.listen,
    policy: () => policy,
    connectionsMax: settings.maxSessions * CONNECTIONS_PER_SESSION,
    routes: {
      mcp: mcpRoute({ world, log, requestMaxBytes }),
      sse: sseRoute({ world, log, requestMaxBytes, linksMax }),
    },
    upgrades: { ws: webSocketRoute({ world, log, requestMaxBytes, linksMax }) },
  });
}
