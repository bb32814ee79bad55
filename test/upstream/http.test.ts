import { afterEach, describe, expect, it } from "vitest";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { realWorld, type World } from "../../src/base/world.ts";
import type { Connection } from "../../src/ports.ts";
import type { HttpConnectorOptions } from "../../src/upstream/http.ts";
import {
  asRead,
  asUnsafe,
  connectorTo,
  dialTo,
  event,
  FakeServer,
  INITIALIZE,
  INITIALIZED,
  json,
  Recorder,
  request,
  result,
  rpcError,
  shakeHands,
  sse,
  until,
  type Handler,
  type Link,
} from "../support/http-rig.ts";
import { ownPort } from "../support/port.ts";

const servers: FakeServer[] = [];
const tcpServers: Server[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close(500)));
  await Promise.all(servers.splice(0).map((server) => server.close()));
  for (const server of tcpServers.splice(0)) server.close();
});

async function serve(handler: Handler): Promise<FakeServer> {
  const server = await new FakeServer(handler).listen();
  servers.push(server);
  return server;
}

async function link(url: string, more: Partial<HttpConnectorOptions> = {}): Promise<Link> {
  const made = await dialTo(connectorTo(url, more));
  connections.push(made.connection);
  return made;
}

async function session(
  server: FakeServer,
  more: Partial<HttpConnectorOptions> = {},
): Promise<Link> {
  const made = await link(server.url, more);
  await shakeHands(made);
  return made;
}

/** One unsafe or read call against a server that answers as `handler` says. */
async function outcomeOf(
  handler: Handler,
  as = asUnsafe,
  more: Partial<HttpConnectorOptions> = {},
) {
  const server = await serve(handler);
  const made = await session(server, more);
  made.connection.send(request("1-2"), as("1-2"));
  const outcome = await made.recorder.outcome("1-2");
  return { outcome, made, server };
}

const status =
  (code: number, body = "", headers: Record<string, string> = {}): Handler =>
  (seen) => {
    seen.res.writeHead(code, headers).end(body);
  };

describe("the way of a request", () => {
  it("an answer as JSON comes with the id of its request", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, { ok: 1 }));
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const told = await recorder.reply("1-2");
    expect(told.relatedId).toBe("1-2");
    expect(told.message.text).toBe('{"jsonrpc":"2.0","id":"1-2","result":{"ok":1}}');
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("notifications on the stream of an answer come with its request's id, before the reply", async () => {
    const server = await serve((seen) => {
      sse(
        seen,
        event('{"jsonrpc":"2.0","method":"notifications/progress","params":{}}'),
        ": a comment\n\n",
        event(result(seen.rpc?.id, {})),
      );
      seen.res.end();
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    const messages = recorder.told.flatMap((t) => (t.kind === "message" ? [t] : [])).slice(1);
    expect(messages.map((t) => [t.message.kind, t.relatedId])).toEqual([
      ["notification", "1-2"],
      ["reply", "1-2"],
    ]);
  });

  it("the session id, the version and configured headers are sent from the moment they hold", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    const made = await session(server, { headers: { Authorization: "Bearer t0ken", "X-A": "b" } });
    made.connection.send(request("1-2", "ping"), asRead("1-2"));
    await made.recorder.reply("1-2");
    const [handshake, initialized] = server.seen;
    const ping = server.calls("ping")[0];
    expect(handshake?.headers["mcp-session-id"]).toBeUndefined();
    expect(handshake?.headers["mcp-protocol-version"]).toBeUndefined();
    expect(handshake?.headers["accept"]).toBe("application/json, text/event-stream");
    expect(initialized?.headers["mcp-session-id"]).toBe("s-1");
    expect(ping?.headers["mcp-protocol-version"]).toBe("2025-11-25");
    expect(ping?.headers.authorization).toBe("Bearer t0ken");
    expect(ping?.headers["x-a"]).toBe("b");
    expect(made.connection.describe()).toEqual({ session: "s-1" });
  });

  it("no version header is sent for a revision that has none", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    const { connection, recorder } = await link(server.url);
    connection.send(INITIALIZE("1-1"), { kind: "handshake", id: "1-1" });
    await recorder.reply("1-1");
    connection.handshaken("2025-03-26");
    connection.send(INITIALIZED, { kind: "notification" });
    connection.send(request("1-2", "ping"), asRead("1-2"));
    await recorder.reply("1-2");
    expect(server.calls("ping")[0]?.headers["mcp-protocol-version"]).toBeUndefined();
  });

  it("a request does NOT overtake the initialized notification", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    const made = await link(server.url);
    made.connection.send(INITIALIZE("1-1"), { kind: "handshake", id: "1-1" });
    await made.recorder.reply("1-1");
    made.connection.handshaken("2025-11-25");
    made.connection.send(INITIALIZED, { kind: "notification" });
    for (const n of [2, 3, 4]) {
      made.connection.send(request(`1-${String(n)}`), asUnsafe(`1-${String(n)}`));
    }
    await made.recorder.reply("1-4");
    const posts = server.seen.filter((s) => s.method === "POST").map((s) => s.rpc?.method);
    expect(posts.slice(0, 2)).toEqual(["initialize", "notifications/initialized"]);
    expect(posts).toHaveLength(5);
  });

  it("a session id that is not visible ASCII is ignored, with noise", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    server.sessionId = "a b";
    const made = await session(server);
    made.connection.send(request("1-2", "ping"), asRead("1-2"));
    await made.recorder.reply("1-2");
    expect(server.calls("ping")[0]?.headers["mcp-session-id"]).toBeUndefined();
    expect(made.recorder.told.some((t) => t.kind === "noise")).toBe(true);
  });

  it("a reply to another pending request goes to that one; a second copy goes nowhere", async () => {
    const server = await serve((seen) => {
      if (seen.rpc?.id !== "1-3") return;
      sse(seen, event(result("1-2", { of: 2 })), event(result("1-3", { of: 3 })));
      seen.res.end();
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await until("the first call", () => server.calls("tools/call").length === 1);
    connection.send(request("1-3"), asUnsafe("1-3"));
    expect((await recorder.reply("1-2")).relatedId).toBe("1-2");
    await recorder.reply("1-3");
    expect(recorder.replies("1-2")).toHaveLength(1);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("a forgotten request ends without an outcome, and the connection goes on", async () => {
    const server = await serve((seen) => {
      if (seen.rpc?.id === "1-3") json(seen, result("1-3", {}));
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const call = await until("the call", () => server.calls("tools/call")[0]);
    connection.forget("1-2");
    await until("its socket to close", () => call.socket.destroyed);
    connection.send(request("1-3"), asUnsafe("1-3"));
    await recorder.reply("1-3");
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(recorder.downs()).toEqual([]);
  });

  it("close ends the session with DELETE and cuts what is open, telling nothing more", async () => {
    const server = await serve(() => undefined);
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const call = await until("the call", () => server.calls("tools/call")[0]);
    const before = recorder.told.length;
    await connection.close(5_000);
    const deleted = server.seen.find((s) => s.method === "DELETE");
    expect(deleted?.headers["mcp-session-id"]).toBe("s-1");
    await until("its socket to close", () => call.socket.destroyed);
    expect(recorder.told).toHaveLength(before);
    expect(connection.send(request("1-9"), asUnsafe("1-9"))).toBe(false);
  });

  it("close ends within its grace when the server does not answer", async () => {
    const server = await serve(() => undefined);
    server.onDelete = () => undefined;
    const { connection } = await session(server);
    await connection.close(50);
    expect(server.seen.filter((s) => s.method === "DELETE").length).toBeLessThanOrEqual(1);
    expect(connection.send(INITIALIZED, { kind: "notification" })).toBe(false);
  });
});

describe("what an answer proves", () => {
  it("a 404 with a session id is a lost session: not executed, and the link is down once", async () => {
    const { outcome, made, server } = await outcomeOf(status(404, rpcError(null, -32001, "gone")));
    expect(outcome).toMatchObject({ kind: "refused", failure: { kind: "session_lost" } });
    const down = await made.recorder.down();
    expect(down.failure.kind).toBe("session_lost");
    expect(down.resume).toBeUndefined();
    expect(made.connection.send(request("1-3"), asUnsafe("1-3"))).toBe(false);
    await made.connection.close(100);
    expect(made.recorder.downs()).toHaveLength(1);
    expect(server.calls("tools/call")).toHaveLength(1);
  });

  it("a 404 without a session id is a rejection, NOT a lost session", async () => {
    const server = await serve(status(404, "no such page"));
    server.sessionId = undefined;
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect(await recorder.outcome("1-2")).toMatchObject({ kind: "rejected" });
    expect(recorder.downs()).toEqual([]);
  });

  it.each([
    "Bad Request: No valid session ID provided",
    "Bad Request: Server not initialized",
    "Session expired",
  ])("a 400 that says %j is a lost session", async (words) => {
    const { outcome, made } = await outcomeOf(status(400, rpcError(null, -32000, words)));
    expect(outcome).toMatchObject({ kind: "refused", failure: { kind: "session_lost" } });
    expect((await made.recorder.down()).failure.kind).toBe("session_lost");
  });

  it("a 400 that is the JSON-RPC error of this request is passed through, and nothing is down", async () => {
    const server = await serve((seen) => {
      json(seen, rpcError(seen.rpc?.id, -32602, "no such session_id argument"), 400);
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const { message } = await recorder.reply("1-2");
    expect(message.kind === "reply" && message.error?.code).toBe(-32602);
    expect(recorder.downs()).toEqual([]);
  });

  it("a 400 with the error of another request is NOT taken for the answer", async () => {
    const { outcome, made } = await outcomeOf(status(400, rpcError("9-9", -32602, "bad")));
    expect(outcome).toMatchObject({ kind: "rejected", failure: { kind: "server_error" } });
    expect(outcome.failure.message).toContain("HTTP 400");
    expect(made.recorder.downs()).toEqual([]);
  });

  it("session words in a JSON-RPC error inside a 200 pass through", async () => {
    const server = await serve((seen) => {
      json(seen, rpcError(seen.rpc?.id, -32001, "Session not found"));
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const { message } = await recorder.reply("1-2");
    expect(message.kind === "reply" && message.error?.code).toBe(-32001);
    expect(recorder.downs()).toEqual([]);
  });

  it.each([401, 403])("%i is refused credentials, naming the challenge", async (code) => {
    const { outcome, made } = await outcomeOf(
      status(code, "", { "www-authenticate": 'Bearer realm="x"' }),
    );
    expect(outcome).toMatchObject({ kind: "refused", failure: { kind: "auth" } });
    expect(outcome.failure.message).toContain('Bearer realm="x"');
    expect((await made.recorder.down()).failure.kind).toBe("auth");
  });

  it.each([405, 406, 413, 415])("%i is a rejection that names status and body", async (code) => {
    const { outcome, made } = await outcomeOf(status(code, "x".repeat(500)));
    expect(outcome.kind).toBe("rejected");
    expect(outcome.failure.message).toContain(`HTTP ${String(code)}`);
    expect(outcome.failure.message).toContain("x".repeat(200));
    expect(outcome.failure.message).not.toContain("x".repeat(201));
    expect(made.recorder.downs()).toEqual([]);
  });

  it.each([400, 409, 418, 422])(
    "%i without a word of JSON-RPC does NOT prove that a write did not run",
    async (code) => {
      const { outcome, made } = await outcomeOf(status(code, "the tool said no"));
      expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "server_error" } });
      expect(outcome.failure.message).toContain("the tool said no");
      expect(made.recorder.downs()).toEqual([]);
    },
  );

  it("a redirect is NOT followed and names where it led, without query values", async () => {
    const { outcome, server } = await outcomeOf(
      status(307, "", { location: "https://login.example/a?token=s3cret" }),
    );
    expect(outcome.kind).toBe("rejected");
    expect(outcome.failure.message).toContain("https://login.example/a?token=***");
    expect(outcome.failure.message).not.toContain("s3cret");
    expect(server.calls("tools/call")).toHaveLength(1);
  });

  it("429 is refused for as long as Retry-After says in seconds", async () => {
    const { outcome, made } = await outcomeOf(status(429, "slow", { "retry-after": "7" }));
    expect(outcome).toMatchObject({
      kind: "refused",
      failure: { kind: "rate_limited", retryAfterMs: 7_000 },
    });
    expect(made.recorder.downs()).toEqual([]);
  });

  it("Retry-After as a date counts from now, and is bounded to 15 minutes", async () => {
    const far = new Date(Date.now() + 3_600_000).toUTCString();
    const { outcome } = await outcomeOf(status(429, "", { "retry-after": far }));
    expect(outcome.failure.retryAfterMs).toBe(900_000);
    const past = new Date(Date.now() - 3_600_000).toUTCString();
    const other = await outcomeOf(status(429, "", { "retry-after": past }));
    expect(other.outcome.failure.retryAfterMs).toBe(1_000);
  });

  it("503 with Retry-After refuses a read, and leaves an unsafe call in doubt", async () => {
    const busy = status(503, "", { "retry-after": "2" });
    const read = await outcomeOf(busy, asRead);
    expect(read.outcome).toMatchObject({ kind: "refused", failure: { kind: "rate_limited" } });
    const unsafe = await outcomeOf(busy);
    expect(unsafe.outcome).toMatchObject({ kind: "lost", failure: { kind: "server_error" } });
  });

  it.each([500, 502, 503, 504])("a bare %i is in doubt, for a read too", async (code) => {
    const { outcome } = await outcomeOf(status(code, "<html>oops</html>"), asRead);
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "server_error" } });
  });

  it("a 500 whose body is the JSON-RPC answer to this request is that answer", async () => {
    const server = await serve((seen) => {
      json(seen, rpcError(seen.rpc?.id, -32603, "boom"), 500);
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it.each([
    ["202 for a request", status(202)],
    ["a page of HTML", status(200, "<html>", { "content-type": "text/html" })],
    ["JSON cut short", status(200, '{"jsonrpc":', { "content-type": "application/json" })],
    ["an error with id null", status(200, rpcError(null, -32000, "x"))],
    ["the reply to another id", status(200, result("9-9", {}))],
    ["an encoding not asked for", status(200, "zz", { "content-encoding": "gzip" })],
  ] as [string, Handler][])(
    "%s leaves the request in doubt as a breach of protocol",
    async (_, h) => {
      const { outcome, made } = await outcomeOf(h);
      expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "protocol_error" } });
      expect(made.recorder.replies("1-2")).toEqual([]);
      expect(made.recorder.downs()).toEqual([]);
    },
  );

  it("invalid UTF-8 in an answer is NOT replaced silently", async () => {
    const { outcome } = await outcomeOf((seen) => {
      const head = Buffer.from('{"jsonrpc":"2.0","id":"1-2","result":{"a":"');
      seen.res.writeHead(200, { "content-type": "application/json" });
      seen.res.end(Buffer.concat([head, Buffer.from([0xff, 0xfe]), Buffer.from('"}}')]));
    });
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "protocol_error" } });
  });

  it("secrets named to the connector are masked in messages", async () => {
    const { outcome } = await outcomeOf(status(413, "you sent hunter2"), asUnsafe, {
      maskValues: ["hunter2"],
    });
    expect(outcome.failure.message).toContain("you sent ***");
  });
});

describe("bounds", () => {
  it("a JSON answer over the limit is unreadable, announced or not", async () => {
    const big = "x".repeat(5_000);
    const announced = await outcomeOf(
      (seen) => {
        json(seen, result(seen.rpc?.id, big));
      },
      asUnsafe,
      { replyMaxBytes: 2_000 },
    );
    expect(announced.outcome).toMatchObject({ kind: "unreadable", failure: { kind: "oversize" } });
    const chunked = await outcomeOf(
      (seen) => {
        seen.res.writeHead(200, { "content-type": "application/json" });
        seen.res.write('{"jsonrpc":"2.0",');
        seen.res.write(`"id":"1-2","result":"${big}"}`);
      },
      asUnsafe,
      { replyMaxBytes: 2_000 },
    );
    expect(chunked.outcome.kind).toBe("unreadable");
    const { connection, recorder } = chunked.made;
    chunked.server.handler = (seen) => {
      json(seen, result(seen.rpc?.id, 1));
    };
    connection.send(request("1-3"), asUnsafe("1-3"));
    await recorder.reply("1-3");
  });

  it("an event over the limit is unreadable for its request", async () => {
    const { outcome } = await outcomeOf(
      (seen) => {
        sse(seen, event(result(seen.rpc?.id, "x".repeat(5_000))));
        seen.res.end();
      },
      asUnsafe,
      { replyMaxBytes: 2_000 },
    );
    expect(outcome).toMatchObject({ kind: "unreadable", failure: { kind: "oversize" } });
  });

  it("a notification over the limit is left out, and the reply after it still comes", async () => {
    const server = await serve((seen) => {
      const params = { data: "x".repeat(5_000) };
      const note = JSON.stringify({ jsonrpc: "2.0", method: "notifications/message", params });
      sse(seen, event(note), event(result(seen.rpc?.id, 1)));
      seen.res.end();
    });
    const { connection, recorder } = await session(server, { replyMaxBytes: 2_000 });
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    expect(recorder.notifications()).toEqual([]);
  });
});

describe("the network", () => {
  async function refusal(url: string, more: Partial<HttpConnectorOptions> = {}) {
    const { connection, recorder } = await link(url, more);
    connection.send(INITIALIZE("1-1"), { kind: "handshake", id: "1-1" });
    const down = await recorder.down();
    expect(recorder.outcomes("1-1")).toHaveLength(1);
    expect(recorder.outcomes("1-1")[0]?.kind).toBe("refused");
    expect(recorder.told.at(-1)).toBe(down);
    expect(down.resume).toBeUndefined();
    return down.failure;
  }

  it("a port where nobody listens refuses the connection", async () => {
    const failure = await refusal(`http://127.0.0.1:${String(await ownPort())}/mcp`);
    expect(failure.kind).toBe("connect_refused");
    expect(failure.message).toContain("ECONNREFUSED");
  });

  it("a name with several addresses that all refuse names a cause too", async () => {
    const failure = await refusal(`http://localhost:${String(await ownPort())}/mcp`);
    expect(failure.kind).toBe("connect_refused");
    expect(failure.message).toContain("ECONNREFUSED");
  });

  it("a name that does not exist is a DNS failure", async () => {
    const failure = await refusal("http://holdfast-test.invalid/mcp");
    expect(failure.kind).toBe("dns");
    expect(failure.message).toContain("holdfast-test.invalid");
  });

  it("TLS to a plain port is a TLS failure, and no byte of the request left", async () => {
    const server = await serve(() => undefined);
    const failure = await refusal(server.url.replace("http:", "https:"));
    expect(failure.kind).toBe("tls");
    expect(server.seen).toEqual([]);
  });

  it("a TLS server that never shakes hands is a connect timeout", async () => {
    const silent = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.resume();
    });
    tcpServers.push(silent);
    await new Promise<void>((resolve) => {
      silent.listen(0, "127.0.0.1", resolve);
    });
    const { port } = silent.address() as AddressInfo;
    const url = `https://127.0.0.1:${String(port)}/mcp`;
    expect((await refusal(url, { connectTimeoutMs: 200 })).kind).toBe("timeout");
  });

  it("a server that is slow to answer is NOT timed out", async () => {
    let answer: (() => void) | undefined;
    const server = await serve((seen) => {
      answer = () => {
        json(seen, result(seen.rpc?.id, {}));
      };
    });
    // Nothing that could end the wait may be armed while the answer is outstanding.
    const real = realWorld();
    const armed = new Set<number>();
    let count = 0;
    const world: World = {
      ...real,
      timer: (delayMs, fire) => {
        const n = count++;
        armed.add(n);
        const cancel = real.timer(delayMs, () => {
          armed.delete(n);
          fire();
        });
        return () => {
          armed.delete(n);
          cancel();
        };
      },
    };
    const { connection, recorder } = await session(server, { world });
    connection.send(request("1-2"), asUnsafe("1-2"));
    const reply = await until("the call", () => answer);
    await until("the own stream's refusal", () => server.gets().length === 1);
    await until("all timers to be gone", () => armed.size === 0);
    expect(recorder.outcomes("1-2")).toEqual([]);
    reply();
    await recorder.reply("1-2");
  });

  it("a reset before the answer leaves the request in doubt, and the link is not down by that", async () => {
    const { outcome, made } = await outcomeOf((seen) => {
      seen.socket.resetAndDestroy();
    });
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "reset" } });
    expect(made.recorder.downs()).toEqual([]);
  });

  it("a reset in the middle of a JSON body leaves the request in doubt", async () => {
    const { outcome } = await outcomeOf((seen) => {
      seen.res.writeHead(200, { "content-type": "application/json", "content-length": "500" });
      seen.res.write('{"jsonrpc":', () => {
        seen.socket.resetAndDestroy();
      });
    });
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "reset" } });
  });

  it("a stream without event ids that breaks leaves the request in doubt at once", async () => {
    const { outcome, server } = await outcomeOf((seen) => {
      sse(seen, event('{"jsonrpc":"2.0","method":"notifications/progress","params":{}}'));
      setImmediate(() => seen.socket.resetAndDestroy());
    });
    expect(outcome).toMatchObject({ kind: "lost", failure: { kind: "reset" } });
    expect(server.gets().filter((s) => s.headers["last-event-id"] !== undefined)).toEqual([]);
  });

  it("what is no HTTP at all is a breach of protocol", async () => {
    const odd = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", () => socket.end("SSH-2.0-OpenSSH_9.6\r\n"));
    });
    tcpServers.push(odd);
    await new Promise<void>((resolve) => {
      odd.listen(0, "127.0.0.1", resolve);
    });
    const { port } = odd.address() as AddressInfo;
    const { connection, recorder } = await link(`http://127.0.0.1:${String(port)}/`);
    connection.send(INITIALIZE("1-1"), { kind: "handshake", id: "1-1" });
    expect(await recorder.outcome("1-1")).toMatchObject({
      kind: "lost",
      failure: { kind: "protocol_error" },
    });
  });

  it.each([
    ["a read", asRead],
    ["an unsafe call", asUnsafe],
  ])("%s goes out once, also over a stale socket, and is lost with it", async (_what, as) => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    const { connection, recorder } = await session(server);
    await until("the own stream's refusal", () => server.gets().length === 1);
    // It was taken, and may have run; then nobody answers on any socket any more.
    server.handler = (seen) => {
      server.stopListening();
      seen.socket.resetAndDestroy();
    };
    connection.send(request("1-2"), as("1-2"));
    expect((await recorder.outcome("1-2")).kind).toBe("lost");
    expect(server.seen.filter((seen) => seen.rpc?.id === "1-2")).toHaveLength(1);
  });

  it("after one stale socket the next request goes over a new one", async () => {
    const server = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    });
    const { connection, recorder } = await session(server);
    await until("the own stream's refusal", () => server.gets().length === 1);
    const old = new Set(server.seen.map(({ socket }) => socket));
    // Reset only sockets that served something before: that is what a stale one looks like.
    server.handler = (seen) => {
      if (old.has(seen.socket)) seen.socket.resetAndDestroy();
      else json(seen, result(seen.rpc?.id, {}));
    };
    connection.send(request("1-2"), asRead("1-2"));
    expect((await recorder.outcome("1-2")).kind).toBe("lost");
    connection.send(request("1-3"), asRead("1-3"));
    await recorder.reply("1-3");
  });

  it("calls that the server took are still answered while it takes no new ones", async () => {
    let answer: (() => void) | undefined;
    const server = await serve((seen) => {
      answer = () => {
        json(seen, result(seen.rpc?.id, {}));
      };
    });
    const { connection, recorder } = await session(server);
    connection.send(request("1-2"), asUnsafe("1-2"));
    const reply = await until("the call", () => answer);
    const busy = server.calls("tools/call")[0]?.socket;
    server.stopListening();
    // The idle sockets must be gone on our side too: their end is read in the turn after it was sent.
    const idle = server.seen.map((s) => s.socket).filter((socket) => socket !== busy);
    await until("the idle sockets to close", () => idle.every((socket) => socket.destroyed));
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    connection.send(request("1-3"), asUnsafe("1-3"));
    expect(await recorder.outcome("1-3")).toMatchObject({ kind: "refused" });
    connection.send(request("1-4"), asUnsafe("1-4"));
    reply();
    await recorder.reply("1-2");
    const down = await recorder.down();
    expect(down.failure.kind).toBe("connect_refused");
    expect(recorder.outcomes("1-4")).toMatchObject([{ kind: "refused" }]);
    expect(recorder.told.at(-1)).toBe(down);
  });

  it("a notification that can't be connected for takes the link down", async () => {
    const server = await serve(() => undefined);
    const { connection, recorder } = await session(server);
    await until("the own stream's refusal", () => server.gets().length === 1);
    await server.close();
    connection.send(INITIALIZED, { kind: "notification" });
    expect((await recorder.down()).failure.kind).toBe("connect_refused");
  });
});

describe("configuration", () => {
  it("a URL or header that can't be used is refused without showing its value", () => {
    expect(() => connectorTo("ftp://secret@x/")).toThrow(/expected http/);
    expect(() => connectorTo("http://x/", { headers: { "X-K": "a\nsecret" } })).toThrow(/"X-K"/);
    expect(() => connectorTo("http://x/", { headers: { "X-K": "a\nsecret" } })).not.toThrow(
      /secret/,
    );
    expect(() => connectorTo("http://x/", { headers: { Host: "y" } })).toThrow(/"Host"/);
  });

  it("the target is shown without user, password, query values and masked words", () => {
    const connector = connectorTo("https://me:pw@x.example/mcp/K3Y?api_key=abc&b=2", {
      maskValues: ["K3Y"],
    });
    expect(connector.target).toBe("https://x.example/mcp/***?api_key=***&b=***");
  });

  it("a dial that is given up before it began resolves as failed", async () => {
    const signal = AbortSignal.abort();
    const outcome = await connectorTo("http://127.0.0.1:1/").dial(
      new Recorder(),
      undefined,
      signal,
    );
    expect(outcome.kind).toBe("failed");
  });
});
