/** Sample statuses. */
import type {
  ProxyStatus,
  SessionStatus,
  UpstreamStatus,
  UpstreamSummary,
} from "../../../src/core/status.ts";

const NOW = 1_800_000_000_000;

export function makeUpstream(overrides: Partial<UpstreamStatus> = {}): UpstreamStatus {
  return {
    name: "github",
    target: "npx -y @modelcontextprotocol/server-github",
    transport: "stdio",
    state: "serving",
    since: NOW - 192_000,
    lastReplyAt: NOW - 4_000,
    restarts: 0,
    breaker: "closed",
    lastFailure: undefined,
    nextAttemptAt: undefined,
    details: { pid: 4243 },
    waiting: 0,
    oldestWaitingAt: undefined,
    inFlight: 1,
    latencyMs: { p50: 3.25, p95: 41.4 },
    ...overrides,
  };
}

export function makeSession(overrides: Partial<SessionStatus> = {}): SessionStatus {
  return {
    id: "s_1",
    client: "claude-code 2.1.0",
    protocolVersion: "2025-11-25",
    isAttached: true,
    principal: "local",
    transport: "stdio",
    lastSeenAt: NOW - 4_000,
    createdAt: NOW - 193_000,
    upstream: makeUpstream(),
    ...overrides,
  };
}

export function makeUpstreamSummary(overrides: Partial<UpstreamSummary> = {}): UpstreamSummary {
  return {
    name: "github",
    target: "npx -y @modelcontextprotocol/server-github",
    transport: "stdio",
    isolation: "session",
    sessions: 1,
    connections: { serving: 1 },
    waiting: 0,
    inFlight: 1,
    ...overrides,
  };
}

export function makeStatus(overrides: Partial<ProxyStatus> = {}): ProxyStatus {
  return {
    version: "0.1.0",
    pid: 4242,
    startedAt: NOW - 193_000,
    now: NOW,
    upstreamName: "github",
    health: "healthy",
    reasons: [],
    upstreams: [makeUpstreamSummary()],
    sessions: [makeSession()],
    serving: undefined,
    heldForPerson: 0,
    journal: {
      kind: "sqlite",
      path: "/state/journals/1.db",
      degraded: undefined,
      bytes: 65_536,
      walBytes: 4_120,
      fsyncMs: 0.31,
      commits: 240,
      rows: 120,
    },
    takenOn: [],
    recovery: undefined,
    snapshots: undefined,
    calls: { accepted: 120, answered: 119, expired: 0, outcomeUnknown: 0, refused: 0 },
    failures: {},
    ...overrides,
  };
}

export const SAMPLE_NOW = NOW;
