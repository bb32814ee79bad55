/** The shape of `holdfast status --json`: one proxy process as it is now. Names are pinned by a test. */
import type { TransportKind } from "./transport.ts";
import type { FailureKind } from "./failure.ts";
import type { RestoredFrom, SnapshotStatus } from "./snapshot.ts";

/** The states of an upstream connection; the same words in code, status and docs. */
export type UpstreamState =
  | "idle"
  | "dialling"
  | "handshaking"
  | "serving"
  | "draining"
  | "waiting"
  | "open"
  | "needs_auth"
  | "misconfigured"
  | "stopped";

/** What recovery at start did. */
export interface RecoveryReport {
  readonly tookMs: number;
  /** Rows by state as they were found. */
  readonly found: Readonly<Record<string, number>>;
  readonly expired: number;
  readonly putInDoubt: number;
  /**
   * Set when calls of the journal may have run since it was written: it holds less than was once synced
   * (a lost WAL, an older copy), or came out of a file (an import, a restored backup).
   */
  readonly wentBackwards?: WentBackwards;
}

/** Calls up to `foundSeq` may have run since; those after it were accepted later, and are sound. */
export interface WentBackwards {
  readonly expectedSeq: number;
  readonly foundSeq: number;
  /** Of a journal that came out of a file, what was done, in words: "imported from …". */
  readonly because?: string;
  /** Of one that was restored from a snapshot. */
  readonly restored?: RestoredFrom;
}

export interface JournalStats {
  readonly kind: "memory" | "sqlite";
  readonly path: string | undefined;
  /** Why the journal is not what was asked for (a memory journal after an error), in words. */
  readonly degraded: string | undefined;
  readonly bytes: number;
  readonly walBytes: number;
  /** Median time of a synced commit, ms; undefined before the first. */
  readonly fsyncMs: number | undefined;
  readonly commits: number;
  readonly rows: number;
}

export interface UpstreamStatus {
  readonly name: string;
  /** Command line or URL, secrets masked. */
  readonly target: string;
  readonly transport: TransportKind;
  readonly state: UpstreamState;
  readonly since: number;
  readonly lastReplyAt: number | undefined;
  /** Connections made after the first. */
  readonly restarts: number;
  readonly breaker: "closed" | "open" | "half_open";
  readonly lastFailure:
    { readonly kind: FailureKind; readonly message: string; readonly at: number } | undefined;
  readonly nextAttemptAt: number | undefined;
  /** What the transport tells of itself: `pid`, `session`. */
  readonly details: Readonly<Record<string, string | number>>;
  readonly waiting: number;
  readonly oldestWaitingAt: number | undefined;
  readonly inFlight: number;
  readonly latencyMs: { readonly p50: number; readonly p95: number } | undefined;
}

/** One upstream over all its connections. */
export interface UpstreamSummary {
  readonly name: string;
  readonly target: string;
  readonly transport: TransportKind;
  readonly isolation: "session" | "shared";
  readonly sessions: number;
  /** Connections by state. */
  readonly connections: Readonly<Partial<Record<UpstreamState, number>>>;
  readonly waiting: number;
  readonly inFlight: number;
}

/** Where and since when a daemon serves, and whether it uses its configuration file as it stands. */
export interface ServingStatus {
  readonly address: string;
  readonly configPath: string;
  readonly loadedAt: number;
  /** Why the file on disk is not what is used, in words. */
  readonly problem: string | undefined;
  /** Why nobody with a token is let in, in words. */
  readonly doorTrouble: string | undefined;
}

export interface SessionStatus {
  readonly id: string;
  /** "name version" as the client gave it. */
  readonly client: string;
  readonly protocolVersion: string;
  readonly isAttached: boolean;
  readonly principal: string;
  readonly transport: TransportKind;
  readonly lastSeenAt: number;
  readonly createdAt: number;
  readonly upstream: UpstreamStatus;
}

export interface ProxyStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly now: number;
  readonly upstreamName: string;
  readonly health: "healthy" | "degraded";
  /** Why it is degraded, in words; empty when healthy. */
  readonly reasons: readonly string[];
  readonly upstreams: readonly UpstreamSummary[];
  readonly sessions: readonly SessionStatus[];
  /** Undefined for a wrapping proxy. */
  readonly serving: ServingStatus | undefined;
  /** Calls left by a dead process that wait for a person: no process may run them by itself. */
  readonly heldForPerson: number;
  readonly journal: JournalStats;
  /** Paths of the journals of dead processes that it has taken on: their calls are among its own. */
  readonly takenOn: readonly string[];
  readonly recovery: RecoveryReport | undefined;
  /** Undefined where none are made. */
  readonly snapshots: SnapshotStatus | undefined;
  readonly calls: {
    readonly accepted: number;
    readonly answered: number;
    readonly expired: number;
    readonly outcomeUnknown: number;
    readonly refused: number;
  };
  readonly failures: Readonly<Partial<Record<FailureKind, number>>>;
}
