import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import { Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");
const ask = (id: number | string, method = "sampling/createMessage") =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params: { x: 1 } });
const asked = (got: readonly JsonObject[]) =>
  got.filter((message) => "method" in message && "id" in message);

describe("a request of the upstream", () => {
  it("reaches the client under another id, and its answer goes back under its own", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(0));
    stage.upstream.say(ask("0"));
    const [first, second] = asked(client.got);
    expect(first?.["id"]).not.toEqual(second?.["id"]);
    client.say(JSON.stringify({ jsonrpc: "2.0", id: second?.["id"], result: { to: "text" } }));
    client.say(JSON.stringify({ jsonrpc: "2.0", id: first?.["id"], result: { to: "number" } }));
    expect(stage.upstream.seen.slice(-2)).toEqual([
      '{"jsonrpc":"2.0","id":"0","result":{"to":"text"}}',
      '{"jsonrpc":"2.0","id":0,"result":{"to":"number"}}',
    ]);
  });

  it("reaches a client that never said it was ready, once it has asked for something itself", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    client.initialize();
    await stage.world.advance(1);
    stage.upstream.say(ask(1));
    expect(asked(client.got)).toEqual([]);
    stage.upstream.keeps.add("write");
    client.call("write", "a");
    await stage.world.advance(1);
    stage.upstream.say(ask(2));
    expect(asked(client.got)).toHaveLength(2);
  });

  it("that comes after the client has closed its input is answered by us, and its call ends well", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    client.leave();
    const ended = stage.proxy.drain("the client closed our stdin");
    stage.upstream.say(ask(7));
    expect(JSON.parse(stage.upstream.seen.at(-1) ?? "")).toMatchObject({ id: 7, error: {} });
    expect(asked(client.got)).toEqual([]);
    stage.upstream.answer("a");
    await stage.world.advance(1_000);
    await ended;
    expect(client.told(id)).toMatchObject({ text: "done", isError: false });
  });

  it("is answered once: a second answer of the client goes nowhere", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(1));
    const answer = JSON.stringify({ jsonrpc: "2.0", id: asked(client.got)[0]?.["id"], result: {} });
    client.say(answer);
    const before = stage.upstream.seen.length;
    client.say(answer);
    client.say('{"jsonrpc":"2.0","id":"nobody asked","result":{}}');
    expect(stage.upstream.seen).toHaveLength(before);
  });

  it("is answered also before the connection serves calls", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(10);
    stage.upstream.kill(reset);
    await stage.world.advance(10);
    stage.upstream.keeps.add("tools/list");
    stage.upstream.down = undefined;
    await stage.world.runUntil(() => stage.upstream.kept.size > 0, 60_000);
    stage.upstream.say(ask(1, "roots/list"));
    const id = asked(client.got)[0]?.["id"];
    client.say(JSON.stringify({ jsonrpc: "2.0", id, result: { roots: [] } }));
    expect(stage.upstream.seen.at(-1)).toBe('{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}');
  });

  it("is a ping: it is answered on the spot and the client hears nothing of it", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(5, "ping"));
    expect(stage.upstream.seen.at(-1)).toBe('{"jsonrpc":"2.0","id":5,"result":{}}');
    expect(asked(client.got)).toEqual([]);
  });

  it("that it cancels is cancelled at the client under the client's id", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(7));
    const cancel = (requestId: number) =>
      JSON.stringify({
        jsonrpc: "2.0",
        method: "notifications/cancelled",
        params: { requestId, reason: "no" },
      });
    stage.upstream.say(cancel(7));
    stage.upstream.say(cancel(8));
    const cancelled = client.notifications("notifications/cancelled");
    expect(cancelled.map((n) => n["params"])).toEqual([
      { requestId: asked(client.got)[0]?.["id"], reason: "no" },
    ]);
  });

  it("dies with its connection: the client is told, and a late answer NEVER reaches the next one", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(1));
    const [request] = asked(client.got);
    stage.upstream.kill();
    expect(client.notifications("notifications/cancelled")[0]?.["params"]).toMatchObject({
      requestId: request?.["id"],
    });
    await stage.world.advance(3_000);
    const before = stage.upstream.seen.length;
    client.say(JSON.stringify({ jsonrpc: "2.0", id: request?.["id"], result: {} }));
    expect(stage.upstream.seen).toHaveLength(before);
  });

  it("that came over a connection which never got to serve is taken back, too", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(10);
    stage.upstream.kill(reset);
    await stage.world.advance(10);
    stage.upstream.keeps.add("initialize");
    stage.upstream.down = undefined;
    await stage.world.runUntil(() => stage.upstream.kept.size > 0, 60_000);
    stage.upstream.say(ask(1));
    const id = [...stage.upstream.kept.keys()][0];
    stage.upstream.say(JSON.stringify({ jsonrpc: "2.0", id, error: { code: 1, message: "no" } }));
    await stage.world.advance(10);
    expect(client.notifications("notifications/cancelled")).toHaveLength(1);
  });

  it("is answered by us when the client leaves, an elicitation in its own words", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.say(ask(1));
    stage.upstream.say(ask(2, "elicitation/create"));
    client.leave();
    const [one, two] = stage.upstream.seen.slice(-2).map((t) => JSON.parse(t) as JsonObject);
    expect(one).toMatchObject({
      id: 1,
      error: { message: "no client is connected to answer this" },
    });
    expect(two).toMatchObject({ id: 2, result: { action: "cancel" } });
  });

  it("on a line without a client is answered by us", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(reset);
    client.call("write", "a");
    await before.world.advance(10);
    const stage = await before.next();
    stage.upstream.down = undefined;
    stage.upstream.keeps.add("write");
    await stage.start();
    await stage.world.advance(5_000);
    stage.upstream.say(ask(3));
    expect(JSON.parse(stage.upstream.seen.at(-1) ?? "")).toMatchObject({ id: 3, error: {} });
  });
});

describe("what the upstream says on its own", () => {
  it("is held until the client has finished its handshake, and comes in order then", async () => {
    const stage = await new Stage().start();
    const client = stage.client();
    client.initialize();
    await stage.world.advance(10);
    stage.upstream.say('{"jsonrpc":"2.0","method":"notifications/message","params":{"n":1}}');
    stage.upstream.say(ask(1));
    await stage.world.advance(10);
    expect(client.got).toHaveLength(1);
    client.notify("notifications/initialized");
    expect(client.got.slice(1).map((m) => m["method"])).toEqual([
      "notifications/message",
      "sampling/createMessage",
    ]);
  });

  it("and nobody knows is carried unchanged", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    const text = '{"jsonrpc":"2.0","method":"vendor/event","params":{"big":12345678901234567890}}';
    stage.upstream.say(text);
    expect(client.texts.at(-1)).toBe(text);
  });

  it("about a call's progress goes to that call's caller alone, and not after its answer", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    client.call("write", "a", "token-a");
    client.call("write", "b");
    await stage.world.advance(1);
    const progress = (nonce: string, value: number) =>
      JSON.stringify({
        jsonrpc: "2.0",
        method: "notifications/progress",
        params: { progressToken: stage.upstream.idOf(nonce), progress: value, message: "m" },
      });
    const late = progress("a", 9);
    stage.upstream.say(progress("a", 1));
    stage.upstream.say(progress("b", 1));
    stage.upstream.answer("a");
    await stage.world.advance(1);
    stage.upstream.say(late);
    expect(client.notifications("notifications/progress").map((n) => n["params"])).toEqual([
      { progressToken: "token-a", progress: 1, message: "m" },
    ]);
  });
});
