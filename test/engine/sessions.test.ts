/** Sessions that outlive connections and processes. */
import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { ClientLink } from "../../src/ports.ts";
import { begin, begun, HTTP, SSE, WS } from "../support/guests.ts";
import { Stage, type ScriptedClient } from "../support/stage.ts";

const away = failure("reset", "away");

/** The id by which the client may ask for the answer of this request. */
const callOf = (client: ScriptedClient, id: number): string =>
  client.accepted.get(String(id)) ?? `request ${String(id)} is no call`;

describe("the key of a session", () => {
  it("SY1: is good for nothing before the session is on disk, and the client hears of it afterwards", async () => {
    const stage = await new Stage().start();
    stage.journal.hold("session");
    const client = stage.guest(HTTP);
    const id = client.initialize();
    await stage.world.advance(1);
    expect([client.begun, client.answerTo(id)]).toEqual([0, undefined]);
    stage.journal.release();
    await stage.world.advance(1);
    expect(client.begun).toBe(1);
    expect(client.answerTo(id)).toBeDefined();
  });

  it("BR1: opens it after the proxy was killed, to its own principal alone", async () => {
    const [stage] = await begun({ ...HTTP, principal: "t_1" });
    const after = await (await stage.next()).start();
    expect(await after.returning({ ...HTTP, principal: "t_2" })).toBeUndefined();
    expect(await after.returning({ ...HTTP, key: "another", principal: "t_1" })).toBeUndefined();
    expect(await after.returning({ ...HTTP, transport: "ws", principal: "t_1" })).toBeUndefined();
    const client = await after.returning({ ...HTTP, principal: "t_1" });
    expect(client).toBeDefined();
    const id = client?.call("read", "back");
    await after.world.advance(10);
    expect(client?.told(id ?? 0)?.text).toBe("read back");
  });

  it("is not on disk, nor in what status shows", async () => {
    const [stage] = await begun(HTTP);
    const { sessions } = await stage.journal.image();
    const status = await stage.proxy.control.status();
    expect(JSON.stringify([...sessions, status])).not.toContain(HTTP.key);
  });

  it("opens nothing once its client has ended the session, or its time is over", async () => {
    const [stage, client] = await begun(HTTP);
    client.leave();
    await stage.world.advance(1);
    expect(await stage.returning(HTTP)).toBeUndefined();
    const late = await begin(stage, { ...HTTP, key: "late" });
    late.isAway = true;
    await stage.world.advance(86_400_001);
    expect(await stage.returning({ ...HTTP, key: "late" })).toBeUndefined();
  });
});

describe("a session that comes back", () => {
  it("gets the answers of its calls once, whatever became of them while nobody was there", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("write").add("read");
    const sent = client.call("write", "sent");
    const read = client.call("read", "read");
    await stage.world.advance(10);
    stage.upstream.kill(away);
    const waiting = client.call("write", "waiting");
    await stage.world.advance(10);
    const ids = [sent, read, waiting].map((id) => callOf(client, id));

    const after = await stage.next();
    after.upstream.down = undefined;
    after.upstream.keeps.clear();
    await after.start();
    const back = await after.returning(HTTP);
    expect(await back?.handler.resume(ids, back.stream())).toEqual([]);
    await after.world.advance(5_000);
    expect(back?.told(sent)?.meta?.["executed"]).toBe("unknown");
    expect(back?.told(read)?.text).toBe("read read");
    expect(back?.told(waiting)?.text).toBe("write waiting");
    expect(after.upstream.ledger.filter(({ nonce }) => nonce === "sent")).toHaveLength(1);
    expect(after.fatal).toEqual([]);
  });

  it("is told which calls nothing is known of, and is not given another session's", async () => {
    const [stage, client] = await begun(HTTP);
    const own = client.call("write", "own");
    await stage.world.advance(10);
    const other = await begin(stage, { ...HTTP, key: "other" });
    const ids = ["c_nothing", callOf(client, own)];
    expect(await other.handler.resume(ids, other.stream())).toEqual(ids);
    expect(other.got.some((message) => JSON.stringify(message).includes("own"))).toBe(false);
  });

  it("gives an answer again that may not have arrived, as long as it is kept", async () => {
    const [stage, client] = await begun(HTTP);
    const id = client.call("write", "a");
    await stage.world.advance(10);
    expect(client.told(id)?.text).toBe("write a");
    const again = stage.guest({});
    expect(await client.handler.resume([callOf(client, id)], again.stream())).toEqual([]);
    expect(again.told(id)?.text).toBe("write a");
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("dials with its own handshake when something is asked of it, and restores what it had set", async () => {
    const [stage, client] = await begun(HTTP);
    client.request("logging/setLevel", { level: "warning" });
    client.request("resources/subscribe", { uri: "file:///a" });
    await stage.world.advance(10);
    const after = await stage.next();
    after.upstream.seen.length = 0;
    const dials = after.upstream.dials;
    await after.start();
    const back = await after.returning(HTTP);
    await after.world.advance(5_000);
    expect(after.upstream.dials).toBe(dials);
    back?.call("read", "x");
    await after.world.advance(100);
    expect(after.upstream.seen[0]).toContain('"clientInfo":{"name":"stage"');
    const methods = after.upstream.methods;
    expect(methods).toContain("logging/setLevel");
    expect(methods).toContain("resources/subscribe");
    expect(after.upstream.seen.join()).toContain('"level":"warning"');
  });

  it("is answered from the catalogue at once, the upstream being away", async () => {
    const [stage] = await begun(HTTP);
    const after = await stage.next();
    after.upstream.down = away;
    await after.start();
    const back = await after.returning(HTTP);
    const id = back?.request("tools/list") ?? 0;
    await after.world.advance(1);
    expect(JSON.stringify(back?.answerTo(id))).toContain('"write"');
  });
});

describe("a session that nobody uses", () => {
  it("BR2: goes to sleep with its connection, and is there again with the next request", async () => {
    const [stage, client] = await begun(HTTP);
    client.isAway = true;
    await stage.world.advance(16 * 60_000);
    expect(client.endings).toEqual(["idle"]);
    expect(stage.upstream.isConnected).toBe(false);
    expect((await stage.proxy.control.status()).sessions).toEqual([]);
    const back = await stage.returning(HTTP);
    const id = back?.call("read", "again") ?? 0;
    await stage.world.advance(100);
    expect(back?.told(id)?.text).toBe("read again");
  });

  it("stays awake while a stream of its client is open, a call runs, or its server keeps state", async () => {
    const [stage] = await begun(HTTP);
    const busy = await begin(stage, { ...HTTP, key: "busy" });
    stage.upstream.keeps.add("write");
    busy.call("write", "long");
    await stage.world.advance(10);
    busy.isAway = true;
    await stage.world.advance(60 * 60_000);
    expect((await stage.proxy.control.status()).sessions).toHaveLength(2);
    const [stateful, client] = await begun(HTTP, { settings: { isStateful: true } });
    client.isAway = true;
    await stateful.world.advance(60 * 60_000);
    expect((await stateful.proxy.control.status()).sessions).toHaveLength(1);
  });
});

describe("a client whose connection is its only stream", () => {
  it("OU1: is given what it missed when its connection is back, once", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.keeps.add("write").add("read");
    const write = client.call("write", "w");
    const read = client.call("read", "r");
    await stage.world.advance(10);
    client.isAway = true;
    client.handler.detached("the socket was reset");
    stage.upstream.answer("w", "written");
    stage.upstream.answer("r", "was read");
    await stage.world.advance(10);
    expect([client.told(write), client.told(read)]).toEqual([undefined, undefined]);
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(10);
    expect(client.told(write)?.text).toBe("written");
    expect(client.told(read)?.text).toBe("was read");
  });

  it("is given what its calls came to after the proxy was killed, too", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.kill(away);
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const after = await stage.next();
    after.upstream.down = undefined;
    await after.start();
    const back = await after.returning(WS);
    back?.handler.attached();
    await after.world.advance(5_000);
    expect(back?.told(id)?.text).toBe("write w");
    expect(after.upstream.ledger).toHaveLength(1);
  });

  it("hears nothing of calls that it took back, nor of those from before it initialised anew", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.kill(away);
    const taken = client.call("write", "taken back");
    const old = client.call("write", "old");
    await stage.world.advance(10);
    client.cancel(taken);
    await stage.world.advance(10);
    client.isAway = true;
    client.initialize("another incarnation");
    await stage.world.advance(10);
    client.handler.detached("gone");
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(10);
    expect([client.answerTo(taken), client.answerTo(old)]).toEqual([undefined, undefined]);
  });
});

describe("a client that comes back without a key and without initialize", () => {
  it("is given its session if there is just one that it can be", async () => {
    const [stage, client] = await begun({ ...SSE, peer: "agent/1" });
    client.isAway = true;
    client.handler.detached("the stream broke");
    const again = stage.guest({ ...SSE, key: "new", peer: "agent/1" });
    const handler = await stage.branch.adopt(again.link);
    expect(handler).toBeDefined();
    if (handler !== undefined) again.arrive(handler);
    const id = again.call("read", "on");
    await stage.world.advance(10);
    expect(again.told(id)?.text).toBe("read on");
  });

  it("is given it after a restart of the proxy, too", async () => {
    const [stage] = await begun({ ...SSE, peer: "agent/1" });
    const after = await (await stage.next()).start();
    const again = after.guest({ ...SSE, key: "new", peer: "agent/1" });
    expect(await after.branch.adopt(again.link)).toBeDefined();
  });

  it("is given the one that was in use when the proxy was killed, not one that was lost long before", async () => {
    const [stage, old] = await begun({ ...SSE, peer: "agent/1" });
    old.handler.detached("the stream broke");
    await stage.world.advance(61_000);
    const last = await begin(stage, { ...SSE, key: "last", peer: "agent/1" });
    const id = last.call("write", "w");
    await stage.world.advance(10);
    const after = await (await stage.next()).start();
    const again = after.guest({ ...SSE, key: "new", peer: "agent/1" });
    const handler = await after.branch.adopt(again.link);
    expect(await handler?.resume([callOf(last, id)], again.stream())).toEqual([]);
    expect(again.told(id)?.text).toBe("write w");
  });

  it("is given none that is in use, another's, or one of several", async () => {
    const [stage, client] = await begun({ ...SSE, peer: "agent/1" });
    const link = (more: Partial<ClientLink>) =>
      stage.guest({ ...SSE, key: "new", peer: "agent/1", ...more }).link;
    expect(await stage.branch.adopt(link({}))).toBeUndefined();
    client.handler.detached("gone");
    expect(await stage.branch.adopt(link({ peer: "agent/2" }))).toBeUndefined();
    expect(await stage.branch.adopt(link({ principal: "t_9" }))).toBeUndefined();
    const second = await begin(stage, { ...SSE, key: "second", peer: "agent/1" });
    second.handler.detached("gone");
    expect(await stage.branch.adopt(link({}))).toBeUndefined();
    await stage.world.advance(61_000);
    const third = await begin(stage, { ...SSE, key: "third", peer: "agent/1" });
    third.handler.detached("gone");
    expect(await stage.branch.adopt(link({}))).toBeDefined();
  });
});

describe("the end of a process with sessions that outlive it", () => {
  it("leaves what waits on disk, and the next process answers it", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    const id = client.call("write", "w");
    await stage.world.advance(10);
    const callId = callOf(client, id);
    const ended = stage.proxy.drain("SIGTERM");
    await stage.world.advance(20_000);
    await ended;
    expect(client.answerTo(id)).toBeUndefined();
    const after = await stage.next();
    after.upstream.down = undefined;
    await after.start();
    const back = await after.returning(HTTP);
    await back?.handler.resume([callId], back.stream());
    await after.world.advance(5_000);
    expect(back?.told(id)?.text).toBe("write w");
  });
});

describe("more sessions than are allowed", () => {
  it("are refused in words that name the bound", async () => {
    const limits = {
      ...(await import("../support/stage.ts")).SETTINGS.limits,
      sessionsPerProcess: 1,
    };
    const [stage] = await begun(HTTP, { settings: { limits } });
    const second = stage.guest({ ...HTTP, key: "second" });
    const id = second.initialize();
    await stage.world.advance(1);
    expect(JSON.stringify(second.answerTo(id))).toContain("--max-sessions");
    expect(second.begun).toBe(0);
  });

  it("RM1: get the room of one that nobody uses, which is there again when it is asked for", async () => {
    const limits = {
      ...(await import("../support/stage.ts")).SETTINGS.limits,
      sessionsPerProcess: 2,
    };
    const [stage, first] = await begun(HTTP, { settings: { limits } });
    const listening = await begin(stage, { ...HTTP, key: "listening" });
    first.isAway = true;
    await stage.world.advance(9_000);
    const early = stage.guest({ ...HTTP, key: "early" });
    const refused = early.initialize();
    await stage.world.advance(1);
    expect(JSON.stringify(early.answerTo(refused))).toContain("--max-sessions");
    await stage.world.advance(2_000);
    await begin(stage, { ...HTTP, key: "third" });
    expect(first.endings).toEqual(["idle"]);
    expect(listening.endings).toEqual([]);
    expect((await stage.proxy.control.status()).sessions).toHaveLength(2);
    const back = await stage.returning(HTTP);
    const id = back?.call("read", "again") ?? 0;
    await stage.world.advance(100);
    expect(back?.told(id)?.text).toBe("read again");
  });
});

describe("a restart by an operator", () => {
  it("connects anew after what is in flight has ended, and calls wait across it", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("write");
    const running = client.call("write", "running");
    await stage.world.advance(10);
    const restarted = stage.proxy.control.restart("files");
    const waiting = client.call("write", "waiting");
    await stage.world.advance(100);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["running"]);
    stage.upstream.keeps.clear();
    stage.upstream.answer("running", "ran");
    await stage.world.advance(1_000);
    expect(await restarted).toBe(1);
    expect(stage.upstream.dials).toBe(2);
    expect(client.told(running)?.text).toBe("ran");
    expect(client.told(waiting)?.text).toBe("write waiting");
  });

  it("does not wait for ever for a call that hangs, nor for a backoff", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("write");
    const hanging = client.call("write", "hanging");
    await stage.world.advance(10);
    const restarted = stage.proxy.control.restart("files");
    await stage.world.advance(11_000);
    expect(await restarted).toBe(1);
    expect(client.told(hanging)?.meta?.["executed"]).toBe("unknown");
    stage.upstream.kill(failure("process_exit", "exited with code 7"));
    await stage.world.advance(60_000);
    stage.upstream.down = undefined;
    const dials = stage.upstream.dials;
    const again = stage.proxy.control.restart("files");
    await stage.world.advance(50);
    await again;
    expect(stage.upstream.dials).toBe(dials + 1);
  });

  it("of an upstream that is not here says which are", async () => {
    const stage = await new Stage().start();
    await expect(stage.proxy.control.restart("other")).rejects.toThrow("'files'");
  });
});

describe("an upstream that is taken out of service", () => {
  it("ends its sessions, withdraws what waits, and keeps what was promised for a person", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    const promised = client.call("note", "promised");
    await stage.world.advance(46_000);
    expect(client.told(promised)?.meta?.["executed"]).toBe("pending");
    const waiting = client.call("write", "waiting");
    await stage.world.advance(10);
    const removed = stage.proxy.remove("files", "taken out of the configuration");
    await stage.world.advance(1_000);
    await removed;
    expect(client.endings).toEqual(["taken out of the configuration"]);
    expect(client.told(waiting)?.meta?.["executed"]).toBe("no");
    expect((await stage.row("waiting")).state).toBe("cancelled");
    expect((await stage.row("promised")).state).toBe("queued");
    expect((await stage.proxy.control.status()).heldForPerson).toBe(1);
    expect(stage.proxy.door("files")).toBeUndefined();
    await stage.world.advance(3_600_000);
    expect((await stage.row("promised")).state).toBe("expired");
    expect(stage.fatal).toEqual([]);
  });
});

describe("what is kept of a session", () => {
  it("is bounded: one resource too many is refused, and one less makes room again", async () => {
    const [stage, client] = await begun(HTTP);
    for (let i = 0; i < 1_000; i++) {
      client.request("resources/subscribe", { uri: `file:///${String(i)}` });
    }
    await stage.world.advance(100);
    const sent = () => stage.upstream.methods.filter((m) => m === "resources/subscribe").length;
    expect(sent()).toBe(1_000);
    const refused = client.request("resources/subscribe", { uri: "file:///more" });
    const known = client.request("resources/subscribe", { uri: "file:///7" });
    await stage.world.advance(10);
    expect(JSON.stringify(client.answerTo(refused))).toContain(
      "Not executed: this session has 1000",
    );
    expect(JSON.stringify(client.answerTo(known))).not.toContain("error");
    expect(sent()).toBe(1_001);
    client.request("resources/unsubscribe", { uri: "file:///7" });
    client.request("resources/subscribe", { uri: "file:///more" });
    await stage.world.advance(10);
    expect(sent()).toBe(1_002);
  });

  it("is bounded: URIs and a handshake that are too long are refused", async () => {
    const [stage, client] = await begun(HTTP);
    const id = client.request("resources/subscribe", { uri: "x".repeat(300_000) });
    await stage.world.advance(10);
    expect(JSON.stringify(client.answerTo(id))).toContain("262144 characters together");
    expect(stage.upstream.methods).not.toContain("resources/subscribe");
    const other = stage.guest({ ...HTTP, key: "another" });
    const begins = other.initialize("other", { experimental: { x: "x".repeat(300_000) } });
    await stage.world.advance(10);
    expect(JSON.stringify(other.answerTo(begins))).toContain("Not executed: initialize has 300");
    expect(other.begun).toBe(0);
  });
});

describe("a session that its client ends", () => {
  it("has ended on disk, with what waited in it, before the client is told so", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(away);
    client.call("write", "waiting");
    await stage.world.advance(10);
    stage.journal.hold();
    let isToldSo = false;
    const told = client.handler.left("the client ended its session").then(() => {
      isToldSo = true;
    });
    for (let commits = 0; stage.journal.heldCount > 0; commits++) {
      expect(isToldSo, `after ${String(commits)} commits`).toBe(false);
      stage.journal.release(1);
      await stage.world.settle();
    }
    await told;
    expect(await stage.row("waiting")).toMatchObject({ state: "cancelled", executed: "no" });
    const [row] = await stage.journal.sessions();
    expect(row?.endedAt).toBe(stage.world.now());
  });
});

describe("a token that is revoked", () => {
  const OWNED = { ...HTTP, principal: "t_1" } as const;

  it("has nothing of it sent any more, and ends its sessions", async () => {
    const [stage, client] = await begun(OWNED);
    stage.upstream.kill(away);
    const id = client.call("write", "revoked");
    await stage.world.advance(10);
    stage.revoked.add("t_1");
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(client.told(id)?.text).toContain("revoked");
    expect(client.told(id)?.meta?.["executed"]).toBe("no");
    expect(stage.upstream.ledger).toEqual([]);
    const other = await begin(stage, { ...HTTP, key: "other", principal: "t_2" });
    await stage.world.advance(60_000);
    expect(client.endings).toEqual(["its token is not valid any more"]);
    expect(other.endings).toEqual([]);
    stage.revoked.clear();
    expect(await stage.returning(OWNED)).toBeUndefined();
  });

  it("has nothing sent of what it left behind when the proxy was killed, either", async () => {
    const [stage, client] = await begun(OWNED);
    stage.upstream.kill(away);
    client.call("write", "left");
    await stage.world.advance(10);
    const after = await stage.next();
    after.revoked.add("t_1");
    after.upstream.down = undefined;
    await after.start();
    await after.world.advance(10_000);
    expect(after.upstream.ledger).toEqual([]);
    expect(await after.row("left")).toMatchObject({ state: "expired", executed: "no" });
  });
});
