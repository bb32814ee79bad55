import { connect, type Socket } from "node:net";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { deferred } from "../../src/base/async.ts";
import { JournalError } from "../../src/base/errors.ts";
import { HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { sseRoute } from "../../src/downstream/sse.ts";
import type { Route } from "../../src/downstream/http/route.ts";
import { SseFramer } from "../../src/wire/sse.ts";
import {
  front,
  HandWorld,
  initialize,
  request,
  ScriptedDoor,
  type Front,
} from "../support/door-rig.ts";
import { eventually, until } from "../support/processes.ts";

const REQUEST_MAX_BYTES = 256 * 1024;
const KEEP_ALIVE_MS = 15_000;

let world: HandWorld;
let door: ScriptedDoor;
let route: Route;
let face: Front;
const streams: Stream[] = [];
const clients: Client[] = [];

async function serve(linksMax = 100): Promise<void> {
  world = new HandWorld();
  door = new ScriptedDoor();
  const bodies = {
    world,
    bytesMax: REQUEST_MAX_BYTES,
    room: new HalfReadRoom(world, 2 * REQUEST_MAX_BYTES),
  };
  route = sseRoute({ world, log: () => {}, bodies, linksMax });
  face = await front(door, route);
}

beforeEach(() => serve());
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  for (const stream of streams.splice(0)) stream.cut();
  await face.close();
});

type Headers = Record<string, string>;

/** A scripted client's stream, which reads until it is told not to. */
class Stream {
  readonly response: IncomingMessage;
  /** Sent with each of its messages. */
  readonly headers: Headers;
  readonly events: { event: string; data: string }[] = [];
  text = "";
  hasEnded = false;

  constructor(response: IncomingMessage, headers: Headers) {
    this.response = response;
    this.headers = headers;
    const framer = new SseFramer(64 * 1024 * 1024);
    response.on("data", (chunk: Buffer) => {
      this.text += chunk.toString();
      for (const frame of framer.push(chunk)) if (frame.kind === "event") this.events.push(frame);
    });
    response.on("end", () => (this.hasEnded = true));
    response.on("error", () => {});
  }

  get endpoint(): string {
    const [first] = this.events;
    if (first?.event !== "endpoint") throw new Error(`the stream began with ${this.text}`);
    return first.data;
  }
  get key(): string {
    return new URL(this.endpoint, "http://front").searchParams.get("sessionId") ?? "";
  }
  get messages(): { id?: number; result?: unknown; error?: { code: number; message: string } }[] {
    return this.events.filter((e) => e.event === "message").map((e) => JSON.parse(e.data));
  }
  cut(): void {
    this.response.destroy();
  }
  reply(id: number) {
    return eventually(`the reply to ${String(id)}`, () => this.messages.find((m) => m.id === id));
  }
}

function get(path: string, headers: Headers = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(`http://${face.host}${path}`, { headers, agent: false }, resolve);
    sent.on("error", reject).end();
  });
}

async function open(path = "/sse/files", headers: Headers = {}): Promise<Stream> {
  const response = await get(path, { "user-agent": "tester", ...headers });
  expect(response.statusCode).toBe(200);
  const stream = new Stream(response, headers);
  streams.push(stream);
  await until("the endpoint", () => stream.events.length > 0);
  return stream;
}

async function post(path: string, body: string, headers: Headers = {}): Promise<Response> {
  const type = { "content-type": "application/json", "user-agent": "tester" };
  return fetch(`http://${face.host}${path}`, {
    method: "POST",
    body,
    headers: { ...type, ...headers },
  });
}

async function say(stream: Stream, body: string): Promise<void> {
  const response = await post(stream.endpoint, body, stream.headers);
  expect([response.status, await response.text()]).toEqual([202, "Accepted"]);
}

/** A stream with a session. */
async function begin(path?: string, headers?: Headers): Promise<Stream> {
  const stream = await open(path, headers);
  await say(stream, initialize());
  await stream.reply(0);
  return stream;
}

async function sdkClient(path = "/sse/files"): Promise<Client> {
  const client = new Client({ name: "sdk", version: "1" });
  clients.push(client);
  await client.connect(new SSEClientTransport(new URL(`http://${face.host}${path}`)));
  return client;
}

const NOTE = '{"jsonrpc":"2.0","method":"notifications/x"}';
const call = (id: number, name: string) => request(id, "tools/call", { name });

describe("a stream", () => {
  it("begins with the endpoint, under a key that nobody can guess", async () => {
    const [one, other] = [await open(), await open()];
    expect(one.response.headers["content-type"]).toBe("text/event-stream");
    expect(one.endpoint).toMatch(/^\/sse\/files\/message\?sessionId=[\w-]{32}$/);
    expect(other.key).not.toBe(one.key);
    expect(door.handlers).toEqual([]);
  });

  it("carries each message in one event, and gets a comment every 15 s", async () => {
    const stream = await begin();
    door.last.say('{\n"jsonrpc": "2.0",\r\n"method": "notifications/☃"}');
    await world.fire(KEEP_ALIVE_MS);
    await world.fire(KEEP_ALIVE_MS);
    await until("two comments", () => stream.text.split(": keep-alive\n\n").length === 3);
    expect(stream.messages.at(-1)).toEqual({ jsonrpc: "2.0", method: "notifications/☃" });
  });

  it("that is lost before its handshake ends what was begun, and its key opens nothing", async () => {
    const stream = await open();
    stream.cut();
    while ((await post(stream.endpoint, NOTE)).status !== 404);
    expect(door.handlers).toEqual([]);
  });

  it("that is lost leaves the session behind, which is told and can send nothing", async () => {
    const stream = await begin();
    stream.cut();
    await until("the loss is told", () => door.last.isDetached);
    expect(door.last.link.send(NOTE, { kind: "message" })).toBe(false);
    expect(door.last.link.bufferedBytes()).toBe(0);
    expect(door.last.told).toEqual(["detached: its stream was closed"]);
  });

  it("ends when the engine ends the session, and its key opens nothing any more", async () => {
    const stream = await begin();
    door.last.hasBegun = false;
    door.last.link.ended?.("it was idle for too long");
    await until("the end", () => stream.hasEnded);
    expect((await get(`/sse/files?sessionId=${stream.key}`)).statusCode).toBe(404);
    expect((await post(stream.endpoint, NOTE)).status).toBe(404);
    expect(door.last.told).toEqual([]);
  });
});

describe("the official client", () => {
  it("initialises and calls", async () => {
    const client = await sdkClient();
    const result = await client.callTool({ name: "echo" });
    expect(result.content).toEqual([{ type: "text", text: "echo" }]);
    expect(door.last.link).toMatchObject({ transport: "sse", canResume: true, principal: "local" });
  });

  it("that opened a new stream by itself has its session back with its next message, and what it was owed", async () => {
    const client = await sdkClient();
    door.last.isSilent = true;
    const late = client.callTool({ name: "late" });
    await until("the call came", () => door.last.heard.includes("tools/call"));
    const first = door.last.link;
    face.server.closeAllConnections();
    await until("the loss is told", () => door.last.isDetached);
    const pending = door.last.received.find((m) => m.kind === "request" && m.idText === "1");
    if (pending?.kind === "request") door.last.answer(pending);
    expect(door.last.owed).toHaveLength(1);
    // The client says nothing of its new stream; a message over the old key is not lost either.
    await until("a message over the new stream", () => {
      if (door.adopting.length === 0) void client.ping().catch(() => {});
      return door.adopting.length > 0;
    });
    expect((await late).content).toEqual([{ type: "text", text: "late" }]);
    expect(door.handlers).toHaveLength(1);
    expect(door.last.link).not.toBe(first);
    expect(door.last.heard.filter((method) => method === "initialize")).toHaveLength(1);
    door.last.isSilent = false;
    expect((await client.callTool({ name: "next" })).content).toMatchObject([{ text: "next" }]);
  });
});

describe("a stream of a client that has initialised, and says nothing", () => {
  const NAMING = { "mcp-protocol-version": "2025-11-25" };
  const SILENCE_MS = 250;

  it("has its session back, and what it was owed", async () => {
    const before = await begin();
    before.cut();
    await until("the loss is told", () => door.last.isDetached);
    door.last.say('{"jsonrpc":"2.0","id":7,"result":{}}');
    expect(door.last.owed).toHaveLength(1);
    const stream = await open("/sse/files", NAMING);
    await world.fire(SILENCE_MS);
    await stream.reply(7);
    expect(door.last.told.slice(1)).toEqual(["moved", "attached"]);
    await say(stream, call(8, "next"));
    await stream.reply(8);
    expect(door.adopting).toHaveLength(1);
  });

  it("is NOT given one if it begins a session after all", async () => {
    (await begin()).cut();
    await until("the loss is told", () => door.last.isDetached);
    const stream = await open("/sse/files", NAMING);
    await say(stream, initialize());
    await stream.reply(0);
    expect(door.handlers).toHaveLength(2);
    expect(door.adopting).toEqual([]);
    await expect(world.fire(SILENCE_MS)).rejects.toThrow("no timer");
  });

  it("that is no longer there is NOT given one", async () => {
    (await begin()).cut();
    await until("the loss is told", () => door.last.isDetached);
    const closed = new Promise<void>((resolve) => {
      face.server.once("request", (_request, response) => response.on("close", resolve));
    });
    const stream = await open("/sse/files", NAMING);
    stream.cut();
    await closed;
    await world.fire(SILENCE_MS);
    expect(door.adopting).toEqual([]);
  });

  it("is still told that there is none when it speaks, and may begin", async () => {
    const stream = await open("/sse/files", NAMING);
    await world.fire(SILENCE_MS);
    await until("the door was asked", () => door.adopting.length === 1);
    await say(stream, call(1, "x"));
    expect((await stream.reply(1)).error?.message).toContain("Not executed");
    await say(stream, initialize(2));
    await stream.reply(2);
  });
});

describe("a stream whose first message is no initialize", () => {
  it("keeps the order of what comes while the door is asked, once", async () => {
    const before = await begin();
    before.cut();
    await until("the loss is told", () => door.last.isDetached);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const stream = await open();
    for (const id of [1, 2, 3]) await say(stream, call(id, `tool${String(id)}`));
    await say(stream, initialize(4));
    expect(door.last.heard).toEqual(["initialize"]);
    gate.resolve(undefined);
    await stream.reply(4);
    expect(stream.messages.map((m) => m.id)).toEqual([1, 2, 3, 4]);
    expect(door.adopting).toHaveLength(1);
    expect(door.last.told.slice(1)).toEqual(["moved", "attached"]);
  });

  it("and that no single session waits for is told so, with the cure, and may still initialise", async () => {
    for (const stream of [await begin(), await begin()]) stream.cut();
    await until("both losses are told", () => door.handlers.every((h) => h.isDetached));
    const stream = await open();
    await say(stream, NOTE);
    await say(stream, `[${call(1, "a")},${NOTE},${call(2, "b")}]`);
    await say(stream, call(3, "c"));
    const replies = [await stream.reply(1), await stream.reply(2), await stream.reply(3)];
    for (const { error } of replies) {
      expect(error?.code).toBe(-32600);
      expect(error?.message).toMatch(/^Not executed: .*initialize.*\?client=NAME/);
    }
    await say(stream, initialize(4));
    expect((await stream.reply(4)).result).toBeDefined();
    expect(door.handlers).toHaveLength(3);
    expect(stream.messages).toHaveLength(4);
  });

  it("begins its session with an initialize that came while the door was asked in vain", async () => {
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const stream = await open();
    await say(stream, call(1, "a"));
    await say(stream, initialize(2));
    await say(stream, call(3, "c"));
    gate.resolve(undefined);
    await stream.reply(3);
    expect(stream.messages.map((m) => [m.id, m.error?.code])).toEqual([
      [1, -32600],
      [2, undefined],
      [3, undefined],
    ]);
    expect(door.last.heard).toEqual(["initialize", "tools/call"]);
  });

  it("but a probe of a client of both eras has no session to come back to", async () => {
    const stream = await open();
    await say(stream, request(1, "server/discover"));
    await stream.reply(1);
    expect(door.adopting).toEqual([]);
    expect(door.last.heard).toEqual(["server/discover"]);
  });

  it("and that is lost while the door is asked leaves what it said with its session", async () => {
    const before = await begin();
    before.cut();
    await until("the loss is told", () => door.last.isDetached);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const stream = await open();
    await say(stream, call(1, "a"));
    stream.cut();
    const { adopting } = door;
    await until("its loss is seen", () => adopting[0]?.send(NOTE, { kind: "message" }) === false);
    gate.resolve(undefined);
    await until("the session has it", () => door.last.heard.length === 2);
    await until("and no connection", () => door.last.isDetached && door.last.owed.length === 1);
  });

  it("holds only so much while the door is asked", async () => {
    const before = await begin();
    before.cut();
    await until("the loss is told", () => door.last.isDetached);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const stream = await open();
    const large = request(1, "tools/call", { name: "x".repeat(REQUEST_MAX_BYTES - 200) });
    const statuses: number[] = [];
    for (let sent = 0; sent < 9 * 1024 * 1024 && !statuses.includes(503); sent += large.length) {
      const response = await post(stream.endpoint, large);
      statuses.push(response.status);
      await response.text();
    }
    expect(new Set(statuses)).toEqual(new Set([202, 503]));
    gate.resolve(undefined);
    await until("all of it came", () => door.last.heard.length === statuses.length);
  });

  it("and cannot be looked up is told that, and nothing breaks", async () => {
    const gate = deferred<undefined>();
    gate.promise.catch(() => {});
    gate.reject(new JournalError("io", "disk on fire"));
    door.gate = gate.promise;
    const stream = await open();
    await say(stream, call(1, "a"));
    expect((await stream.reply(1)).error?.message).toMatch(/could not be looked up/);
    expect((await get("/sse/files?sessionId=abc")).statusCode).toBe(503);
    expect((await post("/sse/files/message?sessionId=abc", NOTE)).status).toBe(503);
  });
});

describe("a client with a name of its own", () => {
  it("is told apart by it, and the name goes with its key", async () => {
    const stream = await begin("/sse/files?client=my+desk");
    expect(stream.endpoint).toMatch(/&client=my\+desk$/);
    expect(door.last.link.peer).toBe("my desk");
    await begin();
    expect(door.last.link.peer).toBe("tester");
  });

  it("has its session back also while its old stream still looks open", async () => {
    const before = await begin("/sse/files?client=desk");
    const stream = await open("/sse/files?client=desk");
    await say(stream, call(1, "a"));
    expect((await stream.reply(1)).result).toBeDefined();
    await until("the old stream ended", () => before.hasEnded);
  });

  it("that it shares with another takes nothing from that one", async () => {
    const others = [
      await begin("/sse/files?client=desk"),
      await begin("/sse/files?client=desk"),
      await begin("/sse/files?client=lamp"),
      await begin("/sse/other?client=desk"),
      await begin("/sse/files?client=desk", { "x-principal": "else" }),
    ];
    const stream = await open("/sse/files?client=desk");
    await say(stream, call(1, "a"));
    expect((await stream.reply(1)).error?.code).toBe(-32600);
    expect(others.some((other) => other.hasEnded)).toBe(false);
  });
});

describe("a client with the name of another", () => {
  it.each([
    ["upstream", "/sse/other?client=desk", {}],
    ["principal", "/sse/files?client=desk", { "x-principal": "else" }],
  ])("%s's client takes nothing from that one", async (_, path, headers: Headers) => {
    const other = await begin(path, headers);
    const stream = await open("/sse/files?client=desk");
    await say(stream, call(1, "a"));
    expect((await stream.reply(1)).error?.code).toBe(-32600);
    expect([other.hasEnded, door.handlers[0]?.told]).toEqual([false, []]);
  });
});

describe("a client that names its old key", () => {
  it("gets its session over the new stream, and the old stream ends", async () => {
    const before = await begin();
    const { link } = door.last;
    const stream = await open(`/sse/files?sessionId=${before.key}`);
    expect(stream.key).toBe(before.key);
    await until("the old stream ended", () => before.hasEnded);
    expect(door.last.told).toEqual(["detached: another connection of it took over", "attached"]);
    await say(stream, call(1, "a"));
    await stream.reply(1);
    expect(door.last.link).toBe(link);
    expect(door.resumed).toEqual([]);
  });

  it("gets what it missed, and may call while it has no stream", async () => {
    const before = await begin();
    before.cut();
    await until("the loss is told", () => door.last.isDetached);
    await say(before, call(1, "a"));
    const stream = await open(`/sse/files?sessionId=${before.key}`);
    await stream.reply(1);
    expect(door.last.told.at(-1)).toBe("attached");
  });

  it("is looked up at the door once when this process does not have it", async () => {
    const before = await begin();
    const other = new ScriptedDoor();
    await face.close();
    other.handlers.push(door.last);
    await serve();
    door.handlers.push(...other.handlers);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const posts = [1, 2, 3].map((id) => post(before.endpoint, call(id, "a")));
    const opened = open(`/sse/files?sessionId=${before.key}`);
    await until("the door is asked", () => door.resumed.length > 0);
    gate.resolve(undefined);
    for (const response of await Promise.all(posts)) expect(response.status).toBe(202);
    const stream = await opened;
    for (const id of [1, 2, 3]) await stream.reply(id);
    expect(door.resumed).toEqual([before.key]);
  });

  it("that is unknown, another principal's or another upstream's gets 404, and the door is not asked for those", async () => {
    const { key } = await begin();
    const others: [string, Headers][] = [
      [`/sse/files?sessionId=${key}`, { "x-principal": "else" }],
      [`/sse/other?sessionId=${key}`, {}],
      [`/sse/files?sessionId=${"k".repeat(129)}`, {}],
    ];
    for (const [path, headers] of others) {
      expect((await get(path, headers)).statusCode).toBe(404);
      const response = await post(path.replace("?", "/message?"), call(1, "a"), headers);
      expect(response.status).toBe(404);
    }
    expect(door.resumed).toEqual([]);
    expect((await get("/sse/files?sessionId=nobodys")).statusCode).toBe(404);
    expect(door.resumed).toEqual(["nobodys"]);
    expect(door.last.heard).toEqual(["initialize"]);
    expect(door.last.told).toEqual([]);
  });
});

describe("what is no message", () => {
  it.each([
    ["no key", "", NOTE, {}, 400, /sessionId/],
    ["no JSON", "KEY", "{", {}, 400, /not valid JSON/],
    ["no message", "KEY", '{"jsonrpc":"1.0","id":1}', {}, 400, /jsonrpc/],
    ["another type", "KEY", NOTE, { "content-type": "text/plain" }, 415, /application\/json/],
    ["an encoding", "KEY", NOTE, { "content-encoding": "gzip" }, 415, /Content-Encoding/],
    ["too much", "KEY", "x".repeat(REQUEST_MAX_BYTES + 1), {}, 413, /--max-request-bytes/],
  ])("(%s) is refused and goes nowhere", async (_, key, body, headers, status, words) => {
    const stream = await begin();
    const path = key === "" ? "/sse/files/message" : stream.endpoint;
    const response = await post(path, body, headers as Headers);
    expect(response.status).toBe(status);
    expect(await response.text()).toMatch(words);
    expect(door.last.heard).toEqual(["initialize"]);
  });

  it("in invalid UTF-8 is refused", async () => {
    const stream = await begin();
    const response = await fetch(`http://${face.host}${stream.endpoint}`, {
      method: "POST",
      headers: { "content-type": "application/json; charset=utf-8" },
      body: Buffer.from('{"jsonrpc":"2.0","method":"\xff"}', "latin1"),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { code: -32700 } });
    expect(door.last.heard).toEqual(["initialize"]);
  });

  it("of unknown size is cut at the bound, however much more is sent", async () => {
    const stream = await begin();
    const socket = raw(
      `POST ${stream.endpoint} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    const chunk = `40000\r\n${" ".repeat(0x40000)}\r\n`;
    socket.write(chunk + chunk);
    const answer = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 413 /);
    const closed = allOf(socket);
    await world.fire(2_000);
    await closed;
  });

  it("comes with another method is refused by name of the right one", async () => {
    const stream = await open();
    const wrong = await post("/sse/files", NOTE);
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET"]);
    const other = await get(stream.endpoint);
    expect([other.statusCode, other.headers.allow]).toEqual([405, "POST"]);
  });

  it("ends in the middle disturbs nobody", async () => {
    const stream = await begin();
    const socket = raw(
      `POST ${stream.endpoint} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`,
    );
    const closed = allOf(socket);
    socket.end();
    await closed;
    await say(stream, call(1, "a"));
    await stream.reply(1);
    expect(door.last.heard).toEqual(["initialize", "tools/call"]);
  });
});

function raw(text: string): Socket {
  const [host, port] = face.host.split(":");
  const socket = connect(Number(port), host);
  socket.on("error", () => {});
  socket.write(text);
  return socket;
}

function allOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.on("close", () => {
      resolve(text);
    });
  });
}

describe("bounds", () => {
  it("refuse a client too many, but not for one that has no stream", async () => {
    await face.close();
    await serve(1);
    const first = await begin();
    const refused = await get("/sse/files");
    expect([refused.statusCode, refused.headers["retry-after"]]).toEqual([503, "1"]);
    expect((await get("/sse/files?sessionId=other")).statusCode).toBe(503);
    first.cut();
    await until("the loss is told", () => door.last.isDetached);
    const second = await begin();
    expect(door.handlers).toHaveLength(2);
    second.cut();
    await until("the loss is told", () => door.last.isDetached);
    // The first is known to the door alone; nothing of it is lost.
    const returned = await open(`/sse/files?sessionId=${first.key}`);
    await say(returned, call(1, "a"));
    await returned.reply(1);
    expect(door.resumed).toEqual([first.key]);
  });

  it("let go first of the client that lost its stream first", async () => {
    await face.close();
    await serve(2);
    const [first, second] = [await begin(), await begin()];
    for (const [stream, index] of [
      [second, 1],
      [first, 0],
    ] as const) {
      stream.cut();
      await until("the loss is told", () => door.handlers[index]?.isDetached === true);
    }
    await begin();
    await open(`/sse/files?sessionId=${first.key}`);
    expect(door.resumed).toEqual([]);
    expect((await get(`/sse/files?sessionId=${second.key}`)).statusCode).toBe(503);
  });

  it("take no messages from a client that does not read its stream", async () => {
    const stream = await begin();
    stream.response.pause();
    const text = JSON.stringify({ jsonrpc: "2.0", method: "x".repeat(1024 * 1024) });
    while (door.last.link.bufferedBytes() < 9 * 1024 * 1024) door.last.say(text);
    const refused = await post(stream.endpoint, call(1, "a"));
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({
      id: 1,
      error: { message: expect.stringMatching(/^Not executed: .*has not read/) },
    });
    stream.response.resume();
    await until("it has read", () => door.last.link.bufferedBytes() === 0);
    await say(stream, call(2, "b"));
    await stream.reply(2);
  });
});

describe("a stop", () => {
  it("ends the streams, keeps the sessions and takes nothing more", async () => {
    const stream = await begin();
    const waiting = await open();
    await route.stop(1_000);
    await until("both ended", () => stream.hasEnded && waiting.hasEnded);
    expect(door.last.told).toEqual(["detached: the proxy is stopping"]);
    expect((await get("/sse/files")).statusCode).toBe(503);
    expect((await post(stream.endpoint, NOTE)).status).toBe(503);
  });

  it("cuts a stream that is not read when its time is over", async () => {
    const stream = await begin();
    stream.response.pause();
    const text = JSON.stringify({ jsonrpc: "2.0", method: "x".repeat(1024 * 1024) });
    while (door.last.link.bufferedBytes() < 1024 * 1024) door.last.say(text);
    const stopped = route.stop(1_234);
    await world.fire(1_234);
    await stopped;
    expect(door.last.told).toEqual(["detached: the proxy is stopping"]);
  });
});
