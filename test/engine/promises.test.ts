import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { exited, SETTINGS, Stage } from "../support/stage.ts";

const away = failure("reset", "away");

describe("a server's answer to initialize", () => {
  it("that is no handshake at all is told as a failure and never ends the proxy", async () => {
    for (const result of ["null", "[]", "7", '"yes"', "{}"]) {
      const stage = await new Stage().start();
      stage.upstream.keeps.add("initialize");
      const client = stage.client();
      const id = client.initialize();
      await stage.world.advance(1);
      const [upstreamId] = [...stage.upstream.kept.keys()];
      stage.upstream.say(`{"jsonrpc":"2.0","id":${JSON.stringify(upstreamId)},"result":${result}}`);
      await stage.world.advance(1);
      expect(stage.fatal, result).toEqual([]);
      stage.upstream.keeps.clear();
      await stage.world.advance(60_000);
      expect(stage.fatal, result).toEqual([]);
      expect(client.answerTo(id)?.["result"], result).toMatchObject({
        protocolVersion: "2025-11-25",
      });
    }
  });
});

describe("the cause that a caller is told", () => {
  it("is never a failure of an earlier process that is long over", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(exited);
    await before.world.advance(10);
    before.upstream.down = undefined;
    await before.world.advance(5_000);
    expect(before.upstream.isConnected).toBe(true);
    void client;
    await before.world.advance(600_000);
    const after = await before.next();
    await after.start();
    after.upstream.keeps.add("initialize");
    const again = after.client();
    again.initialize();
    await after.world.advance(10);
    const id = again.call("write", "late");
    await after.world.advance(46_000);
    expect(again.told(id)?.text).not.toContain("out of cheese");
    expect(again.told(id)?.text).toContain("has been starting");
  });

  it("names the server's wish to be left alone, and the caller is not kept waiting for nothing", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    stage.upstream.fate("a", {
      kind: "refused",
      failure: { ...failure("rate_limited", "answered HTTP 429"), retryAfterMs: 600_000 },
    });
    await stage.world.advance(3_000);
    expect(client.told(id)?.text).toContain("slow down");
    expect(client.told(id)?.meta).toMatchObject({ executed: "no" });
  });
});

describe("a server with state in its session", () => {
  it("gets no call that a dead proxy left waiting: its session is gone", async () => {
    const settings = { isStateful: true };
    const before = await new Stage({ settings }).start();
    const client = await before.connected();
    before.upstream.kill(away);
    client.call("write", "a");
    await before.world.advance(10);
    const after = await before.next();
    after.upstream.down = undefined;
    await after.start();
    await after.connected();
    await after.world.advance(10_000);
    expect(after.upstream.ledger).toEqual([]);
    expect(await after.row("a")).toMatchObject({ state: "expired", executed: "no" });
  });
});

describe("the order of calls", () => {
  it("holds for one that comes while the last of the backlog is being committed", async () => {
    for (const tool of ["read", "write"]) {
      const stage = await new Stage().start();
      const client = await stage.connected();
      stage.upstream.kill(away);
      client.call("write", "first");
      await stage.world.advance(10);
      stage.journal.hold("dispatch");
      stage.upstream.down = undefined;
      await stage.world.runUntil(() => stage.journal.heldCount > 0, 60_000);
      client.call(tool, "second");
      await stage.world.settle();
      stage.journal.release();
      await stage.world.advance(5_000);
      expect(
        stage.upstream.ledger.map((call) => call.nonce),
        tool,
      ).toEqual(["first", "second"]);
    }
  });
});

describe("calls left by a dead proxy", () => {
  it("stay for the next one if the client that came leaves before the server is back", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(away);
    client.call("write", "a");
    await before.world.advance(10);
    const after = await before.next();
    await after.start();
    const visitor = await after.connected();
    visitor.leave();
    after.journal.close = () => Promise.resolve();
    await after.proxy.drain("the client left");
    const image = await after.journal.image();
    expect([...image.rows].map((row) => row.state)).toEqual(["queued"]);
  });
});

describe("the shield", () => {
  it("blocks the repetition of a call in doubt also after a restart", async () => {
    for (const shield of ["block", "warn"] as const) {
      const before = await new Stage({ settings: { shield } }).start();
      const client = await before.connected();
      before.upstream.keeps.add("write");
      const id = client.call("write", "a");
      await before.world.advance(10);
      before.upstream.kill();
      await before.world.advance(1_000);
      expect(client.told(id)?.meta).toMatchObject({ executed: "unknown" });
      before.upstream.keeps.clear();
      const after = await before.next();
      await after.start();
      const again = await after.connected();
      const repeated = again.call("write", "a");
      await after.world.advance(1_000);
      expect(after.upstream.ledger.length, shield).toBe(1);
      expect(again.told(repeated)?.text).toContain("was not sent");
    }
  });
});

describe("repetitions of a call that waits", () => {
  it("are bounded as calls are, and the refusal names the option", async () => {
    const limits = { ...SETTINGS.limits, callsPerSession: 3 };
    const stage = await new Stage({ settings: { limits } }).start();
    const client = await stage.connected();
    stage.upstream.kill(away);
    client.call("note", "a");
    await stage.world.advance(46_000);
    const ids = [1, 2, 3, 4].map(() => client.call("note", "a"));
    await stage.world.advance(10);
    const told = ids.map((id) => client.told(id));
    expect(told.slice(0, 3)).toEqual([undefined, undefined, undefined]);
    expect(told[3]?.text).toContain("--max-calls-per-session");
    expect(told[3]?.meta).toMatchObject({ executed: "no" });
  });
});

describe("a client that initialises anew", () => {
  it("keeps the call that it was promised: it runs when the server is back", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(away);
    const id = client.call("note", "a");
    await stage.world.advance(46_000);
    expect(client.told(id)?.meta).toMatchObject({ executed: "pending" });
    client.initialize();
    await stage.world.advance(10);
    client.notify("notifications/initialized");
    stage.upstream.down = undefined;
    await stage.world.advance(60_000);
    expect(stage.upstream.ledger.map((call) => call.nonce)).toEqual(["a"]);
    expect(await stage.row("a")).toMatchObject({ state: "done" });
  });
});

describe("a client that ends its input at once", () => {
  it("gets an answer to everything that it asked", async () => {
    const stage = new Stage();
    const client = stage.client();
    const ids = [client.initialize(), client.request("tools/list"), client.call("write", "a")];
    client.leave();
    const ended = stage.proxy.drain("the client closed our stdin");
    await stage.world.settle();
    await stage.start();
    await stage.world.advance(20_000);
    await ended;
    for (const id of ids) expect(client.answerTo(id), String(id)).toBeDefined();
    expect(stage.upstream.ledger).toEqual([]);
  });
});

describe("retention", () => {
  it("drops results and records after the times that were set, and not before", async () => {
    const retention = { resultsMs: 3_600_000, recordsMs: 7_200_000 };
    const stage = await new Stage({ settings: { retention } }).start();
    const client = await stage.connected();
    client.call("write", "a");
    await stage.world.advance(3_000_000);
    expect((await stage.rows())[0]?.reply).toContain("write a");
    await stage.world.advance(1_300_000);
    expect(await stage.rows()).toMatchObject([{ state: "done", reply: undefined, request: "" }]);
    await stage.world.advance(3_600_000);
    expect(await stage.rows()).toEqual([]);
  });
});
