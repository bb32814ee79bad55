/** B1–B3 over random histories. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CLOSED,
  FAILURES_TO_OPEN,
  onFailure,
  onSuccess,
  opensUntil,
  probe,
  saved,
  type Breaker,
} from "../../src/core/breaker.ts";

const afterFailures = (count: number): Breaker =>
  Array.from({ length: count }).reduce<Breaker>(
    (breaker) => onFailure(breaker, 1_000, 0.5),
    CLOSED,
  );

/** What each event leads to. Total by type. */
const TABLE: Record<Breaker["state"], Record<"failure" | "success" | "probe", Breaker["state"]>> = {
  closed: { failure: "closed", success: "closed", probe: "closed" },
  open: { failure: "open", success: "closed", probe: "half_open" },
  half_open: { failure: "open", success: "closed", probe: "half_open" },
};

const EXAMPLES: Record<Breaker["state"], Breaker> = {
  closed: CLOSED,
  open: { state: "open", openedAt: 1_000, openMs: 10_000, round: 0 },
  half_open: { state: "half_open", round: 0 },
};

describe("the breaker", () => {
  it.each(Object.values(EXAMPLES))("$state goes where the table says", (breaker) => {
    const expected = TABLE[breaker.state];
    expect(onFailure(breaker, 2_000, 0.5).state).toBe(expected.failure);
    expect(onSuccess(breaker).state).toBe(expected.success);
    expect(probe(breaker).state).toBe(expected.probe);
  });

  it("B1: opens at the fifth failure in a row, not at the fourth, nor if a success came between", () => {
    expect(afterFailures(FAILURES_TO_OPEN - 1).state).toBe("closed");
    expect(afterFailures(FAILURES_TO_OPEN).state).toBe("open");
    const broken = onSuccess(afterFailures(FAILURES_TO_OPEN - 1));
    expect(onFailure(broken, 1_000, 0.5)).toEqual({ state: "closed", failures: 1 });
  });

  it("B2: says until when it is open, and lets one probe pass", () => {
    const open = afterFailures(FAILURES_TO_OPEN);
    expect(opensUntil(open)).toBe(11_000);
    expect(opensUntil(CLOSED)).toBeUndefined();
    expect(opensUntil(probe(open))).toBeUndefined();
  });

  it("B3: opens for twice as long after each failed probe, up to five minutes, ± 20 %", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 30 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (n, random) => {
          let breaker = afterFailures(FAILURES_TO_OPEN);
          for (let i = 0; i < n; i++) breaker = onFailure(probe(breaker), 1_000, random);
          if (breaker.state !== "open" || n === 0) return;
          const base = Math.min(300_000, 10_000 * 2 ** n);
          expect(breaker.openMs).toBeGreaterThanOrEqual(base * 0.8 - 1);
          expect(breaker.openMs).toBeLessThanOrEqual(base * 1.2 + 1);
        },
      ),
    );
  });

  it("is saved half-open as open: a crash between probe and answer lets nobody through", () => {
    expect(saved(EXAMPLES.half_open, 5_000)).toMatchObject({ state: "open", openedAt: 5_000 });
    expect(saved(EXAMPLES.open, 5_000)).toBe(EXAMPLES.open);
    expect(saved(CLOSED, 5_000)).toBe(CLOSED);
  });
});
