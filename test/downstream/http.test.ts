import { afterEach, describe, expect, it } from "vitest";
import { deferred } from "../../src/base/async.ts";
import { realWorld } from "../../src/base/world.ts";
import { ConfigError } from "../../src/base/errors.ts";
import { until } from "../support/http-rig.ts";
import {
  ACCEPT,
  ask,
  type Call,
  type Client,
  clientOf,
  closeFaces,
  cutAll,
  Events,
  type Face,
  face,
  INITIALIZE,
  note,
  Raw,
  reply,
  rpc,
  say,
  send,
  type Turn,
} from "../support/http-door.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

afterEach(closeFaces);

const bodyOf = ({ text }: { text: string }) => JSON.parse(text) as Record<string, unknown>;

describe("a handshake over Streamable HTTP", () => {
  it("is answered by plain JSON with the key of the session", async () => {
    const at = await face();
    const answer = await ask(at, {
      headers: { "user-agent": "tester/1" },
      body: INITIALIZE("2025-11-25"),
    });
    expect(answer.status).toBe(200);
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(answer.headers["x-content-type-options"]).toBe("nosniff");
    expect(answer.headers["server"]).toBeUndefined();
    expect(answer.headers["mcp-session-id"]).toMatch(/^[A-Za-z0-9_-]{32}$/);
    expect(bodyOf(answer)).toMatchObject({ id: 0, result: { protocolVersion: "2025-11-25" } });
    expect(at.door.link).toMatchObject({
      transport: "http",
      principal: "local",
      peer: "tester/1",
      canResume: true,
    });
  });

  it("that fails gives no key, and its session is left", async () => {
    const at = await face();
    at.door.onInitialize = ({ stream, request }) => {
      const { idText } = request;
      stream.send('{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"no"}}', {
        kind: "reply",
        idText,
      });
    };
    const answer = await ask(at, { body: INITIALIZE("2025-11-25") });
    expect(answer.headers["mcp-session-id"]).toBeUndefined();
    expect(at.door.causes).toEqual(["its handshake failed"]);
  });

  it("whose client goes away leaves no session behind", async () => {
    const at = await face();
    let turn: Turn | undefined;
    at.door.onInitialize = (t) => {
      turn = t;
      t.link.begun?.();
    };
    const pending = send(at, { body: INITIALIZE("2025-11-25") }).catch(() => undefined);
    await until("the handshake", () => turn);
    cutAll();
    await until("the client being left", () => at.door.causes.length === 1);
    await pending;
    expect(turn?.link.isOpen?.()).toBe(false);
  });

  it("stays plain JSON however long it takes", async () => {
    const world = new VirtualWorld();
    const at = await face({ world });
    let turn: Turn | undefined;
    at.door.onInitialize = (t) => {
      turn = t;
    };
    const pending = ask(at, { body: INITIALIZE("2025-11-25") });
    await until("the handshake", () => turn);
    await world.advance(20_000);
    if (turn !== undefined) at.door.begin(turn);
    expect((await pending).headers["content-type"]).toBe("application/json");
  });
});

describe("an answer to a POST", () => {
  it("is plain JSON where it comes first", async () => {
    const client = await clientOf(await face());
    const answer = await client.ask(rpc(1, "tools/list"));
    expect(answer).toMatchObject({ status: 200, text: '{"jsonrpc":"2.0","id":1,"result":{}}' });
    expect(answer.headers["content-type"]).toBe("application/json");
  });

  it("is 202 without a body where nothing was asked", async () => {
    const at = await face();
    const client = await clientOf(at);
    expect(await client.ask(note("notifications/roots/list_changed"))).toMatchObject({
      status: 202,
      text: "",
    });
    expect(await client.ask('{"jsonrpc":"2.0","id":7,"result":{}}')).toMatchObject({ status: 202 });
    expect(at.door.received.slice(-2)).toMatchObject([{ kind: "notification" }, { kind: "reply" }]);
  });

  it("is a stream that begins with an id as soon as the call is durable", async () => {
    const at = await face();
    const client = await clientOf(at);
    let call: Call | undefined;
    at.door.onRequest = (turn) => {
      call = at.door.accept(turn);
    };
    const events = await (await client.post(rpc(1, "tools/call"))).count(1);
    expect(events.response.headers["content-type"]).toBe("text/event-stream");
    const id = /^id: ([0-9a-z]{10})\.(c_0{25}1)\.(\d+)\nretry: 1500\ndata: \n\n$/.exec(events.text);
    expect(id?.[2]).toBe(call?.id);
    if (call !== undefined) at.door.settle(call, { ok: true });
    await events.end();
    expect(events.messages).toEqual([{ jsonrpc: "2.0", id: 1, result: { ok: true } }]);
    expect(events.lastId).toMatch(/^[0-9a-z]{10}\.done\.\d+$/);
  });

  it("has no event with empty data for a client that is older than that", async () => {
    const at = await face();
    const client = await clientOf(at, "2025-06-18");
    at.door.onRequest = (turn) => {
      at.door.settle(at.door.accept(turn), {});
    };
    const events = await (await client.post(rpc(1, "tools/call"))).end();
    expect(events.text).not.toContain("data: \n");
    expect(events.text).toMatch(/^id: \S+\nretry: 1500\n\nid: \S+\nevent: message\ndata: \{/);
  });

  it("is a stream without ids where a message comes before anything durable", async () => {
    const at = await face();
    const client = await clientOf(at);
    at.door.onRequest = ({ request, stream }) => {
      say(stream, "notifications/progress");
      reply(stream, request.idText, {});
    };
    const events = await (await client.post(rpc(1, "tools/call"))).end();
    expect(events.all.map((event) => event.id)).toEqual([undefined, undefined]);
    expect(events.messages).toMatchObject([{ method: "notifications/progress" }, { id: 1 }]);
  });

  it("is a stream where the client names that first, also if it comes first", async () => {
    const client = await clientOf(await face(), "2025-11-25", {
      accept: "text/event-stream, application/json",
    });
    const events = await (await client.post(rpc(1, "tools/list"))).end();
    expect(events.response.headers["content-type"]).toBe("text/event-stream");
    expect(events.all).toMatchObject([{ id: undefined }]);
    expect(events.messages).toEqual([{ jsonrpc: "2.0", id: 1, result: {} }]);
  });

  it("becomes a stream without ids after a second of nothing", async () => {
    const world = new VirtualWorld();
    const at = await face({ world });
    const client = await clientOf(at);
    let turn: Turn | undefined;
    at.door.onRequest = (t) => {
      turn = t;
    };
    const pending = client.post(rpc(1, "tools/list"));
    await until("the request", () => turn);
    await world.advance(1_000);
    const events = await pending;
    expect(events.response.headers["content-type"]).toBe("text/event-stream");
    if (turn !== undefined) reply(turn.stream, "1", {});
    expect((await events.end()).all).toMatchObject([{ id: undefined }]);
  });

  it("keeps messages with line ends in one event", async () => {
    const at = await face();
    const client = await clientOf(at);
    at.door.onRequest = ({ request, stream }) => {
      say(stream, "a");
      const text = '{\r\n"jsonrpc":"2.0",\n"id":1,"result":{}}';
      stream.send(text, { kind: "reply", idText: request.idText });
    };
    const events = await (await client.post(rpc(1, "x"))).end();
    expect(events.messages[1]).toEqual({ jsonrpc: "2.0", id: 1, result: {} });
  });

  it("ends soon where the client took its request back, with nothing to come back for", async () => {
    const world = new VirtualWorld();
    const at = await face({ world });
    const client = await clientOf(at);
    at.door.onRequest = (turn) => {
      at.door.accept(turn);
    };
    const events = await (await client.post(rpc("a", "tools/call"))).count(1);
    await client.ask(note("notifications/cancelled", { requestId: "a" }));
    await world.advance(1_000);
    await events.end();
    expect(events.lastId).toContain(".done.");
    expect((await client.get(events.lastId)).response.statusCode).toBe(204);
  });

  it("to requests with one id at once goes to the one that asked", async () => {
    const at = await face();
    const client = await clientOf(at);
    const turns: Turn[] = [];
    at.door.onRequest = (turn) => {
      turns.push(turn);
    };
    const answers = ["a", "b"].map((what) => client.ask(rpc(1, what)));
    await until("both", () => turns.length === 2);
    for (const { stream, request } of turns.reverse()) reply(stream, "1", { for: request.method });
    const [a, b] = await Promise.all(answers);
    expect([a?.text, b?.text]).toEqual([
      '{"jsonrpc":"2.0","id":1,"result":{"for":"a"}}',
      '{"jsonrpc":"2.0","id":1,"result":{"for":"b"}}',
    ]);
  });
});

describe("a batch", () => {
  const batch = (...texts: string[]) => `[${texts.join(",")}]`;

  it("is answered by an array where all answers come first", async () => {
    const client = await clientOf(await face(), "2025-03-26");
    const body = batch(rpc(1, "a"), note("n"), rpc(2, "b"), '{"no":"message"}');
    const answer = await client.ask(body);
    expect(JSON.parse(answer.text)).toMatchObject([{ id: 1 }, { id: 2 }, { id: null, error: {} }]);
  });

  it("is a stream whose ids name the calls that are still owed", async () => {
    const at = await face();
    const client = await clientOf(at, "2025-03-26");
    const calls: Call[] = [];
    at.door.onRequest = (turn) => {
      calls.push(at.door.accept(turn));
    };
    const events = await client.post(batch(rpc(1, "a"), rpc(2, "b")));
    await until("both ids", () => events.text.includes("+"));
    for (const call of calls) at.door.settle(call, {});
    await events.end();
    const names = [...events.text.matchAll(/^id: [^.]+\.(.+)\.\d+$/gm)].map((match) => match[1]);
    const [a, b] = calls.map((call) => call.id);
    expect(names).toEqual([a, `${String(a)}+${String(b)}`, b, "done"]);
  });

  it.each([
    ["of a later version", "2025-06-18", batch(rpc(1, "a")), 400],
    ["of nothing", "2025-03-26", "[]", 400],
    ["of 101", "2025-03-26", batch(...Array.from({ length: 101 }, (_, i) => rpc(i, "a"))), 400],
    ["with a handshake", "2025-03-26", batch(INITIALIZE("2025-03-26")), 400],
    ["of notifications", "2025-03-26", batch(note("a")), 202],
  ])("%s", async (_, version, body, status) => {
    const client = await clientOf(await face(), version);
    expect((await client.ask(body)).status).toBe(status);
  });
});

describe("what is refused", () => {
  const REFUSED: readonly [
    string,
    number,
    string | RegExp,
    (c: Client) => Parameters<typeof ask>[1],
  ][] = [
    [
      "another content type",
      415,
      "Content-Type",
      (c) => ({ headers: { ...c.headers, "content-type": "text/plain" }, body: "{}" }),
    ],
    [
      "a compressed body",
      415,
      "Content-Encoding",
      (c) => ({ headers: { ...c.headers, "content-encoding": "gzip" }, body: "{}" }),
    ],
    [
      "a client that takes no events",
      406,
      "Accept",
      (c) => ({ headers: { ...c.headers, accept: "application/json" }, body: "{}" }),
    ],
    [
      "a GET that takes no events",
      406,
      "Accept",
      (c) => ({ method: "GET", headers: { ...c.headers, accept: "application/json" } }),
    ],
    [
      "a body over the limit",
      413,
      "--max-request-bytes",
      (c) => ({ headers: c.headers, body: " ".repeat(70_000) }),
    ],
    [
      "bytes that are no text",
      400,
      "-32700",
      (c) => ({ headers: c.headers, body: Buffer.from([0x22, 0xff, 0x22]) }),
    ],
    ["text that is no JSON", 400, "-32700", (c) => ({ headers: c.headers, body: "{" })],
    [
      "JSON that is no message",
      400,
      /"id":5,.*-32600/,
      (c) => ({ headers: c.headers, body: '{"id":5,"method":"a"}' }),
    ],
    [
      "a version that nobody knows",
      400,
      /"id":1,.*MCP-Protocol-Version/,
      (c) => ({
        headers: { ...c.headers, "mcp-protocol-version": "2026-07-28" },
        body: rpc(1, "ping"),
      }),
    ],
    ["no key", 400, /"id":1,.*Mcp-Session-Id/, () => ({ body: rpc(1, "ping") })],
    ["no key in a GET", 400, "Mcp-Session-Id", () => ({ method: "GET" })],
    [
      "a second handshake",
      400,
      /"id":0,.*initialised/,
      (c) => ({ headers: c.headers, body: INITIALIZE("2025-11-25") }),
    ],
    [
      "a key that opens nothing",
      404,
      /"id":1,.*-32001,"message":"Session not found"/,
      () => ({ headers: { "mcp-session-id": "x".repeat(32) }, body: rpc(1, "ping") }),
    ],
    [
      "a key that is none",
      404,
      "Session not found",
      () => ({ headers: { "mcp-session-id": "../x" }, body: rpc(1, "ping") }),
    ],
    ["PUT", 405, "GET, POST and DELETE", (c) => ({ method: "PUT", headers: c.headers })],
    ["OPTIONS", 405, "GET, POST and DELETE", (c) => ({ method: "OPTIONS", headers: c.headers })],
    [
      "an id that was never given out",
      400,
      "Last-Event-ID",
      (c) => ({ method: "GET", headers: { ...c.headers, "last-event-id": "1" } }),
    ],
    [
      "an upstream that nobody serves",
      404,
      "nothing",
      (c) => ({ path: "/mcp/other", headers: c.headers, body: "{}" }),
    ],
    [
      "WebSocket without an upgrade",
      426,
      "WebSocket",
      (c) => ({ path: "/ws/box", method: "GET", headers: c.headers }),
    ],
  ];

  it.each(REFUSED)("%s gets %i", async (_, status, words, what) => {
    const at = await face();
    const client = await clientOf(at);
    const answer = await ask(at, what(client));
    expect(answer).toMatchObject({ status });
    expect(answer.text).toMatch(words);
    expect(answer.text).not.toContain('"id":null');
    expect(answer.headers["x-content-type-options"]).toBe("nosniff");
    expect(await client.ask(rpc(9, "ping"))).toMatchObject({ status: 200 });
  });

  it("HEAD gets 405 with what is allowed", async () => {
    const at = await face();
    const answer = await ask(at, { method: "HEAD" });
    expect(answer).toMatchObject({ status: 405, text: "" });
    expect(answer.headers.allow).toBe("GET, POST, DELETE");
  });

  it("any Accept that covers both forms passes", async () => {
    const at = await face();
    for (const accept of [ACCEPT, "*/*", "text/*, application/json;q=0.5"]) {
      const answer = await ask(at, { headers: { accept }, body: INITIALIZE("2025-11-25") });
      expect(answer.status).toBe(200);
    }
  });
});

describe("a session", () => {
  it("that was deleted is left once, and gone", async () => {
    const at = await face();
    const client = await clientOf(at);
    const stream = await (await client.get()).count(1);
    expect(await client.ask("", "DELETE")).toMatchObject({ status: 200 });
    expect(at.door.causes).toEqual(["the client ended its session"]);
    await stream.end();
    expect(await client.ask(rpc(1, "ping"))).toMatchObject({ status: 404 });
    expect(await client.ask("", "DELETE")).toMatchObject({ status: 404 });
    expect(at.door.causes).toHaveLength(1);
  });

  it("is gone at once when it is deleted, and is said to be once that is on disk", async () => {
    const at = await face();
    const client = await clientOf(at);
    const onDisk = deferred<undefined>();
    at.door.endGate = onDisk.promise;
    let isAnswered = false;
    const deleting = client.ask("", "DELETE").then((answer) => {
      isAnswered = true;
      return answer;
    });
    await until("the client being left", () => at.door.causes.length === 1);
    expect(await client.ask(rpc(1, "ping"))).toMatchObject({ status: 404 });
    expect(isAnswered).toBe(false);
    onDisk.resolve(undefined);
    expect(await deleting).toMatchObject({ status: 200 });
  });

  it("of another principal looks as if it did not exist", async () => {
    const at = await face({
      gatekeeper: {
        admit: (bearer) => ({ kind: "admitted", principal: bearer ?? "local" }),
        stillAdmits: () => true,
      },
    });
    const alice = await clientOf(at, "2025-11-25", { authorization: "Bearer alice" });
    for (const method of ["POST", "GET", "DELETE"]) {
      const headers = { ...alice.headers, authorization: "Bearer bob" };
      const body = method === "POST" ? { body: rpc(1, "ping") } : {};
      const answer = await ask(at, { method, headers, ...body });
      expect(answer).toMatchObject({ status: 404 });
      expect(answer.text).toContain("Session not found");
    }
    expect(at.door.resumes).toBe(0);
    expect(await alice.ask(rpc(1, "ping"))).toMatchObject({ status: 200 });
  });

  it("NL3: loses its open streams when its principal is not admitted any more, and nobody else does", async () => {
    const revoked = new Set<string>();
    const at = await face({
      gatekeeper: {
        admit: (bearer = "local") =>
          revoked.has(bearer)
            ? { kind: "unknown", reason: "the token was revoked" }
            : { kind: "admitted", principal: bearer },
        stillAdmits: (principal) => !revoked.has(principal),
      },
    });
    const alice = await clientOf(at, "2025-11-25", { authorization: "Bearer alice" });
    const bob = await clientOf(at, "2025-11-25", { authorization: "Bearer bob" });
    const lost = await (await alice.get()).count(1);
    const kept = await (await bob.get()).count(1);
    revoked.add("alice");
    await lost.end();
    at.door.links[1]?.send('{"jsonrpc":"2.0","method":"on"}', { kind: "message" });
    await kept.count(2);
    expect(await alice.ask(rpc(1, "ping"))).toMatchObject({ status: 401 });
  });

  it("NL3: loses a stream also where somebody else asked for more on its connection", async () => {
    const revoked = new Set<string>();
    const at = await face({
      gatekeeper: {
        admit: (bearer = "local") => ({ kind: "admitted", principal: bearer }),
        stillAdmits: (principal) => !revoked.has(principal),
      },
    });
    const alice = await clientOf(at, "2025-11-25", { authorization: "Bearer alice" });
    const raw = new Raw(at).write(
      ...["GET /mcp/box HTTP/1.1", "Host: localhost", "Accept: text/event-stream"],
      ...[`Mcp-Session-Id: ${alice.key}`, "Authorization: Bearer alice", "", ""],
    );
    await raw.says("text/event-stream");
    raw.write("GET /mcp/box HTTP/1.1", "Host: localhost", "Authorization: Bearer bob", "", "");
    await until("the second request", () => raw.socket.bytesWritten > 200);
    expect(await alice.ask(rpc(1, "ping"))).toMatchObject({ status: 200 });
    revoked.add("alice");
    await raw.closed();
  });

  it("is taken up once, however many requests come back with its key", async () => {
    const first = await face();
    const client = await clientOf(first);
    let admitted = 0;
    const gatekeeper = {
      admit: () => {
        admitted++;
        return { kind: "admitted", principal: "local" } as const;
      },
      stillAdmits: () => true,
    };
    const second = await face({ memory: first.door.memory, gatekeeper });
    const gate = deferred<undefined>();
    second.door.gate = gate.promise;
    const moved = client.movedTo(second);
    const asked = [1, 2, 3, 4].map((id) => moved.ask(rpc(id, "ping")));
    await until("all four", () => admitted === 4);
    // By the time that this is answered their bodies have been read.
    for (let i = 0; i < 3; i++) await ask(second, { path: "/mcp/other", body: "{}" });
    gate.resolve(undefined);
    const answers = await Promise.all(asked);
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200]);
    expect(second.door.resumes).toBe(1);
    expect(second.door.links).toHaveLength(1);
  });

  it("that can't be looked up is NOT said to be gone", async () => {
    const first = await face();
    const client = await clientOf(first);
    const second = await face({ memory: first.door.memory });
    const gate = deferred<undefined>();
    second.door.gate = gate.promise;
    gate.promise.catch(() => undefined);
    gate.reject(new Error("the disk is gone"));
    const answer = await client.movedTo(second).ask(rpc(1, "ping"));
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.headers["retry-after"]).toBe("1");
    expect(second.logs).toContain("a session could not be looked up");
  });

  it("that the engine ends is closed, and asks at the door again", async () => {
    const at = await face();
    const client = await clientOf(at);
    const stream = await (await client.get()).count(1);
    expect(at.door.link.isOpen?.()).toBe(true);
    at.door.link.ended?.("idle");
    await stream.end();
    expect(at.door.link.isOpen?.()).toBe(false);
    expect(await client.ask(rpc(1, "ping"))).toMatchObject({ status: 200 });
    expect(at.door.resumes).toBe(1);
  });
});

describe("the listener", () => {
  it("says its address, and refuses a port that is taken in words", async () => {
    const at = await face();
    expect(at.url).toBe(`http://127.0.0.1:${String(at.port)}`);
    const error: unknown = await face({ port: at.port }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toContain(`127.0.0.1:${String(at.port)} is taken by another program`);
  });

  it("hands SSE and WebSocket to their routes, after the same checks", async () => {
    const at = await face();
    expect(await ask(at, { method: "GET", path: "/sse/box?client=a" })).toMatchObject({
      text: "other",
    });
    expect(await ask(at, { path: "/sse/box/message?sessionId=k", body: "{}" })).toMatchObject({
      text: "other",
    });
    expect(at.visits.map((visit) => visit.url.pathname + visit.url.search)).toEqual([
      "/sse/box?client=a",
      "/sse/box/message?sessionId=k",
    ]);
    expect(at.visits[0]).toMatchObject({ upstream: "box", principal: "local", door: at.door });
  });

  it("refuses what the guard refuses, with the challenge", async () => {
    const at = await face({
      gatekeeper: {
        stillAdmits: () => true,
        admit: (bearer, upstream) =>
          bearer === undefined
            ? { kind: "unknown", reason: "a token is asked for" }
            : { kind: "forbidden", reason: `not for ${upstream}` },
      },
    });
    const body = INITIALIZE("2025-11-25");
    const without = await ask(at, { body });
    expect(without).toMatchObject({ status: 401 });
    expect(without.headers["www-authenticate"]).toBe('Bearer realm="holdfast"');
    expect(await ask(at, { body, headers: { authorization: "Bearer x" } })).toMatchObject({
      status: 403,
    });
    expect(await ask(at, { body, headers: { host: "evil.example.com" } })).toMatchObject({
      status: 403,
    });
    expect(await ask(at, { body, headers: { origin: "http://evil.example.com" } })).toMatchObject({
      status: 403,
    });
    expect(at.door.links).toEqual([]);
  });
});

describe("when it stops", () => {
  const serveSlowly = (at: Face): Call[] => {
    const calls: Call[] = [];
    at.door.onRequest = (turn) => {
      calls.push(at.door.accept(turn));
    };
    return calls;
  };

  it("open answers still come, and what listens is ended at once", async () => {
    const at = await face();
    const client = await clientOf(at);
    const calls = serveSlowly(at);
    const standalone = await (await client.get()).count(1);
    const events = await (await client.post(rpc(1, "tools/call"))).count(1);
    const stopped = at.listener.stop(20_000);
    await standalone.end();
    for (const call of calls) expect(at.door.settle(call, {})).toBe(true);
    await events.end();
    expect(events.messages).toMatchObject([{ id: 1 }]);
    await stopped;
  });

  it("what is not answered in time is ended so that the client comes back for it", async () => {
    const at = await face();
    const client = await clientOf(at);
    const calls = serveSlowly(at);
    const events = await (await client.post(rpc(1, "tools/call"))).count(1);
    await at.listener.stop(0);
    await events.end();
    expect(events.messages).toEqual([]);
    expect(events.lastId).toContain(calls[0]?.id);
    expect(calls.map((call) => at.door.settle(call, {}))).toEqual([false]);
  });

  it("a request that can't be come back for is told so", async () => {
    const at = await face();
    const client = await clientOf(at);
    let isAsked = false;
    at.door.onRequest = () => {
      isAsked = true;
    };
    const pending = client.ask(rpc(1, "tools/list"));
    await until("the request", () => isAsked);
    await at.listener.stop(0);
    const answer = await pending;
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.headers["retry-after"]).toBe("1");
    expect(bodyOf(answer)).toMatchObject({ id: 1, error: { code: -32000 } });
  });

  it("new requests on open connections are refused", async () => {
    const at = await face();
    const client = await clientOf(at);
    serveSlowly(at);
    const events = await (await client.post(rpc(1, "tools/call"))).count(1);
    const one = ["GET /mcp/box HTTP/1.1", "Host: localhost"];
    // The answer to the first tells that the half of the second has come, too.
    const half = new Raw(at).write(...one, "", ...one);
    await half.says("406 Not Acceptable");
    const stopped = at.listener.stop(20_000);
    half.write("", "", "");
    await half.says("503 Service Unavailable");
    expect(half.text).toContain("Retry-After: 1");
    events.cut();
    await stopped;
  });
});

describe("keeping alive", () => {
  it("a comment goes out on every open stream every 15 s", async () => {
    const world = new VirtualWorld();
    const at = await face({ world });
    const client = await clientOf(at);
    at.door.onRequest = (turn) => {
      at.door.accept(turn);
    };
    const standalone = await (await client.get()).count(1);
    const events = await (await client.post(rpc(1, "tools/call"))).count(1);
    await world.advance(15_000);
    await until("both comments", () =>
      [standalone, events].every((stream) => stream.text.includes(": keep-alive\n\n")),
    );
  });
});

describe("a client whose calls are on their way to disk", () => {
  it("is not read from until they are there", async () => {
    const at = await face();
    const client = await clientOf(at);
    const asked: string[] = [];
    at.door.onRequest = ({ request, stream }) => {
      asked.push(request.idText);
      reply(stream, request.idText, {});
    };
    const { link } = at.door;
    link.hold?.(true);
    const first = client.ask(rpc(1, "tools/call"));
    const other = await clientOf(at);
    expect(await other.ask(rpc(2, "tools/call"))).toMatchObject({ status: 200 });
    expect(asked).toEqual(["2"]);
    link.hold?.(false);
    expect(await first).toMatchObject({ status: 200 });
    expect(asked).toEqual(["2", "1"]);
  });
});

describe("a client that does not read", () => {
  it("may not ask for more than a bounded number of answers at once", async () => {
    const at = await face({ connectionsMax: 2_000, world: realWorld() });
    const client = await clientOf(at);
    let count = 0;
    at.door.onRequest = () => {
      count++;
    };
    const events: Promise<Events>[] = [];
    for (let i = 0; i < 1_000; i++) events.push(client.post(rpc(i, "tools/list")));
    await until("a thousand requests", () => count === 1_000);
    const answer = await client.ask(rpc("more", "tools/list"));
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.text).toContain("1000 answers of this session are open");
    expect(await client.ask(note("n"))).toMatchObject({ status: 202 });
    for (const one of await Promise.all(events)) one.cut();
  });

  it("is known by what it has not read, and then may not ask for more", async () => {
    const at = await face();
    const client = await clientOf(at);
    let stream: Turn["stream"] | undefined;
    at.door.onRequest = (turn) => {
      at.door.accept(turn);
      ({ stream } = turn);
    };
    const response = await send(at, { headers: client.headers, body: rpc(1, "tools/call") });
    const events = await new Events(response).count(1);
    response.pause();
    const text = "x".repeat(1_048_576);
    while (stream !== undefined && stream.bufferedBytes() < 33 * 1_048_576) say(stream, text);
    expect(at.door.link.bufferedBytes()).toBeGreaterThan(32 * 1_048_576);
    const answer = await client.ask(rpc(2, "tools/call"));
    expect(answer).toMatchObject({ status: 503 });
    expect(answer.text).toContain("unread");
    // It may come back to read it, though: then the connection that it does not read is given up.
    await (await client.get(events.lastId)).count(2);
    await until("the room", () => at.door.link.bufferedBytes() < 32 * 1_048_576);
    at.door.onRequest = ({ request, stream: to }) => {
      reply(to, request.idText, {});
    };
    expect(await client.ask(rpc(3, "tools/list"))).toMatchObject({ status: 200 });
  });
});
