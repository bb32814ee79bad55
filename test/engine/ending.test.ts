import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import { SETTINGS, Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");

/** Drains the stage's proxy while virtual time goes on. */
async function drain(stage: Stage): Promise<void> {
  let isOver = false;
  const over = stage.proxy.drain("the client closed stdin").then(() => {
    isOver = true;
  });
  await stage.world.runUntil(() => isOver, 60_000);
  await over;
}

describe("an orderly end", () => {
  it("withdraws what waits and says so, and nothing of it runs in the next life", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(10);
    await drain(stage);
    expect(client.told(id)?.meta).toMatchObject({ state: "cancelled", executed: "no" });
    expect(client.told(id)?.text).toContain("the client closed stdin");
    const after = await stage.next();
    after.upstream.down = undefined;
    await after.start();
    await after.world.advance(60_000);
    expect(after.upstream.ledger).toEqual([]);
  });

  it("leaves on disk what was promised to run late, and the next life runs it", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    client.call("note", "n");
    await stage.world.advance(46_000);
    const waiting = client.call("note", "n");
    await stage.world.advance(10);
    await drain(stage);
    expect(client.told(waiting)?.meta).toMatchObject({ executed: "pending" });
    const after = await stage.next();
    after.upstream.down = undefined;
    await after.start();
    await after.world.advance(10_000);
    expect(after.upstream.ledger.map((entry) => entry.nonce)).toEqual(["n"]);
  });

  it("waits for what is in flight, and for the writing of its outcome", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    const draining = drain(stage);
    stage.upstream.answer("a");
    await draining;
    expect(client.told(id)?.text).toBe("done");
    expect(stage.journal.isClosed).toBe(true);
    expect(stage.upstream.isConnected).toBe(false);
  });

  it("tells the callers of what did not finish in time that its outcome is unknown", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write").add("read");
    const ids = [client.call("write", "a"), client.call("read", "b")];
    await stage.world.advance(1);
    const startedAt = stage.world.now();
    await drain(stage);
    expect(stage.world.now() - startedAt).toBeGreaterThanOrEqual(SETTINGS.drainMs);
    for (const id of ids) expect(client.told(id)?.meta).toMatchObject({ executed: "unknown" });
    expect(stage.fatal).toEqual([]);
  });

  it("does not wait for calls that their client gave up, and records them as cancelled", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write").add("read");
    const ids = [client.call("write", "a"), client.call("read", "b")];
    await stage.world.advance(1);
    for (const id of ids) client.cancel(id);
    const startedAt = stage.world.now();
    await drain(stage);
    expect(stage.world.now() - startedAt).toBeLessThan(1_000);
    expect(await stage.row("a")).toMatchObject({ state: "cancelled", executed: "unknown" });
    for (const id of ids) expect(client.told(id)).toBeUndefined();
    expect(stage.fatal).toEqual([]);
  });

  it("tells a call that comes while it goes on that it is not executed", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    client.call("write", "a");
    await stage.world.advance(1);
    const draining = drain(stage);
    const id = client.call("write", "b");
    await draining;
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual(["a"]);
  });

  it("tells the caller of a read that was lost meanwhile, and does not leave it for the next life", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("put");
    const id = client.call("put", "a");
    await stage.world.advance(1);
    const draining = drain(stage);
    stage.upstream.kill(reset);
    await draining;
    expect(client.told(id)?.meta).toMatchObject({ executed: "unknown" });
    expect((await stage.row("a")).state).toBe("cancelled");
  });

  it("tells the caller of a call whose commit came while the connection was being closed", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.journal.hold("admit");
    const id = client.call("write", "a");
    await stage.world.settle();
    stage.upstream.closeMs = 2_000;
    const draining = drain(stage);
    stage.world.timer(SETTINGS.drainMs + 500, () => {
      stage.journal.release();
    });
    await draining;
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("asked for twice is one end", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    const first = stage.proxy.drain("a");
    expect(stage.proxy.drain("b")).toBe(first);
    await stage.world.advance(1_000);
    await first;
  });

  it("leaves no timer behind", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    for (const tool of ["write", "note", "put", "read"]) client.call(tool, tool);
    await stage.world.advance(5_000);
    await drain(stage);
    await stage.world.advance(10_000);
    expect(stage.pendingTimers).toBe(0);
  });
});

describe("a bound", () => {
  const limits = (over: Partial<typeof SETTINGS.limits>) => ({
    settings: { limits: { ...SETTINGS.limits, ...over } },
  });

  it("refuses at once what is over it, with the bound and its option, and executed no", async () => {
    for (const [over, option] of [
      [{ callsPerSession: 2 }, "--max-calls-per-session"],
      [{ callsPerUpstream: 2 }, "--max-calls-per-upstream"],
      [{ callsPerUpstream: 9, callsPerProcess: 2 }, "--max-calls-per-process"],
      [{ bytesPerSession: 250 }, "--max-bytes-per-session"],
      [{ bytesPerProcess: 250 }, "--max-bytes-per-process"],
      [{ requestMaxBytes: 20 }, "--max-request-bytes"],
    ] as const) {
      const stage = await new Stage(limits(over)).start();
      const client = await stage.connected();
      stage.upstream.keeps.add("write");
      client.call("write", "a");
      client.call("write", "b");
      await stage.world.settle();
      const id = client.call("write", "c");
      expect(client.told(id)?.text, option).toContain(option);
      expect(client.told(id)?.meta, option).toMatchObject({ executed: "no", attempt: 0 });
      await stage.world.advance(10);
      expect(stage.upstream.ledger.map((entry) => entry.nonce)).not.toContain("c");
      expect(stage.fatal).toEqual([]);
    }
  });

  it("has room again for each call that has ended, however it ended", async () => {
    const stage = await new Stage(limits({ callsPerSession: 1 })).start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    for (let i = 0; i < 3; i++) {
      const answered = client.call("write", `answered ${String(i)}`);
      await stage.world.advance(1);
      stage.upstream.answer(`answered ${String(i)}`);
      await stage.world.advance(1);
      expect(client.told(answered)?.text).toBe("done");
      const lost = client.call("write", `lost ${String(i)}`);
      await stage.world.advance(1);
      stage.upstream.kill(reset);
      await stage.world.advance(1);
      expect(client.told(lost)?.meta).toMatchObject({ executed: "unknown" });
      const expired = client.call("write", `expired ${String(i)}`);
      await stage.world.advance(46_000);
      expect(client.told(expired)?.meta).toMatchObject({ executed: "no", state: "expired" });
      client.cancel(client.call("write", `cancelled ${String(i)}`));
      await stage.world.advance(1);
      stage.upstream.down = undefined;
      await stage.world.advance(60_000);
    }
  });

  it("gives a refused list or read an error, not a result", async () => {
    const stage = await new Stage(limits({ callsPerSession: 0 })).start();
    const client = await stage.connected();
    const id = client.request("resources/read", { uri: "a:b" });
    await stage.world.settle();
    const error = client.answerTo(id)?.["error"] as JsonObject;
    expect(error["message"]).toContain("--max-calls-per-session");
    expect(error["data"]).toMatchObject({ executed: "no" });
  });
});
