/** The legacy HTTP+SSE upstream against servers with hooks. */
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { Connection } from "../../src/ports.ts";
import type { SseConnectorOptions } from "../../src/upstream/sse.ts";
import {
  asRead,
  asUnsafe,
  dialTo,
  INITIALIZE,
  INITIALIZED,
  Recorder,
  request,
  result,
  rpcError,
  shakeHands,
  until,
  type Link,
} from "../support/http-rig.ts";
import { SseServer, sseTo, type Posted } from "../support/sse-rig.ts";

const servers: SseServer[] = [];
const tcpServers: Server[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close(500)));
  await Promise.all(servers.splice(0).map((server) => server.close()));
  for (const server of tcpServers.splice(0)) server.close();
});

async function serve(): Promise<SseServer> {
  const server = await new SseServer().listen();
  servers.push(server);
  return server;
}

async function link(url: string, more: Partial<SseConnectorOptions> = {}): Promise<Link> {
  const made = await dialTo(sseTo(url, more));
  connections.push(made.connection);
  return made;
}

async function session(server: SseServer, more: Partial<SseConnectorOptions> = {}): Promise<Link> {
  const made = await link(server.url, more);
  await shakeHands(made);
  await until("initialized to arrive", () => server.calls("notifications/initialized")[0]);
  return made;
}

/** A session whose `notifications/initialized` has arrived and waits for the server's answer. */
async function unfinishedHandshake(server: SseServer) {
  server.onNotice = () => undefined;
  const made = await link(server.url);
  made.connection.send(INITIALIZE("1-1"), { kind: "handshake", id: "1-1" });
  await made.recorder.reply("1-1");
  made.connection.handshaken("2024-11-05");
  expect(made.connection.send(INITIALIZED, { kind: "notification" })).toBe(true);
  const initialized = await until(
    "initialized to arrive",
    () => server.calls("notifications/initialized")[0],
  );
  return { made, initialized };
}

async function failedDial(url: string, more: Partial<SseConnectorOptions> = {}) {
  const recorder = new Recorder();
  const outcome = await sseTo(url, more).dial(recorder, undefined, new AbortController().signal);
  if (outcome.kind !== "failed") throw new Error("the dial did not fail");
  expect(recorder.told).toEqual([]);
  return outcome.failure;
}

/** The end of one call that the server treats as `onCall` says. */
async function outcomeOf(onCall: (posted: Posted) => void, as = asUnsafe) {
  const server = await serve();
  server.onCall = onCall;
  const made = await session(server);
  made.connection.send(request("1-2"), as("1-2"));
  const outcome = await made.recorder.outcome("1-2");
  return { outcome, server, made };
}

const status =
  (code: number, body = "", headers: Record<string, string> = {}) =>
  ({ res }: Posted) => {
    res.writeHead(code, headers).end(body);
  };

describe("the way of a message", () => {
  it("goes by POST to the endpoint that the stream named, and its reply comes on the stream", async () => {
    const server = await serve();
    server.onCall = ({ rpc, res }) => {
      res.writeHead(202).end("Accepted");
      server.say(result(rpc.id, { ok: 1 }));
    };
    const { connection, recorder } = await session(server, {
      headers: { authorization: "Bearer t" },
    });
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect((await recorder.reply("1-2")).message.text).toBe(result("1-2", { ok: 1 }));
    const [call] = server.calls("tools/call");
    expect(call?.url).toBe("/message?sessionId=1-abcdefghij");
    expect(call?.headers).toMatchObject({
      authorization: "Bearer t",
      "content-type": "application/json",
      "mcp-protocol-version": "2025-11-25",
    });
    expect(server.streams[0]?.headers).toMatchObject({
      authorization: "Bearer t",
      accept: "text/event-stream",
    });
    expect(connection.describe()).toEqual({ session: "1-abcdef…" });
    expect(recorder.downs()).toEqual([]);
  });

  it("may be answered on the stream before its POST is", async () => {
    const server = await serve();
    let late: Posted | undefined;
    server.onCall = (posted) => {
      late = posted;
      server.say(result(posted.rpc.id, {}));
    };
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    // What the POST says now is about nobody's call any more.
    late?.res.writeHead(500).end("too late");
    server.onCall = ({ rpc, res }) => {
      res.writeHead(202).end();
      server.say(result(rpc.id, {}));
    };
    connection.send(request("1-3"), asUnsafe("1-3"));
    await recorder.reply("1-3");
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(recorder.replies("1-2")).toHaveLength(1);
    // It was not cut off either: some servers take that for the caller's leave.
    expect(late?.socket.destroyed).toBe(false);
  });

  it.each([200, 202, 204])("is taken with HTTP %i", async (code) => {
    const server = await serve();
    server.onCall = ({ rpc, res }) => {
      res.writeHead(code).end();
      server.say(result(rpc.id, {}));
    };
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("does NOT overtake the notification that ends the handshake", async () => {
    const server = await serve();
    const { made, initialized } = await unfinishedHandshake(server);
    expect(made.connection.send(request("1-2"), asRead("1-2"))).toBe(true);
    // What was sent would have arrived by the time in which a whole other session begins.
    server.onNotice = ({ res }) => {
      res.writeHead(202).end();
    };
    await session(server);
    expect(server.calls("tools/call")).toEqual([]);
    initialized.res.writeHead(202).end();
    const call = await until("the call to arrive", () => server.calls("tools/call")[0]);
    // 2024-11-05 knows no such header.
    expect(call.headers["mcp-protocol-version"]).toBeUndefined();
  });

  it("from the server passes whole, whatever its lines and chunks are", async () => {
    const server = await serve();
    const { recorder } = await session(server);
    const note = '{"jsonrpc":"2.0",\n"method":"notifications/x","params":{"text":"é€𝄞"}}';
    const bytes = Buffer.from(
      `: a comment\r\nretry: 1\r\n\r\nid: 7\r\ndata: ${note.replace("\n", "\r\ndata: ")}\r\n\r\n`,
    );
    for (const byte of bytes) server.write(Uint8Array.of(byte));
    await until("the notification", () => recorder.notifications().length === 1);
    expect(recorder.told.at(-1)).toMatchObject({ message: { text: note } });
  });
});

describe("the endpoint", () => {
  it("of another origin is NOT posted to", async () => {
    const server = await serve();
    server.onGet = (stream) => {
      server.open(stream, "http://127.0.0.2:1/message");
    };
    expect(await failedDial(server.url)).toEqual({
      kind: "protocol_error",
      message: "the server named an endpoint of another origin, http://127.0.0.2:1",
    });
  });

  it("may be an absolute URI of the same origin, or relative to the stream", async () => {
    const server = await serve();
    for (const uri of [`http://127.0.0.1:${String(server.port)}/abs`, "rel"]) {
      server.onGet = (stream) => {
        server.open(stream, uri);
      };
      await session(server);
    }
    expect(server.calls("initialize").map((posted) => posted.url)).toEqual(["/abs", "/rel"]);
  });

  it("that never comes ends the dial in time", async () => {
    const server = await serve();
    server.onGet = ({ res }) => {
      res.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    };
    const why = await failedDial(server.url, { connectTimeoutMs: 100 });
    expect(why).toEqual({
      kind: "timeout",
      message: "the server named no endpoint within 0.2 s",
    });
    await until("the stream to be cut off", () => server.streams[0]?.socket.destroyed);
  });

  it("that comes a second time ends the connection: the session is lost", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    server.write("event: endpoint\ndata: /message?sessionId=other\n\n");
    expect((await recorder.down()).failure.kind).toBe("session_lost");
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(connection.send(request("1-3"), asRead("1-3"))).toBe(false);
  });
});

describe("a stream that can't be had", () => {
  it.each([
    [401, "auth", "HTTP 401"],
    [403, "auth", "HTTP 403"],
    [429, "rate_limited", "HTTP 429"],
    [503, "rate_limited", "HTTP 503"],
    [500, "server_error", "HTTP 500"],
    [404, "server_error", 'the type is "http"'],
    [405, "server_error", 'the type is "http"'],
  ])("with HTTP %i is %s, and said so", async (code, kind, words) => {
    const server = await serve();
    server.onGet = ({ res }) => {
      res.writeHead(code, { "retry-after": "7" }).end("no");
    };
    const why = await failedDial(server.url);
    expect(why.kind).toBe(kind);
    expect(why.message).toContain(words);
    expect(why.retryAfterMs).toBe(kind === "rate_limited" ? 7_000 : undefined);
  });

  it("because it is a page says what was found", async () => {
    const server = await serve();
    server.onGet = ({ res }) => {
      res.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<html>");
    };
    const why = await failedDial(server.url);
    expect(why.kind).toBe("protocol_error");
    expect(why.message).toContain('content of type "text/html"');
    expect(why.message).toContain('the type is "http"');
  });

  it("because of a redirection is NOT followed, and says where it leads, without its query", async () => {
    const server = await serve();
    server.onGet = ({ res }) => {
      res.writeHead(307, { location: "https://other.example/sse?token=secret" }).end();
    };
    const why = await failedDial(server.url);
    expect(why.kind).toBe("server_error");
    expect(why.message).toContain("redirected to https://other.example/sse?token=***");
    expect(server.streams).toHaveLength(1);
  });

  it("because nobody listens is refused", async () => {
    const server = await serve();
    const { url } = server;
    await server.close();
    expect((await failedDial(url)).kind).toBe("connect_refused");
    expect((await failedDial("http://no-such-host.invalid/sse")).kind).toBe("dns");
  });

  it("because the dial is called off leaves no socket behind", async () => {
    const server = await serve();
    server.onGet = () => undefined;
    const abort = new AbortController();
    const dialled = sseTo(server.url).dial(new Recorder(), undefined, abort.signal);
    const stream = await until("the GET", () => server.streams[0]);
    abort.abort();
    expect(await dialled).toMatchObject({ kind: "failed", failure: { kind: "timeout" } });
    await until("the socket to be closed", () => stream.socket.destroyed);
  });
});

describe("the end of the stream", () => {
  it.each([
    ["ended", (server: SseServer) => server.streams[0]?.res.end()],
    ["reset", (server: SseServer) => server.streams[0]?.socket.resetAndDestroy()],
  ])("that is %s ends the connection once, without a second GET", async (_how, cut) => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    cut(server);
    expect((await recorder.down()).failure.kind).toBe("reset");
    expect(recorder.downs()).toEqual([
      { kind: "down", failure: recorder.downs()[0]?.failure, resume: undefined },
    ]);
    // A later connection of ours is the next GET: the package made none meanwhile.
    await session(server);
    expect(server.streams).toHaveLength(2);
    expect(recorder.downs()).toHaveLength(1);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("comes after the reply that was written just before it", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    server.onCall = ({ rpc, res }) => {
      res.writeHead(202).end();
      server.streams[0]?.res.end(`data: ${result(rpc.id, {})}\n\n`);
    };
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.down();
    expect(recorder.replies("1-2")).toHaveLength(1);
    expect(recorder.told.at(-1)?.kind).toBe("down");
  });

  it("refuses what was never sent, and says nothing of what was", async () => {
    const server = await serve();
    const { made, initialized } = await unfinishedHandshake(server);
    const { connection, recorder } = made;
    connection.send(request("1-2"), asUnsafe("1-2"));
    server.streams[0]?.socket.resetAndDestroy();
    await recorder.down();
    expect(recorder.outcomes("1-2")).toMatchObject([{ kind: "refused" }]);
    expect(recorder.told.at(-1)?.kind).toBe("down");
    expect(initialized.res.writableEnded).toBe(false);
    expect(server.calls("tools/call")).toEqual([]);
  });

  it("by us tells nobody, and closes the sockets", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    await connection.close(500);
    await until("the stream to be closed", () => server.streams[0]?.socket.destroyed);
    expect(recorder.downs()).toEqual([]);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });
});

describe("a POST that is not taken", () => {
  it.each([
    [401, "", "refused", "auth"],
    [404, "", "refused", "session_lost"],
    [400, "Bad Request: no valid session", "refused", "session_lost"],
    [429, "", "refused", "rate_limited"],
    [413, "", "rejected", "server_error"],
    [500, "", "lost", "server_error"],
    [503, "", "lost", "server_error"],
    [302, "", "rejected", "server_error"],
  ])("with HTTP %i %s is %s, %s", async (code, body, kind, failureKind) => {
    const { outcome } = await outcomeOf(status(code, body));
    expect(outcome).toMatchObject({ kind, failure: { kind: failureKind } });
  });

  it("with a session-shaped answer ends the connection at once", async () => {
    const { made } = await outcomeOf(status(404));
    expect((await made.recorder.down()).failure.kind).toBe("session_lost");
  });

  it("but with the answer to itself is answered", async () => {
    const server = await serve();
    server.onCall = ({ rpc, res }) => {
      res.writeHead(400).end(rpcError(rpc.id, -32602, "bad arguments"));
    };
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect((await recorder.reply("1-2")).message).toMatchObject({ error: { code: -32602 } });
  });

  it("because its socket was reset is lost, and an unsafe one is NOT posted again", async () => {
    const { outcome, server } = await outcomeOf(({ socket }) => socket.resetAndDestroy());
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "reset" } });
    expect(server.calls("tools/call")).toHaveLength(1);
  });

  it("because nobody listens any more is refused, and replies under way are still taken", async () => {
    const server = await serve();
    server.onCall = ({ res }) => {
      res.writeHead(202, { connection: "close" }).end();
    };
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const first = await until("the call to arrive", () => server.calls("tools/call")[0]);
    server.stopListening();
    await until("its socket to be closed", () => first.socket.destroyed);
    connection.send(request("1-3"), asUnsafe("1-3"));
    expect(await recorder.outcome("1-3")).toMatchObject({
      kind: "refused",
      failure: { kind: "connect_refused" },
    });
    expect(connection.send(request("1-4"), asUnsafe("1-4"))).toBe(false);
    expect(recorder.downs()).toEqual([]);
    server.say(result("1-2", {}));
    expect((await recorder.down()).failure.kind).toBe("connect_refused");
    expect(recorder.replies("1-2")).toHaveLength(1);
  });

  it("because of credentials leaves a moment for the replies to others", async () => {
    const server = await serve();
    server.onCall = ({ rpc, res }) => {
      res.writeHead(rpc.id === "1-2" ? 202 : 401).end();
    };
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    connection.send(request("1-3"), asUnsafe("1-3"));
    await recorder.outcome("1-3");
    expect(recorder.downs()).toEqual([]);
    server.say(result("1-2", {}));
    expect((await recorder.down()).failure.kind).toBe("auth");
    expect(recorder.replies("1-2")).toHaveLength(1);
  });
});

describe("a server that does not answer POSTs", () => {
  it("nor anything else is given up after a ping, and its calls are left in doubt", async () => {
    const server = await serve();
    server.onCall = () => undefined;
    const { connection, recorder } = await session(server, { answerPatienceMs: 60 });
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect((await recorder.down()).failure.kind).toBe("half_open");
    expect(server.calls("ping")).toHaveLength(1);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("but takes a ping is NOT given up, however long it works", async () => {
    const server = await serve();
    let slow: Posted | undefined;
    server.onCall = (posted) => {
      if (posted.rpc.method === "ping") {
        posted.res.writeHead(202).end();
        server.say(result(posted.rpc.id, {}));
      } else slow = posted;
    };
    const { connection, recorder } = await session(server, { answerPatienceMs: 40 });
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("three pings", () => server.calls("ping").length >= 3);
    server.say(result("1-2", {}));
    slow?.res.writeHead(202).end();
    await recorder.reply("1-2");
    expect(recorder.downs()).toEqual([]);
    // The answers to our own pings are nobody's.
    expect(recorder.replies("hf-alive")).toEqual([]);
  });
});

describe("a server that takes no POST, but speaks", () => {
  it("is NOT asked, nor given up", async () => {
    const server = await serve();
    server.onCall = () => undefined;
    const { connection, recorder } = await session(server, { answerPatienceMs: 60 });
    connection.send(request("1-2"), asUnsafe("1-2"));
    const from = performance.now();
    for (let said = 1; performance.now() - from < 300; said++) {
      server.say('{"jsonrpc":"2.0","method":"notifications/progress"}');
      await until("what it said", () => recorder.notifications().length === said);
    }
    expect(recorder.downs()).toEqual([]);
    expect(server.calls("ping")).toEqual([]);
  });
});

describe("a held connection", () => {
  it("is not read, its server is NOT given up, and nothing is lost", async () => {
    const server = await serve();
    const posts = { silent: 0 };
    server.onCall = () => (posts.silent += 1);
    const { connection, recorder } = await session(server, { answerPatienceMs: 200 });
    connection.hold?.(true);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call", () => posts.silent === 1);
    const big = JSON.stringify({ jsonrpc: "2.0", method: "flood", params: "x".repeat(1_000_000) });
    for (let n = 0; n < 20; n++) server.say(big);
    // The first silence would be asked about, the second would be the end.
    const from = performance.now();
    await until("four times its patience", () => performance.now() - from > 800);
    expect(recorder.notifications()).toEqual([]);
    expect(server.streams[0]?.res.writableLength).toBeGreaterThan(10_000_000);
    expect(server.calls("ping")).toEqual([]);
    // From here on it may be asked, and is well.
    server.onCall = ({ res }) => res.writeHead(202).end();
    connection.hold?.(false);
    server.say(result("1-2", {}));
    await recorder.reply("1-2");
    expect(recorder.notifications()).toHaveLength(20);
    expect(recorder.downs()).toEqual([]);
  });
});

describe("what can't be taken", () => {
  it("a reply over the limit settles its request, and the stream goes on", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server, { replyMaxBytes: 1_000 });
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    server.say(`{"jsonrpc":"2.0","id":"1-2","result":{"big":"${"x".repeat(5_000)}"}}`);
    expect(await recorder.outcome("1-2")).toMatchObject({
      kind: "unreadable",
      failure: { kind: "oversize" },
    });
    server.say('{"jsonrpc":"2.0","method":"notifications/after"}');
    await until("the stream to go on", () => recorder.notifications().length === 1);
    expect(recorder.downs()).toEqual([]);
  });

  it("a stream without end in one event costs no more memory than the limit", async () => {
    const server = await serve();
    const { recorder } = await session(server, { replyMaxBytes: 100_000 });
    const before = process.memoryUsage().rss;
    server.write("data: ");
    const part = Buffer.alloc(1_000_000, "x");
    for (let i = 0; i < 100; i++) {
      const { res } = server.streams[0] ?? {};
      if (res?.write(part) === false) await new Promise((resolve) => res.once("drain", resolve));
    }
    server.write("\n\n");
    await until("the report", () => recorder.told.some((told) => told.kind === "noise"));
    expect(process.memoryUsage().rss - before).toBeLessThan(60_000_000);
  });

  it("broken UTF-8 is NOT repaired silently", async () => {
    const server = await serve();
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the call to arrive", () => server.calls("tools/call")[0]);
    const text = `data: {"jsonrpc":"2.0","id":"1-2","result":{"a":"`;
    server.write(Buffer.concat([Buffer.from(text), Buffer.of(0xff), Buffer.from('"}}\n\n')]));
    expect(await recorder.outcome("1-2")).toMatchObject({
      kind: "unreadable",
      failure: { kind: "protocol_error" },
    });
  });

  it("garbage and unknown events are noise", async () => {
    const server = await serve();
    const { recorder } = await session(server);
    server.write("data: no json\n\nevent: mystery\ndata: x\n\nnonsense\n\n");
    server.say('{"jsonrpc":"2.0","method":"notifications/after"}');
    await until("the stream to go on", () => recorder.notifications().length === 1);
    const noise = recorder.told.flatMap((told) => (told.kind === "noise" ? [told.what] : []));
    expect(noise).toHaveLength(2);
    expect(noise.join()).toContain("mystery");
  });
});

it("a server that is no HTTP server at all breaks the protocol", async () => {
  const server = createTcpServer((socket) => socket.end("hello there\r\n"));
  tcpServers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  expect((await failedDial(`http://127.0.0.1:${String(port)}/sse`)).kind).toBe("protocol_error");
});
