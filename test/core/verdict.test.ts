/** The total table outcome × safety, and J1–J4 over arbitrary facts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAILURES, failure, type FailureKind } from "../../src/core/failure.ts";
import {
  ATTEMPTS_MAX,
  judge,
  POISON_CRASHES,
  type Outcome,
  type Verdict,
} from "../../src/core/verdict.ts";
import type { Safety } from "../../src/wire/methods.ts";

/** Of a first attempt without crashes. Total by type. */
const TABLE: Record<Outcome["kind"], Record<Safety, Verdict["kind"]>> = {
  replied: { read: "settle", idempotent: "settle", unsafe: "settle" },
  refused: { read: "requeue", idempotent: "requeue", unsafe: "requeue" },
  rejected: { read: "fail", idempotent: "fail", unsafe: "fail" },
  unreadable: { read: "fail", idempotent: "fail", unsafe: "fail" },
  lost: { read: "retry", idempotent: "retry", unsafe: "bury" },
};

const SAFETIES = Object.keys(TABLE.replied) as Safety[];
const OUTCOMES = Object.keys(TABLE) as Outcome["kind"][];
const KINDS = Object.keys(FAILURES) as FailureKind[];

function outcomeOf(kind: Outcome["kind"], failureKind: FailureKind = "reset"): Outcome {
  if (kind === "replied") return { kind, errorCode: undefined };
  return { kind, failure: failure(failureKind, "why") };
}

const anyFacts = fc.record({
  safety: fc.constantFrom(...SAFETIES),
  sendings: fc.integer({ min: 1, max: 10 }),
  crashes: fc.integer({ min: 0, max: 10 }),
});
const anyOutcome = fc.oneof(
  fc.record({
    kind: fc.constant("replied" as const),
    errorCode: fc.option(fc.integer({ min: -33_000, max: 1_000 }), { nil: undefined }),
  }),
  fc
    .tuple(
      fc.constantFrom(
        "refused" as const,
        "rejected" as const,
        "unreadable" as const,
        "lost" as const,
      ),
      fc.constantFrom(...KINDS),
    )
    .map(([kind, failureKind]) => outcomeOf(kind, failureKind)),
);

describe("judge", () => {
  it.each(OUTCOMES.flatMap((kind) => SAFETIES.map((s) => [kind, s, TABLE[kind][s]] as const)))(
    "an attempt that %s, of a call that is %s → %s",
    (kind, safety, verdict) => {
      expect(judge(outcomeOf(kind), { safety, sendings: 1, crashes: 0 }).kind).toBe(verdict);
    },
  );

  it("J1: a reply settles the call, whatever it says and whatever came before", () => {
    fc.assert(
      fc.property(anyFacts, fc.option(fc.integer(), { nil: undefined }), (facts, errorCode) => {
        const verdict = judge({ kind: "replied", errorCode }, facts);
        expect(verdict.kind).toBe("settle");
        if (verdict.kind !== "settle") return;
        expect(verdict.state).toBe(errorCode === undefined ? "done" : "failed");
        if (errorCode === undefined) expect(verdict.executed).toBe("yes");
      }),
    );
  });

  it.each([
    [-32700, "no"],
    [-32600, "no"],
    [-32601, "no"],
    [-32602, "no"],
    [-32603, "unknown"],
    [-32000, "unknown"],
    [-32001, "unknown"],
    [0, "unknown"],
    [1, "unknown"],
  ])("an error reply with code %i says executed %s", (errorCode, executed) => {
    const verdict = judge(
      { kind: "replied", errorCode },
      { safety: "unsafe", sendings: 1, crashes: 0 },
    );
    expect(verdict).toEqual({ kind: "settle", state: "failed", executed });
  });

  it("J2: an attempt that provably did not run goes back to its place, free, however often", () => {
    fc.assert(
      fc.property(anyFacts, fc.constantFrom(...KINDS), (facts, kind) => {
        expect(judge(outcomeOf("refused", kind), facts)).toEqual({
          kind: "requeue",
          failure: failure(kind, "why"),
          isFree: true,
        });
      }),
    );
  });

  it("J3: an unsafe call is NEVER sent again unless it provably did not run", () => {
    fc.assert(
      fc.property(anyFacts, anyOutcome, (facts, outcome) => {
        const verdict = judge(outcome, { ...facts, safety: "unsafe" });
        expect(verdict.kind).not.toBe("retry");
        if (verdict.kind === "requeue") expect(outcome.kind).toBe("refused");
        if (outcome.kind === "lost")
          expect(verdict).toMatchObject({ kind: "bury", reason: "outcome_unknown" });
      }),
    );
  });

  it("J4: a lost call is sent again only below its limit of attempts and of crashes", () => {
    fc.assert(
      fc.property(anyFacts, fc.constantFrom(...KINDS), (facts, kind) => {
        const verdict = judge(outcomeOf("lost", kind), facts);
        if (verdict.kind !== "retry") return;
        expect(facts.safety).not.toBe("unsafe");
        expect(facts.sendings).toBeLessThan(ATTEMPTS_MAX);
        expect(facts.crashes).toBeLessThan(POISON_CRASHES);
      }),
    );
  });

  it.each(["read", "idempotent"] as const)(
    "J4: a lost %s call ends as the limits say",
    (safety) => {
      const verdictOf = (sendings: number, crashes: number) =>
        judge(outcomeOf("lost"), { safety, sendings, crashes });
      expect(verdictOf(1, 0).kind).toBe("retry");
      expect(verdictOf(2, 1).kind).toBe("retry");
      expect(verdictOf(2, 2)).toMatchObject({ kind: "bury", reason: "poison" });
      expect(verdictOf(3, 0)).toMatchObject({ kind: "bury", reason: "outcome_unknown" });
    },
  );

  it("never says executed no of an attempt that may have run", () => {
    fc.assert(
      fc.property(anyFacts, anyOutcome, (facts, outcome) => {
        const verdict = judge(outcome, facts);
        if (!("executed" in verdict) || verdict.executed !== "no") return;
        expect(["rejected", "replied"]).toContain(outcome.kind);
      }),
    );
  });

  it("gives up a call whose answer was too large as executed", () => {
    const facts = { safety: "unsafe" as const, sendings: 1, crashes: 0 };
    expect(judge(outcomeOf("unreadable", "oversize"), facts)).toMatchObject({ executed: "yes" });
    expect(judge(outcomeOf("rejected", "oversize"), facts)).toMatchObject({ executed: "no" });
  });
});
