import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import { Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");
const resultOf = (message: JsonObject | undefined) => message?.["result"] as JsonObject;
const errorOf = (message: JsonObject | undefined) => message?.["error"] as JsonObject;

/** A stage that has seen its upstream in an earlier life and starts while it is away. */
async function withCatalogue(): Promise<Stage> {
  const stage = await new Stage().start();
  await stage.connected();
  await stage.world.advance(1_000);
  const after = await stage.next();
  after.upstream.down = reset;
  return after.start();
}

describe("the handshake", () => {
  it("is answered from the catalogue at once, before the upstream was up in this process", async () => {
    const stage = await withCatalogue();
    const client = stage.client();
    const id = client.initialize();
    expect(resultOf(client.answerTo(id))).toMatchObject({
      serverInfo: { name: "scripted" },
      capabilities: { tools: { listChanged: true }, logging: {} },
    });
    const list = client.request("tools/list");
    expect(resultOf(client.answerTo(list))["tools"]).toEqual(stage.upstream.tools);
    expect(resultOf(client.answerTo(list))["_meta"]).toHaveProperty("holdfast/catalogue");
  });

  it("without a catalogue is the upstream's own answer, with list changes declared", async () => {
    const stage = await new Stage().start();
    stage.upstream.down = reset;
    const client = stage.client();
    const id = client.initialize();
    await stage.world.advance(8_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.upstream.down = undefined;
    await stage.world.advance(2_000);
    expect(resultOf(client.answerTo(id))).toMatchObject({
      serverInfo: { name: "scripted" },
      capabilities: { tools: { listChanged: true } },
    });
  });

  it("that nobody can answer is answered with what any server may offer, in time", async () => {
    for (const [name, waitMs] of [
      ["stage", 25_000],
      ["codex-mcp-client", 8_000],
    ] as const) {
      const stage = await new Stage().start();
      stage.upstream.down = reset;
      const client = stage.client();
      const id = client.initialize(name);
      await stage.world.advance(waitMs - 100);
      expect(client.answerTo(id), name).toBeUndefined();
      await stage.world.advance(200);
      expect(resultOf(client.answerTo(id))).toMatchObject({
        protocolVersion: "2025-11-25",
        capabilities: { tools: {}, prompts: {}, resources: {}, logging: {} },
      });
    }
  });

  it("for another kind of client takes what is nearest when nothing better came in time", async () => {
    const stage = await withCatalogue();
    const client = stage.client();
    const id = client.initialize("stage", { sampling: {} });
    expect(client.answerTo(id)).toBeUndefined();
    await stage.world.advance(25_100);
    expect(resultOf(client.answerTo(id))).toMatchObject({ serverInfo: { name: "scripted" } });
    const list = client.request("tools/list");
    expect(resultOf(client.answerTo(list))["tools"]).toEqual(stage.upstream.tools);
  });

  it("that the upstream refuses is refused with its words", async () => {
    const stage = await new Stage().start();
    stage.upstream.keeps.add("initialize");
    const client = stage.client();
    const id = client.initialize();
    await stage.world.advance(10);
    const error = { code: -32602, message: "Unsupported protocol version" };
    const upstreamId = [...stage.upstream.kept.keys()][0];
    stage.upstream.say(JSON.stringify({ jsonrpc: "2.0", id: upstreamId, error }));
    await stage.world.advance(10);
    expect(errorOf(client.answerTo(id))).toMatchObject(error);
  });

  it("without a version is refused, and the next one is served", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    const id = client.request("initialize", { capabilities: {} });
    expect(errorOf(client.answerTo(id))["code"]).toBe(-32602);
    const next = client.initialize();
    await stage.world.advance(10);
    expect(client.answerTo(next)).toHaveProperty("result");
  });

  it("that comes twice before an answer gets two answers, and the second counts", async () => {
    const stage = await new Stage().start();
    stage.upstream.down = reset;
    const client = stage.client();
    const first = client.initialize();
    await stage.world.advance(1_000);
    const second = client.initialize();
    await stage.world.advance(24_500);
    expect(errorOf(client.answerTo(first))["message"]).toContain("another initialize");
    expect(client.answerTo(second)).toBeUndefined();
    await stage.world.advance(1_000);
    expect(client.answerTo(second)).toHaveProperty("result");
  });
});

describe("a client that initialises anew", () => {
  it("begins a new session: its waiting calls are withdrawn, and equal calls are not tied to them", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    client.call("write", "sent");
    await stage.world.advance(10);
    client.initialize();
    await stage.world.advance(100);
    expect(await stage.row("sent")).toMatchObject({ state: "dead", executed: "unknown" });
    stage.upstream.keeps.clear();
    const warned = client.call("write", "sent");
    await stage.world.advance(10);
    expect(client.told(warned)?.text).toContain("This repetition was not sent");
    const again = client.call("write", "sent");
    await stage.world.advance(10);
    expect(client.told(again)?.text).toBe("write sent");
    expect(stage.upstream.ledger).toHaveLength(2);
  });

  it("finds deferred calls of its old session run as they were promised", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    client.call("note", "a");
    client.call("write", "b");
    await stage.world.advance(46_000);
    client.call("write", "c");
    await stage.world.advance(10);
    client.initialize();
    await stage.world.advance(1_000);
    expect((await stage.row("c")).state).toBe("cancelled");
    stage.upstream.down = undefined;
    await stage.world.advance(10_000);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual(["a"]);
    expect(await stage.row("a")).toMatchObject({ state: "done" });
    expect(stage.fatal).toEqual([]);
  });
});

describe("a list", () => {
  it("is held, not answered empty, while nothing is known of it", async () => {
    const stage = await new Stage().start();
    stage.upstream.down = reset;
    const client = stage.client();
    client.initialize();
    await stage.world.advance(25_100);
    const id = client.request("tools/list");
    await stage.world.advance(10_000);
    expect(client.answerTo(id)).toBeUndefined();
    stage.upstream.down = undefined;
    await stage.world.advance(2_000);
    expect(resultOf(client.answerTo(id))["tools"]).toEqual(stage.upstream.tools);
  });

  it("of a server that hangs is given from the catalogue after two seconds, and only once", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(1_000);
    stage.upstream.keeps.add("tools/list");
    const id = client.request("tools/list");
    await stage.world.advance(1_900);
    expect(client.answerTo(id)).toBeUndefined();
    await stage.world.advance(200);
    expect(resultOf(client.answerTo(id))["tools"]).toEqual(stage.upstream.tools);
    const upstreamId = [...stage.upstream.kept.keys()].at(-1);
    stage.upstream.say(JSON.stringify({ jsonrpc: "2.0", id: upstreamId, result: { tools: [] } }));
    await stage.world.advance(20_000);
    expect(resultOf(client.answerTo(id))["tools"]).toEqual(stage.upstream.tools);
    const [session] = (await stage.proxy.control.status()).sessions;
    expect(session?.upstream.inFlight).toBe(0);
  });

  it("of a serving upstream is its own, byte for byte", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    const id = client.request("tools/list", { "x-unknown": [1.0, null] });
    await stage.world.advance(10);
    expect(client.texts.at(-1)).toBe(
      `{"jsonrpc":"2.0","id":${String(id)},"result":${JSON.stringify({ tools: stage.upstream.tools })}}`,
    );
    expect(stage.upstream.seen.at(-1)).toContain('"x-unknown":[1,null]');
  });
});

describe("a client that says something odd", () => {
  it("before initialize is told so, except for a ping", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    expect(client.answerTo(client.request("ping"))).toHaveProperty("result");
    expect(errorOf(client.answerTo(client.call("write", 1)))["message"]).toContain(
      "before initialize",
    );
    expect(errorOf(client.answerTo(client.request("tools/list")))["code"]).toBe(-32600);
    client.notify("notifications/cancelled", { requestId: 1 });
    expect(stage.upstream.seen).toEqual([]);
  });

  it("asks server/discover and is told at once that there is no such method", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    expect(errorOf(client.answerTo(client.request("server/discover")))["code"]).toBe(-32601);
  });

  it("that is no message gets an error with its id, and the next message is served", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.say('{"jsonrpc":"2.0","id":"x","method":7}');
    client.say("{broken");
    client.sayOversize(5_000_000, '"big"');
    const errors = client.got.filter((message) => "error" in message);
    expect(errors.map((e) => [e["id"], errorOf(e)["code"]])).toEqual([
      ["x", -32600],
      [null, -32700],
      ["big", -32600],
    ]);
    expect(errorOf(errors[2])["message"]).toContain("--max-request-bytes");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("write a");
  });

  it("in a batch is refused as a whole where its revision knows no batches", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.say('[{"jsonrpc":"2.0","id":5,"method":"ping"}]');
    expect(errorOf(client.got.at(-1))["message"]).toContain("2025-03-26");
  });

  it("in a batch is served message by message in revision 2025-03-26", async () => {
    const stage = await new Stage().start();
    stage.upstream.protocolVersion = "2025-03-26";
    const client = await stage.connected();
    client.say(
      '[{"jsonrpc":"2.0","id":"p","method":"ping"},{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"write","arguments":{"nonce":1}}},3]',
    );
    await stage.world.advance(1);
    const ids = client.got.map((message) => message["id"]);
    expect(ids).toContain("p");
    expect(ids).toContain("c");
    expect(errorOf(client.got.find((m) => "error" in m))["code"]).toBe(-32600);
  });

  it("sends every request with the same id and gets every answer", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const call = (nonce: string) => {
      const params = { name: "write", arguments: { nonce } };
      client.say(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params }));
    };
    call("a");
    call("b");
    await stage.world.advance(1);
    stage.upstream.answer("b", "to b");
    stage.upstream.answer("a", "to a");
    await stage.world.advance(1);
    const texts = client.texts.filter((text) => text.includes("to "));
    expect(texts).toHaveLength(2);
    expect(texts.every((text) => text.startsWith('{"jsonrpc":"2.0","id":1,'))).toBe(true);
  });

  it("with an id that JavaScript can't hold gets it back as it was spelled", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.say(
      '{"jsonrpc":"2.0","id":12345678901234567890,"method":"tools/call","params":{"name":"read","arguments":{}}}',
    );
    await stage.world.advance(1);
    expect(client.texts.at(-1)).toContain('"id":12345678901234567890,');
  });

  it("of a method that nobody knows is carried to the upstream unchanged", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    const id = client.request("vendor/thing", { a: [1, { b: null }] });
    client.notify("vendor/note", { c: 1 });
    await stage.world.advance(1);
    expect(client.answerTo(id)).toMatchObject({ result: {} });
    expect(stage.upstream.seen.some((t) => t.includes('"params":{"a":[1,{"b":null}]}'))).toBe(true);
    expect(stage.upstream.methods).toContain("vendor/note");
  });
});

describe("a client that leaves", () => {
  it("is reported, and what it still waits for is answered: it may have closed its input only", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(10);
    client.leave();
    expect(stage.empty).toEqual(["the client closed stdin"]);
    await stage.world.advance(120_000);
    expect(client.told(id)?.meta).toMatchObject({ state: "expired", executed: "no" });
    expect(await stage.row("a")).toMatchObject({ state: "expired", executed: "no" });
  });
});
