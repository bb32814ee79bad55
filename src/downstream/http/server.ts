/**
 * The network listener: one HTTP server for all upstreams and transports. It checks what comes in and
 * hands it to the transport that its path names.
 *
 * NL1. Nothing of a request reaches a transport before its path, its Host, its Origin and its token
 *      passed.
 * NL2. Connections, headers, bodies and the time that each may take are bounded; beyond a bound the
 *      client is told so, and nobody else notices.
 * NL3. A connection lives no longer than the admittance of whoever uses it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { deferred } from "../../base/async.ts";
import { ConfigError } from "../../base/errors.ts";
import type { CancelTimer, World } from "../../base/world.ts";
import type { Door, Gatekeeper, Log, NetworkListener } from "../../ports.ts";
import { refuse, trouble, type Trouble } from "./answers.ts";
import { authorityText } from "./authority.ts";
import { dropRest } from "./body.ts";
import { welcomePage } from "./cors.ts";
import { checkEntry, type DoorPolicy } from "./guard.ts";
import { type Place, readPlace } from "./paths.ts";
import type { Route, UpgradeRoute, Visit } from "./route.ts";
import { readmit, refuseSocket, Sockets } from "./sockets.ts";

const HEADERS_MAX_BYTES = 16 * 1024;
/** How long a client may take for its headers, and for a whole request; pauses in its body are shorter. */
export interface Patience {
  readonly headersMs: number;
  readonly requestMs: number;
  /** How exactly these are kept. */
  readonly checkMs: number;
}

const PATIENCE: Patience = { headersMs: 10_000, requestMs: 60_000, checkMs: 1_000 };
/** How long a connection may wait for its next request. */
const KEPT_ALIVE_MS = 30_000;
/** When the network is first asked whether a silent client is still there. */
const PROBE_MS = 30_000;
/** How long `stop` waits, after all answers, for clients to take them. */
const FLUSH_MS = 1_000;
const STEP_MS = 10;
/** How often those with open connections are looked at again. */
const REVIEW_MS = 2_000;

export interface HttpListenerOptions {
  readonly world: World;
  readonly log: Log;
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly gatekeeper: Gatekeeper;
  /** Asked at every request: whether tokens are asked for may change. */
  readonly policy: () => DoorPolicy;
  readonly connectionsMax: number;
  readonly patience?: Patience;
  readonly routes: { readonly mcp: Route; readonly sse: Route };
  readonly upgrades: { readonly ws: UpgradeRoute };
}

/** Accepts the clients of all upstreams. `start` may be called once. */
export function httpListener(options: HttpListenerOptions): NetworkListener {
  return new HttpListener(options);
}

type Entrance =
  | { readonly kind: "passes"; readonly place: Place; readonly visit: Visit }
  | { readonly kind: "refused"; readonly trouble: Trouble };

class HttpListener implements NetworkListener {
  readonly #options: HttpListenerOptions;
  readonly #server: Server;
  readonly #sockets: Sockets;
  #doorOf: (upstream: string) => Door | undefined = () => undefined;
  #isStopping = false;
  #stopReview: CancelTimer | undefined;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
    this.#sockets = new Sockets(options.connectionsMax);
    const { headersMs, requestMs, checkMs } = options.patience ?? PATIENCE;
    this.#server = createServer({
      maxHeaderSize: HEADERS_MAX_BYTES,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: checkMs,
      keepAliveTimeout: KEPT_ALIVE_MS,
      keepAlive: true,
      keepAliveInitialDelay: PROBE_MS,
    });
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
    });
    this.#server.on("request", (request, response) => {
      this.#serve(request, response);
    });
    this.#server.on("upgrade", (request, socket, head) => {
      this.#upgrade(request, socket, head);
    });
    this.#server.on("clientError", (error, socket) => {
      this.#onClientError(error, socket);
    });
  }

  async start(doorOf: (upstream: string) => Door | undefined): Promise<string> {
    this.#doorOf = doorOf;
    const { host, port, log } = this.#options;
    const listening = deferred<undefined>();
    this.#server.once("error", (error: NodeJS.ErrnoException) => {
      listening.reject(new ConfigError(listenTrouble(error, authorityText({ host, port }))));
    });
    this.#server.listen({ host, port }, () => {
      listening.resolve(undefined);
    });
    await listening.promise;
    this.#server.on("error", (error) => {
      // Such as too many open files; the connection is lost, the listener is not.
      log("error", "the listener could not accept a connection", { cause: error.message });
    });
    this.#reviewLater();
    const address = this.#server.address() as AddressInfo;
    return `http://${authorityText({ host: address.address, port: address.port })}`;
  }

  refuse(): void {
    this.#isStopping = true;
  }

  async stop(graceMs: number): Promise<void> {
    const { world, routes, upgrades } = this.#options;
    this.refuse();
    this.#stopReview?.();
    if (!this.#server.listening) return;
    const closed = deferred<undefined>();
    this.#server.close(() => {
      closed.resolve(undefined);
    });
    const all = [routes.mcp, routes.sse, upgrades.ws];
    await Promise.all(all.map((route) => route.stop(graceMs)));
    const deadline = world.monotonic() + FLUSH_MS;
    const step = () => {
      this.#server.closeIdleConnections();
      if (world.monotonic() > deadline) this.#sockets.destroyAll();
      else world.timer(STEP_MS, step);
    };
    step();
    await closed.promise;
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    this.#sockets.answering(socket, response);
    // A client that goes away in the middle ends its response; `close` tells it.
    response.on("error", () => undefined);
    if (welcomePage(request, response, this.#options.policy())) {
      dropRest(request, this.#options.world);
      return;
    }
    const entrance = this.#enter(request, socket);
    if (entrance.kind === "refused") {
      refuse(response, entrance.trouble);
      dropRest(request, this.#options.world);
      return;
    }
    const { place, visit } = entrance;
    const { routes } = this.#options;
    if (place.kind !== "ws") {
      routes[place.kind].serve(request, response, visit);
      return;
    }
    refuse(response, trouble(426, "this path takes WebSocket connections only", UPGRADE));
    dropRest(request, this.#options.world);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (this.#sockets.answersOn(socket).length > 0) {
      // Whoever is in between would take what follows for the answer that is due.
      socket.destroy();
      return;
    }
    if (request.headers.upgrade?.toLowerCase() !== "websocket") {
      readmit(request, socket, head);
      this.#server.emit("connection", socket);
      return;
    }
    socket.on("error", () => undefined);
    const entrance = this.#enter(request, socket);
    if (entrance.kind === "refused") {
      refuseSocket(socket, entrance.trouble);
      return;
    }
    const { place, visit } = entrance;
    const { upgrades } = this.#options;
    if (place.kind === "ws") upgrades.ws.upgrade(request, socket, head, visit);
    else refuseSocket(socket, trouble(404, "this path takes no WebSocket connections"));
  }

  /** All checks, for every transport. */
  #enter(request: IncomingMessage, socket: Duplex): Entrance {
    const busy = this.#busyTrouble(socket);
    if (busy !== undefined) return { kind: "refused", trouble: busy };
    const { url: target = "", headersDistinct } = request;
    const place = readPlace(target);
    if (place === undefined) return { kind: "refused", trouble: NOT_FOUND };
    const { gatekeeper, policy } = this.#options;
    const entry = checkEntry(headersDistinct, policy(), gatekeeper, place.upstream);
    if (entry.kind === "refused") {
      const { status, reason, challenge } = entry;
      const headers = challenge === undefined ? [] : ["WWW-Authenticate", challenge];
      return { kind: "refused", trouble: trouble(status, reason, headers) };
    }
    const door = this.#doorOf(place.upstream);
    if (door === undefined) return { kind: "refused", trouble: NOT_FOUND };
    this.#sockets.usedBy(socket, { principal: entry.principal, upstream: place.upstream });
    const visit = visitOf(place.upstream, door, entry.principal, target);
    return { kind: "passes", place, visit };
  }

  /** NL3. */
  #reviewLater(): void {
    const { world, gatekeeper } = this.#options;
    this.#stopReview = world.timer(REVIEW_MS, () => {
      this.#sockets.review(({ principal, upstream }) =>
        gatekeeper.stillAdmits(principal, upstream),
      );
      this.#reviewLater();
    });
  }

  #busyTrouble(socket: Duplex): Trouble | undefined {
    if (this.#isStopping) return trouble(503, "Not executed: the proxy is stopping", LATER);
    if (!this.#sockets.isSurplus(socket)) return undefined;
    const max = String(this.#options.connectionsMax);
    const why = `Not executed: there are ${max} connections, and there may not be more`;
    return trouble(503, why, [...LATER, "Connection", "close"]);
  }

  #onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const what = clientTrouble(error.code);
    const [answer, ...others] = this.#sockets.answersOn(socket);
    if (error.code === "ECONNRESET") socket.destroy();
    else if (answer === undefined) refuseSocket(socket, what);
    // The answer that is due belongs to another request than the broken one, or was begun.
    else if (answer.req.complete || answer.headersSent || others.length > 0) socket.destroy();
    else refuse(answer, { ...what, headers: ["Connection", "close"] });
  }
}

const NOT_FOUND = trouble(404, "nothing is served at this path");
const LATER: readonly string[] = ["Retry-After", "1"];
const UPGRADE: readonly string[] = ["Upgrade", "websocket"];

/** The URL is made where a transport asks for it. */
function visitOf(upstream: string, door: Door, principal: string, target: string): Visit {
  return {
    upstream,
    door,
    principal,
    get url() {
      return new URL(target, "http://localhost");
    },
  };
}

function clientTrouble(code: string | undefined): Trouble {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return trouble(431, `the headers have more than ${String(HEADERS_MAX_BYTES)} bytes`);
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return trouble(408, "the request did not come in time");
    default:
      return trouble(400, "this is no HTTP request");
  }
}

function listenTrouble(error: NodeJS.ErrnoException, address: string): string {
  switch (error.code) {
    case "EADDRINUSE":
      return `listen: ${address} is taken by another program; expected a free port (or 0 for any)`;
    case "EADDRNOTAVAIL":
      return `listen: ${address} is no address of this machine`;
    case "EACCES":
      return `listen: this user may not listen at ${address}; expected a port of 1024 or above`;
    case "ENOTFOUND":
      return `listen: the host of ${address} is not known; expected a name or address of this machine`;
    default:
      return `listen: ${address} can't be listened at: ${error.message}`;
  }
}
