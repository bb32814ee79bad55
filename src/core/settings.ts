/** What the engine is told by the configuration, resolved: nothing in it is optional that has a default. */
import type { Safety } from "../wire/methods.ts";
import type { TransportKind } from "./transport.ts";

export type DeferMode = "harmless" | "writes" | "none";
export type ShieldMode = "warn" | "block" | "off";

/** Per tool, from the configuration only; each overrides what the annotations say. */
export interface ToolSettings {
  readonly safety?: Safety;
  readonly holdMs?: number;
  readonly defer?: boolean;
}

export interface Limits {
  /** Sessions in memory at once, of the whole process. */
  readonly sessionsPerProcess: number;
  readonly callsPerSession: number;
  readonly bytesPerSession: number;
  readonly callsPerUpstream: number;
  readonly callsPerProcess: number;
  readonly bytesPerProcess: number;
  readonly requestMaxBytes: number;
  readonly resultMaxBytes: number;
}

export interface Settings {
  /** How the upstream is called towards people. */
  readonly upstreamName: string;
  readonly transport: TransportKind;
  /** One upstream connection per session, or one for all sessions of a principal. */
  readonly isolation: "session" | "shared";
  /** How long a session stays without its client, ms. */
  readonly sessionTimeoutMs: number;
  /**
   * How long the upstream connection of a session is kept for a client that shows nothing of itself,
   * ms; made anew when it returns. Undefined: as long as the session.
   */
  readonly sessionIdleMs: number | undefined;
  /** How long a caller waits for an upstream that is away, ms. */
  readonly holdMs: number;
  /** Somebody chose the hold: then it holds for clients known to be impatient, too. */
  readonly isHoldChosen: boolean;
  readonly progressEveryMs: number;
  readonly defer: DeferMode;
  /** How long a deferred call stays queued, ms. */
  readonly deferTtlMs: number;
  readonly shield: ShieldMode;
  readonly trustAnnotations: boolean;
  /** The server keeps state per session: after a re-initialise its queued calls expire. */
  readonly isStateful: boolean;
  readonly hasControlTool: boolean;
  /** How long `initialize` waits for an upstream of which nothing is known yet, ms. */
  readonly handshakeWaitMs: number;
  /** Calls a second for a backlog; undefined: no fixed rate. */
  readonly replayRate: number | undefined;
  /** Calls in flight at once while serving; undefined: no limit. */
  readonly concurrency: number | undefined;
  /** Backlog calls in flight at once after a recovery, at most. */
  readonly backlogWindow: number;
  /** How long an orderly end waits for calls in flight, ms. */
  readonly drainMs: number;
  /** How long results, and records of ended calls, are kept, ms. */
  readonly retention: { readonly resultsMs: number; readonly recordsMs: number };
  readonly limits: Limits;
  readonly tools: Readonly<Record<string, ToolSettings>>;
  /** The hold of one client, ms, by the name it gives itself. */
  readonly clients: Readonly<Record<string, number>>;
}
