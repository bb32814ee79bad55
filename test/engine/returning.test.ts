/** What clients that come back, and sessions that end, must never bring about. */
import { deferred } from "../../src/base/async.ts";
import { describe, expect, it } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import { failure } from "../../src/core/failure.ts";
import { type JsonObject, parseMessage } from "../../src/wire/message.ts";
import { begin, begun, HTTP, WS } from "../support/guests.ts";
import { Stage, type ScriptedClient } from "../support/stage.ts";

const away = failure("reset", "away");

const answersTo = (client: ScriptedClient, id: number) =>
  client.got.filter((message) => message["id"] === id && !("method" in message));

describe("a call that ends while its client asks for it", () => {
  it("is answered all the same, though what was read of it is old", async () => {
    const stage = await new Stage().start();
    const client = stage.guest({ transport: "http", canResume: true, key: "key-of-a-client" });
    client.initialize();
    await stage.world.advance(1);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(10);
    client.isAway = true;
    const find = stage.journal.find.bind(stage.journal);
    const gate = deferred<undefined>();
    stage.journal.find = async (callId) => {
      const row = await find(callId);
      await gate.promise;
      return row;
    };
    const back = stage.guest({});
    const callId = client.accepted.get(String(id)) ?? "none";
    const resumed = client.handler.resume([callId], back.stream());
    await stage.world.advance(1);
    stage.upstream.answer("w", "written");
    await stage.world.advance(10);
    gate.resolve(undefined);
    expect(await resumed).toEqual([]);
    expect(back.told(id)?.text).toBe("written");
  });
});

describe("a call that waits for a person", () => {
  it.each([
    ["after a change of the credentials", { credentials: "other" }, {}, "was not sent"],
    ["from a journal that is not sound", {}, { isAbandoned: true }, "may have run already"],
  ])("is no riddle to the client that asks for it, %s", async (_, options, found, words) => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const after = await (await stage.next(options)).start(found);
    const back = await after.returning(HTTP);
    const callId = client.accepted.get(String(id)) ?? "none";
    expect(await back?.handler.resume([callId], back.stream())).toEqual([]);
    expect(back?.told(id)).toMatchObject({ isError: true, meta: { callId, executed: "pending" } });
    expect(back?.told(id)?.text).toContain("waits for a person");
    expect(back?.told(id)?.text).toContain(words);
    await after.world.advance(120_000);
    expect(after.upstream.ledger).toEqual([]);
    expect(await after.row("w")).toMatchObject({
      executed: words === "was not sent" ? "no" : "unknown",
    });
  });
});

describe("a deferred call whose caller was told that it runs late", () => {
  async function deferred(): Promise<[Stage, ScriptedClient, number]> {
    const [stage, client] = await begun(WS);
    stage.upstream.kill(away);
    const id = client.call("note", "n");
    await stage.world.advance(50_000);
    expect(client.told(id)?.meta?.["executed"]).toBe("pending");
    return [stage, client, id];
  }

  async function reconnect(stage: Stage, client: ScriptedClient): Promise<void> {
    client.isAway = true;
    client.handler.detached("the socket was reset");
    await stage.world.advance(10);
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(10);
  }

  it("is not answered once more when the client reconnects, and its repetition gets the outcome", async () => {
    const [stage, client, id] = await deferred();
    await reconnect(stage, client);
    expect(answersTo(client, id)).toHaveLength(1);
    stage.upstream.down = undefined;
    await stage.world.advance(60_000);
    expect(stage.upstream.ledger).toHaveLength(1);
    await reconnect(stage, client);
    expect(answersTo(client, id)).toHaveLength(1);
    const again = client.call("note", "n");
    await stage.world.advance(1_000);
    expect(stage.upstream.ledger).toHaveLength(1);
    expect(client.told(again)?.text).toBe("note n");
  });

  it("is not run again by its repetition after a restart of the proxy, either", async () => {
    const [stage] = await deferred();
    const after = await stage.next();
    after.upstream.down = undefined;
    await after.start();
    await after.world.advance(60_000);
    expect(after.upstream.ledger).toHaveLength(1);
    const back = await after.returning(WS);
    back?.handler.attached();
    await after.world.advance(10);
    // Its ids go on where they were.
    back?.request("ping");
    back?.request("ping");
    const again = back?.call("note", "n") ?? 0;
    await after.world.advance(1_000);
    expect(after.upstream.ledger).toHaveLength(1);
    expect(back?.told(again)?.text).toBe("note n");
  });

  it("and one that an operator repeated, is no answer to the request of before", async () => {
    const [stage, client] = await begun(WS);
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const { id: callId } = await stage.row("w");
    client.isAway = true;
    client.handler.detached("the socket was reset");
    await stage.proxy.control.retry(callId);
    await stage.world.advance(5_000);
    expect(stage.upstream.ledger).toHaveLength(2);
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(10);
    expect(answersTo(client, id)).toHaveLength(1);
  });
});

describe("a drain", () => {
  it("does not send what a dead process left, though the wait for its client ends meanwhile", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.keeps.add("put").add("write");
    client.call("put", "left");
    await stage.world.advance(10);
    const after = await (await stage.next()).start();
    const busy = await begin(after, { ...WS, key: "busy" });
    busy.call("write", "busy");
    await after.world.advance(10);
    const drained = after.proxy.drain("stopped");
    await after.world.advance(5_000);
    expect(after.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["left", "busy"]);
    after.upstream.answer("busy");
    await after.world.advance(20_000);
    await drained;
    expect((await after.row("left")).state).toBe("queued");
    expect(after.upstream.isConnected).toBe(false);
  });

  it("tells whoever waits for a deferred call once more that it stays, also where the next process has it", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.kill(away);
    client.call("note", "n");
    await stage.world.advance(50_000);
    const again = client.call("note", "n");
    await stage.world.advance(10);
    expect(client.told(again)).toBeUndefined();
    await Promise.all([stage.proxy.drain("stopped"), stage.world.advance(20_000)]);
    expect(client.told(again)?.meta?.["executed"]).toBe("pending");
    expect((await stage.row("n")).state).toBe("queued");
  });

  it("does not send what waits, though a renewal of the connection ends meanwhile", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.keeps.add("write");
    client.call("write", "hangs");
    await stage.world.advance(10);
    const renewed = stage.proxy.control.restart("files");
    client.call("put", "waiting");
    const busy = await begin(stage, { ...WS, key: "busy" });
    busy.call("write", "hangs, too");
    await stage.world.advance(5_000);
    const drained = stage.proxy.drain("stopped");
    await stage.world.advance(30_000);
    await Promise.all([renewed, drained]);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["hangs", "hangs, too"]);
    expect((await stage.row("waiting")).state).toBe("queued");
  });
});

describe("a shared connection", () => {
  it("RO1: shows nothing of a call to the other sessions when its own one is gone", async () => {
    const [stage, a] = await begun(HTTP, { settings: { isolation: "shared" } });
    stage.upstream.kind = "http";
    const b = await begin(stage, { ...HTTP, key: "b" });
    stage.upstream.keeps.add("write");
    const id = a.call("write", "secret");
    await stage.world.advance(10);
    const upstreamId = stage.upstream.idOf("secret");
    const log = {
      jsonrpc: "2.0",
      method: "notifications/message",
      params: { level: "info", data: "of a" },
    };
    a.cancel(id);
    await stage.world.advance(10);
    stage.upstream.say(JSON.stringify(log), upstreamId);
    a.leave();
    await stage.world.advance(10);
    stage.upstream.say(JSON.stringify(log), upstreamId);
    await stage.world.advance(10);
    expect(b.notifications("notifications/message")).toEqual([]);
  });
});

describe("the time of a session", () => {
  it("ends it towards its client, too", async () => {
    const [stage, client] = await begun(HTTP, { settings: { isStateful: true } });
    client.isAway = true;
    await stage.world.advance(86_400_000 + 120_000);
    expect(client.endings).toHaveLength(1);
    expect((await stage.proxy.control.status()).sessions).toEqual([]);
  });

  it("ends it although a call of it never ends", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("write");
    client.call("write", "for ever");
    await stage.world.advance(10);
    client.isAway = true;
    await stage.world.advance(86_400_000 + 120_000);
    expect(client.endings).toHaveLength(1);
    expect((await stage.proxy.control.status()).sessions).toEqual([]);
    expect((await stage.row("for ever")).executed).toBe("unknown");
    expect(stage.upstream.isConnected).toBe(false);
  });

  it("does not run while its connection is open, also as a killed proxy left it", async () => {
    const [stage, client] = await begun(WS);
    await stage.world.advance(3 * 3_600_000);
    expect(client.endings).toEqual([]);
    const after = await (await stage.next()).start();
    expect(await after.returning(WS)).toBeDefined();
  });
});

describe("a call that is between two connections", () => {
  it("is counted out once when an operator withdraws it", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    const first = client.call("note", "n");
    await stage.world.advance(50_000);
    expect(client.told(first)?.meta?.["executed"]).toBe("pending");
    client.leave();
    await stage.world.advance(10);
    const row = await stage.row("n");
    await stage.proxy.control.cancel(row.id);
    const ends: JsonObject[] = [];
    const stop = stage.feed.follow((event) => {
      ends.push(event as unknown as JsonObject);
    });
    stage.upstream.down = undefined;
    await stage.world.advance(120_000);
    stop();
    expect(ends.filter(({ callId }) => callId === row.id)).toEqual([]);
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("that an operator repeated does not come upon a connection that is just being ended", async () => {
    const [stage, client] = await begun(HTTP);
    client.call("write", "a");
    client.call("write", "b");
    await stage.world.advance(10);
    const [a, b] = [await stage.row("a"), await stage.row("b")];
    client.isAway = true;
    await stage.world.advance(16 * 60_000);
    stage.upstream.keeps.add("write");
    await stage.proxy.control.retry(a.id);
    await stage.world.advance(1_000);
    stage.journal.hold("settle");
    stage.upstream.answer("a");
    await stage.world.advance(1);
    const retried = stage.proxy.control.retry(b.id);
    await stage.world.advance(1);
    stage.journal.release();
    await retried;
    await stage.world.advance(5_000);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["a", "b", "a", "b"]);
  });
});

describe("an answer that another session of its principal was given, too", () => {
  it("is still given to the client that asked first, when it comes back", async () => {
    const [stage, second] = await begun({ ...WS, key: "another" });
    const first = await begin(stage, WS);
    stage.upstream.keeps.add("write");
    const id = first.call("write", "w");
    await stage.world.advance(10);
    first.isAway = true;
    first.handler.detached("the socket was reset");
    stage.upstream.answer("w", "written");
    await stage.world.advance(10);
    const again = second.call("write", "w");
    await stage.world.advance(1_000);
    expect(second.told(again)?.text).toBe("written");
    first.isAway = false;
    first.handler.attached();
    await stage.world.advance(10);
    expect(first.told(id)?.text).toBe("written");
  });

  it("is so although the proxy was killed, and the other one waited for the call itself", async () => {
    const [stage, first] = await begun(WS);
    stage.upstream.keeps.add("put");
    const id = first.call("put", "p");
    await stage.world.advance(10);
    const after = await (await stage.next()).start();
    const second = await begin(after, { ...WS, key: "another" });
    await after.world.advance(5_000);
    const again = second.call("put", "p");
    await after.world.advance(10);
    after.upstream.answer("p", "was put");
    await after.world.advance(10);
    expect(second.told(again)?.text).toBe("was put");
    const back = await after.returning(WS);
    back?.handler.attached();
    await after.world.advance(10);
    expect(back?.told(id)?.text).toBe("was put");
    expect(after.upstream.ledger).toHaveLength(2);
  });
});

describe("what a client sets at the upstream", () => {
  const uri = "file:///a";
  const subscriptions = (stage: Stage) =>
    stage.upstream.methods.filter((method) => method.startsWith("resources/"));

  it("is not set later on where the client was told that it was not", async () => {
    const [stage, client] = await begun(WS);
    client.request("logging/setLevel", { level: "error" });
    await stage.world.advance(10);
    stage.upstream.kill(away);
    const subscribed = client.request("resources/subscribe", { uri });
    const level = client.request("logging/setLevel", { level: "debug" });
    await stage.world.advance(50_000);
    expect(client.answerTo(subscribed)?.["error"]).toBeDefined();
    expect(client.answerTo(level)?.["error"]).toBeDefined();
    stage.upstream.seen.length = 0;
    stage.upstream.down = undefined;
    client.call("read", "r");
    await stage.world.advance(30_000);
    expect(stage.upstream.methods).toContain("logging/setLevel");
    expect(stage.upstream.seen.join()).not.toContain("debug");
    expect(subscriptions(stage)).toEqual([]);
  });

  it("holds for the session that wants it still, in whatever order an outage lets it through", async () => {
    const [stage, a] = await begun(HTTP, { settings: { isolation: "shared" } });
    const b = await begin(stage, { ...HTTP, key: "b" });
    a.request("resources/subscribe", { uri });
    await stage.world.advance(10);
    stage.upstream.kill(away);
    b.call("write", "b");
    a.request("resources/unsubscribe", { uri });
    b.request("resources/subscribe", { uri });
    await stage.world.advance(10);
    stage.upstream.seen.length = 0;
    stage.upstream.down = undefined;
    await stage.world.advance(30_000);
    expect(subscriptions(stage).at(-1)).toBe("resources/subscribe");
  });

  it("is not told to an upstream that has not answered the handshake", async () => {
    const [stage, a] = await begun(HTTP, { settings: { isolation: "shared" } });
    const b = await begin(stage, { ...HTTP, key: "b" });
    b.request("resources/subscribe", { uri });
    await stage.world.advance(10);
    stage.upstream.kill(away);
    stage.upstream.keeps.add("initialize");
    stage.upstream.seen.length = 0;
    stage.upstream.down = undefined;
    a.call("read", "r");
    await stage.world.runUntil(() => stage.upstream.kept.size > 0, 60_000);
    b.leave();
    await stage.world.advance(10);
    expect(stage.upstream.methods).toEqual(["initialize"]);
  });
});

describe("a client that comes back while the process ends", () => {
  it("is NOT told that its session is gone, for the next process has it", async () => {
    const [stage] = await begun(HTTP);
    const asked = stage.returning(HTTP);
    const drained = stage.proxy.drain("stopped");
    await expect(asked).rejects.toThrow("taken out of service");
    await stage.world.advance(20_000);
    await drained;
    const after = await (await stage.next()).start();
    expect(await after.returning(HTTP)).toBeDefined();
  });
});

describe("a client that took a call back and reconnects", () => {
  it("is not answered when the server never says what became of it", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(10);
    client.cancel(id);
    client.isAway = true;
    client.handler.detached("the socket was reset");
    await stage.world.advance(1_000);
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(20_000);
    expect((await stage.row("w")).state).toBe("cancelled");
    expect(client.answerTo(id)).toBeUndefined();
  });
});

describe("a call that a dead proxy left and its client takes back before it has come back for it", () => {
  async function left(tool: string): Promise<[Stage, ScriptedClient, number]> {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    const id = client.call(tool, "left");
    await stage.world.advance(10);
    return [stage, client, id];
  }

  it.each(["read", "write"])("is not sent any more (TB1): a %s", async (tool) => {
    const [stage, client, id] = await left(tool);
    const after = await (await stage.next()).start();
    const back = await after.returning(HTTP);
    back?.cancel(id);
    await after.world.advance(10);
    expect(await after.row("left")).toMatchObject({ state: "cancelled", executed: "no" });
    after.upstream.down = undefined;
    const callId = client.accepted.get(String(id)) ?? "none";
    expect(await back?.handler.resume([callId], back.stream())).toEqual([callId]);
    await after.world.advance(30_000);
    expect(after.upstream.ledger).toEqual([]);
    expect(back?.answerTo(id)).toBeUndefined();
  });

  it("is not answered either where it was in flight again", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("read");
    const id = client.call("read", "left");
    await stage.world.advance(30);
    const after = await (await stage.next()).start();
    const back = await after.returning(HTTP);
    back?.handler.receive(parseMessage('{"jsonrpc":"2.0","id":"p","method":"tools/list"}'));
    await after.world.advance(2_000);
    expect(after.upstream.ledger).toHaveLength(2);
    back?.cancel(id);
    await after.world.advance(10);
    expect(after.upstream.methods).toContain("notifications/cancelled");
    const callId = client.accepted.get(String(id)) ?? "none";
    expect(await back?.handler.resume([callId], back.stream())).toEqual([callId]);
    after.upstream.answer("left");
    await after.world.advance(30_000);
    expect(back?.answerTo(id)).toBeUndefined();
  });

  it("is taken back although its client comes back for it at that moment", async () => {
    const [stage, client, id] = await left("write");
    const after = await (await stage.next()).start();
    const back = await after.returning(HTTP);
    const callId = client.accepted.get(String(id)) ?? "none";
    back?.cancel(id);
    await back?.handler.resume([callId], back.stream());
    after.upstream.down = undefined;
    await after.world.advance(30_000);
    expect(after.upstream.ledger).toEqual([]);
    expect(back?.answerTo(id)).toBeUndefined();
  });

  it("is taken back while it waits for a person, too", async () => {
    const [stage, , id] = await left("write");
    const after = await (await stage.next({ credentials: "other" })).start();
    const back = await after.returning(HTTP);
    back?.cancel(id);
    await after.world.advance(10);
    expect(await after.row("left")).toMatchObject({ state: "cancelled", executed: "no" });
    expect((await after.proxy.control.status()).heldForPerson).toBe(0);
  });

  it("is not another session's, which uses the same id", async () => {
    const [stage, , id] = await left("write");
    const after = await (await stage.next()).start();
    const other = await begin(after, { ...HTTP, key: "another" });
    other.cancel(id);
    await after.world.advance(10);
    expect((await after.row("left")).state).toBe("queued");
  });

  it("runs all the same where its client was told that it runs late", async () => {
    const [stage, , id] = await left("note");
    await stage.world.advance(50_000);
    const after = await (await stage.next()).start();
    const back = await after.returning(HTTP);
    back?.cancel(id);
    await after.world.advance(10);
    after.upstream.down = undefined;
    await after.world.advance(60_000);
    expect(after.upstream.ledger).toHaveLength(1);
  });
});

describe("a client that comes back after the clock was set back", () => {
  it("is given the answer to what it asked since", async () => {
    const [stage, client] = await begun(HTTP);
    stage.world.stepWallClock(-3_600_000);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const callId = client.accepted.get(String(id)) ?? "none";
    const after = await stage.next();
    await after.start();
    const back = await after.returning(HTTP);
    expect(await back?.handler.resume([callId], back.stream())).toEqual([]);
    await after.world.advance(5_000);
    expect(back?.told(id)?.meta?.["executed"]).toBe("unknown");
  });

  it("and has its connection back, is given it, too", async () => {
    const [stage, client] = await begun(WS);
    stage.world.stepWallClock(-3_600_000);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const after = await stage.next();
    await after.start();
    const back = await after.returning(WS);
    back?.handler.attached();
    await after.world.advance(5_000);
    expect(back?.told(id)?.meta?.["executed"]).toBe("unknown");
  });
});

describe("a session that the full disk can't take", () => {
  it("is not begun, in words, and nobody else loses theirs", async () => {
    const [stage, other] = await begun(HTTP);
    stage.journal.refusesSessions = new JournalError("full", "the disk is full");
    const client = stage.guest({ ...HTTP, key: "late" });
    const id = client.initialize();
    await stage.world.advance(10);
    expect(client.begun).toBe(0);
    expect(JSON.stringify(client.answerTo(id)?.["error"])).toContain("the disk is full");
    expect(stage.fatal).toEqual([]);
    const read = other.call("read", "r");
    await stage.world.advance(10);
    expect(other.told(read)?.text).toBe("read r");
    expect((await stage.proxy.control.status()).sessions).toHaveLength(1);
  });
});
