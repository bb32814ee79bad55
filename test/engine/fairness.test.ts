/** Backlogs of many sessions at one upstream. `QueueRig` throws at any sending that breaks a rule. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { READS_MAX } from "../../src/engine/backlog.ts";
import { type NewCall, QueueRig, type RigCall } from "../support/queue-rig.ts";

const KIB = 1024;
const orders = (calls: readonly RigCall[]) => calls.map((call) => call.live.order);
const of = (rig: QueueRig, session: string) => rig.sent.filter((call) => call.session === session);

describe("a session with one waiting call", () => {
  it.each(["read", "unsafe"] as const)(
    "does not wait for the five hundred of another session (%s)",
    async (safety) => {
      const rig = new QueueRig();
      rig.addMany(500, "many", { safety });
      const one = rig.add("one", { safety });
      rig.up();
      while (one.state === "waiting") await rig.answer(rig.inFlight[0]!);
      expect(rig.sent.length).toBeLessThanOrEqual(5);
      await rig.drain();
      expect(rig.sent).toHaveLength(501);
      expect(orders(of(rig, "many"))).toEqual([...orders(of(rig, "many"))].sort((a, b) => a - b));
      expect(rig.fatal).toEqual([]);
    },
  );

  it("does not wait for them either where it comes last, over a line of its own", async () => {
    const rig = new QueueRig({}, 2);
    rig.addMany(500, "many", { line: 0 });
    rig.up(0);
    rig.up(1);
    for (let i = 0; i < 50; i++) await rig.answer(rig.inFlight[0]!);
    const before = rig.sent.length;
    const one = rig.add("one", { line: 1 });
    while (one.state === "waiting") await rig.answer(rig.inFlight[0]!);
    expect(rig.sent.length - before).toBeLessThanOrEqual(1);
  });
});

describe("sessions that all have much to send", () => {
  it("get as much of the window as each other, in calls of equal size", async () => {
    const rig = new QueueRig();
    const names = Array.from({ length: 10 }, (_, i) => `s${String(i)}`);
    for (const name of names) rig.addMany(name === "s0" ? 900 : 100, name);
    rig.up();
    while (rig.sent.length < 500) await rig.answer(rig.inFlight[0]!);
    const shares = names.map((name) => of(rig, name).length);
    const sum = shares.reduce((a, b) => a + b, 0);
    const squares = shares.reduce((a, b) => a + b * b, 0);
    // Jain's index: 1 where all get the same, 1/n where one gets everything.
    expect(sum ** 2 / (names.length * squares)).toBeGreaterThan(0.98);
  });

  it("get as many bytes as each other, not as many calls", async () => {
    const rig = new QueueRig({ backlogWindow: 1 });
    rig.addMany(100, "large", { bytes: 256 * KIB });
    rig.addMany(2_000, "small", { bytes: 16 * KIB });
    rig.up();
    while (rig.sent.length < 1_000) await rig.answer(rig.inFlight[0]!);
    const bytes = ["large", "small"].map((name) =>
      of(rig, name).reduce((sum, call) => sum + call.live.bytes, 0),
    );
    expect(bytes[0]! / bytes[1]!).toBeGreaterThan(0.7);
    expect(bytes[0]! / bytes[1]!).toBeLessThan(1.4);
  });

  it("hold half of the window each at most", async () => {
    for (const backlogWindow of [1, 2, 5, 8, 16]) {
      const rig = new QueueRig({ backlogWindow });
      for (const name of ["a", "b", "c"]) rig.addMany(100, name);
      rig.up();
      const share = Math.ceil(backlogWindow / 2);
      while (rig.waiting.length > 100) {
        for (const name of ["a", "b", "c"]) {
          expect(rig.heldBy(name), String(backlogWindow)).toBeLessThanOrEqual(share);
        }
        await rig.answer(rig.inFlight[0]!);
      }
      expect(rig.peak).toBe(backlogWindow);
    }
  });
});

describe("a session alone", () => {
  it("has the whole window for its reads", async () => {
    const rig = new QueueRig({ backlogWindow: 16 });
    rig.addMany(200, "s");
    rig.up();
    await rig.drain();
    expect(rig.peak).toBe(16);
  });

  it("gives way when another one comes, as its calls come back", async () => {
    const rig = new QueueRig();
    rig.addMany(200, "first");
    rig.up();
    while (rig.inFlight.length < 8) await rig.answer(rig.inFlight[0]!);
    rig.addMany(200, "second");
    for (let i = 0; i < 8; i++) await rig.answer(rig.inFlight[0]!);
    expect([rig.heldBy("first"), rig.heldBy("second")]).toEqual([4, 4]);
  });

  it("has four reads of a lane under way where more sessions come than fill the window", async () => {
    const rig = new QueueRig({ backlogWindow: 16 });
    rig.addMany(200, "first");
    rig.up();
    while (rig.inFlight.length < 16) await rig.answer(rig.inFlight[0]!);
    for (const name of ["b", "c", "d", "e", "f"]) rig.addMany(100, name);
    for (let i = 0; i < 16; i++) await rig.answer(rig.inFlight[0]!);
    for (let i = 0; i < 100; i++) {
      expect(rig.heldBy("first")).toBeLessThanOrEqual(READS_MAX);
      await rig.answer(rig.inFlight[0]!);
    }
  });
});

describe("new calls of a session", () => {
  it("wait behind its own main lane, NOT behind its late lane or another session", async () => {
    const rig = new QueueRig();
    const [{ queue }] = rig.lines as [(typeof rig.lines)[0]];
    const own = rig.add("a");
    rig.add("b", { lane: "late" });
    expect([queue.isBlockingFor("a"), queue.isBlockingFor("b")]).toEqual([true, false]);
    expect(queue.isBlockingFor("c")).toBe(false);
    rig.withdraw(own);
    expect(queue.isBlockingFor("a")).toBe(false);
    queue.pause("a renewal");
    expect(queue.isBlockingFor("c")).toBe(true);
  });

  it("wait behind a call of the main lane that is being committed", () => {
    const rig = new QueueRig();
    const [{ queue }] = rig.lines as [(typeof rig.lines)[0]];
    rig.up();
    const own = rig.add("a");
    own.live.phase = "committing";
    expect([queue.isBlockingFor("a"), queue.isBlockingFor("b")]).toEqual([true, false]);
    own.live.phase = "sent";
    expect(queue.isBlockingFor("a")).toBe(false);
  });
});

describe("the late lane", () => {
  it("gets every tenth turn while callers wait, and all of them afterwards", async () => {
    const rig = new QueueRig();
    rig.addMany(20, "gone", { lane: "late" });
    rig.addMany(90, "here");
    rig.up();
    while (rig.sent.length < 60) await rig.answer(rig.inFlight[0]!);
    const late = rig.sent.filter((call) => call.lane === "late").length;
    expect(late).toBeGreaterThanOrEqual(5);
    expect(late).toBeLessThanOrEqual(7);
    await rig.drain();
    expect(of(rig, "gone")).toHaveLength(20);
  });

  it("takes up what is deferred, in its old order", async () => {
    const rig = new QueueRig();
    const calls = rig.addMany(6, "s", { safety: "unsafe" });
    for (const i of [4, 1, 3]) rig.defer(calls[i]!);
    rig.up();
    await rig.drain();
    const late = rig.sent.filter((call) => call.lane === "late");
    expect(orders(late)).toEqual([2, 4, 5]);
    expect(rig.sent).toHaveLength(6);
  });
});

describe("a read behind a write that may not go yet", () => {
  it("goes when that write is withdrawn, without waiting for the one under way", async () => {
    const rig = new QueueRig();
    const [first, second, read] = [
      rig.add("s", { safety: "unsafe" }),
      rig.add("s", { safety: "unsafe" }),
      rig.add("s"),
    ];
    rig.up();
    await rig.world.advance(1_000);
    expect([first.state, second.state, read.state]).toEqual(["sent", "waiting", "waiting"]);
    rig.withdraw(second);
    await rig.world.advance(1_000);
    expect(read.state).toBe("sent");
  });
});

describe("what waits on a line that goes away", () => {
  it("claims nothing there, and leaves the window to the others", async () => {
    const rig = new QueueRig({}, 2);
    rig.addMany(50, "a", { line: 0 });
    rig.addMany(50, "b", { line: 1 });
    rig.up(0);
    rig.up(1);
    rig.down(0);
    await rig.drain();
    expect(of(rig, "b")).toHaveLength(50);
    expect(rig.waiting).toHaveLength(50 - of(rig, "a").length);
    rig.up(0);
    await rig.drain();
    expect(rig.waiting).toEqual([]);
  });
});

type Step =
  | { readonly kind: "add"; readonly session: number; readonly what: NewCall }
  | {
      readonly kind: "answer" | "withdraw" | "requeue" | "defer";
      readonly pick: number;
      readonly isGood: boolean;
    }
  | { readonly kind: "up" | "down" | "slow" | "gate"; readonly line: number }
  | { readonly kind: "advance"; readonly ms: number };

const SESSIONS = ["a", "b", "c", "d"];
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      session: fc.nat(SESSIONS.length - 1),
      what: fc.record({
        safety: fc.constantFrom(
          "read" as const,
          "read" as const,
          "unsafe" as const,
          "idempotent" as const,
        ),
        bytes: fc.constantFrom(10, 10 * KIB, 100 * KIB, 1024 * KIB),
        lane: fc.constantFrom("main" as const, "main" as const, "late" as const),
      }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "answer" as const,
        "answer" as const,
        "withdraw" as const,
        "requeue" as const,
        "defer" as const,
      ),
      pick: fc.nat(50),
      isGood: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "up" as const,
        "up" as const,
        "down" as const,
        "slow" as const,
        "gate" as const,
      ),
      line: fc.nat(1),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("advance" as const),
      ms: fc.constantFrom(1, 250, 2_000),
    }),
  },
);

/** Sessions with an even number are of the first line, the others of the second. */
async function play(rig: QueueRig, what: Step): Promise<void> {
  const pickOf = (calls: readonly RigCall[], pick: number) =>
    calls[pick % Math.max(1, calls.length)];
  switch (what.kind) {
    case "add":
      rig.add(SESSIONS[what.session]!, { ...what.what, line: what.session % 2 });
      break;
    case "answer":
    case "requeue": {
      const call = pickOf(rig.inFlight, what.pick);
      if (call === undefined) break;
      if (what.kind === "answer") rig.end(call, what.isGood);
      else rig.requeue(call);
      break;
    }
    case "withdraw":
    case "defer": {
      const call = pickOf(rig.waiting, what.pick);
      if (call === undefined) break;
      if (what.kind === "withdraw") rig.withdraw(call);
      else rig.defer(call);
      break;
    }
    case "up":
      if (!rig.lines[what.line]!.isServing) rig.up(what.line);
      break;
    case "down":
      if (rig.lines[what.line]!.isServing) rig.down(what.line);
      break;
    case "gate":
    case "slow": {
      const line = rig.lines[what.line]!;
      const untilAt = rig.world.now() + 1_000;
      line.gatedUntil = untilAt;
      if (what.kind === "slow") line.queue.slowDown(untilAt);
      else line.queue.pump();
      break;
    }
    case "advance":
      await rig.world.advance(what.ms);
  }
  await rig.world.settle();
}

/** A free slot is never kept from a call that may have it. */
function expectNoSlotWasted(rig: QueueRig): void {
  if (rig.inFlight.length >= rig.gate.window) return;
  const able = rig.waiting.filter((call) => {
    const { line, session, lane } = call;
    if (!line.isServing || line.gatedUntil > rig.world.now()) return false;
    const isOfLane = (other: RigCall) => other.session === session && other.lane === lane;
    if (rig.waiting.some((other) => isOfLane(other) && other.live.order < call.live.order))
      return false;
    const beside = rig.inFlight.filter(isOfLane).map((other) => other.live.row.safety);
    return call.live.row.safety === "read"
      ? beside.filter((safety) => safety === "read").length < READS_MAX
      : beside.every((safety) => safety === "read");
  });
  expect(able.map((call) => call.session)).toEqual([]);
}

describe("whatever comes, ends, breaks and is asked for in whatever order", () => {
  it("lanes stay in order, the window holds, no slot is wasted, and every call is sent once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 10, maxLength: 80 }),
        fc.constantFrom(1, 3, 8),
        async (steps, backlogWindow) => {
          const rig = new QueueRig({ backlogWindow }, 2);
          for (const what of steps) {
            await play(rig, what);
            expectNoSlotWasted(rig);
          }
          for (const line of [0, 1]) if (!rig.lines[line]!.isServing) rig.up(line);
          await rig.world.advance(5_000);
          await rig.drain();
          expect(rig.waiting).toEqual([]);
          expect(rig.fatal).toEqual([]);
          await rig.world.advance(1_000);
          expect(rig.world.pendingTimers).toBe(0);
          // Nothing is left of any of them: a new call of each session goes at once.
          for (const [i, session] of SESSIONS.entries()) {
            const call = rig.add(session, { safety: "unsafe", line: i % 2 });
            expect(call.state).toBe("sent");
            rig.end(call, true);
            await rig.world.settle();
          }
        },
      ),
      { numRuns: Number(process.env["MODEL_RUNS"] ?? 100) },
    );
  }, 120_000);
});
