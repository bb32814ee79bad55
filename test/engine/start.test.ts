/** The first moments of a proxy: before its journal is open, and before anything is known of the upstream. */
import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { exited, Stage, TOOLS } from "../support/stage.ts";

describe("before the journal is open", () => {
  it("a call whose hold ends meanwhile is told no, and the proxy goes on", async () => {
    const stage = new Stage({ settings: { holdMs: 5 } });
    stage.upstream.down = exited;
    const client = stage.client();
    client.initialize();
    const id = client.call("write", "a");
    await stage.world.advance(50);
    await stage.start();
    await stage.world.advance(50);
    expect(client.told(id)?.meta).toMatchObject({ state: "expired", executed: "no" });
    expect(stage.fatal).toEqual([]);
  });

  it("a call that is cancelled meanwhile is never journalled, sent or answered", async () => {
    const stage = new Stage();
    const client = stage.client();
    client.initialize();
    const id = client.call("write", "a");
    client.cancel(id);
    await stage.start();
    await stage.world.advance(5_000);
    expect(client.answerTo(id)).toBeUndefined();
    expect(stage.upstream.ledger).toEqual([]);
    expect(await stage.rows()).toEqual([]);
  });
});

describe("a server of which nothing is known", () => {
  it("answers initialize after two seconds where a person has to act, and tells why in the list", async () => {
    const stage = await new Stage().start();
    stage.upstream.down = failure("spawn_failed", "no such command: nonsense");
    const client = stage.client();
    const hello = client.initialize();
    await stage.world.advance(1_500);
    expect(client.answerTo(hello)).toBeUndefined();
    await stage.world.advance(1_000);
    expect(client.answerTo(hello)).toHaveProperty("result.capabilities.tools");
    const list = client.request("tools/list");
    await stage.world.advance(3_000);
    expect(JSON.stringify(client.answerTo(list))).toContain("no such command: nonsense");
  });

  it("has its tools known and kept while it is silent about its other lists", async () => {
    const stage = await new Stage().start();
    stage.upstream.capabilities = { tools: {}, prompts: {} };
    stage.upstream.keeps.add("prompts/list");
    await stage.connected();
    await stage.world.settle();
    expect(stage.catalogue.variants[0]?.lists.tools).toEqual(TOOLS);
    expect(stage.catalogue.variants[0]?.lists.prompts).toBeUndefined();
  });

  it("is on disk with the list that a client is given, before the client has it", async () => {
    const stage = await new Stage().start();
    stage.upstream.keeps.add("tools/list");
    const client = await stage.connected();
    await stage.world.advance(100);
    const [own] = [...stage.upstream.kept.keys()];
    const list = client.request("tools/list");
    await stage.world.advance(100);
    expect(stage.upstream.kept.size).toBe(2);
    const theirs = [...stage.upstream.kept.keys()].find((id) => id !== own);
    stage.upstream.say(JSON.stringify({ jsonrpc: "2.0", id: theirs, result: { tools: TOOLS } }));
    await stage.world.runUntil(() => client.answerTo(list) !== undefined, 1_000);
    expect(stage.catalogue.variants[0]?.lists.tools).toEqual(TOOLS);
  });

  it("has its tools' classes known as soon as the client has its list", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    client.initialize();
    await stage.world.settle();
    const list = client.request("tools/list");
    stage.upstream.keeps.add("read");
    await stage.world.runUntil(() => client.answerTo(list) !== undefined, 1_000);
    const id = client.call("read", "a");
    await stage.world.settle();
    stage.upstream.keeps.clear();
    stage.upstream.kill();
    await stage.world.advance(2_000);
    expect(client.told(id)?.text).toBe("read a");
  });
});

describe("calls that a client sends without waiting", () => {
  it("reach the server in their order, also a read behind a write that is still being committed", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.call("write", 1);
    client.call("read", 2);
    client.call("read", 3);
    client.call("write", 4);
    client.call("read", 5);
    await stage.world.advance(10);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual([1, 2, 3, 4, 5]);
    expect(stage.fatal).toEqual([]);
  });

  it("does NOT send a read that was cancelled while it stood behind a write", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.call("write", 1);
    const id = client.call("read", 2);
    client.cancel(id);
    await stage.world.advance(10);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual([1]);
    expect(client.answerTo(id)).toBeUndefined();
  });
});
