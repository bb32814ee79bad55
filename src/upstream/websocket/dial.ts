/**
 * Opens a WebSocket: TCP, TLS, the HTTP upgrade. Until it is open no byte of a message has left.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import type { CancelTimer } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import type { ConnectionEvents, DialOutcome } from "../../ports.ts";
import { readAnswer } from "../http/body.ts";
import { networkFailure, openingFailure, type Stage } from "../http/classify.ts";
import { SocketConnection, type SocketParts } from "./connection.ts";

/** The name under which MCP over WebSocket goes; no revision of MCP has it. */
const SUBPROTOCOL = "mcp";
const SUBPROTOCOL_HEADER = "sec-websocket-protocol";
const TCP_KEEPALIVE_MS = 15_000;
/** How long a server that sent its close frame may keep the socket open. */
const CLOSE_TIMEOUT_MS = 2_000;
/** Node's own 250 ms for each address is less than a round trip on a slow line. */
const ADDRESS_ATTEMPT_MS = 1_500;

export interface DialParts extends SocketParts {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** For DNS, TCP and TLS together, and again for the answer to the upgrade. */
  readonly connectTimeoutMs: number;
}

export function dialSocket(
  parts: DialParts,
  events: ConnectionEvents,
  signal: AbortSignal,
): Promise<DialOutcome> {
  const abandoned = failure("timeout", "the attempt to connect was given up");
  if (signal.aborted) return Promise.resolve({ kind: "failed", failure: abandoned });
  return new Promise((resolve) => {
    new Opening(parts, events, signal, abandoned, resolve);
  });
}

/** One attempt; `done` is called once. */
class Opening {
  readonly #parts: DialParts;
  readonly #socket: WebSocket;
  readonly #signal: AbortSignal;
  readonly #done: (outcome: DialOutcome) => void;
  readonly #abandon: () => void;
  #stage: Stage = "connecting";
  #cancelTimer: CancelTimer;
  #isOver = false;

  constructor(
    parts: DialParts,
    events: ConnectionEvents,
    signal: AbortSignal,
    abandoned: Failure,
    done: (outcome: DialOutcome) => void,
  ) {
    this.#parts = parts;
    this.#signal = signal;
    this.#done = done;
    this.#abandon = () => {
      this.#fail(abandoned);
    };
    signal.addEventListener("abort", this.#abandon, { once: true });
    this.#cancelTimer = this.#deadline("no connection");
    this.#socket = this.#open();
    this.#listen(events);
  }

  #open(): WebSocket {
    const { url, headers, replyMaxBytes } = this.#parts;
    const options = {
      headers: { ...headers },
      followRedirects: false,
      perMessageDeflate: false,
      maxPayload: 2 * replyMaxBytes,
      closeTimeout: CLOSE_TIMEOUT_MS,
      autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT_MS,
      finishRequest: (request: ClientRequest) => {
        this.#watch(request);
        request.end();
      },
    };
    return new WebSocket(url, [SUBPROTOCOL], options);
  }

  #watch(request: ClientRequest): void {
    const isTls = this.#parts.url.protocol === "wss:";
    const sent = (): void => {
      this.#stage = "sent";
      this.#cancelTimer();
      if (!this.#isOver) this.#cancelTimer = this.#deadline("no answer to the upgrade");
    };
    request.once("socket", (socket) => {
      socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
      socket.once("connect", () => {
        if (isTls) this.#stage = "securing";
        else sent();
      });
      if (isTls) socket.once("secureConnect", sent);
    });
  }

  #deadline(what: string): CancelTimer {
    const { world, connectTimeoutMs } = this.#parts;
    return world.timer(connectTimeoutMs, () => {
      const seconds = String(connectTimeoutMs / 1_000);
      this.#fail(failure("timeout", `${what} within ${seconds} s`));
    });
  }

  #listen(events: ConnectionEvents): void {
    const socket = this.#socket;
    // A server that names no subprotocol is taken for one that speaks ours; the package would refuse it.
    socket.on("upgrade", ({ headers }) => {
      headers[SUBPROTOCOL_HEADER] ??= SUBPROTOCOL;
    });
    socket.on("unexpected-response", (_request, response) => {
      this.#refused(response);
    });
    socket.on("error", (error) => {
      // What the package says of an upgrade that it does not take has no errno.
      const isSystem = (error as { code?: unknown }).code !== undefined;
      const told = this.#parts.mask(error.message);
      const isBreach = this.#stage === "sent" && !isSystem;
      this.#fail(isBreach ? failure("protocol_error", told) : networkFailure(error, this.#stage));
    });
    socket.once("open", () => {
      if (!this.#finish()) return;
      // No event may come before the caller has its connection.
      socket.pause();
      const connection = new SocketConnection(this.#parts, socket, events);
      this.#done({ kind: "connected", connection, isResumed: false });
      this.#parts.world.soon(() => {
        socket.resume();
      });
    });
  }

  #refused(response: IncomingMessage): void {
    const { world, mask, connectTimeoutMs } = this.#parts;
    readAnswer(world, response, connectTimeoutMs, (answer) => {
      if (answer.status < 200 || answer.status >= 300) {
        this.#fail(openingFailure(answer, world.now(), mask));
        return;
      }
      const status = `HTTP ${String(answer.status)} instead of the upgrade`;
      this.#fail(failure("protocol_error", `${status}; is this the address of a WebSocket?`));
    });
  }

  #fail(why: Failure): void {
    if (!this.#finish()) return;
    this.#socket.terminate();
    this.#done({ kind: "failed", failure: why });
  }

  #finish(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#cancelTimer();
    this.#signal.removeEventListener("abort", this.#abandon);
    return true;
  }
}
