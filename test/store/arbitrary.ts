/** Random rows that a journal may hold, for properties. */
import fc from "fast-check";
import { CALL_STATES, isTerminal } from "../../src/core/call.ts";
import type { CallRow } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import { TRANSPORT_KINDS } from "../../src/core/transport.ts";
import { illegality } from "../../src/store/rows.ts";
import { NOW } from "./builders.ts";

/** Any UTF-16, halves of surrogate pairs among it. */
export const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.constantFrom("", "\ud800", "a\udfffb", "\u0000", "\u2028", '"\\\n', "\u{1f600}"),
);
const digest = fc.stringMatching(/^[0-9a-f]{64}$/);
const instant = fc.integer({ min: NOW, max: NOW + 86_400_000 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

/** A legal row with an id of its own. `ids`: numbers that make ids. */
export function anyCall(at: number): fc.Arbitrary<CallRow> {
  return fc
    .record({
      sessionId: fc.constantFrom("s_1", "s_2"),
      upstream: digest,
      credentials: digest,
      method: fc.oneof(fc.constant("tools/call"), anyText),
      tool: maybe(anyText),
      safety: fc.constantFrom("read", "idempotent", "unsafe"),
      fingerprint: maybe(digest),
      schema: maybe(digest),
      request: anyText,
      acceptedAt: instant,
      deadlineAt: instant,
      acknowledgedAt: maybe(instant),
      state: fc.constantFrom(...CALL_STATES),
      reason: fc.constantFrom("outcome_unknown", "tool_changed", "blocked", "poison"),
      executed: fc.constantFrom("no", "yes", "unknown"),
      attempt: fc.nat(3),
      isDoubted: fc.boolean(),
      upstreamId: anyText,
      sentAt: instant,
      settledAt: instant,
      deliveredAt: maybe(instant),
      reply: maybe(anyText),
      cause: maybe(anyText),
      note: maybe(anyText),
      redriveOf: maybe(fc.constant("c_old")),
    })
    .map((raw) => {
      const isEnded = isTerminal(raw.state);
      return {
        ...raw,
        id: `c_${String(at).padStart(6, "0")}`,
        seq: at,
        isDoubted: raw.isDoubted || raw.state === "in_doubt",
        executed: isEnded ? raw.executed : "pending",
        reason: raw.state === "dead" ? raw.reason : undefined,
        upstreamId: raw.attempt > 0 ? raw.upstreamId : undefined,
        sentAt: raw.attempt > 0 ? raw.sentAt : undefined,
        settledAt: isEnded ? raw.settledAt : undefined,
        deliveredAt: isEnded ? raw.deliveredAt : undefined,
        reply: isEnded ? raw.reply : undefined,
      } as const;
    })
    .filter((row) => illegality(row) === undefined);
}

/** Up to so many rows, in order. */
export const anyCalls = (max: number) =>
  fc
    .nat(max)
    .chain((count) => fc.tuple(...Array.from({ length: count }, (_, i) => anyCall(i + 1))));

export const anySession: fc.Arbitrary<SessionRow> = fc.record({
  id: fc.constantFrom("s_1", "s_2", "s_3"),
  keyDigest: maybe(digest),
  principal: fc.constantFrom("local", "t_1"),
  transport: fc.constantFrom(...TRANSPORT_KINDS),
  peer: anyText,
  protocolVersion: anyText,
  upstream: digest,
  credentials: digest,
  era: fc.constantFrom("legacy", "modern"),
  handshake: fc.dictionary(fc.string(), anyText).map((value) => JSON.stringify(value)),
  logLevel: maybe(anyText),
  subscriptions: fc.array(anyText, { maxLength: 3 }),
  createdAt: instant,
  lastSeenAt: instant,
  endedAt: maybe(instant),
  detachedAt: maybe(instant),
  timeoutMs: fc.nat(),
});
