/** L1–L4: the state of an upstream connection over random histories. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BACKOFF, backoffMs, HEALTHY_AFTER_MS } from "../../src/core/backoff.ts";
import {
  freshLink,
  isAway,
  nextDialAt,
  step,
  type Link,
  type LinkEvent,
} from "../../src/core/connection.ts";
import { restoreLink, saveLink } from "../../src/core/saved-link.ts";
import { FAILURES, failure, type FailureKind } from "../../src/core/failure.ts";

const START = 1_800_000_000_000;
const KINDS = Object.keys(FAILURES) as FailureKind[];

const at = (now: number, random = 0.5) => ({ now, random, transport: "stdio" as const });
const serving = (now: number): Link =>
  (["want", "dial", "dialled", "serve"] as const).reduce(
    (link, kind) => step(link, { kind }, at(now)),
    freshLink(now),
  );
const failed = (link: Link, kind: FailureKind, now: number): Link =>
  step(link, { kind: "fail", failure: failure(kind, "why") }, at(now));
const redialled = (link: Link, now: number): Link =>
  (["dial", "dialled", "serve"] as const).reduce((l, kind) => step(l, { kind }, at(now)), link);

const anyEvent: fc.Arbitrary<LinkEvent> = fc.oneof(
  fc.constantFrom<LinkEvent>(
    { kind: "want" },
    { kind: "use" },
    { kind: "dial" },
    { kind: "dialled" },
    { kind: "serve" },
    { kind: "reply" },
    { kind: "strike" },
    { kind: "wake" },
  ),
  fc
    .constantFrom(...KINDS)
    .map((kind) => ({ kind: "fail" as const, failure: failure(kind, "why") })),
);
const history = fc.array(
  fc.tuple(
    anyEvent,
    fc.integer({ min: 0, max: 40_000 }),
    fc.double({ min: 0, max: 0.999, noNaN: true }),
  ),
  { maxLength: 40 },
);

function replay(
  events: readonly (readonly [LinkEvent, number, number])[],
  check: (link: Link, now: number) => void,
) {
  let now = START;
  let link = freshLink(now);
  for (const [event, passedMs, random] of events) {
    now += passedMs;
    link = step(link, event, at(now, random));
    check(link, now);
  }
}

describe("an upstream connection", () => {
  it("L1: never gives up, whatever happens: where it is away, an attempt is planned", () => {
    fc.assert(
      fc.property(history, (events) => {
        replay(events, (link, now) => {
          if (!isAway(link.state)) return;
          expect(link.nextAttemptAt).toBeDefined();
          // Not further off than the longest opening of the breaker with its jitter.
          expect((link.nextAttemptAt ?? Infinity) - now).toBeLessThanOrEqual(360_000);
        });
      }),
      { numRuns: 1_000 },
    );
  });

  it("L2: a connect alone does NOT reset the backoff, half a minute of serving does", () => {
    let link = failed(failed(serving(START), "reset", START), "reset", START);
    expect(link.failures).toBe(2);
    link = redialled(link, START);
    expect(failed(link, "reset", START + HEALTHY_AFTER_MS - 1).failures).toBe(3);
    expect(failed(link, "reset", START + HEALTHY_AFTER_MS).failures).toBe(1);
    expect(step(link, { kind: "reply" }, at(START + 1)).failures).toBe(2);
    expect(step(link, { kind: "reply" }, at(START + HEALTHY_AFTER_MS))).toMatchObject({
      failures: 0,
      failure: undefined,
    });
  });

  it("L3: while a caller waits no cool-down is longer than its cap", () => {
    fc.assert(
      fc.property(
        history,
        fc.constantFrom("stdio" as const, "http" as const),
        (events, transport) => {
          replay(events, (link) => {
            if (link.state !== "waiting" && link.state !== "open") return;
            const due = nextDialAt(link, true, transport);
            if (link.failedAt === undefined || due === undefined) return;
            expect(due - link.failedAt).toBeLessThanOrEqual(BACKOFF[transport].demandCapMs);
          });
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it.each(["stdio", "http"] as const)(
    "holds the calls of a serving %s upstream that failed five in a row, for no longer than its cap",
    (transport) => {
      const context = { now: START, random: 0.5, transport };
      let link = serving(START);
      for (let i = 0; i < 4; i++) link = step(link, { kind: "strike" }, context);
      expect(link.gatedUntil).toBeUndefined();
      link = step(link, { kind: "strike" }, context);
      expect(link.state).toBe("serving");
      expect(link.gatedUntil).toBeGreaterThan(START);
      expect(link.gatedUntil).toBeLessThanOrEqual(START + BACKOFF[transport].demandCapMs);
      // One probe goes; its failure holds them again, any answer sets them free.
      expect(link.breaker.state).toBe("half_open");
      const later = { ...context, now: START + 20_000 };
      expect(step(link, { kind: "strike" }, later).gatedUntil).toBeGreaterThan(later.now);
      expect(step(link, { kind: "reply" }, later).breaker.state).toBe("closed");
    },
  );

  it("L3: a caller does NOT hurry what waits for a person", () => {
    const link = failed(serving(START), "spawn_failed", START);
    expect(link.state).toBe("misconfigured");
    expect(nextDialAt(link, true, "stdio")).toBe(START + 30_000);
  });

  it("L4: takes a lost session up at once, but not over and over within a minute", () => {
    let link = serving(START);
    const delays: number[] = [];
    for (let i = 0; i < 6; i++) {
      link = failed(link, "session_lost", START + i);
      delays.push((link.nextAttemptAt ?? Infinity) - (START + i));
      link = redialled(link, START + i);
    }
    expect(delays.slice(0, 2)).toEqual([0, 0]);
    expect(delays.slice(2).every((delay) => delay > 0)).toBe(true);
    const later = failed(link, "session_lost", START + 61_000);
    expect(later.nextAttemptAt).toBe(START + 61_000);
  });

  it("is a crash loop after five exits in a minute, also across a restart of the proxy", () => {
    let link = serving(START);
    for (let i = 0; i < 4; i++)
      link = redialled(failed(link, "process_exit", START + i), START + i);
    const restored = restoreLink(
      JSON.parse(JSON.stringify(saveLink(link, START + 5))) as never,
      START + 6,
    );
    const looping = failed(redialled(restored, START + 6), "process_exit", START + 7);
    expect(looping.failure?.kind).toBe("crash_loop");
    expect(nextDialAt(looping, false, "stdio")).toBe(START + 7 + 300_000);
    expect(nextDialAt(looping, true, "stdio")).toBe(START + 7 + 1_000);
  });

  it("that was stopped does nothing any more; one that drains plans no attempt", () => {
    fc.assert(
      fc.property(anyEvent, (event) => {
        const stopped = step(serving(START), { kind: "stop" }, at(START));
        expect(step(stopped, event, at(START + 1))).toBe(stopped);
      }),
    );
    const draining = step(serving(START), { kind: "drain" }, at(START));
    expect(failed(draining, "process_exit", START)).toBe(draining);
    expect(nextDialAt(draining, true, "stdio")).toBeUndefined();
  });
});

describe("the backoff", () => {
  it("is nothing at first, then grows to its cap, half of it random", () => {
    const count = fc.integer({ min: 1, max: 5_000 });
    fc.assert(
      fc.property(count, fc.double({ min: 0, max: 0.999, noNaN: true }), (failures, random) => {
        for (const rule of Object.values(BACKOFF)) {
          const full = Math.min(rule.maxMs, rule.initialMs * rule.factor ** (failures - 1));
          const ms = backoffMs(rule, failures, random);
          expect(ms).toBeGreaterThanOrEqual(full / 2 - 1e-6);
          expect(ms).toBeLessThanOrEqual(full);
          expect(backoffMs(rule, 0, random)).toBe(0);
        }
      }),
    );
  });
});
