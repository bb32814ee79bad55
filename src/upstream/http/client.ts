/**
 * HTTP exchanges over kept-alive sockets, with one thing that `fetch` hides: whether bytes of a
 * request may have left this machine.
 *
 * H1. `onResponse` or `onFailed`, at most one of them, once; neither after `abort()`.
 * H2. A call is "unsent" until its socket is connected (for https: secured); node:http writes
 *     nothing before that. Then it is "sent", whatever became of the bytes.
 * H3. Free sockets live at most 4 s (less if the server says so), shorter than any server's
 *     keep-alive, so that requests rarely meet a socket that is just being closed.
 */
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Socket } from "node:net";
import type { CancelTimer, World } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import { networkFailure, type Stage } from "./classify.ts";

const FREE_SOCKET_MS = 4_000;
const TCP_KEEPALIVE_MS = 15_000;
/** Node's own 250 ms for each address is less than a round trip on a slow line. */
const ADDRESS_ATTEMPT_MS = 1_500;

export interface NetworkFault {
  readonly failure: Failure;
  /** No byte of the request left. */
  readonly isUnsent: boolean;
  /** A kept-alive socket was reset before a byte of the answer: most likely the server closed it. */
  readonly isStale: boolean;
}

export interface HttpCallEvents {
  onResponse(response: IncomingMessage): void;
  onFailed(fault: NetworkFault): void;
}

export interface HttpCallSpec {
  readonly method: "POST" | "GET" | "DELETE";
  /** Name, value, name, value …, `Host` included. */
  readonly headers: readonly string[];
  readonly body: string | undefined;
  /** Never on a kept-alive socket. */
  readonly isFresh: boolean;
}

export class HttpClient {
  readonly #world: World;
  readonly #connectTimeoutMs: number;
  readonly #agent: HttpAgent;
  readonly #base: object;
  readonly #isTls: boolean;

  constructor(world: World, url: URL, connectTimeoutMs: number) {
    this.#world = world;
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#isTls = url.protocol === "https:";
    const options = { keepAlive: true, timeout: FREE_SOCKET_MS };
    this.#agent = this.#isTls ? new HttpsAgent(options) : new HttpAgent(options);
    this.#base = {
      // An IPv6 literal stands in brackets in a URL and without them in a socket address.
      hostname: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: url.port === "" ? (this.#isTls ? 443 : 80) : Number(url.port),
      path: `${url.pathname}${url.search}`,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MS,
    };
  }

  start(spec: HttpCallSpec, events: HttpCallEvents): HttpCall {
    const options = {
      ...this.#base,
      method: spec.method,
      headers: spec.headers,
      agent: spec.isFresh ? false : this.#agent,
    };
    const request = this.#isTls ? httpsRequest(options) : httpRequest(options);
    return new HttpCall(
      this.#world,
      request,
      spec.body,
      this.#isTls,
      events,
      this.#connectTimeoutMs,
    );
  }

  /** One free socket was stale, so the others most likely are: the next exchange gets a new one. */
  dropFreeSockets(): void {
    for (const socket of Object.values(this.#agent.freeSockets).flat()) socket?.destroy();
  }

  /** Ends all sockets, busy ones too. */
  destroy(): void {
    this.#agent.destroy();
  }
}

export class HttpCall {
  readonly #request: ClientRequest;
  readonly #events: HttpCallEvents;
  readonly #isTls: boolean;
  #stage: Stage = "connecting";
  #isOver = false;
  #cancelTimer: CancelTimer | undefined;

  constructor(
    world: World,
    request: ClientRequest,
    body: string | undefined,
    isTls: boolean,
    events: HttpCallEvents,
    connectTimeoutMs: number,
  ) {
    this.#request = request;
    this.#events = events;
    this.#isTls = isTls;
    request.on("socket", (socket) => {
      this.#watch(world, socket, connectTimeoutMs);
    });
    request.on("response", (response) => {
      if (this.#isOver) return;
      this.#isOver = true;
      events.onResponse(response);
    });
    // After the response a broken socket is told by the response itself.
    request.on("error", (error) => {
      this.#fail(networkFailure(error, this.#stage), error);
    });
    request.end(body);
  }

  /** False: it is certain that no byte left. */
  get isSent(): boolean {
    return this.#stage === "sent";
  }

  /**
   * Cuts the exchange off, its response too. No event comes after this. Once the response was read
   * to its end this does nothing: node:http has taken the socket back for others.
   */
  abort(): void {
    this.#isOver = true;
    this.#cancelTimer?.();
    this.#request.destroy();
  }

  #watch(world: World, socket: Socket, connectTimeoutMs: number): void {
    if (this.#isOver) return;
    if (this.#request.reusedSocket) {
      this.#stage = "sent";
      return;
    }
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
    this.#cancelTimer = world.timer(connectTimeoutMs, () => {
      const seconds = String(connectTimeoutMs / 1_000);
      this.#fail(failure("timeout", `no connection within ${seconds} s`), undefined);
      this.#request.destroy();
    });
    socket.once("connect", () => {
      this.#stage = this.#isTls ? "securing" : "sent";
      if (!this.#isTls) this.#cancelTimer?.();
    });
    if (!this.#isTls) return;
    socket.once("secureConnect", () => {
      this.#stage = "sent";
      this.#cancelTimer?.();
    });
  }

  #fail(why: Failure, error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimer?.();
    const code = (error as { code?: unknown } | undefined)?.code;
    const isReset = code === "ECONNRESET" || code === "EPIPE";
    this.#events.onFailed({
      failure: why,
      isUnsent: this.#stage !== "sent",
      isStale: isReset && this.#request.reusedSocket,
    });
  }
}
