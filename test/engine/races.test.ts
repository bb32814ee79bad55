import { describe, expect, it } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import { failure } from "../../src/core/failure.ts";
import { reply, Stage } from "../support/stage.ts";

const cancelled = (stage: Stage) =>
  stage.upstream.methods.filter((method) => method === "notifications/cancelled");
const calls = (stage: Stage) =>
  stage.upstream.methods.filter((method) => method === "tools/call").length;

describe("a cancellation", () => {
  it("between the commit's start and the first byte stops the call, and no byte of it leaves", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold();
    const id = client.call("write", "a");
    await stage.world.settle();
    client.cancel(id);
    stage.journal.release();
    await stage.world.advance(20_000);
    expect(calls(stage)).toBe(0);
    expect(cancelled(stage)).toEqual([]);
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "no" });
    expect(client.answerTo(id)).toBeUndefined();
    expect(stage.fatal).toEqual([]);
  });

  it("of a queued call at the instant of its dispatch loses to neither side: one of them is written", async () => {
    for (const first of ["cancel", "dispatch"]) {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.kill(failure("reset", "away"));
      const id = client.call("write", "a");
      await stage.world.advance(10);
      stage.journal.hold();
      if (first === "cancel") client.cancel(id);
      stage.upstream.down = undefined;
      await stage.world.runUntil(() => stage.journal.heldCount > 0, 60_000);
      await stage.world.advance(2_000);
      if (first === "dispatch") client.cancel(id);
      while (stage.journal.heldCount > 0) {
        stage.journal.release(1);
        await stage.world.settle();
      }
      stage.journal.release();
      await stage.world.advance(20_000);
      expect(calls(stage), first).toBe(0);
      expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "no" });
      expect(stage.fatal).toEqual([]);
    }
  });

  it("of a sent call is forwarded, and an answer that still comes is kept", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    client.cancel(id);
    await stage.world.advance(5_000);
    expect(cancelled(stage)).toHaveLength(1);
    stage.upstream.answer("a");
    await stage.world.advance(20_000);
    expect(await stage.row("a")).toMatchObject({ state: "done", executed: "yes" });
    expect(client.answerTo(id)).toBeUndefined();
    expect(stage.fatal).toEqual([]);
  });

  it("of a sent call without an answer ends it after ten seconds, unknown, and a late answer changes nothing", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    const upstreamId = stage.upstream.idOf("a");
    client.cancel(id);
    await stage.world.advance(9_900);
    expect((await stage.row("a")).state).toBe("sent");
    await stage.world.advance(200);
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "unknown" });
    expect(stage.upstream.forgotten).toEqual([upstreamId]);
    stage.upstream.answer("a");
    await stage.world.advance(1_000);
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "unknown" });
    expect(stage.fatal).toEqual([]);
  });

  it("of a sent read is never sent again when the link goes down", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("put");
    const id = client.call("put", "a");
    await stage.world.advance(1);
    client.cancel(id);
    await stage.world.advance(1);
    stage.upstream.kill();
    await stage.world.advance(20_000);
    expect(calls(stage)).toBe(1);
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "unknown" });
  });

  it("while the outcome is being written comes too late and changes nothing", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    stage.journal.hold();
    stage.upstream.answer("a");
    await stage.world.settle();
    client.cancel(id);
    stage.journal.release();
    await stage.world.advance(20_000);
    expect(await stage.row("a")).toMatchObject({ state: "done", executed: "yes" });
    expect(stage.fatal).toEqual([]);
  });

  it("of a repetition that shares an earlier call's answer does not end what another still waits for", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(failure("reset", "away"));
    client.call("note", "n");
    await stage.world.advance(46_000);
    const second = client.call("note", "n");
    const third = client.call("note", "n");
    await stage.world.advance(10);
    client.cancel(second);
    stage.upstream.down = undefined;
    await stage.world.advance(30_000);
    expect(client.answerTo(second)).toBeUndefined();
    expect(client.told(third)?.text).toBe("note n");
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("followed at once by the same call withdraws the first and runs the second", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(failure("reset", "away"));
    const first = client.call("write", "a");
    await stage.world.advance(10);
    client.cancel(first);
    const second = client.call("write", "a");
    await stage.world.advance(10);
    expect(client.answerTo(second)).toBeUndefined();
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(client.told(second)?.text).toBe("write a");
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("between the commit's start and the first byte does not take the next equal call with it", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold();
    const first = client.call("write", "a");
    await stage.world.settle();
    client.cancel(first);
    const second = client.call("write", "a");
    stage.journal.release();
    await stage.world.advance(5_000);
    expect(client.told(second)?.text).toBe("write a");
    expect(stage.upstream.ledger).toHaveLength(1);
  });
});

describe("the end of a hold", () => {
  it("at the instant of the dispatch loses to neither side: one of them is written", async () => {
    for (const winner of ["expire", "dispatch"]) {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.kill(failure("reset", "away"));
      const id = client.call("write", "a");
      await stage.world.advance(winner === "expire" ? 43_900 : 40_000);
      stage.journal.hold();
      if (winner === "expire") await stage.world.advance(1_200);
      stage.upstream.down = undefined;
      await stage.world.advance(3_000);
      stage.journal.release();
      await stage.world.advance(3_000);
      const row = await stage.row("a");
      if (winner === "expire") {
        expect(row).toMatchObject({ state: "expired", executed: "no" });
        expect(calls(stage)).toBe(0);
      } else {
        expect(row).toMatchObject({ state: "done", executed: "yes" });
        expect(client.told(id)?.text).toBe("write a");
      }
      expect(client.answerTo(id)).toBeDefined();
      expect(stage.fatal).toEqual([]);
    }
  });

  it("with a deferral at the instant of the dispatch gives one answer", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(failure("reset", "away"));
    const id = client.call("note", "a");
    await stage.world.advance(43_900);
    stage.journal.hold();
    await stage.world.advance(1_200);
    stage.upstream.down = undefined;
    await stage.world.advance(3_000);
    stage.journal.release();
    await stage.world.advance(3_000);
    expect(client.told(id)?.meta).toMatchObject({ executed: "pending" });
    expect(stage.upstream.ledger).toHaveLength(1);
    expect(await stage.row("a")).toMatchObject({ state: "done", executed: "yes" });
    const again = client.call("note", "a");
    await stage.world.advance(10);
    expect(client.told(again)?.meta).toMatchObject({ replayed: true, executed: "yes" });
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("with a cancellation while the deferral is written does not tell the caller that it will run", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(failure("reset", "away"));
    const id = client.call("note", "a");
    await stage.world.advance(43_900);
    stage.journal.hold();
    await stage.world.advance(1_200);
    expect(stage.journal.heldCount).toBe(1);
    client.cancel(id);
    stage.journal.release();
    await stage.world.advance(10);
    expect(client.answerTo(id)).toBeUndefined();
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "no" });
    expect(stage.fatal).toEqual([]);
  });
});

describe("the link going down", () => {
  it("between the commit and the first byte keeps the call, which was not sent", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold();
    const id = client.call("write", "a");
    await stage.world.settle();
    stage.upstream.kill();
    stage.journal.release();
    await stage.world.advance(5_000);
    expect(client.told(id)?.text).toBe("write a");
    expect(stage.upstream.ledger).toHaveLength(1);
    expect(await stage.row("a")).toMatchObject({ state: "done", attempt: 2, isDoubted: false });
    expect(stage.fatal).toEqual([]);
  });

  it("again and again before the first byte costs a call none of its three attempts", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold("admit");
    const id = client.call("put", "a");
    await stage.world.settle();
    for (let i = 0; i < 3; i++) {
      expect(stage.journal.heldCount).toBe(1);
      stage.upstream.drop(failure("reset", "connection reset"), undefined);
      stage.journal.release();
      stage.journal.hold("dispatch");
      await stage.world.runUntil(() => stage.journal.heldCount > 0, 60_000);
    }
    stage.upstream.keeps.add("put");
    stage.journal.release();
    await stage.world.advance(10);
    expect(stage.upstream.ledger).toHaveLength(1);
    stage.upstream.keeps.clear();
    stage.upstream.kill();
    await stage.world.advance(5_000);
    expect(client.told(id)?.text).toBe("put a");
    expect(stage.upstream.ledger).toHaveLength(2);
  });

  it("never sends a read more than three times", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("read");
    const id = client.call("read", "a");
    for (let i = 0; i < 5; i++) {
      await stage.world.advance(3_000);
      stage.upstream.drop(failure("reset", "connection reset"), undefined);
    }
    await stage.world.advance(60_000);
    expect(stage.upstream.ledger).toHaveLength(3);
    expect(client.told(id)?.meta).toMatchObject({ state: "dead", executed: "unknown" });
  });

  it("twice by exits with the same read in flight gives that read up as poison", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("read");
    const id = client.call("read", "a");
    await stage.world.advance(3_000);
    stage.upstream.kill();
    await stage.world.advance(3_000);
    stage.upstream.kill();
    await stage.world.advance(60_000);
    expect(stage.upstream.ledger).toHaveLength(2);
    expect(client.told(id)?.text).toContain("went down each time");
  });
});

describe("a reply", () => {
  it("that comes twice is delivered once", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    const upstreamId = stage.upstream.idOf("a");
    stage.upstream.answer("a", "first");
    stage.upstream.say(reply(upstreamId, "second"));
    await stage.world.advance(1_000);
    expect(client.told(id)?.text).toBe("first");
    expect((await stage.row("a")).reply).toContain("first");
  });

  it("to an id that was never used, or of a connection before, is dropped", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("read");
    const id = client.call("read", "a");
    await stage.world.advance(1);
    const old = stage.upstream.idOf("a");
    stage.upstream.drop(failure("reset", "connection reset"), undefined);
    await stage.world.advance(3_000);
    stage.upstream.say(reply(old, "late"));
    stage.upstream.say(reply("nonsense", "unknown"));
    stage.upstream.say('{"jsonrpc":"2.0","id":7,"result":{}}');
    stage.upstream.say('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}');
    await stage.world.advance(1_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.upstream.answer("a", "right");
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("right");
  });

  it("is on disk before its caller sees it", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    stage.journal.hold();
    stage.upstream.answer("a");
    await stage.world.advance(60_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.journal.release();
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("done");
  });
});

describe("a write", () => {
  it("does not leave before its intent is on disk", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold();
    client.call("write", "a");
    await stage.world.advance(60_000);
    expect(calls(stage)).toBe(0);
    stage.journal.release();
    await stage.world.advance(1);
    expect(calls(stage)).toBe(1);
  });

  it("of a backlog leaves only when the one before it has its outcome", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    stage.upstream.kill(failure("reset", "away"));
    for (const nonce of ["a", "b", "c"]) client.call("write", nonce);
    await stage.world.advance(10);
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(stage.upstream.ledger.map((e) => e.nonce)).toEqual(["a"]);
    stage.upstream.answer("a");
    await stage.world.advance(1);
    expect(stage.upstream.ledger.map((e) => e.nonce)).toEqual(["a", "b"]);
    expect(() => {
      stage.upstream.answer("c");
    }).toThrow("no kept call");
  });

  it("of a backlog that must be sent again goes before those behind it", async () => {
    const stage = await new Stage().start();
    const puts = () => stage.upstream.ledger.filter((e) => e.tool === "put").map((e) => e.nonce);
    const client = await stage.connected();
    stage.upstream.keeps.add("put");
    stage.upstream.kill(failure("reset", "away"));
    // Answers that widen the window: there is room for the one behind it, too.
    for (const nonce of ["r1", "r2"]) client.call("read", nonce);
    for (const nonce of ["a", "b"]) client.call("put", nonce);
    await stage.world.advance(10);
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    stage.upstream.fate("a", { kind: "lost", failure: failure("reset", "stream broken") });
    await stage.world.advance(10);
    expect(puts()).toEqual(["a", "a"]);
    stage.upstream.answer("a");
    await stage.world.advance(10);
    expect(puts()).toEqual(["a", "a", "b"]);
  });

  it("that the journal can't take is refused with executed no, and nothing of it is sent", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.refuses = new JournalError("full", "no space left on the disk");
    const id = client.call("write", "a");
    await stage.world.advance(1_000);
    expect(client.told(id)).toMatchObject({
      isError: true,
      meta: { executed: "no", state: "expired", attempt: 0 },
    });
    expect(client.told(id)?.text).toContain("no space left on the disk");
    expect(calls(stage)).toBe(0);
    stage.journal.refuses = undefined;
    const next = client.call("write", "b");
    await stage.world.advance(1);
    expect(client.told(next)?.text).toBe("write b");
    expect(stage.fatal).toEqual([]);
  });

  it("in a journal that is lost ends the process, and nobody is told that it did not run", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    // The commit may be on the platter all the same: a next process would run the call.
    const lost = new JournalError("io", "disk I/O error");
    stage.journal.refuses = lost;
    const id = client.call("write", "a");
    await stage.world.advance(1_000);
    expect(stage.fatal).toEqual([lost]);
    expect(client.answerTo(id)).toBeUndefined();
    expect(calls(stage)).toBe(0);
  });
});

describe("a connection that is over and has not told it yet", () => {
  it("is not tried again and again, and its calls go over the next one", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(1_000);
    let refused = 0;
    let isOver = true;
    Object.defineProperty(stage.upstream, "refusesSends", {
      get: () => {
        if (isOver && ++refused > 20) throw new Error("it is tried again and again");
        return isOver;
      },
    });
    const ids = ["a", "b", "c"].map((nonce) => client.call("write", nonce));
    await stage.world.advance(100);
    expect(stage.fatal).toEqual([]);
    expect(refused).toBeLessThan(5);
    isOver = false;
    stage.upstream.drop(failure("reset", "connection reset"), undefined);
    await stage.world.advance(5_000);
    expect(ids.map((id) => client.told(id)?.text)).toEqual(["write a", "write b", "write c"]);
  });
});
