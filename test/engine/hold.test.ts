import { describe, expect, it } from "vitest";
import { exited, Stage } from "../support/stage.ts";

describe("a call while the upstream is away", () => {
  it("is answered when the upstream is back, and executed once", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    await stage.world.advance(100);
    const id = client.call("write", "a");
    await stage.world.advance(5_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.upstream.down = undefined;
    await stage.world.advance(1_100);
    expect(client.told(id)).toEqual({ text: "write a", isError: false, meta: undefined });
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual(["a"]);
    expect(stage.fatal).toEqual([]);
  });

  it("ends with executed no at the end of its hold, and never runs afterwards", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    const id = client.call("write", "a");
    await stage.world.advance(44_000);
    expect(client.answerTo(id)).toBeUndefined();
    await stage.world.advance(2_000);
    expect(client.told(id)).toMatchObject({
      isError: true,
      meta: { state: "expired", executed: "no", attempt: 0 },
    });
    expect(client.told(id)?.text).toContain("exited with code 7; last output: out of cheese");
    stage.upstream.down = undefined;
    await stage.world.advance(120_000);
    expect(stage.upstream.ledger).toEqual([]);
    expect(stage.fatal).toEqual([]);
  });

  it("tells its caller every ten seconds, if it gave a progress token", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    client.call("write", "a", "token-1");
    await stage.world.advance(31_000);
    const ticks = client.notifications("notifications/progress").map((n) => n["params"]) as {
      progressToken: unknown;
      progress: number;
      message: string;
    }[];
    expect(ticks).toHaveLength(3);
    expect(ticks.every((tick) => tick.progressToken === "token-1")).toBe(true);
    expect(ticks[1]?.progress).toBeGreaterThan(ticks[0]?.progress ?? 0);
    expect(ticks[1]?.message).toMatch(
      /^queued 1st; 'files' has been away for 20 s \(it keeps exiting/,
    );
  });

  it("is deferred at the end of its hold if it is harmless, and a repetition gets its outcome", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    const first = client.call("note", "n");
    await stage.world.advance(46_000);
    expect(client.told(first)).toMatchObject({
      isError: true,
      meta: { executed: "pending", state: "queued" },
    });
    const second = client.call("note", "n");
    await stage.world.advance(1_000);
    expect(client.answerTo(second)).toBeUndefined();
    stage.upstream.down = undefined;
    await stage.world.advance(20_000);
    expect(client.told(second)?.text).toBe("note n");
    expect(client.told(second)?.meta).toMatchObject({ executed: "yes", replayed: true });
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("runs in the order in which the calls came", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    for (let i = 0; i < 200; i++) client.call(i % 3 === 0 ? "read" : "write", i);
    await stage.world.advance(2_000);
    stage.upstream.down = undefined;
    await stage.world.advance(20_000);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual([...Array(200).keys()]);
    expect(client.got.filter((m) => "result" in m)).toHaveLength(201);
    expect(stage.fatal).toEqual([]);
  });
});

describe("a call in flight when the upstream dies", () => {
  it("is answered unknown at once and not sent again, if it is unsafe", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(10);
    stage.upstream.kill();
    await stage.world.advance(10_000);
    expect(client.told(id)?.meta).toMatchObject({ state: "dead", executed: "unknown", attempt: 1 });
    expect(stage.upstream.ledger).toHaveLength(1);
    // The shield: the first repetition is warned, the second is sent.
    const again = client.call("write", "a");
    await stage.world.advance(10);
    expect(client.told(again)?.text).toContain("This repetition was not sent");
    stage.upstream.keeps.clear();
    const third = client.call("write", "a");
    await stage.world.advance(10);
    expect(client.told(third)?.text).toBe("write a");
  });

  it("is sent again and answered, if it only reads", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("read");
    const id = client.call("read", "a");
    await stage.world.advance(10);
    stage.upstream.keeps.clear();
    stage.upstream.kill();
    await stage.world.advance(2_000);
    expect(client.told(id)?.text).toBe("read a");
    expect(stage.upstream.ledger).toHaveLength(2);
    expect(stage.fatal).toEqual([]);
  });
});

describe("after a restart of the proxy", () => {
  it("queued calls run once and in order, over the returning client's own connection", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(exited);
    for (let i = 0; i < 50; i++) client.call("write", i);
    await before.world.advance(1_000);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start();
    await after.connected();
    await after.world.advance(10_000);
    expect(after.upstream.ledger.map((entry) => entry.nonce)).toEqual([...Array(50).keys()]);
    expect(after.fatal).toEqual([]);
  });
});
