/** The WebSocket upstream against servers with hooks. */
import { createServer, type Server as HttpServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import type { ServerOptions } from "ws";
import { must } from "../../src/base/assert.ts";
import type { Connection } from "../../src/ports.ts";
import type { WebSocketConnectorOptions } from "../../src/upstream/websocket.ts";
import {
  asRead,
  asUnsafe,
  dialTo,
  Recorder,
  request,
  result,
  shakeHands,
  until,
  type Link,
} from "../support/http-rig.ts";
import { SocketServer, socketTo, type Heard } from "../support/ws-rig.ts";

const servers: SocketServer[] = [];
const others: (Server | HttpServer)[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close(200)));
  await Promise.all(servers.splice(0).map((server) => server.close()));
  for (const server of others.splice(0)) server.close();
});

async function serve(options: ServerOptions = {}): Promise<SocketServer> {
  const server = await new SocketServer(options).listen();
  servers.push(server);
  return server;
}

async function session(
  server: SocketServer,
  more: Partial<WebSocketConnectorOptions> = {},
): Promise<Link> {
  const made = await dialTo(socketTo(server.url, more));
  connections.push(made.connection);
  await shakeHands(made);
  return made;
}

async function listening(server: Server | HttpServer): Promise<string> {
  others.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return `ws://127.0.0.1:${String((server.address() as AddressInfo).port)}/mcp`;
}

async function failedDial(url: string, more: Partial<WebSocketConnectorOptions> = {}) {
  const recorder = new Recorder();
  const outcome = await socketTo(url, more).dial(recorder, undefined, new AbortController().signal);
  if (outcome.kind !== "failed") throw new Error("the dial did not fail");
  expect(recorder.told).toEqual([]);
  return outcome.failure;
}

/** A session with the unsafe call 1-2 in flight. */
async function inFlight(server: SocketServer, more: Partial<WebSocketConnectorOptions> = {}) {
  const made = await session(server, more);
  made.connection.send(request("1-2"), asUnsafe("1-2"));
  const heard = await until("the call to arrive", () => server.calls("tools/call")[0]);
  return { ...made, heard };
}

const answer = ({ rpc, socket }: Heard): void => {
  socket.send(result(rpc.id, { ok: 1 }));
};

describe("the way of a message", () => {
  it("is one text frame each way, after an upgrade that offers the subprotocol", async () => {
    const server = await serve();
    server.onCall = answer;
    const { connection, recorder } = await session(server, { headers: { "x-key": "k" } });
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect((await recorder.reply("1-2")).message.text).toBe(result("1-2", { ok: 1 }));
    expect(server.upgrades[0]?.headers).toMatchObject({
      "sec-websocket-protocol": "mcp",
      "x-key": "k",
    });
    expect(server.upgrades[0]?.headers["sec-websocket-extensions"]).toBeUndefined();
    expect(connection.describe()).toEqual({ subprotocol: "mcp" });
    expect(server.heard.map((heard) => heard.rpc.method)).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/call",
    ]);
  });

  it("is the same with a server that names no subprotocol", async () => {
    const server = await serve({ handleProtocols: () => false });
    server.onCall = answer;
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
  });

  it("that the server sends with its answer to the upgrade comes after the dial", async () => {
    const server = await serve();
    server.onOpen = (socket) => {
      socket.send('{"jsonrpc":"2.0","method":"notifications/early"}');
    };
    const recorder = new Recorder();
    const abort = new AbortController();
    let toldAtDial: number | undefined;
    const outcome = await socketTo(server.url)
      .dial(recorder, undefined, abort.signal)
      .finally(() => (toldAtDial = recorder.told.length));
    if (outcome.kind === "connected") connections.push(outcome.connection);
    await until("the notification", () => recorder.notifications().length === 1);
    expect(toldAtDial).toBe(0);
  });

  it("of many keeps their order, though the server reads nothing for a while", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    server.sockets[0]?.pause();
    const big = "x".repeat(200_000);
    const ids = Array.from({ length: 60 }, (_, i) => `1-${String(i + 2)}`);
    for (const id of ids) connection.send(request(id, "tools/call", { big }), asUnsafe(id));
    server.onCall = answer;
    server.sockets[0]?.resume();
    await recorder.reply(ids.at(-1) ?? "");
    expect(server.calls("tools/call").map((heard) => heard.rpc.id)).toEqual(ids);
  });
});

describe("a dial", () => {
  it.each([
    [401, "auth", "HTTP 401"],
    [403, "auth", "HTTP 403"],
    [429, "rate_limited", "HTTP 429"],
    [503, "rate_limited", "HTTP 503"],
    [502, "server_error", "HTTP 502"],
    [404, "server_error", "HTTP 404"],
    [302, "server_error", "redirected to https://other.example/ws?t=***"],
    [200, "protocol_error", "instead of the upgrade"],
  ])("answered with HTTP %i has failed: %s", async (code, kind, words) => {
    const http = createServer((_req, res) => {
      const location = "https://other.example/ws?t=secret";
      res.writeHead(code, { "retry-after": "3", location, connection: "close" }).end("no");
    });
    const why = await failedDial(await listening(http));
    expect(why.kind).toBe(kind);
    expect(why.message).toContain(words);
    expect(why.retryAfterMs).toBe(kind === "rate_limited" ? 3_000 : undefined);
  });

  it("that nobody answers is refused, or has no name", async () => {
    const server = await serve();
    const { url } = server;
    await server.close();
    expect((await failedDial(url)).kind).toBe("connect_refused");
    expect((await failedDial("ws://no-such-host.invalid/")).kind).toBe("dns");
  });

  it("to a server that speaks no TLS is a failure of TLS", async () => {
    const server = await serve();
    expect((await failedDial(server.url.replace("ws:", "wss:"))).kind).toBe("tls");
  });

  it("to a server that never answers the upgrade ends in time, and leaves no socket", async () => {
    const sockets: { destroyed: boolean }[] = [];
    const url = await listening(
      createTcpServer((socket) => {
        sockets.push(socket);
        socket.on("error", () => undefined);
        socket.resume();
      }),
    );
    const why = await failedDial(url, { connectTimeoutMs: 100 });
    expect(why).toEqual({ kind: "timeout", message: "no answer to the upgrade within 0.1 s" });
    await until("the socket to be closed", () => sockets[0]?.destroyed);
  });

  it("to a server with another subprotocol, or none of HTTP, breaks the protocol", async () => {
    const server = await serve({ handleProtocols: () => "graphql-ws" });
    expect(await failedDial(server.url)).toMatchObject({
      kind: "protocol_error",
      message: "Server sent an invalid subprotocol",
    });
    const url = await listening(createTcpServer((socket) => socket.end("hello there\r\n")));
    expect((await failedDial(url)).kind).toBe("protocol_error");
  });

  it("that is called off leaves no socket behind", async () => {
    const sockets: Duplex[] = [];
    const http = createServer();
    http.on("upgrade", (_request, socket: Duplex) => {
      socket.on("error", () => undefined);
      sockets.push(socket.resume());
    });
    const abort = new AbortController();
    const url = await listening(http);
    const dialled = socketTo(url).dial(new Recorder(), undefined, abort.signal);
    const socket = await until("the upgrade", () => sockets[0]);
    abort.abort();
    expect(await dialled).toMatchObject({ kind: "failed", failure: { kind: "timeout" } });
    await until("the socket to be closed", () => socket.destroyed || socket.readableEnded);
  });
});

describe("the end of a connection", () => {
  it.each([
    [1000, "bye", "reset", '1000 normal, "bye"'],
    [1001, "", "reset", "1001 going away"],
    [1008, "token expired", "auth", "token expired"],
    [4401, "", "auth", "4401"],
    [4403, "", "auth", "4403"],
    [1012, "deploying", "reset", '1012 service restart, "deploying"'],
    [1013, "", "reset", "1013 try again later"],
    [4999, "", "reset", "4999"],
  ])("by the server with %i %s is %s", async (code, reason, kind, words) => {
    const server = await serve();
    const { connection, recorder, heard } = await inFlight(server);
    heard.socket.close(code, reason);
    const { failure, resume } = await recorder.down();
    expect(failure.kind).toBe(kind);
    expect(failure.message).toContain(words);
    expect(resume).toBeUndefined();
    // It was sent, and nothing says that it did not run.
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(connection.send(request("1-3"), asRead("1-3"))).toBe(false);
  });

  it("by a reset leaves the call in doubt, and is told once", async () => {
    const server = await serve();
    const { connection, recorder } = await inFlight(server);
    server.tcp[0]?.resetAndDestroy();
    expect((await recorder.down()).failure.kind).toBe("reset");
    await connection.close(200);
    expect(recorder.downs()).toHaveLength(1);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("comes after the reply that was sent just before it", async () => {
    const server = await serve();
    const { recorder, heard } = await inFlight(server);
    answer(heard);
    heard.socket.close(1001);
    await recorder.down();
    expect(recorder.replies("1-2")).toHaveLength(1);
    expect(recorder.told.at(-1)?.kind).toBe("down");
  });

  it("refuses calls of which no byte left", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    await until("initialized to arrive", () => server.calls("notifications/initialized")[0]);
    server.tcp[0]?.pause();
    // More than the system's buffers can hold, so that the first one stands half written.
    const big = "x".repeat(16_000_000);
    connection.send(request("1-2"), asUnsafe("1-2"));
    for (const id of ["1-3", "1-4", "1-5"]) {
      expect(connection.send(request(id, "tools/call", { big }), asUnsafe(id))).toBe(true);
    }
    // The callback of the small one, which the system took at once, must not let another one go.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    server.tcp[0]?.resetAndDestroy();
    await recorder.down();
    expect([...recorder.outcomes("1-2"), ...recorder.outcomes("1-3")]).toEqual([]);
    expect(recorder.outcomes("1-4")).toMatchObject([{ kind: "refused" }]);
    expect(recorder.outcomes("1-5")).toMatchObject([{ kind: "refused" }]);
  });

  it("keeps 16 MiB of notifications for a server that does not read, and every request", async () => {
    const server = await serve();
    const { connection } = await session(server);
    await until("initialized to arrive", () => server.calls("notifications/initialized")[0]);
    server.tcp[0]?.pause();
    const big = "x".repeat(1_048_576);
    let taken = 0;
    while (taken < 100 && connection.send(big, { kind: "notification" })) taken++;
    expect(taken).toBeGreaterThan(15);
    expect(taken).toBeLessThan(40);
    expect(connection.send(request("1-2", "tools/call", { big }), asUnsafe("1-2"))).toBe(true);
    server.tcp[0]?.resetAndDestroy();
  });

  it("by us is a close frame with 1000; nobody is told", async () => {
    const server = await serve();
    const { connection, recorder, heard } = await inFlight(server);
    const closed = new Promise<number>((resolve) => heard.socket.once("close", resolve));
    await connection.close(5_000);
    expect(await closed).toBe(1000);
    expect(recorder.downs()).toEqual([]);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("by us is by force if the server does not take part in it", async () => {
    const server = await serve();
    const { connection } = await inFlight(server);
    server.tcp[0]?.pause();
    await connection.close(50);
    server.tcp[0]?.resume();
    await until("the socket to be closed", () => server.tcp[0]?.destroyed);
  });
});

describe("a peer that is silent", () => {
  it("while nothing is in flight is half open after three pings", async () => {
    const server = await serve();
    const { recorder } = await session(server, { pingEveryMs: 30 });
    const pings = { count: 0 };
    server.sockets[0]?.on("ping", () => (pings.count += 1));
    await until("some pings to be answered", () => pings.count >= 3);
    expect(recorder.downs()).toEqual([]);
    server.tcp[0]?.pause();
    const { failure } = await recorder.down();
    expect(failure.kind).toBe("half_open");
    server.tcp[0]?.resume();
    await until("the socket to be closed", () => server.tcp[0]?.destroyed);
  });

  it("while it works at a call is NOT taken down", async () => {
    const server = await serve();
    const { recorder, heard } = await inFlight(server, { pingEveryMs: 20 });
    server.tcp[0]?.pause();
    // Far longer than three pings: measured on the clock that the pings go by.
    const from = performance.now();
    await until("ten pings' time", () => performance.now() - from > 200);
    expect(recorder.downs()).toEqual([]);
    server.tcp[0]?.resume();
    answer(heard);
    await recorder.reply("1-2");
  });

  it("and never ponged is NOT judged by pings", async () => {
    const server = await serve({ autoPong: false });
    server.onCall = answer;
    const { connection, recorder } = await session(server, { pingEveryMs: 20 });
    const pings = { count: 0 };
    server.sockets[0]?.on("ping", () => (pings.count += 1));
    await until("eight pings", () => pings.count >= 8);
    expect(recorder.downs()).toEqual([]);
    connection.send(request("1-2"), asRead("1-2"));
    await recorder.reply("1-2");
  });
});

describe("a held connection", () => {
  it("is not read, is NOT judged by its silence, and loses nothing", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server, { pingEveryMs: 20 });
    const pings = { count: 0 };
    const socket = must(server.sockets[0], "the server's socket");
    socket.on("ping", () => (pings.count += 1));
    await until("some pings to be answered", () => pings.count >= 3);
    connection.hold?.(true);
    const big = JSON.stringify({ jsonrpc: "2.0", method: "flood", params: "x".repeat(1_000_000) });
    for (let n = 0; n < 50; n++) socket.send(big);
    const before = pings.count;
    await until("eight more pings", () => pings.count >= before + 8);
    // Two frames at most: what the socket had handed over before it was paused.
    expect(recorder.notifications().length).toBeLessThanOrEqual(2);
    expect(socket.bufferedAmount).toBeGreaterThan(20_000_000);
    expect(recorder.downs()).toEqual([]);
    connection.hold?.(false);
    await until("all that was sent", () => recorder.notifications().length === 50);
    expect(recorder.downs()).toEqual([]);
  });

  it("is closed as any other", async () => {
    const server = await serve();
    const { connection } = await session(server);
    connection.hold?.(true);
    server.sockets[0]?.send("x".repeat(1_000_000));
    await connection.close(2_000);
    await until("the socket to be closed", () => server.tcp[0]?.destroyed);
  });
});

describe("what can't be taken", () => {
  it("a binary frame breaks the protocol: 1003", async () => {
    const server = await serve();
    const { recorder, heard } = await inFlight(server);
    const closed = new Promise<number>((resolve) => heard.socket.once("close", resolve));
    heard.socket.send(Buffer.from(result("1-2", {})));
    expect((await recorder.down()).failure.kind).toBe("protocol_error");
    expect(await closed).toBe(1003);
    expect(recorder.replies("1-2")).toEqual([]);
  });

  it("a reply over the limit settles its request, and the connection goes on", async () => {
    const server = await serve();
    const { connection, recorder, heard } = await inFlight(server, { replyMaxBytes: 1_000 });
    heard.socket.send(`{"jsonrpc":"2.0","id":"1-2","result":{"big":"${"x".repeat(1_200)}"}}`);
    expect(await recorder.outcome("1-2")).toMatchObject({
      kind: "unreadable",
      failure: { kind: "oversize" },
    });
    server.onCall = answer;
    connection.send(request("1-3"), asRead("1-3"));
    await recorder.reply("1-3");
    expect(recorder.downs()).toEqual([]);
  });

  it("a frame of more than twice the limit ends the connection: 1009", async () => {
    const server = await serve();
    const { recorder, heard } = await inFlight(server, { replyMaxBytes: 1_000 });
    const closed = new Promise<number>((resolve) => heard.socket.once("close", resolve));
    heard.socket.send("x".repeat(2_001));
    expect((await recorder.down()).failure.kind).toBe("oversize");
    expect(await closed).toBe(1009);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("broken UTF-8 and broken frames end the connection", async () => {
    for (const bytes of [Uint8Array.of(0x81, 0x01, 0xff), Uint8Array.of(0xf3, 0x00)]) {
      const server = await serve();
      const { recorder } = await inFlight(server);
      server.raw(bytes);
      expect((await recorder.down()).failure.kind).toBe("protocol_error");
      expect(recorder.outcomes("1-2")).toEqual([]);
    }
  });

  it("text that is no message is noise", async () => {
    const server = await serve();
    const { recorder, heard } = await inFlight(server);
    heard.socket.send("no json");
    answer(heard);
    await recorder.reply("1-2");
    expect(recorder.told.filter((told) => told.kind === "noise")).toHaveLength(1);
  });

  it("a message of ours over the server's limit is rejected, and only that one", async () => {
    const server = await serve({ maxPayload: 10_000 });
    const { connection, recorder } = await inFlight(server);
    const big = "x".repeat(20_000);
    connection.send(request("1-3", "tools/call", { big }), asUnsafe("1-3"));
    connection.send(request("1-4"), asUnsafe("1-4"));
    expect((await recorder.down()).failure.message).toContain("1009");
    expect(recorder.outcomes("1-3")).toMatchObject([
      { kind: "rejected", failure: { kind: "server_error" } },
    ]);
    expect([...recorder.outcomes("1-2"), ...recorder.outcomes("1-4")]).toEqual([]);
  });

  it("a notification of ours over the server's limit is NOT laid at a call's door", async () => {
    const server = await serve({ maxPayload: 10_000 });
    const { connection, recorder } = await inFlight(server);
    const note = { jsonrpc: "2.0", method: "notifications/x", params: { big: "x".repeat(20_000) } };
    connection.send(JSON.stringify(note), { kind: "notification" });
    await recorder.down();
    expect(recorder.outcomes("1-2")).toEqual([]);
  });
});
