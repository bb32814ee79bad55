import { describe, expect, it, vi } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { exited, Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");
const missing = failure("spawn_failed", "no such command: nope");

describe("a caller of an upstream that a person has to mend", () => {
  for (const [kind, state] of [
    ["spawn_failed", "misconfigured"],
    ["auth", "needs_auth"],
  ] as const) {
    it(`(${state}) is answered after two seconds, with the cause`, async () => {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.kill(failure(kind, "the cause in words"));
      await stage.world.advance(5_000);
      const id = client.call("write", "a");
      await stage.world.advance(1_900);
      expect(client.answerTo(id)).toBeUndefined();
      await stage.world.advance(200);
      expect(client.told(id)?.meta).toMatchObject({ state: "expired", executed: "no" });
      expect(client.told(id)?.text).toContain("the cause in words");
      const [session] = (await stage.proxy.control.status()).sessions;
      expect(session?.upstream.state).toBe(state);
    });
  }

  it("is served as soon as it is mended, by the probe that its call caused", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(missing);
    await stage.world.advance(10_000);
    stage.upstream.down = undefined;
    const id = client.call("write", "a");
    await stage.world.advance(100);
    expect(client.told(id)?.text).toBe("write a");
  });

  it("with a call that may be deferred is told that it is queued, also after two seconds", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(missing);
    await stage.world.advance(5_000);
    const id = client.call("note", "a");
    await stage.world.advance(2_100);
    expect(client.told(id)?.meta).toMatchObject({ state: "queued", executed: "pending" });
  });
});

describe("a caller where no attempt falls within its hold", () => {
  it("is answered after two seconds instead of waiting for nothing", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill({ ...failure("rate_limited", "HTTP 429"), retryAfterMs: 600_000 });
    await stage.world.advance(100);
    const id = client.call("write", "a");
    await stage.world.advance(1_900);
    expect(client.answerTo(id)).toBeUndefined();
    await stage.world.advance(200);
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
    expect(client.told(id)?.meta?.["nextRetryMs"]).toBeGreaterThan(500_000);
  });
});

describe("a client that is known to be impatient", () => {
  it("is answered before it gives up", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected("openai-agents-mcp");
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(4_100);
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
  });

  it("does not get an unsafe call run for which its patience no longer suffices", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected("openai-agents-mcp");
    stage.upstream.kill(reset);
    const ids = [client.call("write", "a"), client.call("read", "b")];
    await stage.world.advance(1_500);
    stage.upstream.down = undefined;
    await stage.world.advance(1_500);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual(["b"]);
    expect(client.told(ids[0] ?? 0)?.meta).toMatchObject({ executed: "no" });
  });

  it("gets a call run that it was promised to be run, also while it waits for a repetition", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected("openai-agents-mcp");
    stage.upstream.kill(reset);
    client.call("note", "n");
    await stage.world.advance(5_000);
    const again = client.call("note", "n");
    await stage.world.advance(1_000);
    stage.upstream.down = undefined;
    await stage.world.advance(3_000);
    expect(stage.upstream.ledger).toHaveLength(1);
    expect(client.told(again)?.meta).toMatchObject({ executed: "yes", replayed: true });
  });
});

describe("the hold", () => {
  it("is the tool's own where the configuration says so", async () => {
    const tools = { write: { holdMs: 3_000 } };
    const stage = await new Stage({ settings: { tools } }).start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const ids = [client.call("write", "a"), client.call("put", "b")];
    await stage.world.advance(3_100);
    expect(client.told(ids[0] ?? 0)?.meta).toMatchObject({ executed: "no" });
    expect(client.answerTo(ids[1] ?? 0)).toBeUndefined();
  });

  it("ends for each call at its own time, in order, with none left over", async () => {
    const stage = await new Stage({ settings: { defer: "none" } }).start();
    const client = await stage.connected();
    const idle = stage.pendingTimers;
    stage.upstream.kill(reset);
    const ids: number[] = [];
    for (let i = 0; i < 20; i++) {
      ids.push(client.call(["write", "read", "put"][i % 3] ?? "", i));
      await stage.world.advance(1_000);
    }
    await stage.world.advance(50_000);
    for (const id of ids) expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
    stage.upstream.down = undefined;
    await stage.world.advance(120_000);
    expect(stage.upstream.ledger).toEqual([]);
    expect(stage.pendingTimers).toBeLessThanOrEqual(idle);
  });

  it("is not stretched by a clock that is set back an hour", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(10_000);
    stage.world.stepWallClock(-3_600_000);
    await stage.world.advance(50_000);
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
  });

  it("that was over while the machine slept ends the call, and nothing runs late", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(10_000);
    stage.world.suspend(3_600_000);
    stage.upstream.down = undefined;
    await stage.world.advance(20_000);
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
    expect(stage.upstream.ledger).toEqual([]);
  });
});

describe("deferral", () => {
  const deferred = async (defer: "harmless" | "writes" | "none", tool: string) => {
    const stage = await new Stage({ settings: { defer } }).start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call(tool, "a");
    await stage.world.advance(46_000);
    return client.told(id)?.meta?.["executed"];
  };

  it("is for what is annotated as harmless, for all that writes, or for nothing, as the mode says", async () => {
    expect(await deferred("harmless", "note")).toBe("pending");
    expect(await deferred("harmless", "put")).toBe("pending");
    expect(await deferred("harmless", "write")).toBe("no");
    expect(await deferred("harmless", "read")).toBe("no");
    expect(await deferred("writes", "write")).toBe("pending");
    expect(await deferred("writes", "read")).toBe("no");
    expect(await deferred("none", "note")).toBe("no");
  });

  it("of one tool is what the configuration says of it", async () => {
    const tools = { note: { defer: false }, write: { defer: true } };
    const stage = await new Stage({ settings: { tools } }).start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const ids = [client.call("note", "a"), client.call("write", "b")];
    await stage.world.advance(46_000);
    expect(ids.map((id) => client.told(id)?.meta?.["executed"])).toEqual(["no", "pending"]);
  });

  it("is committed before the caller is told", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("note", "a");
    await stage.world.advance(40_000);
    stage.journal.hold();
    await stage.world.advance(60_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.journal.release();
    await stage.world.advance(1);
    expect(client.told(id)?.meta).toMatchObject({ executed: "pending" });
  });

  it("lasts as long as the caller was told, and not longer", async () => {
    const stage = await new Stage({ settings: { deferTtlMs: 600_000 } }).start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("note", "a");
    await stage.world.advance(46_000);
    const until = Date.parse(String(client.told(id)?.meta?.["expiresAt"]));
    await stage.world.advance(until - stage.world.now() - 10);
    expect((await stage.row("a")).state).toBe("queued");
    await stage.world.advance(20);
    expect(await stage.row("a")).toMatchObject({ state: "expired", executed: "no" });
    stage.upstream.down = undefined;
    await stage.world.advance(60_000);
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("makes no new call wait behind it", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    for (let i = 0; i < 20; i++) client.call("note", i);
    await stage.world.advance(46_000);
    stage.upstream.keeps.add("note");
    stage.upstream.down = undefined;
    await stage.world.advance(3_000);
    const id = client.call("write", "new");
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("write new");
  });

  it("tells an attached repetition at the end of its own hold that the call still waits", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const first = client.call("note", "a");
    await stage.world.advance(46_000);
    const again = client.call("note", "a", "token");
    await stage.world.advance(46_000);
    expect(client.told(again)?.meta).toMatchObject({
      callId: client.told(first)?.meta?.["callId"],
      executed: "pending",
    });
    expect(client.notifications("notifications/progress").length).toBeGreaterThanOrEqual(3);
    expect(await stage.rows()).toHaveLength(1);
  });
});

describe("progress", () => {
  it("goes on rising when the server's own begins, and carries the caller's token", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    client.call("write", "a", 7);
    await stage.world.advance(21_000);
    stage.upstream.keeps.add("write");
    stage.upstream.down = undefined;
    await stage.world.advance(2_000);
    const progressToken = stage.upstream.idOf("a");
    for (const progress of [0, 0.5, 0.2, 1]) {
      const params = { progressToken, progress, total: 1 };
      stage.upstream.say(
        JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params }),
      );
    }
    const params = client.notifications("notifications/progress").map((n) => n["params"]) as {
      progressToken: unknown;
      progress: number;
    }[];
    expect(params).toHaveLength(6);
    expect(params.every((p) => p.progressToken === 7)).toBe(true);
    for (let i = 1; i < params.length; i++) {
      expect(params[i]?.progress).toBeGreaterThan(params[i - 1]?.progress ?? Infinity);
    }
  });

  it("is NOT given to a caller that asked for none", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    client.call("write", "a");
    await stage.world.advance(40_000);
    expect(client.notifications("notifications/progress")).toEqual([]);
  });

  it("for a token that is no token is left to the server", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    const params = { name: "write", arguments: { nonce: 1 }, _meta: { progressToken: { a: 1 } } };
    client.request("tools/call", params);
    await stage.world.advance(40_000);
    expect(client.notifications("notifications/progress")).toEqual([]);
  });
});

describe("calls that wait while the server's connection is tried again and again", () => {
  it("keep the timers that they have", async () => {
    const timersOf = async (calls: number): Promise<number> => {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.kill(reset);
      for (let n = 0; n < calls; n++) client.call("write", String(n));
      await stage.world.advance(1_000);
      const timer = vi.spyOn(stage.world, "timer");
      await stage.world.advance(20_000);
      const count = timer.mock.calls.length;
      timer.mockRestore();
      return count;
    };
    expect((await timersOf(101)) - (await timersOf(1))).toBeLessThan(20);
  });
});
