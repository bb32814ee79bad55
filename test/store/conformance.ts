/** What every journal has to do; run for each implementation. `apply()` of core is the reference. */
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { CALL_STATES, apply } from "../../src/core/call.ts";
import type { CallChange, CallRow, CallState } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { Journal } from "../../src/ports.ts";
import { NOW, aCall } from "./builders.ts";

const at = NOW + 100;

/** Each kind of change in each of its forms, for a call that made `attempt` attempts. */
export function everyChange(id: string, attempt: number): CallChange[] {
  return [
    { kind: "dispatch", id, attempt: attempt + 1, upstreamId: "2-7", at },
    { kind: "dispatch", id, attempt, upstreamId: "2-7", at },
    { kind: "settle", id, attempt, state: "done", executed: "yes", reply: '{"r":"\u00e9"}', at },
    { kind: "settle", id, attempt, state: "failed", executed: "no", reply: "{}", cause: "c", at },
    { kind: "settle", id, attempt: attempt + 1, state: "done", executed: "yes", reply: "{}", at },
    { kind: "requeue", id, attempt, cause: "refused", at },
    { kind: "requeue", id, attempt: attempt + 1, cause: "refused", at },
    { kind: "doubt", id, attempt, cause: "lost", at },
    { kind: "doubt", id, attempt: attempt + 1, cause: "lost", at },
    { kind: "bury", id, reason: "tool_changed", cause: "gone", at },
    { kind: "bury", id, reason: "outcome_unknown", cause: "unknown", at },
    { kind: "expire", id, cause: "too late", at },
    { kind: "cancel", id, from: "queued", mayHaveRun: false, cause: "withdrawn", at },
    { kind: "cancel", id, from: "sent", mayHaveRun: true, cause: "withdrawn", at },
    { kind: "cancel", id, from: "sent", mayHaveRun: false, cause: "withdrawn", at },
    { kind: "acknowledge", id, deadlineAt: NOW + 3_600_000, at },
    { kind: "deliver", id, at },
    { kind: "annotate", id, note: "it had run", at },
  ];
}

/** The changes that bring a fresh queued call into a state; `tasked` has none yet. */
const ROADS: Record<Exclude<CallState, "tasked">, (id: string) => CallChange[]> = {
  queued: () => [],
  sent: (id) => [{ kind: "dispatch", id, attempt: 1, upstreamId: "1-1", at: NOW + 1 }],
  in_doubt: (id) => [
    ...ROADS.sent(id),
    { kind: "doubt", id, attempt: 1, cause: "reset", at: NOW + 2 },
  ],
  done: (id) => [
    ...ROADS.sent(id),
    { kind: "settle", id, attempt: 1, state: "done", executed: "yes", reply: "{}", at: NOW + 2 },
  ],
  failed: (id) => [
    ...ROADS.sent(id),
    { kind: "settle", id, attempt: 1, state: "failed", executed: "no", reply: "{}", at: NOW + 2 },
  ],
  expired: (id) => [{ kind: "expire", id, cause: "late", at: NOW + 2 }],
  cancelled: (id) => [
    { kind: "cancel", id, from: "queued", mayHaveRun: false, cause: "c", at: NOW + 2 },
  ],
  dead: (id) => [{ kind: "bury", id, reason: "blocked", cause: "b", at: NOW + 2 }],
};

/** A queued call that had been in doubt before. */
const requeued = (id: string): CallChange[] => [
  ...ROADS.in_doubt(id),
  { kind: "requeue", id, attempt: 1, cause: "again", at: NOW + 3 },
];

export const aSession: SessionRow = {
  id: "s_1",
  keyDigest: "digest",
  principal: "t_1",
  transport: "http",
  peer: "agent/1",
  protocolVersion: "2025-06-18",
  upstream: "up",
  credentials: "cred",
  era: "legacy",
  handshake: '{"protocolVersion":"2025-06-18"}',
  logLevel: undefined,
  subscriptions: ["file:///a"],
  createdAt: NOW,
  lastSeenAt: NOW,
  endedAt: undefined,
  detachedAt: undefined,
  timeoutMs: 1000,
};

export function exerciseStore(name: string, open: () => Promise<Journal>): void {
  const opened: Journal[] = [];
  const fresh = async () => {
    const journal = await open();
    opened.push(journal);
    return journal;
  };
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((journal) => journal.close()));
  });

  /** Admits a call, takes it along a road, and returns the row as it must be. */
  async function bring(journal: Journal, road: (id: string) => CallChange[]): Promise<CallRow> {
    const call = aCall();
    const seq = await journal.admit(call);
    let row: CallRow = { ...call, seq };
    for (const change of road(call.id)) {
      expect(await journal.apply(change, true)).toBe(true);
      row = apply(row, change) ?? row;
    }
    return row;
  }

  describe(`${name}: changes`, () => {
    const states = CALL_STATES.filter((state) => state !== "tasked");
    const roads = [...states.map((state) => [state, ROADS[state]] as const)];
    for (const [state, road] of [...roads, ["queued after a doubt", requeued] as const]) {
      it(`does to a call that is ${state} exactly what the reference does`, async () => {
        const journal = await fresh();
        const { length } = everyChange("", 0);
        for (let kind = 0; kind < length; kind++) {
          const row = await bring(journal, road);
          const change = everyChange(row.id, row.attempt)[kind] as CallChange;
          const expected = apply(row, change);
          expect(await journal.apply(change, true), change.kind).toBe(expected !== undefined);
          expect(await journal.find(row.id), change.kind).toEqual(expected ?? row);
        }
      });
    }

    it("follows the reference along random sequences over several calls", async () => {
      const journal = await fresh();
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(2), fc.nat(17)), { maxLength: 25 }),
          async (steps) => {
            const rows = await Promise.all([0, 1, 2].map(() => bring(journal, ROADS.queued)));
            for (const [which, kind] of steps) {
              const row = rows[which] as CallRow;
              const change = everyChange(row.id, row.attempt)[kind] as CallChange;
              const expected = apply(row, change);
              expect(await journal.apply(change, false)).toBe(expected !== undefined);
              rows[which] = expected ?? row;
            }
            for (const row of rows) expect(await journal.find(row.id)).toEqual(row);
          },
        ),
        { numRuns: 30 },
      );
    });

    it("refuses a change of a call that it does not have", async () => {
      const journal = await fresh();
      for (const change of everyChange("c_nowhere", 0)) {
        expect(await journal.apply(change, true)).toBe(false);
      }
      expect(await journal.find("c_nowhere")).toBeUndefined();
    });

    it("lets exactly one of two racing changes win", async () => {
      const journal = await fresh();
      const { id } = await bring(journal, ROADS.queued);
      const won = await Promise.all([
        journal.apply({ kind: "expire", id, cause: "late", at }, true),
        journal.apply({ kind: "dispatch", id, attempt: 1, upstreamId: "1-1", at }, true),
      ]);
      expect(won).toEqual([true, false]);
    });

    it("applies what nobody waits for in its order", async () => {
      const journal = await fresh();
      const row = await bring(journal, ROADS.done);
      journal.applyLater({ kind: "deliver", id: row.id, at });
      expect(await journal.apply({ kind: "deliver", id: row.id, at: at + 1 }, false)).toBe(false);
      expect((await journal.find(row.id))?.deliveredAt).toBe(at);
    });
  });

  describe(`${name}: calls`, () => {
    it("gives seqs in the order of admission, from 1, without gaps", async () => {
      const journal = await fresh();
      const calls = Array.from({ length: 50 }, () => aCall());
      const seqs = await Promise.all(calls.map((call) => journal.admit(call)));
      expect(seqs).toEqual(calls.map((_, index) => index + 1));
    });

    it("never gives a seq a second time after its call was pruned", async () => {
      const journal = await fresh();
      await bring(journal, ROADS.expired);
      expect(await journal.prune(NOW + 1000, NOW + 1000)).toBe(1);
      expect(await journal.admit(aCall())).toBe(2);
    });

    it("keeps payloads byte for byte", async () => {
      const journal = await fresh();
      await fc.assert(
        fc.asyncProperty(
          fc.string({ unit: "binary", maxLength: 200 }),
          fc.string({ unit: "binary", maxLength: 200 }),
          async (request, reply) => {
            const call = aCall({ request, state: "sent" });
            await journal.admit(call);
            const { id } = call;
            const done = { state: "done", executed: "yes", reply, at } as const;
            await journal.apply({ kind: "settle", id, attempt: 1, ...done }, true);
            expect(await journal.find(id)).toMatchObject({ request, reply });
          },
        ),
        { numRuns: 50 },
      );
    });

    it("lists newest first, by state, up to the limit", async () => {
      const journal = await fresh();
      const queued = await bring(journal, ROADS.queued);
      const done = await bring(journal, ROADS.done);
      const sent = await bring(journal, ROADS.sent);
      const ids = async (filter: Parameters<Journal["list"]>[0]) =>
        (await journal.list(filter)).map(({ id }) => id);
      expect(await ids({})).toEqual([sent.id, done.id, queued.id]);
      expect(await ids({ states: ["queued", "done"] })).toEqual([done.id, queued.id]);
      expect(await ids({ states: [] })).toEqual([]);
      expect(await ids({ limit: 1 })).toEqual([sent.id]);
    });

    it("lists on from a seq, oldest first, with every other filter", async () => {
      const journal = await fresh();
      const rows = [await bring(journal, ROADS.queued), await bring(journal, ROADS.done)];
      rows.push(await bring(journal, ROADS.queued), await bring(journal, ROADS.queued));
      const seqs = rows.map(({ seq }) => seq);
      const listed = async (filter: Parameters<Journal["list"]>[0]) =>
        (await journal.list(filter)).map(({ seq }) => seq);
      expect(await listed({ afterSeq: 0 })).toEqual(seqs);
      expect(await listed({ afterSeq: 0, states: ["queued"], limit: 2 })).toEqual([
        seqs[0],
        seqs[2],
      ]);
      expect(await listed({ afterSeq: seqs[2] ?? 0 })).toEqual([seqs[3]]);
      expect(await listed({ afterSeq: seqs[3] ?? 0 })).toEqual([]);
    });

    it("lists the calls of one session, and of these those that nobody was given yet", async () => {
      const journal = await fresh();
      const other = await bring(journal, ROADS.done);
      const mine = Array.from({ length: 4 }, () => aCall({ sessionId: "s_2" }));
      for (const call of mine) await journal.admit(call);
      const [queued, ended, taken, sent] = mine.map(({ id }) => id) as [
        string,
        string,
        string,
        string,
      ];
      for (const id of [ended, taken])
        await journal.apply({ kind: "expire", id, cause: "late", at }, true);
      await journal.apply({ kind: "deliver", id: taken, at }, false);
      await journal.apply({ kind: "dispatch", id: sent, attempt: 1, upstreamId: "1-1", at }, true);
      const ids = async (filter: Parameters<Journal["list"]>[0]) =>
        (await journal.list(filter)).map(({ id }) => id);
      const sessionId = "s_2";
      expect(await ids({ sessionId })).toEqual([sent, taken, ended, queued]);
      expect(await ids({ sessionId, isUndelivered: true })).toEqual([sent, ended, queued]);
      expect(await ids({ sessionId, isUndelivered: false })).toEqual([sent, taken, ended, queued]);
      expect(await ids({ sessionId, isUndelivered: true, limit: 2 })).toEqual([sent, ended]);
      const states = ["expired", "done"];
      expect(await ids({ sessionId, isUndelivered: true, states })).toEqual([ended]);
      expect(await ids({ isUndelivered: true, states })).toEqual([ended, other.id]);
      expect(await ids({ sessionId: "s_3" })).toEqual([]);
    });

    it("prunes only calls that ended before the instant, and never a live one", async () => {
      const journal = await fresh();
      const live = await Promise.all([
        bring(journal, ROADS.queued),
        bring(journal, ROADS.sent),
        bring(journal, ROADS.in_doubt),
      ]);
      const ended = await bring(journal, ROADS.dead);
      expect(await journal.prune(NOW + 2, NOW + 2)).toBe(0);
      expect(await journal.prune(NOW + 3, NOW + 3)).toBe(1);
      expect(await journal.find(ended.id)).toBeUndefined();
      for (const { id } of live) expect(await journal.find(id)).toBeDefined();
    });
  });

  describe(`${name}: retention`, () => {
    it("drops payloads first and keeps the row, a dead letter's too", async () => {
      const journal = await fresh();
      const done = await bring(journal, ROADS.done);
      const dead = await bring(journal, ROADS.dead);
      const live = await bring(journal, ROADS.queued);
      expect(await journal.prune(NOW + 2, NOW)).toBe(0);
      expect(await journal.find(done.id)).toEqual(done);
      expect(await journal.prune(NOW + 3, NOW)).toBe(0);
      expect(await journal.find(done.id)).toEqual({ ...done, request: "", reply: undefined });
      expect(await journal.find(dead.id)).toEqual({ ...dead, request: "", reply: undefined });
      expect(await journal.find(live.id)).toEqual(live);
      const annotate = { kind: "annotate", id: dead.id, note: "it had run", at } as const;
      expect(await journal.apply(annotate, true)).toBe(true);
      expect((await journal.find(dead.id))?.note).toBe("it had run");
    });

    it("over the bound takes the oldest ended calls, and NEVER a live one", async () => {
      const journal = await fresh();
      const reply = "r".repeat(10_000);
      const live = await bring(journal, ROADS.queued);
      const ended: string[] = [];
      for (let i = 0; i < 700; i++) {
        const call = aCall({ state: "sent" });
        await journal.admit(call);
        const how = { attempt: 1, state: "done", executed: "yes", reply, at } as const;
        await journal.apply({ kind: "settle", id: call.id, ...how }, false);
        ended.push(call.id);
      }
      expect(await journal.prune(NOW, NOW, 100_000_000)).toBe(0);
      const deleted = await journal.prune(NOW, NOW, 1_000_000);
      expect(deleted).toBeGreaterThanOrEqual(600);
      const left = (await journal.list({})).map(({ id }) => id);
      expect(left).toEqual([...ended.slice(deleted).toReversed(), live.id]);
      expect(await journal.prune(NOW, NOW, 0)).toBe(700 - deleted);
      expect(await journal.prune(NOW, NOW, 0)).toBe(0);
      expect(await journal.find(live.id)).toEqual(live);
    });

    it("over the bound leaves what nobody was given while there is anything else", async () => {
      const journal = await fresh();
      const reply = "r".repeat(10_000);
      const ids: string[] = [];
      for (let i = 0; i < 100; i++) {
        const { id } = await bring(journal, ROADS.sent);
        const how = { attempt: 1, state: "done", executed: "yes", reply, at } as const;
        await journal.apply({ kind: "settle", id, ...how }, false);
        if (i >= 10) await journal.apply({ kind: "deliver", id, at }, false);
        ids.push(id);
      }
      expect(await journal.prune(NOW, NOW, 500_000)).toBeGreaterThanOrEqual(40);
      const left = (await journal.list({})).map(({ id }) => id).toReversed();
      expect(left.slice(0, 10)).toEqual(ids.slice(0, 10));
      expect(left.slice(10)).toEqual(ids.slice(110 - left.length));
      expect(await journal.prune(NOW, NOW, 0)).toBe(left.length);
    });

    it("takes what is new in between, and goes through many calls", async () => {
      const journal = await fresh();
      const calls = Array.from({ length: 1200 }, () => aCall());
      await Promise.all(calls.map((call) => journal.admit(call)));
      const expire = { kind: "expire", cause: "late", at } as const;
      await Promise.all(calls.map(({ id }) => journal.apply({ ...expire, id }, true)));
      const pruned = journal.prune(at + 1, at + 1);
      const late = aCall();
      expect(await journal.admit(late)).toBe(1201);
      expect(await pruned).toBe(1200);
      expect((await journal.list({})).map(({ id }) => id)).toEqual([late.id]);
    });
  });

  describe(`${name}: recovery`, () => {
    it("puts sent calls in doubt, expires late ones, keeps the rest", async () => {
      const journal = await fresh();
      const sent = await bring(journal, ROADS.sent);
      const waiting = await bring(journal, ROADS.queued);
      const late = aCall({ deadlineAt: NOW + 5 });
      await journal.admit(late);
      const doubted = await bring(journal, requeued);
      const { report, live } = await journal.recover(NOW + 5);
      expect(report).toMatchObject({ found: { sent: 1, queued: 3 }, expired: 1, putInDoubt: 1 });
      expect(live.map(({ id, state }) => [id, state])).toEqual([
        [sent.id, "in_doubt"],
        [waiting.id, "queued"],
        [doubted.id, "queued"],
      ]);
      for (const row of live) expect(await journal.find(row.id)).toEqual(row);
      expect(await journal.find(late.id)).toMatchObject({ state: "expired", executed: "no" });
      const muchLater = await journal.recover(NOW + 100_000);
      expect(await journal.find(doubted.id)).toMatchObject({
        state: "expired",
        executed: "unknown",
      });
      expect(muchLater.live.map(({ id }) => id)).toEqual([sent.id]);
    });

    it("run twice in a row finds nothing to do the second time", async () => {
      const journal = await fresh();
      for (const state of ["queued", "sent", "in_doubt", "done", "expired"] as const)
        await bring(journal, ROADS[state]);
      const first = await journal.recover(NOW + 60_000);
      const second = await journal.recover(NOW + 60_000);
      expect(second.report).toMatchObject({ expired: 0, putInDoubt: 0 });
      expect(second.live).toEqual(first.live);
      expect(second.remembered).toEqual(first.remembered);
    });

    it("offers recent results that nobody took, and no others", async () => {
      const journal = await fresh();
      const kept = await bring(journal, ROADS.done);
      const taken = await bring(journal, ROADS.done);
      await journal.apply({ kind: "deliver", id: taken.id, at }, false);
      const read = aCall({ fingerprint: undefined, safety: "read" });
      await journal.admit(read);
      await journal.apply({ kind: "expire", id: read.id, cause: "late", at }, true);
      const { remembered } = await journal.recover(NOW + 1000);
      expect(remembered.map(({ id }) => id)).toEqual([kept.id]);
      expect((await journal.recover(NOW + 700_000)).remembered).toEqual([]);
    });
  });

  describe(`${name}: what is remembered`, () => {
    it("comes in the order of admission, whether its caller was told or not", async () => {
      const journal = await fresh();
      const lost = (id: string): CallChange[] => [
        ...ROADS.in_doubt(id),
        { kind: "bury", id, reason: "outcome_unknown", cause: "lost", at: NOW + 3 },
      ];
      const rows = [];
      for (const road of [lost, ROADS.done, lost, ROADS.done])
        rows.push(await bring(journal, road));
      for (const row of [rows[0], rows[2]])
        await journal.apply({ kind: "deliver", id: row?.id ?? "", at }, false);
      const { remembered } = await journal.recover(NOW + 1000);
      expect(remembered.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    });
  });

  describe(`${name}: doubts`, () => {
    it("are offered after a start also where their caller was told, until a person settles them", async () => {
      const journal = await fresh();
      const lost = (id: string): CallChange[] => [
        ...ROADS.in_doubt(id),
        { kind: "bury", id, reason: "outcome_unknown", cause: "lost", at: NOW + 3 },
      ];
      const told = await bring(journal, lost);
      const settled = await bring(journal, lost);
      for (const { id } of [told, settled]) await journal.apply({ kind: "deliver", id, at }, false);
      await journal.apply({ kind: "annotate", id: settled.id, note: "it ran", at }, true);
      const { remembered } = await journal.recover(NOW + 1000);
      expect(remembered.map(({ id }) => id)).toEqual([told.id]);
      expect((await journal.recover(NOW + 700_000)).remembered).toEqual([]);
    });
  });

  describe(`${name}: sessions and facts`, () => {
    it("keeps the last version of a session, and none that was never saved", async () => {
      const journal = await fresh();
      await journal.saveSession(aSession);
      await journal.saveSession({ ...aSession, logLevel: "debug", endedAt: NOW + 9 });
      expect(await journal.findSession("s_1")).toEqual({
        ...aSession,
        logLevel: "debug",
        endedAt: NOW + 9,
      });
      expect(await journal.findSession("s_2")).toBeUndefined();
    });

    it("names all sessions, ended ones too, in the order in which they began", async () => {
      const journal = await fresh();
      expect(await journal.sessions()).toEqual([]);
      const [first, second] = [
        { ...aSession, id: "s_b" },
        { ...aSession, id: "s_a", keyDigest: undefined },
      ];
      await journal.saveSession(first);
      await journal.saveSession(second);
      const ended = { ...first, endedAt: NOW + 1 };
      await journal.saveSession(ended);
      expect(await journal.sessions()).toEqual([ended, second]);
    });

    it("forgets sessions without calls that ended or expired long ago, and no others", async () => {
      const journal = await fresh();
      const old = { ...aSession, lastSeenAt: NOW, timeoutMs: 5 };
      await journal.saveSession({ ...old, id: "s_expired" });
      await journal.saveSession({ ...old, id: "s_ended", timeoutMs: 1000, endedAt: NOW });
      await journal.saveSession({ ...old, id: "s_asleep", timeoutMs: 1000 });
      await journal.saveSession({ ...old, id: "s_seen", lastSeenAt: NOW + 10 });
      await journal.saveSession({ ...old, id: "s_busy" });
      await journal.admit(aCall({ sessionId: "s_busy" }));
      await journal.prune(NOW + 10, NOW + 10);
      const kept = (await journal.sessions()).map(({ id }) => id);
      expect(kept).toEqual(["s_asleep", "s_seen", "s_busy"]);
      await journal.prune(NOW + 1001, NOW + 1001);
      expect((await journal.sessions()).map(({ id }) => id)).toEqual(["s_busy"]);
    });

    it("keeps facts, finds them by prefix, and forgets them", async () => {
      const journal = await fresh();
      await journal.keep("group.2", "b");
      await journal.keep("group.1", "a");
      await journal.keep("breaker", "open");
      await journal.keep("group.1", "c");
      expect([...(await journal.kept("group."))]).toEqual([
        ["group.1", "c"],
        ["group.2", "b"],
      ]);
      await journal.keep("group.1", undefined);
      expect([...(await journal.kept(""))].map(([key]) => key)).toEqual(["breaker", "group.2"]);
    });
  });

  describe(`${name}: closing`, () => {
    it("carries out what was asked for before, and rejects what comes after with closed", async () => {
      const journal = await fresh();
      const admitted = journal.admit(aCall());
      const closed = journal.close();
      await expect(admitted).resolves.toBe(1);
      await closed;
      await expect(journal.admit(aCall())).rejects.toMatchObject({ trouble: "closed" });
      await expect(journal.find("c_1")).rejects.toMatchObject({ trouble: "closed" });
      await journal.close();
    });
  });
}
