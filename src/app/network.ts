/** Puts the network listener of `serve` together: one server, its door, and the transports behind it. */
import type { World } from "../base/world.ts";
import { HalfReadRoom } from "../downstream/half-read-room.ts";
import { mcpRoute } from "../downstream/http/mcp.ts";
import { httpListener } from "../downstream/http/server.ts";
import { sseRoute } from "../downstream/sse.ts";
import { webSocketRoute } from "../downstream/websocket.ts";
import type { Gatekeeper, Log, NetworkListener } from "../ports.ts";
import { FRAME_HEADROOM_BYTES } from "./connectors.ts";
import { doorPolicy } from "./listen.ts";
import type { ServePlan } from "./serve-plan.ts";

/** A session has its stream to the client, and requests beside it. */
const CONNECTIONS_PER_SESSION = 4;
/** So many messages of the largest size are read at once, of all clients. */
const LARGEST_AT_ONCE = 2;

export interface NetworkParts {
  readonly world: World;
  readonly log: Log;
  readonly gatekeeper: Gatekeeper;
  readonly plan: ServePlan;
}

export function networkListener({ world, log, gatekeeper, plan }: NetworkParts): NetworkListener {
  const { settings } = plan;
  const requestMaxBytes = plan.requestMaxBytes + FRAME_HEADROOM_BYTES;
  const room = new HalfReadRoom(world, LARGEST_AT_ONCE * requestMaxBytes);
  const bodies = { world, bytesMax: requestMaxBytes, room };
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
      mcp: mcpRoute({ world, log, bodies }),
      sse: sseRoute({ world, log, bodies, linksMax }),
    },
    upgrades: { ws: webSocketRoute({ world, log, requestMaxBytes, linksMax, room }) },
  });
}
