/** O1–O3: what a waiting caller gets and when. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mayDefer, nextWaitStep, type WaitFacts } from "../../src/core/offline.ts";
import type { UpstreamState } from "../../src/core/status.ts";

const STATES: Record<UpstreamState, true> = {
  idle: true,
  dialling: true,
  handshaking: true,
  serving: true,
  draining: true,
  waiting: true,
  open: true,
  needs_auth: true,
  misconfigured: true,
  stopped: true,
};

const facts = (overrides: Partial<WaitFacts> = {}): WaitFacts => ({
  since: 0,
  holdUntil: 45_000,
  isAcknowledged: false,
  mayDefer: false,
  tickAt: undefined,
  upstream: { state: "waiting", since: 0, nextAttemptAt: 1_000 },
  ...overrides,
});

const anyFacts: fc.Arbitrary<WaitFacts> = fc.record({
  since: fc.constant(0),
  holdUntil: fc.integer({ min: 0, max: 60_000 }),
  isAcknowledged: fc.boolean(),
  mayDefer: fc.boolean(),
  tickAt: fc.option(fc.integer({ min: 0, max: 90_000 }), { nil: undefined }),
  upstream: fc.record({
    state: fc.constantFrom(...(Object.keys(STATES) as UpstreamState[])),
    since: fc.integer({ min: 0, max: 90_000 }),
    nextAttemptAt: fc.option(fc.integer({ min: 0, max: 400_000 }), { nil: undefined }),
  }),
});
const instant = fc.integer({ min: 0, max: 90_000 });

describe("a waiting caller", () => {
  it("O1: is never left waiting at or past its hold, nor told to wait beyond it", () => {
    fc.assert(
      fc.property(anyFacts, instant, (all, now) => {
        const next = nextWaitStep(all, now);
        if (now >= all.holdUntil) expect(["defer", "pending", "expire"]).toContain(next.kind);
        if (next.kind === "wait") {
          expect(next.untilAt).toBeLessThanOrEqual(all.holdUntil);
          expect(next.untilAt).toBeGreaterThan(now);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("O2: has its call run late only if it may be deferred or was promised already", () => {
    fc.assert(
      fc.property(anyFacts, instant, (all, now) => {
        const { kind } = nextWaitStep(all, now);
        if (kind === "defer") expect([all.mayDefer, all.isAcknowledged]).toEqual([true, false]);
        if (kind === "pending") expect(all.isAcknowledged).toBe(true);
        if (kind === "expire") expect([all.mayDefer, all.isAcknowledged]).toEqual([false, false]);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ["a person has to act", { state: "misconfigured", since: 0, nextAttemptAt: 30_000 }],
    ["credentials are refused", { state: "needs_auth", since: 0, nextAttemptAt: 30_000 }],
    ["no attempt falls within the hold", { state: "open", since: 0, nextAttemptAt: 45_001 }],
  ] as const)("O3: is answered after two seconds where %s", (_, upstream) => {
    expect(nextWaitStep(facts({ upstream }), 1_999)).toEqual({ kind: "wait", untilAt: 2_000 });
    expect(nextWaitStep(facts({ upstream }), 2_000)).toEqual({ kind: "expire" });
  });

  it("is NOT answered early while an attempt is still to come, and hears of it by ticks", () => {
    expect(nextWaitStep(facts(), 44_999)).toEqual({ kind: "wait", untilAt: 45_000 });
    expect(nextWaitStep(facts({ tickAt: 10_000 }), 0)).toEqual({ kind: "wait", untilAt: 10_000 });
    expect(nextWaitStep(facts({ tickAt: 10_000 }), 10_000)).toEqual({ kind: "tick" });
  });
});

describe("a call that may run late", () => {
  const tool = (safety: "read" | "idempotent" | "unsafe", isHarmless: boolean) => ({
    safety,
    isHarmless,
  });

  it.each([
    ["harmless", tool("unsafe", false), false],
    ["harmless", tool("unsafe", true), true],
    ["harmless", tool("idempotent", true), true],
    ["harmless", tool("read", true), false],
    ["writes", tool("unsafe", false), true],
    ["writes", tool("read", true), false],
    ["none", tool("idempotent", true), false],
    ["writes", undefined, false],
  ] as const)("by the rule %s: %j → %s", (mode, facts, expected) => {
    expect(mayDefer(mode, undefined, facts)).toBe(expected);
    if (facts === undefined) return;
    for (const override of [true, false]) expect(mayDefer(mode, override, facts)).toBe(override);
  });
});
