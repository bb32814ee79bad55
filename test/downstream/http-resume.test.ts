import { afterEach, describe, expect, it } from "vitest";
import { must } from "../../src/base/assert.ts";
import { until } from "../support/http-rig.ts";
import {
  ask,
  type Call,
  Client,
  clientOf,
  closeFaces,
  type Events,
  type Face,
  face,
  INITIALIZE,
  rpc,
  say,
} from "../support/http-door.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

afterEach(closeFaces);

interface Scene {
  readonly at: Face;
  readonly client: Client;
  readonly calls: Call[];
  /** Posts a call, and waits until it can be come back for. */
  call(id: number): Promise<{ events: Events; call: Call }>;
}

/** A client whose requests all become durable calls that nobody answers yet. */
async function scene(version = "2025-11-25", world?: VirtualWorld): Promise<Scene> {
  const at = await face(world === undefined ? {} : { world });
  const client = await clientOf(at, version);
  const calls: Call[] = [];
  at.door.onRequest = (turn) => {
    calls.push(at.door.accept(turn));
  };
  const call = async (id: number) => {
    const events = await client.post(rpc(id, "tools/call"));
    await until("the id", () => events.text.includes("retry"));
    return { events, call: must(calls.at(-1), "a call") };
  };
  return { at, client, calls, call };
}

/** The client's connection breaks, and the listener has noticed. */
async function cut(at: Face, events: Events): Promise<void> {
  events.cut();
  await until("the listener to notice", () => at.door.link.isOpen?.() === false);
}

const ids = (events: Events) => events.messages.flatMap((message) => message["id"] ?? []);

describe("a client whose stream broke in the middle of a call", () => {
  it("gets what came meanwhile, and then the answer, once each and in order", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    expect(say(one.call.stream, "first")).toBe(true);
    await one.events.count(2);
    const seen = one.events.lastId;
    await cut(at, one.events);
    expect(say(one.call.stream, "second")).toBe(true);
    const back = await client.get(seen);
    await back.count(2);
    expect(say(one.call.stream, "third")).toBe(true);
    at.door.settle(one.call, {});
    await back.end();
    expect(back.methods).toEqual(["second", "third"]);
    expect(ids(back)).toEqual([1]);
  });

  it("gets an answer that came while it was away from the journal, not from the ring", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    await cut(at, one.events);
    expect(at.door.settle(one.call, { late: true })).toBe(false);
    const back = await (await client.get(one.events.lastId)).end();
    expect(back.messages).toEqual([{ jsonrpc: "2.0", id: 1, result: { late: true } }]);
    expect(one.call.isDelivered).toBe(true);
    // Its answer is the last of it: there is nothing more to come back for.
    expect((await client.get(back.lastId)).response.statusCode).toBe(204);
  });

  it("gets an answer again that was lost on the way", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    const before = one.events.lastId;
    expect(at.door.settle(one.call, {})).toBe(true);
    await one.events.end();
    expect(ids(await (await client.get(before)).end())).toEqual([1]);
  });

  it("and that broke again before anything came, still misses nothing", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    const seen = one.events.lastId;
    await cut(at, one.events);
    say(one.call.stream, "a");
    const second = await (await client.get(seen)).count(1);
    // It read the id that the stream begins with, and lost the rest.
    const begun = must(second.all[0]?.id, "an id");
    await cut(at, second);
    const third = await (await client.get(begun)).count(2);
    expect(third.methods).toEqual(["a"]);
  });

  it("takes over from a connection that still looks open", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    const back = await (await client.get(one.events.lastId)).count(1);
    await one.events.end();
    at.door.settle(one.call, {});
    await back.end();
    expect(ids(one.events)).toEqual([]);
    expect(ids(back)).toEqual([1]);
  });

  it("never sees what belongs to another stream", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    const two = await call(2);
    one.events.cut();
    say(two.call.stream, "of two");
    await two.events.count(2);
    say(one.call.stream, "of one");
    at.door.settle(two.call, {});
    const back = await (await client.get(one.events.lastId)).count(2);
    expect(back.methods).toEqual(["of one"]);
    expect(two.events.methods).toEqual(["of two"]);
  });

  it("is told of a gap in what is kept of it", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    await cut(at, one.events);
    for (let i = 0; i < 300; i++) say(one.call.stream, `m${String(i)}`);
    const back = await client.get(one.events.lastId);
    await back.count(258);
    expect(back.methods.slice(0, 2)).toEqual(["notifications/message", "m44"]);
    expect(back.methods.at(-1)).toBe("m299");
  });

  it("is told of a gap where its stream is not kept any more, and of none where nothing was said", async () => {
    const world = new VirtualWorld();
    const { at, client, call } = await scene("2025-11-25", world);
    const one = await call(1);
    const two = await call(2);
    one.events.cut();
    two.events.cut();
    await until("the listener to notice", () => at.door.link.isOpen?.() === false);
    const silent = await client.get(one.events.lastId);
    say(two.call.stream, "m");
    await world.advance(330_000);
    at.door.settle(one.call, {});
    await silent.end();
    expect(silent.methods).toEqual([]);
    const late = await (await client.get(two.events.lastId)).count(2);
    expect(late.methods).toEqual(["notifications/message"]);
    at.door.settle(two.call, {});
    expect(ids(await late.end())).toEqual([2]);
  });

  it("is told at once of a call of which nothing is known, and not to come back", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    await cut(at, one.events);
    at.door.memory.calls.clear();
    const back = await (await client.get(one.events.lastId)).end();
    expect(back.methods).toEqual(["notifications/message"]);
    expect((await client.get(back.lastId)).response.statusCode).toBe(204);
  });
});

describe("a client that returns after the proxy was started anew", () => {
  const restarted = async (before: Face, client: Client) => {
    const at = await face({ memory: before.door.memory });
    return { at, client: client.movedTo(at) };
  };

  it("gets its answer by the id that it has, and hears of the gap once", async () => {
    const before = await scene();
    const one = await before.call(1);
    const two = await before.call(2);
    const { at, client } = await restarted(before.at, before.client);
    await before.at.listener.stop(0);
    const back = await client.get(one.events.lastId);
    await back.count(2);
    at.door.settle(one.call, { after: 1 });
    await back.end();
    expect(back.methods).toEqual(["notifications/message"]);
    expect(ids(back)).toEqual([1]);
    at.door.settle(two.call, {});
    const other = await (await client.get(two.events.lastId)).end();
    expect([other.methods, ids(other)]).toEqual([[], [2]]);
  });

  it("gets the answers of a batch, and is owed both until it has both", async () => {
    const before = await scene("2025-03-26");
    const events = await before.client.post(`[${rpc(1, "a")},${rpc(2, "b")}]`);
    await until("both ids", () => events.text.includes("+"));
    const last = must([...events.text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1], "an id");
    const { at, client } = await restarted(before.at, before.client);
    await before.at.listener.stop(0);
    const back = await client.get(last);
    await until("the stream", () => back.text.includes("retry"));
    const [a, b] = before.calls;
    at.door.settle(must(b, "a call"), {});
    await until("one answer", () => ids(back).length === 1);
    expect(back.lastId).toContain(`${must(a, "a").id}+${must(b, "b").id}`);
    at.door.settle(must(a, "a call"), {});
    expect(ids(await back.end())).toEqual([2, 1]);
    expect(back.lastId).toContain(".done.");
  });

  it("and listens is told that it may have missed something, and that all may have changed", async () => {
    const before = await scene();
    const standalone = await (await before.client.get()).count(1);
    const { at, client } = await restarted(before.at, before.client);
    const back = await (await client.get(standalone.lastId)).count(5);
    expect(back.methods).toEqual([
      "notifications/message",
      "notifications/tools/list_changed",
      "notifications/prompts/list_changed",
      "notifications/resources/list_changed",
    ]);
    await cut(at, back);
    // From there on all is known.
    const again = await (await client.get(back.lastId)).count(1);
    expect(again.methods).toEqual([]);
  });
});

describe("what the server says unasked", () => {
  it("goes over the standalone stream, and is kept before it is opened and while it is broken", async () => {
    const { at, client } = await scene();
    const { link } = at.door;
    say(link, "early");
    const first = await (await client.get()).count(2);
    say(link, "live");
    await first.count(3);
    expect(first.methods).toEqual(["early", "live"]);
    const live = first.lastId;
    await cut(at, first);
    say(link, "meanwhile");
    const second = await (await client.get(live)).count(2);
    expect(second.methods).toEqual(["meanwhile"]);
    await cut(at, second);
    say(link, "unseen");
    // Without an id the client gets what went out to nobody.
    const third = await (await client.get()).count(2);
    expect(third.methods).toEqual(["unseen"]);
  });

  it("goes over the newest open stream of a call where nobody listens", async () => {
    const { at, client, call } = await scene();
    const one = await call(1);
    const two = await call(2);
    say(at.door.link, "to two");
    await two.events.count(2);
    expect(two.events.methods).toEqual(["to two"]);
    expect(one.events.methods).toEqual([]);
    const standalone = await (await client.get()).count(1);
    say(at.door.link, "to all");
    expect((await standalone.count(2)).methods).toEqual(["to all"]);
    expect(two.events.methods).toEqual(["to two"]);
  });

  it("is never an answer", async () => {
    const { at, client } = await scene();
    await (await client.get()).count(1);
    const text = '{"jsonrpc":"2.0","id":1,"result":{}}';
    expect(at.door.link.send(text, { kind: "reply", idText: "1" })).toBe(false);
  });

  it("goes to the newer of two connections, and ends the older", async () => {
    const { at, client } = await scene();
    const older = await (await client.get()).count(1);
    const newer = await (await client.get()).count(1);
    await older.end();
    say(at.door.link, "a");
    expect((await newer.count(2)).methods).toEqual(["a"]);
    expect(older.methods).toEqual([]);
  });

  it("that is too much to keep is a gap, which is told with all that may have changed", async () => {
    const { at, client } = await scene();
    const stream = await (await client.get()).count(1);
    const seen = stream.lastId;
    await cut(at, stream);
    const text = "x".repeat(300_000);
    for (let i = 0; i < 5; i++) say(at.door.link, `m${String(i)}`, { text });
    const back = await (await client.get(seen)).count(8);
    expect(back.methods).toEqual([
      "notifications/message",
      "notifications/tools/list_changed",
      "notifications/prompts/list_changed",
      "notifications/resources/list_changed",
      "m2",
      "m3",
      "m4",
    ]);
  });

  it("is kept for a client that has not finished its handshake, which is told nothing of ours", async () => {
    const at = await face();
    const answer = await ask(at, { body: INITIALIZE("2025-11-25") });
    const client = new Client(at, String(answer.headers["mcp-session-id"]), "2025-11-25");
    for (let i = 0; i < 300; i++) say(at.door.link, `m${String(i)}`);
    const stream = await (await client.get()).count(257);
    expect([stream.methods[0], stream.methods.at(-1)]).toEqual(["m44", "m299"]);
  });
});
