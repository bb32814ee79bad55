/**
 * The seam between the listener's server, which opens the door, and the transports behind it: Streamable
 * HTTP, legacy SSE and WebSocket. Types only.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Door } from "../../ports.ts";

/** What passed the door: the same for every transport. */
export interface Visit {
  readonly upstream: string;
  readonly door: Door;
  /** Whose request it is: a token's id, or "local". */
  readonly principal: string;
  readonly url: URL;
}

/** One transport over plain requests, below one path. */
export interface Route {
  /** Answers the request; `visit` passed all checks. Methods and bodies are the route's to judge. */
  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void;
  /** Takes nothing more; what is open is ended within `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/** One transport over upgraded connections, at one path. */
export interface UpgradeRoute {
  /** Takes the socket over, or refuses and ends it; `visit` passed all checks. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, visit: Visit): void;
  stop(graceMs: number): Promise<void>;
}
