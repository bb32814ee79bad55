import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { Stage, type ScriptedClient } from "../support/stage.ts";

const away = failure("reset", "away");
const nonces = (stage: Stage) => stage.upstream.ledger.map((entry) => entry.nonce);

/** A stage whose upstream is away and whose journal holds a call for each nonce. */
async function withBacklog(tool: string, count: number): Promise<[Stage, ScriptedClient]> {
  const stage = await new Stage().start();
  const client = await stage.connected();
  stage.upstream.kill(away);
  for (let i = 0; i < count; i++) client.call(tool, i);
  await stage.world.advance(100);
  return [stage, client];
}

/** What a start finds in a journal that was put back to where it had given out so many numbers. */
async function backwards(stage: Stage, foundSeq: number) {
  const recovery = await stage.journal.recover(stage.world.now());
  const wentBackwards = { expectedSeq: 9, foundSeq };
  return { recovery: { ...recovery, report: { ...recovery.report, wentBackwards } } };
}

describe("calls left by a proxy that was killed", () => {
  it("run without any client, over a connection of their own, which ends when the last has ended", async () => {
    const [before] = await withBacklog("write", 5);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start();
    await after.world.advance(10_000);
    expect(nonces(after)).toEqual([0, 1, 2, 3, 4]);
    expect((await after.rows()).map((row) => row.state)).toEqual(Array(5).fill("done"));
    expect(after.upstream.isConnected).toBe(false);
    expect(after.fatal).toEqual([]);
  });

  it("run over a connection that says the same of its client as theirs did", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected("first", { sampling: {} });
    stage.upstream.kill(away);
    client.call("write", "a");
    await stage.world.advance(100);
    const after = await stage.next();
    after.upstream.down = undefined;
    after.upstream.seen.length = 0;
    await after.start();
    await after.connected("second", { roots: {} });
    await after.world.advance(10_000);
    expect(nonces(after)).toEqual(["a"]);
    const at = after.upstream.methods.indexOf("tools/call");
    const before = after.upstream.seen.slice(0, at).filter((t) => t.includes('"initialize"'));
    expect(before.at(-1)).toContain('"sampling":{}');
  });

  it("run behind no new call: those wait for nothing", async () => {
    const [before] = await withBacklog("write", 20);
    const after = await before.next();
    after.upstream.down = undefined;
    after.upstream.keeps.add("write");
    await after.start();
    const client = await after.connected();
    await after.world.advance(1_000);
    const id = client.call("note", "new");
    await after.world.advance(10);
    expect(client.told(id)?.text).toBe("note new");
  });

  it("of another session run also where the client asks for something else, and nothing twice", async () => {
    const [before] = await withBacklog("write", 3);
    const once = await before.next();
    await once.start();
    await once.world.advance(500);
    const twice = await once.next();
    twice.upstream.down = undefined;
    await twice.start();
    await twice.connected();
    await twice.world.advance(10_000);
    expect(nonces(twice)).toEqual([0, 1, 2]);
  });

  it("are never run with other credentials, wait for a person, and end with executed no", async () => {
    const [before] = await withBacklog("write", 2);
    const after = await before.next({ credentials: "other" });
    after.upstream.down = undefined;
    await after.start();
    await after.connected();
    expect((await after.proxy.control.status()).heldForPerson).toBe(2);
    await after.world.advance(60_000);
    expect(nonces(after)).toEqual([]);
    for (const row of await after.rows()) {
      expect(row).toMatchObject({ state: "expired", executed: "no" });
    }
    expect((await after.proxy.control.status()).heldForPerson).toBe(0);
  });

  it("are withdrawn by a person while they are held, and count as held no longer", async () => {
    const [before] = await withBacklog("write", 1);
    const after = await before.next({ credentials: "other" });
    await after.start();
    const row = await after.row(0);
    expect(await after.proxy.control.cancel(row.id)).toMatchObject({
      state: "cancelled",
      executed: "no",
    });
    expect((await after.proxy.control.status()).heldForPerson).toBe(0);
  });

  it("are not run from a journal that another process lost in mid-life, and NEVER end as not executed", async () => {
    for (const how of ["expire", "cancel"]) {
      const [before] = await withBacklog("write", 1);
      const after = await before.next();
      after.upstream.down = undefined;
      await after.start({ isAbandoned: true });
      await after.connected();
      const { id } = await after.row(0);
      if (how === "cancel") await after.proxy.control.cancel(id);
      await after.world.advance(60_000);
      expect(nonces(after)).toEqual([]);
      expect(await after.row(0), how).toMatchObject({ executed: "unknown" });
    }
  });

  it("are warned of when they are repeated after they ended unheard of, at once", async () => {
    for (const how of ["expire", "cancel"]) {
      const [before] = await withBacklog("write", 1);
      const after = await before.next();
      after.upstream.down = undefined;
      await after.start({ isAbandoned: true });
      const client = await after.connected();
      if (how === "cancel") await after.proxy.control.cancel((await after.row(0)).id);
      else await after.world.advance(60_000);
      const [first, second] = [client.call("write", 0), client.call("write", 0)];
      await after.world.advance(5_000);
      expect(client.told(first)?.text, how).toContain("Repeated once more, it will be sent");
      expect(client.told(second)?.text, how).toBe("write 0");
    }
  });

  it("are repeated by a person while they are held, as one new call, and may have run before", async () => {
    const [before] = await withBacklog("write", 1);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start(await backwards(after, 1));
    await after.connected();
    const { id } = await after.row(0);
    expect((await after.proxy.control.status()).heldForPerson).toBe(1);
    const copy = await after.proxy.control.retry(id);
    await after.world.advance(10_000);
    expect(nonces(after)).toEqual([0]);
    expect(await after.journal.find(id)).toMatchObject({ state: "cancelled", executed: "unknown" });
    expect(await after.journal.find(copy)).toMatchObject({ state: "done", redriveOf: id });
    expect((await after.proxy.control.status()).heldForPerson).toBe(0);
    await expect(after.proxy.control.retry("c_none")).rejects.toThrow(/there is no call/);
  });

  it("that are idempotent are held like writes where the journal went backwards: another may have come since", async () => {
    const [before] = await withBacklog("put", 1);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start(await backwards(after, 1));
    await after.connected();
    await after.world.advance(10_000);
    expect((await after.row(0)).safety).toBe("idempotent");
    expect(nonces(after)).toEqual([]);
  });

  it("that were accepted after the journal went backwards run like any other", async () => {
    const [before] = await withBacklog("write", 2);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start(await backwards(after, 1));
    await after.connected();
    await after.world.advance(10_000);
    expect(nonces(after)).toEqual([1]);
  });

  it("that read and end unsent, from a journal that went backwards, NEVER end as not executed", async () => {
    for (const how of ["expire", "cancel"]) {
      const [before] = await withBacklog("read", 1);
      const after = await before.next();
      await after.start(await backwards(after, 1));
      const { id } = await after.row(0);
      if (how === "cancel") await after.proxy.control.cancel(id);
      await after.world.advance(60_000);
      expect(nonces(after)).toEqual([]);
      expect(await after.row(0), how).toMatchObject({ state: "cancelled", executed: "unknown" });
    }
  });

  it("that do more than read are not run from a journal that went backwards, those that read are", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(away);
    client.call("write", "w");
    client.call("put", "p");
    client.call("read", "r");
    await stage.world.advance(100);
    const after = await stage.next();
    after.upstream.down = undefined;
    const recovery = await after.journal.recover(after.world.now());
    const wentBackwards = { expectedSeq: 9, foundSeq: 2 };
    await after.start({
      recovery: { ...recovery, report: { ...recovery.report, wentBackwards } },
    });
    await after.connected();
    await after.world.advance(60_000);
    expect(nonces(after)).toEqual(["r"]);
    for (const nonce of ["w", "p"])
      expect(await after.row(nonce)).toMatchObject({ executed: "unknown" });
  });

  it("withdrawn by a person before they were taken up do not run, and hold nothing up", async () => {
    const [before] = await withBacklog("write", 2);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start();
    const { id } = await after.row(0);
    await after.proxy.control.cancel(id);
    await after.world.advance(20_000);
    expect(nonces(after)).toEqual([1]);
    expect(await after.row(0)).toMatchObject({ state: "cancelled", executed: "no" });
    expect(after.upstream.isConnected).toBe(false);
    expect(after.bounds.admit("s", 1)).toBeUndefined();
    expect(after.fatal).toEqual([]);
  });

  it("share their answer with the client that repeats them", async () => {
    const [before] = await withBacklog("write", 1);
    const after = await before.next();
    await after.start();
    const client = await after.connected();
    const id = client.call("write", 0);
    await after.world.advance(1_000);
    after.upstream.down = undefined;
    await after.world.advance(10_000);
    expect(client.told(id)?.text).toBe("write 0");
    expect(nonces(after)).toEqual([0]);
  });

  it("tell every client that waits with them that they stay, when they are deferred", async () => {
    const [before] = await withBacklog("note", 1);
    const after = await before.next();
    await after.start();
    const client = await after.connected();
    const ids = [client.call("note", 0), client.call("note", 0)];
    await after.world.advance(60_000);
    for (const id of ids) expect(client.answerTo(id)).toBeDefined();
    const row = await after.row(0);
    for (const id of ids) expect(client.told(id)?.meta).toMatchObject({ callId: row.id });
  });
});

describe("a call that was in flight when the proxy was killed", () => {
  it("is not sent again if it is unsafe, and its repetition is warned of", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    client.call("write", "a");
    await stage.world.advance(10);
    const after = await stage.next();
    await after.start();
    const again = await after.connected();
    await after.world.advance(60_000);
    expect(nonces(after)).toEqual(["a"]);
    expect(await after.row("a")).toMatchObject({ state: "dead", executed: "unknown" });
    const id = again.call("write", "a");
    await after.world.advance(10);
    expect(again.told(id)?.text).toContain("This repetition was not sent");
  });

  it("is sent again if it is idempotent, three times at most over all lives", async () => {
    let stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("put");
    client.call("put", "a");
    await stage.world.advance(10);
    for (let i = 0; i < 4; i++) {
      stage = await stage.next();
      await stage.start();
      await stage.connected();
      await stage.world.advance(5_000);
    }
    expect(nonces(stage)).toEqual(["a", "a", "a"]);
    expect(await stage.row("a")).toMatchObject({ state: "dead", executed: "unknown", attempt: 3 });
  });

  it("whose outcome was committed but not delivered is answered from the journal, once", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    client.call("write", "a");
    await stage.world.advance(10);
    stage.journal.onCommit = () => {
      stage.die();
    };
    stage.upstream.answer("a", "the result");
    await stage.world.settle();
    const after = await stage.next();
    await after.start();
    const again = await after.connected();
    const first = again.call("write", "a");
    await after.world.advance(10);
    expect(again.told(first)).toMatchObject({
      text: "the result",
      meta: { executed: "yes", replayed: true },
    });
    after.upstream.keeps.clear();
    const second = again.call("write", "a");
    await after.world.advance(10);
    expect(again.told(second)).toEqual({ text: "write a", isError: false, meta: undefined });
  });
});

describe("recovery", () => {
  it("run twice finds what recovery run once found", async () => {
    const [before] = await withBacklog("write", 3);
    before.upstream.keeps.add("put");
    const one = await before.next();
    await one.start();
    const rows = JSON.stringify(await one.rows());
    const two = await one.next();
    await two.start();
    expect(JSON.stringify(await two.rows())).toBe(rows);
    expect(two.upstream.ledger).toEqual([]);
  });

  it("after a crash at every single commit executes nothing twice and tells no lie", async () => {
    for (let crashAt = 1; crashAt < 60; crashAt++) {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.keeps.add("write");
      let commits = 0;
      stage.journal.onCommit = () => {
        if (++commits === crashAt) stage.die();
      };
      client.call("write", "w1");
      client.call("note", "n1");
      client.call("put", "p1");
      await stage.world.advance(10);
      if (stage.upstream.kept.size > 0) stage.upstream.answer("w1");
      await stage.world.advance(10);
      stage.upstream.keeps.clear();
      if (commits < crashAt) stage.upstream.kill(away);
      client.call("write", "w2");
      client.call("note", "n2");
      client.call("put", "p2");
      await stage.world.advance(50_000);
      stage.upstream.down = undefined;
      await stage.world.advance(20_000);
      const told = new Map(client.got.map((m) => [m["id"], m]));
      const after = await stage.next();
      await after.start();
      await after.connected();
      await after.world.advance(20_000);
      for (const row of await after.rows()) {
        const { nonce } = (JSON.parse(row.request) as { params: { arguments: { nonce: unknown } } })
          .params.arguments;
        const runs = after.upstream.ledger.filter((entry) => entry.nonce === nonce).length;
        const about = `${String(nonce)} with a crash at commit ${String(crashAt)}: ${row.state}`;
        expect(["done", "failed", "expired", "cancelled", "dead"], about).toContain(row.state);
        if (row.executed === "no") expect(runs, about).toBe(0);
        if (row.executed === "yes") expect(runs, about).toBeGreaterThan(0);
        if (row.safety === "unsafe") expect(runs, about).toBeLessThanOrEqual(1);
        expect(runs, about).toBeLessThanOrEqual(3);
      }
      expect(told.size, "the client was told something").toBeGreaterThan(0);
      expect(after.fatal).toEqual([]);
      after.die();
    }
  });
});
