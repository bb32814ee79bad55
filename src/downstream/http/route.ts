/** What the listener's routes are given: a request that passed all checks, and what passed them. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Door } from "../../ports.ts";

/** What passed the door: the same for every transport. */
export interface Visit {
  readonly upstream: string;
  readonly door: Door;
  readonly principal: string;
  readonly url: URL;
}

export interface Route {
  /** Answers the request; `visit` passed all checks. */
  serve(request: IncomingMessage, response: ServerResponse, visit: Visit): void;
  stop(graceMs: number): Promise<void>;
}

export interface UpgradeRoute {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, visit: Visit): void;
  stop(graceMs: number): Promise<void>;
}
