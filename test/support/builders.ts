/**
 * Builders: a valid value, of which a test says only what matters to it. `aRow` fills in what a state
 * implies, so that no test builds a row which no journal could hold.
 */
import type { CallRow, CallState } from "../../src/core/call.ts";
import { isTerminal } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { JsonObject } from "../../src/wire/message.ts";

export const ACCEPTED_AT = 1_800_000_000_000;

const REQUEST =
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write","arguments":{"n":1}}}';
const REPLY = '{"jsonrpc":"2.0","id":1,"result":{"content":[]}}';
const ERROR_REPLY = '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}';

type Implied = Partial<{ -readonly [Key in keyof CallRow]: CallRow[Key] }>;

const SENT: Implied = { attempt: 1, upstreamId: "1-1", sentAt: ACCEPTED_AT + 10 };
const CAUSE = { cause: "exited with code 7" };

/** Total by type: a state without a row here does not compile. */
const IMPLIED: Record<CallState, Implied> = {
  queued: {},
  sent: SENT,
  tasked: SENT,
  in_doubt: { ...SENT, ...CAUSE, isDoubted: true },
  done: { ...SENT, executed: "yes", reply: REPLY },
  failed: { ...SENT, executed: "unknown", reply: ERROR_REPLY },
  expired: { ...CAUSE, executed: "no" },
  cancelled: { executed: "no", cause: "cancelled by the client" },
  dead: { ...SENT, ...CAUSE, executed: "unknown", isDoubted: true, reason: "outcome_unknown" },
};

/** A dead call that ended in the queue, rather than after a sending whose outcome is unknown. */
const DEAD_IN_QUEUE: Implied = { ...CAUSE, executed: "no" };

function implied(state: CallState, overrides: Partial<CallRow>): Implied {
  if (state !== "dead") return IMPLIED[state];
  const isQueueDeath = overrides.reason === "tool_changed" || overrides.reason === "blocked";
  return isQueueDeath ? DEAD_IN_QUEUE : IMPLIED.dead;
}

let rowCount = 0;

/** A row of an unsafe `tools/call`, queued unless `state` says otherwise. Ids differ from row to row. */
export function aRow(overrides: Partial<CallRow> = {}): CallRow {
  const state = overrides.state ?? "queued";
  rowCount++;
  return {
    id: `c_test${String(rowCount)}`,
    seq: 0,
    sessionId: "s_test",
    upstream: "upstream-digest",
    credentials: "credentials-digest",
    method: "tools/call",
    tool: "write",
    safety: "unsafe",
    fingerprint: overrides.safety === "read" ? undefined : `fingerprint-${String(rowCount)}`,
    schema: '{"type":"object"}',
    request: REQUEST,
    acceptedAt: ACCEPTED_AT,
    deadlineAt: ACCEPTED_AT + 45_000,
    acknowledgedAt: undefined,
    state,
    reason: undefined,
    executed: "pending",
    attempt: 0,
    isDoubted: false,
    upstreamId: undefined,
    sentAt: undefined,
    settledAt: isTerminal(state) ? ACCEPTED_AT + 20 : undefined,
    deliveredAt: undefined,
    reply: undefined,
    cause: undefined,
    note: undefined,
    redriveOf: undefined,
    ...implied(state, overrides),
    ...overrides,
  };
}

/** The `initialize` params of a client. */
export function aHandshake(overrides: JsonObject = {}): JsonObject {
  return {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "test-client", version: "1.0.0" },
    ...overrides,
  };
}

/** The `initialize` result of a server that offers every list. */
export function aServerHandshake(overrides: JsonObject = {}): JsonObject {
  return {
    protocolVersion: "2025-11-25",
    capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {} },
    serverInfo: { name: "test-server", version: "1.0.0" },
    ...overrides,
  };
}

/** A tool definition without annotations: by the specification unsafe and destructive. */
export function aTool(overrides: JsonObject = {}): JsonObject {
  return {
    name: "write",
    description: "Writes.",
    inputSchema: { type: "object", properties: { n: { type: "number" } } },
    ...overrides,
  };
}

/** The durable row of a legacy session that goes on. */
export function aSession(overrides: Partial<SessionRow> = {}): SessionRow {
  return {
    id: "s_test",
    keyDigest: undefined,
    principal: "local",
    transport: "stdio",
    peer: "",
    protocolVersion: "2025-11-25",
    upstream: "upstream-digest",
    credentials: "credentials-digest",
    era: "legacy",
    handshake: JSON.stringify(aHandshake()),
    logLevel: undefined,
    subscriptions: [],
    createdAt: ACCEPTED_AT,
    lastSeenAt: ACCEPTED_AT,
    endedAt: undefined,
    detachedAt: undefined,
    timeoutMs: 0,
    ...overrides,
  };
}
