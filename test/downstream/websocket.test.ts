import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { IncomingMessage } from "node:http";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WebSocket, type ClientOptions } from "ws";
import { must } from "../../src/base/assert.ts";
import { deferred } from "../../src/base/async.ts";
import { JournalError } from "../../src/base/errors.ts";
import type { UpgradeRoute } from "../../src/downstream/http/route.ts";
import { HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { webSocketRoute } from "../../src/downstream/websocket.ts";
import { reasonOf } from "../../src/downstream/websocket/socket.ts";
import {
  front,
  HandWorld,
  initialize,
  request,
  ScriptedDoor,
  type Front,
} from "../support/door-rig.ts";
import { eventually, until } from "../support/processes.ts";

const REQUEST_MAX_BYTES = 4096;
const PING_MS = 15_000;
const STOP_STEP_MS = 20;
const TURN_MS = 5_000;
const CLOSE_MS = 5_000;

let world: HandWorld;
let door: ScriptedDoor;
let route: UpgradeRoute;
let room: HalfReadRoom;
let face: Front;
const sockets: WebSocket[] = [];

async function serve(linksMax = 100, requestMaxBytes = REQUEST_MAX_BYTES): Promise<void> {
  world = new HandWorld();
  door = new ScriptedDoor();
  room = new HalfReadRoom(world, 2 * requestMaxBytes);
  route = webSocketRoute({
    world,
    log: () => {},
    requestMaxBytes,
    linksMax,
    room,
  });
  face = await front(door, route);
}

beforeEach(() => serve());
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const socket of sockets.splice(0)) socket.terminate();
  await face.close();
});

interface Peer {
  readonly socket: WebSocket;
  readonly head: IncomingMessage;
  readonly key: string;
  readonly messages: { id?: number; result?: unknown; error?: { message: string } }[];
  /** Undefined while it is open. */
  closed: { code: number; reason: string } | undefined;
}

function dial(path: string, protocols: string[], options: ClientOptions): WebSocket {
  const socket = new WebSocket(`ws://${face.host}${path}`, protocols, options);
  sockets.push(socket);
  return socket;
}

async function open(
  path = "/ws/files",
  options: ClientOptions = {},
  protocols = ["mcp"],
): Promise<Peer> {
  const socket = dial(path, protocols, options);
  const peer: Omit<Peer, "head" | "key"> = { socket, messages: [], closed: undefined };
  socket.on("message", (data: Buffer) => peer.messages.push(JSON.parse(data.toString())));
  socket.on("close", (code, reason) => (peer.closed = { code, reason: reason.toString() }));
  socket.on("error", () => {});
  const head = await new Promise<IncomingMessage>((resolve, reject) => {
    socket.once("upgrade", (response) => {
      socket.once("open", () => {
        resolve(response);
      });
    });
    socket.once("error", reject);
  });
  return Object.assign(peer, { head, key: String(head.headers["mcp-session-id"]) });
}

/** The answer to an upgrade that is refused. */
function refusal(
  path = "/ws/files",
  options: ClientOptions = {},
  protocols = ["mcp"],
): Promise<{ status: number | undefined; text: string; retryAfter: string | undefined }> {
  const socket = dial(path, protocols, options);
  socket.on("error", () => {});
  return new Promise((resolve, reject) => {
    socket.on("open", () => {
      reject(new Error("the upgrade was not refused"));
    });
    socket.on("unexpected-response", (_, response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => {
        const retryAfter = response.headers["retry-after"];
        resolve({ status: response.statusCode, text, retryAfter });
      });
    });
  });
}

const reply = (peer: Peer, id: number) =>
  eventually(`the reply to ${String(id)}`, () => peer.messages.find((m) => m.id === id));
const closeOf = (peer: Peer) => eventually("its close", () => peer.closed);

/** A connection with a session. */
async function begin(path?: string, options?: ClientOptions): Promise<Peer> {
  const peer = await open(path, options);
  peer.socket.send(initialize());
  await reply(peer, 0);
  return peer;
}

const NOTE = '{"jsonrpc":"2.0","method":"notifications/x"}';
const call = (id: number, name: string) => request(id, "tools/call", { name });

/** An upgraded connection without a library: what it sends is up to the test. */
async function rawPeer(allowHalfOpen = false): Promise<Socket> {
  const [host, port] = face.host.split(":");
  const socket = connect({ port: Number(port), host, allowHalfOpen });
  socket.on("error", () => {});
  socket.write(upgradeHead(randomBytes(16).toString("base64")));
  await new Promise((resolve) => socket.once("data", resolve));
  return socket;
}

function upgradeHead(key: string | undefined): string {
  const head = [
    "GET /ws/files HTTP/1.1",
    "Host: x",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    ...(key === undefined ? [] : [`Sec-WebSocket-Key: ${key}`]),
  ];
  return `${head.join("\r\n")}\r\n\r\n`;
}

/** A masked frame of at most 125 bytes, with a mask of zeros. */
const frame = (opcode: number, payload: Buffer): Buffer =>
  Buffer.concat([Buffer.of(0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0), payload]);

/** The first fragment of a text, of more than 65,535 bytes. */
function fragment(payload: Buffer): Buffer {
  const head = Buffer.from([0x01, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(payload.length, 6);
  return Buffer.concat([head, payload]);
}

/** The server's ends of the connections from now on. */
function acceptedSockets(): Socket[] {
  const accepted: Socket[] = [];
  face.server.on("connection", (socket: Socket) => accepted.push(socket));
  return accepted;
}

function bytesUntilEnd(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("end", () => {
      socket.destroy();
    });
    socket.on("close", () => {
      resolve(Buffer.concat(chunks));
    });
  });
}

describe("an upgrade", () => {
  it("is answered with the subprotocol and a key that nobody can guess", async () => {
    const [one, other] = [await open("/ws/files?client=desk"), await open()];
    expect(one.socket.protocol).toBe("mcp");
    expect(one.head.headers["sec-websocket-extensions"]).toBeUndefined();
    expect(one.key).toMatch(/^[\w-]{32}$/);
    expect(other.key).not.toBe(one.key);
    const { link } = door.handlers[0] ?? {};
    expect(link).toMatchObject({ transport: "ws", canResume: false, key: one.key, peer: "desk" });
  });

  it.each([
    [[], ""],
    [["other", "mcp"], "mcp"],
  ])("that offers the subprotocols %j is accepted with '%s'", async (offered, accepted) => {
    const peer = await open("/ws/files", {}, offered);
    expect(peer.socket.protocol).toBe(accepted);
  });

  it("that offers other subprotocols only is refused", async () => {
    const { status, text } = await refusal("/ws/files", {}, ["graphql-ws", "MCP"]);
    expect(status).toBe(400);
    expect(text).toMatch(/the only subprotocol here is mcp/);
    expect(door.handlers).toEqual([]);
  });

  it("that is none is refused, and nothing is kept of it", async () => {
    await face.close();
    await serve(1);
    for (const key of [undefined, "short"]) {
      const [host, port] = face.host.split(":");
      const socket = connect(Number(port), host);
      const answer = bytesUntilEnd(socket);
      socket.write(upgradeHead(key));
      expect((await answer).toString()).toMatch(/^HTTP\/1\.1 400 /);
    }
    await begin();
    expect(door.handlers).toHaveLength(1);
  });
});

describe("messages", () => {
  it("go both ways, one a frame, also those that can't be read", async () => {
    const peer = await begin();
    for (const text of [call(1, "a"), `[${NOTE}]`, "{", NOTE]) peer.socket.send(text);
    await until("all came", () => door.last.received.length === 5);
    expect(door.last.received.map((m) => m.kind)).toEqual([
      "request",
      "request",
      "batch",
      "malformed",
      "notification",
    ]);
    const text = '{\n"jsonrpc":"2.0","method":"notifications/☃"}';
    door.last.say(text);
    await until("ours came", () => peer.messages.length === 3);
    expect(peer.messages[2]).toEqual(JSON.parse(text));
  });

  it("of the official client and to it", async () => {
    vi.stubGlobal("WebSocket", WebSocket);
    const client = new Client({ name: "sdk", version: "1" });
    await client.connect(new WebSocketClientTransport(new URL(`ws://${face.host}/ws/files`)));
    const result = await client.callTool({ name: "echo" });
    expect(result.content).toEqual([{ type: "text", text: "echo" }]);
    await client.close();
    await until("the end is told", () => door.last.told.length > 0);
    expect(door.last.told).toEqual(["left: it closed its connection (1005)"]);
  });

  it("over the bound are refused under their id, and the connection goes on", async () => {
    const peer = await begin();
    peer.socket.send(call(7, "x".repeat(REQUEST_MAX_BYTES)));
    expect((await reply(peer, 7)).error?.message).toBe("too large");
    expect(door.last.received.at(-1)).toMatchObject({ kind: "oversize", idText: "7" });
    peer.socket.send(call(8, "a"));
    await reply(peer, 8);
  });

  it("far over the bound end the connection with the name of the option, and no other", async () => {
    const [peer, other] = [await begin(), await begin()];
    peer.socket.send(call(7, "x".repeat(2 * REQUEST_MAX_BYTES)));
    expect(await closeOf(peer)).toEqual({
      code: 1009,
      reason: "a message over 4096 bytes (option --max-request-bytes)",
    });
    await until("the loss is told", () => door.handlers[0]?.isDetached === true);
    other.socket.send(call(1, "a"));
    await reply(other, 1);
    expect(door.handlers[1]?.told).toEqual([]);
  });

  it("in binary end the connection with 1003, and nothing after them is taken", async () => {
    const peer = await begin();
    peer.socket.send(Buffer.from(NOTE));
    peer.socket.send(NOTE);
    expect((await closeOf(peer)).code).toBe(1003);
    await until("the loss is told", () => door.last.isDetached);
    expect(door.last.heard).toEqual(["initialize"]);
    expect(door.last.told).toEqual(["detached: a message is a text frame"]);
  });

  it("in binary are no polite end, whatever the client answers to ours", async () => {
    const socket = await rawPeer();
    socket.write(frame(1, Buffer.from('{"jsonrpc":"2.0","id":0,"method":"initialize"}')));
    await until("the session", () => door.last.hasBegun);
    const answer = bytesUntilEnd(socket);
    socket.write(frame(2, Buffer.from("{}")));
    socket.write(frame(8, Buffer.of(0x03, 0xe8)));
    await answer;
    await until("the loss is told", () => door.last.told.length > 0);
    expect(door.last.told).toEqual(["detached: a message is a text frame"]);
  });

  it.each([
    ["invalid UTF-8", frame(1, Buffer.from('{"a":"\xff"}', "latin1")), 1007],
    ["no mask", Buffer.from([0x81, 2, 0x7b, 0x7d]), 1002],
    ["a reserved opcode", frame(3, Buffer.from("{}")), 1002],
    ["a compressed frame nobody agreed on", Buffer.from([0xc1, 0x80, 0, 0, 0, 0]), 1002],
  ])("with %s end the connection", async (_, bytes, code) => {
    const socket = await rawPeer();
    const answer = bytesUntilEnd(socket);
    socket.write(frame(1, Buffer.from(NOTE)));
    await until("the first came", () => door.last.heard.length === 1);
    socket.write(bytes);
    const said = await answer;
    expect(said.subarray(0, 4)).toEqual(Buffer.from([0x88, 2, code >> 8, code & 0xff]));
    await until("the loss is told", () => door.last.told.length > 0);
    expect(door.last.heard).toHaveLength(1);
  });
});

describe("the end of a connection", () => {
  it.each([
    [1000, "left"],
    [1001, "left"],
    [undefined, "left"],
    [1011, "detached"],
    [4000, "detached"],
  ])("by the client with %s: its session is told that it %s", async (code, told) => {
    const peer = await begin();
    peer.socket.close(code, code === undefined ? undefined : "so long");
    await until("the end is told", () => door.last.told.length > 0);
    const words = code === undefined ? "1005" : `${String(code)} so long`;
    expect(door.last.told).toEqual([`${told}: it closed its connection (${words})`]);
    expect(door.last.link.send(NOTE, { kind: "message" })).toBe(false);
  });

  it("without a close is a loss, which the session outlives", async () => {
    const peer = await begin();
    peer.socket.terminate();
    await until("the loss is told", () => door.last.isDetached);
  });

  it("before its handshake leaves nothing to come back to", async () => {
    const peer = await open();
    peer.socket.terminate();
    await until("the end is told", () => door.last.told.length > 0);
    expect(door.last.told[0]).toMatch(/^left/);
    expect((await refusal(`/ws/files?session=${peer.key}`)).status).toBe(404);
  });

  it("of the session by the engine is 1008, with as much of the cause as fits", async () => {
    const peer = await begin();
    door.last.hasBegun = false;
    const cause = "idle ☃".repeat(20);
    door.last.link.ended?.(cause);
    const closed = await closeOf(peer);
    expect(closed).toEqual({ code: 1008, reason: reasonOf(cause) });
    expect(cause.startsWith(closed.reason)).toBe(true);
    expect((await refusal(`/ws/files?session=${peer.key}`)).status).toBe(404);
    expect(door.last.told).toEqual([]);
  });

  it("that the client does not answer is forced after 5 s", async () => {
    const socket = await rawPeer();
    door.last.link.ended?.("enough");
    await new Promise((resolve) => socket.once("data", resolve));
    const answer = bytesUntilEnd(socket);
    await world.fire(5_000);
    await answer;
  });

  it("has a reason of whole characters within 123 bytes", () => {
    for (let pad = 0; pad < 4; pad++) {
      const words = "x".repeat(pad) + "☃".repeat(50);
      const reason = reasonOf(words);
      expect(words.startsWith(reason)).toBe(true);
      expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(123);
      expect(Buffer.byteLength(reason)).toBeGreaterThan(120);
    }
    expect(reasonOf("short")).toBe("short");
  });
});

describe("a client that returns with its key", () => {
  it.each([
    ["in the URL", (key: string) => open(`/ws/files?session=${key}`)],
    ["in a header", (key: string) => open("/ws/files", { headers: { "Mcp-Session-Id": key } })],
  ])("%s has its session and what it missed, without initialize", async (_, back) => {
    const before = await begin();
    const { link } = door.last;
    before.socket.terminate();
    await until("the loss is told", () => door.last.isDetached);
    door.last.say('{"jsonrpc":"2.0","method":"missed"}');
    const peer = await back(before.key);
    expect(peer.key).toBe(before.key);
    await until("what it missed", () => peer.messages.length > 0);
    peer.socket.send(call(1, "a"));
    await reply(peer, 1);
    expect(door.last.link).toBe(link);
    expect(door.last.told.slice(1)).toEqual(["attached"]);
    expect([door.handlers.length, door.resumed.length]).toEqual([1, 0]);
  });

  it("while its old connection is open takes over from that one, whose end is nobody's any more", async () => {
    const before = await begin();
    const peer = await open(`/ws/files?session=${before.key}`);
    expect(await closeOf(before)).toEqual({
      code: 4409,
      reason: "another connection of this session took over",
    });
    peer.socket.send(call(1, "a"));
    await reply(peer, 1);
    expect(door.last.told).toEqual(["detached: another connection of it took over", "attached"]);
  });

  it("is looked up once when this process does not have it, however often it asks", async () => {
    const before = await begin();
    const own = door.last;
    await face.close();
    await serve();
    door.handlers.push(own);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const opened = [1, 2, 3].map(() => open(`/ws/files?session=${before.key}`));
    await until("the door is asked", () => door.resumed.length > 0);
    gate.resolve(undefined);
    const peers = await Promise.all(opened);
    await until("one is left", () => peers.filter((p) => p.closed?.code === 4409).length === 2);
    const [peer] = peers.filter((p) => p.closed === undefined);
    peer?.socket.send(call(1, "a"));
    if (peer !== undefined) await reply(peer, 1);
    expect(door.resumed).toEqual([before.key]);
    expect(own.told.at(-1)).toBe("attached");
  });

  it("and goes away while it is looked up leaves its session without a connection", async () => {
    const before = await begin();
    const own = door.last;
    await face.close();
    await serve();
    door.handlers.push(own);
    const gate = deferred<undefined>();
    door.gate = gate.promise;
    const upgrade = upgradeHead(randomBytes(16).toString("base64"));
    const accepted = acceptedSockets();
    const [host, port] = face.host.split(":");
    const socket = connect(Number(port), host);
    socket.write(upgrade.replace("/ws/files", `/ws/files?session=${before.key}`));
    await until("the door is asked", () => door.resumed.length > 0);
    socket.resetAndDestroy();
    await until("the server saw it", () => accepted[0]?.destroyed === true);
    gate.resolve(undefined);
    await until("the session is over it", () => own.told.includes("moved"));
    await until("the session has no connection", () => own.isDetached);
    const peer = await open(`/ws/files?session=${before.key}`);
    peer.socket.send(call(1, "a"));
    await reply(peer, 1);
    expect(door.resumed).toHaveLength(1);
  });

  it("that is unknown, another principal's or another upstream's gets 404, and the door is not asked for those", async () => {
    const { key } = await begin();
    const others: [string, ClientOptions][] = [
      [`/ws/files?session=${key}`, { headers: { "x-principal": "else" } }],
      [`/ws/other?session=${key}`, {}],
      ["/ws/files?session=", {}],
    ];
    for (const [path, options] of others) expect((await refusal(path, options)).status).toBe(404);
    expect(door.resumed).toEqual([]);
    const unknown = await refusal("/ws/files?session=nobodys");
    expect(unknown.status).toBe(404);
    expect(unknown.text).toMatch(/no session with this key/);
    expect(door.resumed).toEqual(["nobodys"]);
    expect(door.last.told).toEqual([]);
  });

  it("and cannot be looked up is told to come later", async () => {
    const gate = deferred<undefined>();
    gate.promise.catch(() => {});
    gate.reject(new JournalError("io", "disk on fire"));
    door.gate = gate.promise;
    expect(await refusal("/ws/files?session=abc")).toMatchObject({ status: 503, retryAfter: "1" });
  });
});

describe("signs of life", () => {
  it("are asked for every 15 s, and a connection that gives none is cut", async () => {
    const [alive, dead] = [await begin(), await rawPeer()];
    let pings = 0;
    alive.socket.on("ping", () => pings++);
    const cut = bytesUntilEnd(dead);
    for (let beat = 1; beat <= 3; beat++) {
      await world.fire(PING_MS);
      await until("the ping", () => pings === beat);
      // Its pong is on the way before this message, which comes after it.
      alive.socket.send(call(beat, "a"));
      await reply(alive, beat);
    }
    // One ping, and the end at the beat after it.
    expect(await cut).toEqual(Buffer.from([0x89, 0]));
    expect(door.handlers[1]?.told).toEqual(["left: it answered no ping"]);
    expect(alive.closed).toBeUndefined();
  });

  it("are pongs alone, too", async () => {
    const accepted = acceptedSockets();
    const peer = await begin();
    const own = must(accepted[0], "the server's end");
    for (let beat = 1; beat <= 3; beat++) {
      const before = own.bytesRead;
      await world.fire(PING_MS);
      await until("the pong", () => own.bytesRead > before);
    }
    expect(peer.closed).toBeUndefined();
    expect(door.last.told).toEqual([]);
  });
});

describe("large messages of many clients", () => {
  const LARGE_MAX_BYTES = 256 * 1024;
  const PONG = frame(10, Buffer.alloc(0));
  const [start, end] = ((text: string) => [text.slice(0, -1), text.slice(-1)] as const)(
    JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping", params: { x: "x".repeat(200_000) } }),
  );

  beforeEach(async () => {
    await face.close();
    await serve(100, LARGE_MAX_BYTES);
  });

  /** Sessions that have sent all of a large message but its end. */
  async function halves(count: number): Promise<{ raws: Socket[]; accepted: Socket[] }> {
    const accepted = acceptedSockets();
    const raws: Socket[] = [];
    for (let n = 0; n < count; n++) {
      const raw = await rawPeer();
      raw.write(frame(1, Buffer.from('{"jsonrpc":"2.0","id":0,"method":"initialize"}')));
      await until("the session", () => door.handlers[n]?.hasBegun === true);
      raw.write(fragment(Buffer.from(start)));
      raws.push(raw);
    }
    return { raws, accepted };
  }

  it("are held but for the oldest when they are too much together, and all are taken in the end", async () => {
    const { raws, accepted } = await halves(6);
    await until("all but the oldest to be held", () => {
      const held = accepted.map((socket) => socket.isPaused());
      return held.filter(Boolean).length >= 3 && held[0] === false;
    });
    for (let beat = 0; beat < 3; beat++) {
      raws[0]?.write(PONG);
      const before = accepted[0]?.bytesRead ?? 0;
      raws[0]?.write(PONG);
      await until("the pong", () => (accepted[0]?.bytesRead ?? 0) > before);
      await world.fire(PING_MS);
    }
    for (const raw of raws.toReversed()) raw.write(frame(0x80, Buffer.from(end)));
    await until("all of them", () =>
      door.handlers.every((handler) => handler.heard.join() === "initialize,ping"),
    );
    expect(accepted.map((socket) => socket.isPaused())).not.toContain(true);
    // One that answers no close frame would be waited for.
    for (const raw of raws) raw.destroy();
  });

  it("are not what follows a close frame", async () => {
    const accepted = acceptedSockets();
    // It says goodbye, and does not go.
    const raw = await rawPeer(true);
    raw.on("data", () => {});
    raw.write(frame(8, Buffer.of(0x03, 0xe8)));
    raw.write(Buffer.alloc(500_000));
    const own = must(accepted[0], "the server's end");
    await until("all of it", () => own.bytesRead > 500_000);
    const probe = { isHeld: false, hold: () => (probe.isHeld = true), flowOn() {}, giveUp() {} };
    room.grew(probe, 3 * LARGE_MAX_BYTES);
    expect(probe.isHeld).toBe(false);
    room.left(probe);
    raw.destroy();
  });

  it("end the connection where one takes more than four pings", async () => {
    const { raws, accepted } = await halves(1);
    const [raw, own] = [must(raws[0], "the client"), must(accepted[0], "the server's end")];
    const answer = bytesUntilEnd(raw);
    await until("the half", () => own.bytesRead > start.length);
    for (let beat = 1; beat <= 5; beat++) {
      expect(door.last.told).toEqual([]);
      const before = own.bytesRead;
      raw.write(PONG);
      await until("the pong", () => own.bytesRead > before);
      await world.fire(PING_MS);
    }
    await world.fire(5_000);
    expect((await answer).toString("latin1")).toContain("took more than 4 pings");
  });

  it("end the connection of one that hardly sends while the others wait for it", async () => {
    const { raws, accepted } = await halves(4);
    const answer = bytesUntilEnd(must(raws[0], "the oldest"));
    await until("all but the oldest to be held", () =>
      accepted.every((socket, n) => socket.isPaused() === n > 0),
    );
    // Once for its pace, once for the answer to the close frame.
    await world.fire(TURN_MS);
    await world.fire(CLOSE_MS);
    expect((await answer).toString("latin1")).toContain("came too slowly while others waited");
    await until("the next to be read", () => accepted[1]?.isPaused() === false);
    for (const raw of raws) raw.destroy();
  });

  it("are not the pings and pongs of a client that says nothing for a day, nor those amid a message", async () => {
    const accepted = acceptedSockets();
    const raw = await rawPeer();
    raw.write(frame(1, Buffer.from('{"jsonrpc":"2.0","id":0,"method":"initialize"}')));
    await until("the session", () => door.last.hasBegun);
    const own = must(accepted[0], "the server's end");
    const signs = [9, ...Array<number>(100).fill(10)].map((code) => frame(code, Buffer.alloc(125)));
    const bytes = Buffer.concat(signs);
    const beats = async () => {
      for (let beat = 1; beat <= 12; beat++) {
        const before = own.bytesRead;
        raw.write(bytes);
        await until("the signs", () => own.bytesRead >= before + bytes.length);
        await world.fire(PING_MS);
      }
    };
    await beats();
    // The first fragment of a text: without the bit that says that it is the last.
    raw.write(frame(1, Buffer.from(start.slice(0, 50))).fill(1, 0, 1));
    await beats();
    expect(door.last.told).toEqual([]);
    raw.write(frame(0, Buffer.from("}}")));
    await until("its end", () => door.last.heard.length === 2);
    raw.destroy();
  });
});

describe("bounds", () => {
  const LARGE = JSON.stringify({ jsonrpc: "2.0", method: "x".repeat(1024 * 1024) });

  it("read nothing from a client that does not read, until it does", async () => {
    const peer = await begin();
    peer.socket.pause();
    while (door.last.link.bufferedBytes() <= 8 * 1024 * 1024) door.last.say(LARGE);
    peer.socket.send(call(1, "a"));
    const other = await begin();
    other.socket.send(call(1, "b"));
    await reply(other, 1);
    expect(door.handlers[0]?.heard).toEqual(["initialize"]);
    peer.socket.resume();
    await reply(peer, 1);
    expect(door.handlers[0]?.heard).toEqual(["initialize", "tools/call"]);
    expect(door.handlers[0]?.link.bufferedBytes()).toBe(0);
  });

  it("read nothing from a client whose calls are on their way to disk, nor take it for dead", async () => {
    const peer = await begin();
    const link = door.last.link;
    link.hold?.(true);
    peer.socket.send(call(1, "a"));
    for (let beat = 0; beat < 3; beat++) await world.fire(PING_MS);
    const other = await begin();
    other.socket.send(call(1, "b"));
    await reply(other, 1);
    expect(door.handlers[0]?.heard).toEqual(["initialize"]);
    link.hold?.(false);
    await reply(peer, 1);
    expect(door.handlers[0]?.heard).toEqual(["initialize", "tools/call"]);
  });

  const fill = () => {
    while (door.last.link.bufferedBytes() <= 8 * 1024 * 1024) door.last.say(LARGE);
  };

  it("give a client that reads slowly its time, also where it answers no ping", async () => {
    const socket = await rawPeer();
    socket.pause();
    fill();
    for (let beat = 0; beat < 20; beat++) {
      await world.fire(PING_MS);
      if (beat % 4 !== 0) continue;
      const unread = door.last.link.bufferedBytes();
      socket.resume();
      await until("it has read a little", () => door.last.link.bufferedBytes() < unread);
      socket.pause();
      fill();
    }
    expect(door.last.told).toEqual([]);
    socket.destroy();
  });

  it("give up a client that reads nothing for eight beats", async () => {
    (await rawPeer()).pause();
    fill();
    // What the system takes before it is full is no sign of life.
    let unread = -1;
    await until("nothing moves", () => unread === (unread = door.last.link.bufferedBytes()));
    await world.fire(PING_MS);
    for (let beat = 1; beat < 8; beat++) {
      await world.fire(PING_MS);
      expect(door.last.told).toEqual([]);
    }
    await world.fire(PING_MS);
    await until("the end is told", () => door.last.told.length > 0);
    expect(door.last.told).toEqual(["left: it answered no ping"]);
  });

  it("refuse a client too many, but not for one that has no connection", async () => {
    await face.close();
    await serve(1);
    const first = await begin();
    expect(await refusal()).toMatchObject({ status: 503, retryAfter: "1" });
    expect((await refusal("/ws/files?session=other")).status).toBe(503);
    first.socket.terminate();
    await until("the loss is told", () => door.last.isDetached);
    const second = await begin();
    second.socket.terminate();
    await until("the loss is told", () => door.last.isDetached);
    const back = await open(`/ws/files?session=${first.key}`);
    back.socket.send(call(1, "a"));
    await reply(back, 1);
    expect(door.resumed).toEqual([first.key]);
  });
});

describe("a stop", () => {
  it("closes with 1001, keeps the sessions and takes nobody more", async () => {
    const [peer, early] = [await begin(), await open()];
    await route.stop(1_000);
    expect(await closeOf(peer)).toEqual({ code: 1001, reason: "the proxy is stopping" });
    expect((await closeOf(early)).code).toBe(1001);
    expect(door.handlers.map((h) => h.told)).toEqual([
      ["detached: the proxy is stopping"],
      ["left: the proxy is stopping"],
    ]);
    expect((await refusal()).status).toBe(503);
  });

  it("waits for the answers that are on their way, but no longer than it may", async () => {
    const peer = await begin();
    door.last.isSilent = true;
    peer.socket.send(call(1, "slow"));
    peer.socket.send(call(2, "slower"));
    await until("the calls are heard", () => door.last.heard.at(-2) === "tools/call");
    const stopped = route.stop(1_000);
    await world.fire(STOP_STEP_MS);
    expect(door.last.told).toEqual([]);
    const [slow] = door.last.received.filter((said) => said.kind === "request").slice(-2);
    if (slow?.kind === "request") door.last.answer(slow);
    await reply(peer, 1);
    for (let step = 1; step < 50; step++) await world.fire(STOP_STEP_MS);
    await stopped;
    expect(door.last.told).toEqual(["detached: the proxy is stopping"]);
    expect((await closeOf(peer)).code).toBe(1001);
  });

  it("sends what was said before, and cuts a client that does not answer", async () => {
    const socket = await rawPeer();
    const said = bytesUntilEnd(socket);
    door.last.say(NOTE);
    const stopped = route.stop(1_234);
    await world.fire(1_234);
    await stopped;
    expect((await said).toString("latin1")).toContain(NOTE);
  });
});
