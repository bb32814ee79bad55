/** Clients that come while what a dead process left is still being judged. */
import { describe, expect, it } from "vitest";
import type { CallRow } from "../../src/core/call.ts";
import { failure } from "../../src/core/failure.ts";
import { begun, HTTP } from "../support/guests.ts";
import { SETTINGS, Stage, type ScriptedClient } from "../support/stage.ts";
import { StagedJournal } from "../support/staged-journal.ts";

const away = failure("reset", "away");
/** More than a portion of the verdicts. */
const LEFT = 1_200;
const LIMITS = { ...SETTINGS.limits, callsPerSession: 2 * LEFT };

/** After a kill with so many writes in flight; its verdicts are not committed before they are let go. */
async function judging(count = LEFT): Promise<{ stage: Stage; started: Promise<Stage> }> {
  const [first, client] = await begun(HTTP, { settings: { limits: LIMITS } });
  first.upstream.keeps.add("write");
  for (let n = 0; n < count; n++) client.call("write", n);
  await first.world.advance(10);
  const stage = await first.next();
  stage.upstream.keeps.clear();
  stage.upstream.ledger.length = 0;
  stage.upstream.dials = 0;
  stage.journal.hold("bury");
  const started = stage.start();
  await stage.world.settle();
  return { stage, started };
}

const early = (stage: Stage): ScriptedClient => stage.guest({ ...HTTP, key: "early" });

describe("while left-over calls are judged", () => {
  it("X6: a session begins after one portion of the verdicts, not after all", async () => {
    const { stage, started } = await judging();
    const client = early(stage);
    const hello = client.initialize();
    const list = client.request("tools/list");
    await stage.world.settle();
    const portion = stage.journal.heldCount;
    expect(portion).toBeLessThan(LEFT);
    expect(client.answerTo(hello)).toBeUndefined();
    stage.journal.release(portion);
    await stage.world.settle();
    expect(client.begun).toBe(1);
    expect(client.answerTo(hello)).toHaveProperty("result.serverInfo.name", "scripted");
    expect(client.answerTo(list)).toHaveProperty("result.tools");
    expect(stage.journal.heldCount).toBeGreaterThan(0);
    stage.journal.release();
    await started;
    expect(stage.fatal).toEqual([]);
  });

  it("X5: nothing is dialled or sent, however long it takes, and then what waited is sent", async () => {
    const { stage, started } = await judging();
    const client = early(stage);
    client.initialize();
    stage.journal.release(501);
    await stage.world.settle();
    const id = client.call("write", "early");
    await stage.world.advance(10_000);
    expect(stage.upstream.dials).toBe(0);
    expect(stage.upstream.ledger).toEqual([]);
    stage.journal.release();
    await started;
    await stage.world.advance(100);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["early"]);
    expect(client.told(id)?.text).toBe("write early");
    const rows = (await stage.rows()).filter(({ state }) => state === "dead");
    expect(rows).toHaveLength(LEFT);
  });

  it("a repetition of a call whose outcome is unknown is warned of, though nothing was known when it came", async () => {
    const { stage, started } = await judging(3);
    const client = early(stage);
    client.initialize();
    const id = client.call("write", 1);
    await stage.world.advance(100);
    expect(await stage.rows()).toHaveLength(3);
    stage.journal.release();
    await started;
    await stage.world.advance(100);
    expect(client.told(id)?.text).toMatch(/was not sent.*may already have taken effect/);
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("a client that returns waits, and is NEVER told that its session is unknown", async () => {
    const { stage, started } = await judging(3);
    let isIn = false;
    const back = stage.returning(HTTP).then((client) => {
      isIn = true;
      return client;
    });
    await stage.world.advance(5_000);
    expect(isIn).toBe(false);
    stage.journal.release();
    await started;
    const client = await back;
    const id = client?.call("read", "back") ?? 0;
    await stage.world.advance(100);
    expect(client?.told(id)?.text).toBe("read back");
  });

  it("an end in order waits for the verdicts, sends nothing, and loses no call of an early client", async () => {
    const { stage, started } = await judging(3);
    const client = early(stage);
    client.initialize();
    const id = client.call("write", "early");
    const drained = stage.proxy.drain("the end");
    await stage.world.advance(1_000);
    expect(stage.journal.isClosed).toBe(false);
    stage.journal.release();
    await started;
    await stage.world.advance(10_000);
    await drained;
    expect(stage.upstream.ledger).toEqual([]);
    const row = await stage.row("early");
    expect(client.told(id)).toBeUndefined();
    expect(row).toMatchObject({ state: "queued", executed: "pending" });
    expect(stage.fatal).toEqual([]);
  });

  it("a kill between two portions leaves the rest to the next start, and the sessions that began", async () => {
    const { stage } = await judging();
    const client = early(stage);
    client.initialize();
    await stage.world.settle();
    stage.journal.release(stage.journal.heldCount);
    await stage.world.settle();
    expect(client.begun).toBe(1);
    const states = (await stage.rows()).map(({ state }) => state);
    expect(new Set(states)).toEqual(new Set(["dead", "in_doubt"]));
    const after = await (await stage.next()).start();
    expect(new Set((await after.rows()).map(({ state }) => state))).toEqual(new Set(["dead"]));
    expect(await after.returning({ ...HTTP, key: "early" })).toBeDefined();
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("a journal that is cared for is kept, though all that is known of it yet has ended", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(away);
    client.call("put", "lasting");
    await before.world.advance(10);
    const image = await before.journal.image();
    const now = before.world.now();
    const rows = [...image.rows];
    // One waits for a person and ends soon; the other, in another journal, was promised to run late.
    const foreign = rows.map((row) => ({ ...row, credentials: "other", deadlineAt: now + 1_000 }));
    const lasting = rows.map((row) => ({
      ...row,
      ...{ id: "c_lasting", state: "in_doubt", isDoubted: true, attempt: 1, upstreamId: "1-9" },
      ...{ sentAt: now, acknowledgedAt: now, deadlineAt: now + 3_600_000 },
    })) as CallRow[];
    const stage = await before.next({}, { ...image, rows: foreign });
    const cared = new StagedJournal(stage.world, { ...image, rows: lasting });
    const opened = await Promise.all(
      [stage.journal, cared].map(async (journal, at) => {
        const recovery = await journal.recover(now);
        return { journal, recovery, isAbandoned: false, isCaretaken: at > 0 };
      }),
    );
    cared.hold("requeue");
    const recovered = stage.proxy.recover(opened);
    await stage.world.advance(2_000);
    expect(await stage.row("lasting")).toMatchObject({ state: "expired" });
    expect(cared.heldCount).toBe(1);
    cared.release();
    await recovered;
    await stage.world.advance(700_000);
    expect(cared.isClosed).toBe(false);
    expect(await cared.find("c_lasting")).toMatchObject({ state: "queued" });
  });
});
