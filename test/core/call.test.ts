/** The life of a call: the total table of its changes, and invariants C1–C4 over random lives. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  apply,
  CALL_STATES,
  isTerminal,
  mustSync,
  type CallChange,
  type CallRow,
  type CallState,
} from "../../src/core/call.ts";
import { ACCEPTED_AT, aRow } from "../support/builders.ts";
import { TABLE, type ChangeName } from "./call.table.ts";

const AT = ACCEPTED_AT + 1_000;
const ERROR_REPLY = '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no"}}';

/** The change of this name that fits the row: right id, right attempt. */
function fitting(name: ChangeName, row: CallRow): CallChange {
  const { id, attempt } = row;
  const cause = "because";
  const changes: Record<ChangeName, CallChange> = {
    dispatch: { kind: "dispatch", id, attempt: attempt + 1, upstreamId: "2-1", at: AT },
    settle: { kind: "settle", id, attempt, state: "done", executed: "yes", reply: "R", at: AT },
    requeue: { kind: "requeue", id, attempt, cause, at: AT },
    doubt: { kind: "doubt", id, attempt, cause, at: AT },
    bury: { kind: "bury", id, reason: "outcome_unknown", cause, at: AT },
    expire: { kind: "expire", id, cause, at: AT },
    cancel_queued: { kind: "cancel", id, from: "queued", mayHaveRun: false, cause, at: AT },
    cancel_sent: { kind: "cancel", id, from: "sent", mayHaveRun: true, cause, at: AT },
    acknowledge: { kind: "acknowledge", id, deadlineAt: AT + 3_600_000, at: AT },
    deliver: { kind: "deliver", id, at: AT },
    annotate: { kind: "annotate", id, note: "it did run", at: AT },
  };
  return changes[name];
}

const NAMES = Object.keys(TABLE.queued) as ChangeName[];
const CASES = CALL_STATES.flatMap((state) =>
  NAMES.map((name) => [state, name, TABLE[state][name]] as const),
);

describe("the table of changes", () => {
  it("names every state once", () => {
    expect([...CALL_STATES].sort()).toEqual(Object.keys(TABLE).sort());
  });

  it.each(CASES)("a call that is %s: %s → %s", (state, name, expected) => {
    const row = aRow({ state });
    const before = structuredClone(row);
    const after = apply(row, fitting(name, row));
    expect(row).toEqual(before); // The row given is never touched.
    if (expected === "refused") expect(after).toBeUndefined();
    else expect(after?.state).toBe(expected === "kept" ? state : expected);
  });

  it("a state is terminal exactly where nothing leads out of it", () => {
    for (const state of CALL_STATES) {
      const leadsOut = NAMES.some((name) => !["refused", "kept"].includes(TABLE[state][name]));
      expect(isTerminal(state)).toBe(!leadsOut);
    }
  });
});

describe("one change", () => {
  it("dispatch counts the attempt and records its id and instant", () => {
    const row = aRow();
    expect(apply(row, fitting("dispatch", row))).toEqual({
      ...row,
      state: "sent",
      attempt: 1,
      upstreamId: "2-1",
      sentAt: AT,
    });
  });

  it("settle keeps the reply byte for byte and says what was executed", () => {
    const row = aRow({ state: "sent" });
    const change: CallChange = {
      kind: "settle",
      id: row.id,
      attempt: 1,
      state: "failed",
      executed: "no",
      reply: ERROR_REPLY,
      at: AT,
    };
    expect(apply(row, change)).toEqual({
      ...row,
      state: "failed",
      executed: "no",
      reply: ERROR_REPLY,
      settledAt: AT,
    });
  });

  it("settle says executed NO as unknown where an earlier attempt was lost", () => {
    const row = aRow({ state: "sent", attempt: 2, isDoubted: true, safety: "read" });
    const rejected: CallChange = {
      kind: "settle",
      id: row.id,
      attempt: 2,
      state: "failed",
      executed: "no",
      reply: ERROR_REPLY,
      at: AT,
    };
    expect(apply(row, rejected)?.executed).toBe("unknown");
  });

  it.each(["expire", "bury", "cancel_queued"] as const)(
    "%s of a queued call says executed no, but unknown where an earlier attempt was lost",
    (name) => {
      const fresh = aRow();
      expect(apply(fresh, fitting(name, fresh))?.executed).toBe("no");
      const doubted = aRow({ attempt: 1, isDoubted: true });
      expect(apply(doubted, fitting(name, doubted))?.executed).toBe("unknown");
    },
  );

  it("cancel of a sent call says executed no only if no byte of it left", () => {
    const row = aRow({ state: "sent" });
    const cancel = (mayHaveRun: boolean): CallChange => ({
      kind: "cancel",
      id: row.id,
      from: "sent",
      mayHaveRun,
      cause: "cancelled by the client",
      at: AT,
    });
    expect(apply(row, cancel(true))).toMatchObject({ executed: "unknown", settledAt: AT });
    expect(apply(row, cancel(false))).toMatchObject({ executed: "no" });
    expect(apply({ ...row, isDoubted: true }, cancel(false))).toMatchObject({
      executed: "unknown",
    });
  });

  it.each(["settle", "requeue", "doubt"] as const)(
    "%s of another attempt than the last is refused (C3)",
    (name) => {
      const row = aRow({ state: "sent", attempt: 2 });
      for (const attempt of [0, 1, 3]) {
        const change = { ...fitting(name, row), attempt } as CallChange;
        expect(apply(row, change)).toBeUndefined();
      }
    },
  );

  it("dispatch is refused for any attempt but the next", () => {
    const row = aRow({ attempt: 1 });
    for (const attempt of [0, 1, 3]) {
      const change = { ...fitting("dispatch", row), attempt } as CallChange;
      expect(apply(row, change)).toBeUndefined();
    }
  });

  it("a second acknowledgement or delivery is refused", () => {
    const row = aRow({ acknowledgedAt: AT });
    expect(apply(row, fitting("acknowledge", row))).toBeUndefined();
    const delivered = aRow({ state: "done", deliveredAt: AT });
    expect(apply(delivered, fitting("deliver", delivered))).toBeUndefined();
  });
});

// ── Random lives ────────────────────────────────────────────────────────────────────────────────

/** A change that mostly fits, and sometimes comes late: for an attempt that is over. */
const step = fc.record({
  name: fc.constantFrom(...NAMES),
  lag: fc.constantFrom(0, 0, 0, 1, -1),
  executed: fc.constantFrom("yes" as const, "no" as const, "unknown" as const),
  mayHaveRun: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function changeOf({ name, lag, executed, mayHaveRun }: Step, row: CallRow, at: number): CallChange {
  const change = { ...fitting(name, row), at };
  switch (change.kind) {
    case "dispatch":
    case "requeue":
    case "doubt":
      return { ...change, attempt: change.attempt + lag };
    case "settle": {
      const attempt = change.attempt + lag;
      return { ...change, attempt, executed, reply: `the reply to attempt ${String(attempt)}` };
    }
    case "cancel":
      return { ...change, mayHaveRun };
    case "acknowledge":
      return { ...change, deadlineAt: at + 60_000 };
    case "bury":
    case "expire":
    case "deliver":
    case "annotate":
      return change;
  }
}

/** Applies the steps, calling `check` for each, with the row before and after. */
function live(
  steps: readonly Step[],
  check: (before: CallRow, change: CallChange, after: CallRow | undefined) => void,
): CallRow {
  let row = aRow();
  steps.forEach((one, i) => {
    const change = changeOf(one, row, AT + i);
    const after = apply(row, change);
    check(row, change, after);
    row = after ?? row;
  });
  return row;
}

const lives = fc.array(step, { minLength: 1, maxLength: 40 });
const RUNS = { numRuns: 3_000 };

describe("any life of a call", () => {
  it("C1: never changes state, reply or executed once it is terminal", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        live(steps, (before, _, after) => {
          if (after === undefined || !isTerminal(before.state)) return;
          const { deliveredAt: _d, note: _n, ...frozen } = before;
          expect(after).toMatchObject(frozen);
        });
      }),
      RUNS,
    );
  });

  it("C1: is pending exactly while it is not terminal, and settled exactly once", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        live(steps, (_, __, after) => {
          if (after === undefined) return;
          expect(after.executed === "pending").toBe(!isTerminal(after.state));
          expect(after.settledAt === undefined).toBe(!isTerminal(after.state));
        });
      }),
      RUNS,
    );
  });

  it("C2: says executed no only if none of its attempts may have run", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        let mayHaveRun = false;
        live(steps, (before, change, after) => {
          if (after === undefined) return;
          // An attempt that ends in doubt, given up or answered may have run; T5 is the proof that
          // it did not, and an answer may say so of its own attempt.
          if (change.kind === "doubt") mayHaveRun = true;
          if (change.kind === "settle" && change.executed !== "no") mayHaveRun = true;
          if (change.kind === "cancel" && before.state === "sent" && change.mayHaveRun)
            mayHaveRun = true;
          if (after.executed === "no") expect(mayHaveRun).toBe(false);
        });
      }),
      RUNS,
    );
  });

  it("C3: has the reply of the attempt that it ended with, or none", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        const row = live(steps, (before, change, after) => {
          if (change.kind === "settle" && change.attempt !== before.attempt)
            expect(after).toBeUndefined();
        });
        const hasReply = row.state === "done" || row.state === "failed";
        expect(row.reply).toBe(
          hasReply ? `the reply to attempt ${String(row.attempt)}` : undefined,
        );
      }),
      RUNS,
    );
  });

  it("C4: keeps the deadline it was accepted with, or the one its caller was told", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        let told: number | undefined;
        const row = live(steps, (_, change, after) => {
          if (change.kind !== "acknowledge" || after === undefined) return;
          expect(told).toBeUndefined();
          told = change.deadlineAt;
        });
        expect(row.deadlineAt).toBe(told ?? aRow().deadlineAt);
        expect(row.acknowledgedAt === undefined).toBe(told === undefined);
      }),
      RUNS,
    );
  });

  it("counts its attempts one by one and never forgets a doubt", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        live(steps, (before, change, after) => {
          if (after === undefined) return;
          expect(after.attempt).toBe(before.attempt + (change.kind === "dispatch" ? 1 : 0));
          if (before.isDoubted) expect(after.isDoubted).toBe(true);
        });
      }),
      RUNS,
    );
  });

  it("keeps who made it, what it asks and under which credentials", () => {
    fc.assert(
      fc.property(lives, (steps) => {
        live(steps, (before, _, after) => {
          if (after === undefined) return;
          const { id, seq, sessionId, upstream, credentials, method, tool, safety } = before;
          const { fingerprint, schema, request, acceptedAt, redriveOf } = before;
          expect(after).toMatchObject({ id, seq, sessionId, upstream, credentials, method, tool });
          expect(after).toMatchObject({ safety, fingerprint, schema, request, acceptedAt });
          expect(after.redriveOf).toBe(redriveOf);
        });
      }),
    );
  });

  it("reaches every state that has a way in", () => {
    const seen = new Set<CallState>();
    fc.assert(
      fc.property(lives, (steps) => {
        live(steps, (_, __, after) => {
          if (after !== undefined) seen.add(after.state);
        });
      }),
      RUNS,
    );
    // The check that the properties above are not about queued calls alone. `fitting` settles as
    // done, and tasked has no way in yet.
    const expected = CALL_STATES.filter((state) => state !== "tasked" && state !== "failed");
    for (const state of expected) expect(seen).toContain(state);
  });
});

describe("mustSync", () => {
  const change = (name: ChangeName) => fitting(name, aRow());

  it.each(["unsafe", "idempotent"] as const)("every row of an %s call reaches the platter", (s) => {
    expect(mustSync(aRow({ safety: s }))).toBe(true);
    for (const name of NAMES) {
      const isMark = name === "deliver" || name === "annotate";
      expect(mustSync(aRow({ safety: s }), change(name))).toBe(!isMark);
    }
  });

  it("rows of read-only calls need not, unless their caller was told that they run late", () => {
    expect(mustSync(aRow({ safety: "read" }))).toBe(false);
    expect(mustSync(aRow({ safety: "read" }), change("settle"))).toBe(false);
    expect(mustSync(aRow({ safety: "read" }), change("acknowledge"))).toBe(true);
    const told = aRow({ safety: "read", acknowledgedAt: AT });
    expect(mustSync(told, change("settle"))).toBe(true);
    expect(mustSync(told, change("deliver"))).toBe(false);
  });

  it("what says that a read was not executed does: it would run after a power loss", () => {
    const read = aRow({ safety: "read" });
    const of = { id: read.id, at: AT, cause: "gone" };
    const settled = { ...of, kind: "settle", attempt: 1, state: "failed", reply: "" } as const;
    const says: [CallChange, boolean][] = [
      [{ ...of, kind: "expire" }, true],
      [{ ...of, kind: "cancel", from: "queued", mayHaveRun: false }, true],
      [{ ...of, kind: "cancel", from: "sent", mayHaveRun: true }, false],
      [{ ...of, kind: "bury", reason: "tool_changed" }, true],
      [{ ...of, kind: "bury", reason: "outcome_unknown" }, false],
      [{ ...settled, executed: "no" }, true],
      [{ ...settled, executed: "unknown" }, false],
    ];
    for (const [what, isSynced] of says) expect(mustSync(read, what)).toBe(isSynced);
  });
});
