/**
 * WebSocket, subprotocol `mcp`: no revision of MCP defines it, so this is its contract here.
 *
 * - One JSON-RPC message is one text frame; the session is that of the socket, as on stdio.
 * - The answer to the upgrade names the session's key in `Mcp-Session-Id`. A client that lost its
 *   connection returns with `/ws/NAME?session=KEY`, or with that header, and does not initialise again.
 *   It is told what became of its calls; after a death of Holdfast it repeats reads that have no answer,
 *   because those leave no record on this transport.
 * - Its close with 1000, 1001 or without a code ends the session; any other loss does not.
 * - A message over the bound is answered with an error; one of more than twice the bound ends the
 *   connection (1009), because it is never read as a whole.
 */
import { WebSocketServer, WebSocket } from "ws";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { deferred } from "../base/async.ts";
import type { World } from "../base/world.ts";
import type { Log } from "../ports.ts";
import type { HalfReadRoom } from "./half-read-room.ts";
import { HTTP_RPC, trouble, type Trouble } from "./http/answers.ts";
import type { UpgradeRoute, Visit } from "./http/route.ts";
import { refuseSocket } from "./http/sockets.ts";
import { KeptLinks, type NotReturned, peerOf, type Returned } from "./kept-links.ts";
import type { KeptLink } from "./kept-link.ts";
import { OpenCarriers } from "./open-carriers.ts";
import { CLOSE, SocketCarrier } from "./websocket/socket.ts";

const SUBPROTOCOL = "mcp";
const PING_MS = 15_000;
/** How often `stop` looks whether all is answered. */
const STOP_STEP_MS = 20;
/** Messages of up to this many times the bound are read, so that their request can be answered. */
const READ_FACTOR = 2;

export interface WebSocketRouteOptions {
  readonly world: World;
  readonly log: Log;
  /** The largest message taken from a client. */
  readonly requestMaxBytes: number;
  /** Clients kept at most, with and without a connection. */
  readonly linksMax: number;
  readonly room: HalfReadRoom;
}

/** Serves upgrades of `/ws/NAME`. */
export function webSocketRoute(options: WebSocketRouteOptions): UpgradeRoute {
  return new WebSocketRoute(options);
}

class WebSocketRoute implements UpgradeRoute {
  readonly #options: WebSocketRouteOptions;
  readonly #links: KeptLinks;
  readonly #sockets: OpenCarriers<SocketCarrier>;
  readonly #server: WebSocketServer;
  /** Whose keys the answers name. */
  readonly #upgrading = new WeakMap<IncomingMessage, KeptLink>();
  #isStopping = false;

  constructor(options: WebSocketRouteOptions) {
    const { world, log, linksMax, requestMaxBytes } = options;
    this.#options = options;
    this.#links = new KeptLinks({ world, log, transport: "ws", canResume: false, linksMax });
    this.#sockets = new OpenCarriers(world);
    this.#sockets.beat(PING_MS, (socket) => {
      socket.beat();
    });
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: requestMaxBytes * READ_FACTOR,
      handleProtocols: () => SUBPROTOCOL,
      WebSocket: speakingSocket(requestMaxBytes),
    });
    this.#server.on("headers", (headers, request) => {
      const link = this.#upgrading.get(request);
      if (link !== undefined) headers.push(`Mcp-Session-Id: ${link.key}`);
    });
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, visit: Visit): void {
    // Before and after the upgrade: without a listener a lost socket would be a bug of ours.
    socket.on("error", () => {
      socket.destroy();
    });
    if (this.#isStopping) {
      refuseSocket(socket, STOPPING);
      return;
    }
    if (!offersSubprotocol(request)) {
      refuseSocket(socket, trouble(400, `the only subprotocol here is ${SUBPROTOCOL}`));
      return;
    }
    void this.#linkOf(request, visit).then((link) => {
      if (this.#isStopping) refuseSocket(socket, STOPPING);
      else if (typeof link === "string") refuseSocket(socket, REFUSALS[link]);
      else this.#open(link, request, socket, head, visit);
    });
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    const leftMs = this.#isAnswering ? await this.#answered(graceMs) : graceMs;
    for (const link of [...this.#links]) link.release("stopping", "the proxy is stopping");
    await this.#sockets.end(leftMs);
  }

  get #isAnswering(): boolean {
    return [...this.#links].some((link) => !link.isAnswered);
  }

  /**
   * Waits for answers that are on their way: those of reads are in no journal, and can't be come back
   * for. Resolves to what is left of `graceMs`.
   */
  async #answered(graceMs: number): Promise<number> {
    let leftMs = graceMs;
    while (leftMs > 0 && this.#isAnswering) {
      const step = deferred<undefined>();
      this.#options.world.timer(STOP_STEP_MS, () => {
        step.resolve(undefined);
      });
      await step.promise;
      leftMs -= STOP_STEP_MS;
    }
    return leftMs;
  }

  async #linkOf(request: IncomingMessage, visit: Visit): Promise<Returned> {
    const key = visit.url.searchParams.get("session") ?? request.headers["mcp-session-id"];
    const peer = peerOf(request, visit);
    if (key === undefined) return this.#links.open(visit, peer);
    // Node joins a header that was given twice, so this is one key that nobody has.
    return this.#links.returned(visit, String(key), peer);
  }

  #open(
    link: KeptLink,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    visit: Visit,
  ): void {
    this.#upgrading.set(request, link);
    // Calls back before it returns, or has refused the upgrade.
    this.#server.handleUpgrade(request, socket, head, (webSocket) => {
      this.#attach(link, webSocket, socket);
      if (link.isNew) link.bind(visit.door.enter(link), false);
    });
    if (link.isNew) link.forget();
  }

  #attach(link: KeptLink, webSocket: WebSocket, socket: Duplex): void {
    const carrier = new SocketCarrier(webSocket, socket, this.#options);
    this.#sockets.add(carrier);
    carrier.open({
      onMessage: (inbound) => {
        link.receive(inbound);
      },
      onClosed: (cause, isForGood) => {
        this.#sockets.delete(carrier);
        link.lost(carrier, cause, isForGood);
      },
    });
    link.attach(carrier);
  }
}

const comeLater = (words: string): Trouble => trouble(503, words, ["Retry-After", "1"]);

const STOPPING = comeLater("the proxy is stopping");
const REFUSALS: Readonly<Record<NotReturned, Trouble>> = {
  full: comeLater("too many clients are connected"),
  failed: comeLater("the session could not be looked up"),
  unknown: trouble(404, "no session with this key", [], HTTP_RPC.noSession),
};

/** The library closes by itself where a message is too large, and gives no reason: this one says it. */
function speakingSocket(requestMaxBytes: number): typeof WebSocket {
  const words = `a message over ${String(requestMaxBytes)} bytes (option --max-request-bytes)`;
  return class extends WebSocket {
    override close(code?: number, data?: string | Buffer): void {
      super.close(code, code === CLOSE.tooBig ? (data ?? words) : data);
    }
  };
}

/** A client that offers none speaks it, too. */
function offersSubprotocol(request: IncomingMessage): boolean {
  const offered = request.headers["sec-websocket-protocol"];
  if (offered === undefined) return true;
  return offered.split(",").some((name) => name.trim() === SUBPROTOCOL);
}
