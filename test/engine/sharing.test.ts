/** Many sessions over one upstream connection. */
import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { sharedLogLevel, sharedSubscriptions, wantsLog } from "../../src/core/sharing.ts";
import type { ClientLink } from "../../src/ports.ts";
import { agreedVersion } from "../../src/wire/revisions.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import { aSession } from "../support/builders.ts";
import { Stage, type ScriptedClient, type StageOptions } from "../support/stage.ts";

const note = (method: string, params: unknown = {}) =>
  JSON.stringify({ jsonrpc: "2.0", method, params });

async function shared(options: StageOptions = {}): Promise<Stage> {
  const settings = { isolation: "shared", ...options.settings } as const;
  return new Stage({ ...options, settings }).start();
}

async function join(
  stage: Stage,
  key: string,
  link: Partial<ClientLink> = {},
  version = "2025-11-25",
): Promise<ScriptedClient> {
  const client = stage.guest({ transport: "http", canResume: true, key, ...link });
  const clientInfo = { name: key, version: "1" };
  const capabilities = { sampling: {} };
  client.request("initialize", { protocolVersion: version, capabilities, clientInfo });
  await stage.world.advance(10);
  client.notify("notifications/initialized");
  await stage.world.advance(10);
  return client;
}

const sent = (stage: Stage, method: string) =>
  stage.upstream.seen.filter((text) => (JSON.parse(text) as JsonObject)["method"] === method);

describe("a shared connection", () => {
  it("is one for all sessions of a principal, declares nothing of theirs, and is another's never", async () => {
    const stage = await shared();
    await join(stage, "a");
    await join(stage, "b");
    expect(stage.upstream.dials).toBe(1);
    expect(sent(stage, "initialize")[0]).toContain('"capabilities":{}');
    await join(stage, "c", { principal: "t_other" });
    expect(stage.upstream.dials).toBe(2);
  });

  it("keeps the ids and progress tokens of its sessions apart, equal as they may be", async () => {
    const stage = await shared();
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    stage.upstream.keeps.add("write");
    const idA = a.call("write", "of a", 7);
    const idB = b.call("write", "of b", 7);
    expect(idA).toBe(idB);
    await stage.world.advance(10);
    const progressToken = stage.upstream.idOf("of b");
    stage.upstream.say(note("notifications/progress", { progressToken, progress: 1 }));
    stage.upstream.answer("of b", "for b");
    stage.upstream.answer("of a", "for a");
    await stage.world.advance(10);
    expect([a.told(idA)?.text, b.told(idB)?.text]).toEqual(["for a", "for b"]);
    expect(a.notifications("notifications/progress")).toEqual([]);
    expect(b.notifications("notifications/progress")).toMatchObject([
      { params: { progressToken: 7, progress: 1 } },
    ]);
  });

  it("agrees on the older version that a client asks for", async () => {
    const stage = await shared();
    await join(stage, "new");
    const old = await join(stage, "old", {}, "2025-03-26");
    expect(JSON.stringify(old.got[0])).toContain('"protocolVersion":"2025-03-26"');
    expect(agreedVersion("1999-01-01", "2025-06-18")).toBe("2025-06-18");
    expect(agreedVersion("2025-11-25", "2025-06-18")).toBe("2025-06-18");
  });

  it("RO1: gives what belongs to a call to its session alone, and the rest to all whom it concerns", async () => {
    const stage = await shared();
    stage.upstream.kind = "http";
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    stage.upstream.keeps.add("write");
    a.call("write", "x");
    await stage.world.advance(10);
    const id = stage.upstream.idOf("x");
    stage.upstream.say(note("notifications/message", { level: "info", data: "of a" }), id);
    stage.upstream.say(note("notifications/tools/list_changed"));
    stage.upstream.say(note("notifications/message", { level: "info", data: "of nobody" }));
    await stage.world.advance(10);
    const logs = (client: ScriptedClient) =>
      client
        .notifications("notifications/message")
        .map(({ params }) => (params as JsonObject)["data"]);
    expect(logs(a)).toEqual(["of a", "of nobody"]);
    expect(logs(b)).toEqual(["of nobody"]);
    expect(b.notifications("notifications/tools/list_changed")).toHaveLength(1);
  });

  it("RO2: refuses a request that could be for any of them, and passes one on that is in the course of a call", async () => {
    const stage = await shared();
    stage.upstream.kind = "http";
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    const ask = JSON.stringify({ jsonrpc: "2.0", id: 5, method: "sampling/createMessage" });
    stage.upstream.say(ask);
    expect(stage.upstream.seen.at(-1)).toContain('"id":5,"error"');
    expect(stage.upstream.seen.at(-1)).toContain("isolation");
    stage.upstream.keeps.add("write");
    b.call("write", "x");
    await stage.world.advance(10);
    stage.upstream.say(ask, stage.upstream.idOf("x"));
    await stage.world.advance(10);
    const asked = (client: ScriptedClient) =>
      client.got.filter((message) => message["method"] === "sampling/createMessage");
    expect([asked(a).length, asked(b).length]).toEqual([0, 1]);
    b.say(JSON.stringify({ jsonrpc: "2.0", id: asked(b)[0]?.["id"], result: { ok: 1 } }));
    expect(stage.upstream.seen.at(-1)).toBe('{"jsonrpc":"2.0","id":5,"result":{"ok":1}}');
  });

  it("MB1: has each subscription once, as long as anybody wants it", async () => {
    const stage = await shared();
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    for (const client of [a, b]) {
      const id = client.request("resources/subscribe", { uri: "file:///x" });
      await stage.world.advance(10);
      expect(client.answerTo(id)).toMatchObject({ result: {} });
    }
    expect(sent(stage, "resources/subscribe")).toHaveLength(1);
    stage.upstream.say(note("notifications/resources/updated", { uri: "file:///x" }));
    const first = a.request("resources/unsubscribe", { uri: "file:///x" });
    await stage.world.advance(10);
    expect(a.answerTo(first)).toMatchObject({ result: {} });
    expect(sent(stage, "resources/unsubscribe")).toEqual([]);
    stage.upstream.say(note("notifications/resources/updated", { uri: "file:///x" }));
    const updates = (client: ScriptedClient) =>
      client.notifications("notifications/resources/updated").length;
    expect([updates(a), updates(b)]).toEqual([1, 2]);
    b.leave();
    await stage.world.advance(10);
    expect(sent(stage, "resources/unsubscribe")).toHaveLength(1);
  });

  it("MB1: has the most verbose log level that anybody asked for, and gives each what it asked for", async () => {
    const stage = await shared();
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    const set = async (client: ScriptedClient, level: string) => {
      const id = client.request("logging/setLevel", { level });
      await stage.world.advance(10);
      expect(client.answerTo(id)).toMatchObject({ result: {} });
    };
    await set(a, "warning");
    await set(b, "debug");
    await set(a, "error");
    await set(b, "critical");
    const levels = sent(stage, "logging/setLevel").map((text) => /"level":"(\w+)"/.exec(text)?.[1]);
    expect(levels).toEqual(["warning", "debug", "error"]);
    stage.upstream.say(note("notifications/message", { level: "error", data: "e" }));
    expect(a.notifications("notifications/message")).toHaveLength(1);
    expect(b.notifications("notifications/message")).toHaveLength(0);
  });

  it("is restored for all of them after it broke, and their waiting calls run over it", async () => {
    const stage = await shared();
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    a.request("resources/subscribe", { uri: "file:///a" });
    b.request("resources/subscribe", { uri: "file:///b" });
    await stage.world.advance(10);
    stage.upstream.kill(failure("reset", "away"));
    const [idA, idB] = [a.call("write", "a"), b.call("write", "b")];
    await stage.world.advance(100);
    stage.upstream.down = undefined;
    stage.upstream.seen.length = 0;
    await stage.world.advance(5_000);
    expect([a.told(idA)?.text, b.told(idB)?.text]).toEqual(["write a", "write b"]);
    expect(sent(stage, "resources/subscribe")).toHaveLength(2);
    expect(a.notifications("notifications/resources/updated")).toMatchObject([
      { params: { uri: "file:///a" } },
    ]);
  });

  it("is not hurt by the end of one session, whose waiting calls are withdrawn", async () => {
    const stage = await shared();
    const [a, b] = [await join(stage, "a"), await join(stage, "b")];
    stage.upstream.kill(failure("reset", "away"));
    a.call("write", "a");
    const idB = b.call("write", "b");
    await stage.world.advance(10);
    a.leave();
    await stage.world.advance(10);
    expect((await stage.row("a")).state).toBe("cancelled");
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(b.told(idB)?.text).toBe("write b");
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["b"]);
  });

  it("ends when nobody is on it and nothing of it lives", async () => {
    const stage = await shared();
    const a = await join(stage, "a");
    a.leave();
    await stage.world.advance(10);
    expect(stage.upstream.isConnected).toBe(false);
    expect(stage.fatal).toEqual([]);
  });
});

describe("what sessions want together", () => {
  it("is the lowest level and every resource once", () => {
    const one = aSession({ logLevel: "error", subscriptions: ["a", "b"] });
    const two = aSession({ logLevel: "info", subscriptions: ["b", "c"] });
    expect(sharedLogLevel([one, two, aSession({ logLevel: undefined })])).toBe("info");
    expect(sharedLogLevel([aSession({ logLevel: undefined })])).toBeUndefined();
    expect(sharedSubscriptions([one, two])).toEqual(["a", "b", "c"]);
    expect([wantsLog(one, "warning"), wantsLog(one, "alert")]).toEqual([false, true]);
  });
});
