import { afterEach, describe, expect, it } from "vitest";
import { realWorld, type World } from "../../src/base/world.ts";
import type { Connection, Connector } from "../../src/ports.ts";
import {
  asRead,
  asUnsafe,
  connectorTo,
  dialTo,
  event,
  FakeServer,
  INITIALIZE,
  json,
  priming,
  Recorder,
  request,
  result,
  rpcError,
  shakeHands,
  sse,
  until,
  type Handler,
  type Link,
  type Seen,
} from "../support/http-rig.ts";

const servers: FakeServer[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close(500)));
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function serve(handler: Handler, port?: number): Promise<FakeServer> {
  const server = await new FakeServer(handler).listen(port);
  servers.push(server);
  return server;
}

async function session(connector: Connector): Promise<Link> {
  const made = await dialTo(connector);
  connections.push(made.connection);
  await shakeHands(made);
  return made;
}

/** The real world, but every delay is noted and runs at once if it is no longer than a minute. */
function hastyWorld(delays: number[]): World {
  const real = realWorld();
  return {
    ...real,
    timer: (delayMs, fire) => {
      delays.push(delayMs);
      return real.timer(delayMs >= 5_000 ? delayMs : Math.min(delayMs, 10), fire);
    },
  };
}

/** GETs that want a broken answer back. */
const resumptions = (server: FakeServer) =>
  server.gets().filter((s) => s.headers["last-event-id"] !== undefined);

/** A handler whose answer breaks off after its priming event. */
const primedThenCut =
  (id: string, retryMs: number): Handler =>
  (seen) => {
    sse(seen, priming(id, retryMs));
    setImmediate(() => seen.res.end());
  };

describe("a broken answer", () => {
  it("is fetched by GET with the last event id, the session and the version", async () => {
    const server = await serve(primedThenCut("A-0", 5));
    server.onGet = (seen) => {
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else {
        sse(seen, event('{"jsonrpc":"2.0","method":"notifications/progress"}', "A-1"));
        seen.res.end(event(result("1-2", "late"), "A-2"));
      }
    };
    const { connection, recorder } = await session(connectorTo(server.url));
    connection.send(request("1-2"), asUnsafe("1-2"));
    expect((await recorder.reply("1-2")).relatedId).toBe("1-2");
    const headers = resumptions(server)[0]?.headers;
    expect(headers?.["last-event-id"]).toBe("A-0");
    expect(headers?.["mcp-session-id"]).toBe("s-1");
    expect(headers?.["mcp-protocol-version"]).toBe("2025-11-25");
    const progress = recorder.told.find(
      (t) => t.kind === "message" && t.message.kind === "notification",
    );
    expect(progress).toMatchObject({ relatedId: "1-2" });
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(server.calls("tools/call")).toHaveLength(1);
  });

  it("waits as long as the server's retry says, and 1 s where it says nothing", async () => {
    for (const [first, delayMs] of [
      [priming("A-0", 2_345), 2_345],
      ["id: A-0\ndata: \n\n", 1_000],
    ] as const) {
      const delays: number[] = [];
      const server = await serve((seen) => {
        sse(seen, first);
        setImmediate(() => seen.res.end());
      });
      server.onGet = (seen) => {
        if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
        else {
          sse(seen, event(result("1-2", 1)));
          seen.res.end();
        }
      };
      const { connection, recorder } = await session(
        connectorTo(server.url, { world: hastyWorld(delays) }),
      );
      connection.send(request("1-2"), asUnsafe("1-2"));
      await recorder.reply("1-2");
      expect(delays).toContain(delayMs);
    }
  });

  it("is asked for again and again, through 409 and empty streams, until it is there", async () => {
    const server = await serve(primedThenCut("A-0", 5));
    server.onGet = (seen) => {
      const n = resumptions(server).length;
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else if (n === 1) seen.res.writeHead(409).end("one stream only");
      else if (n === 2) seen.res.writeHead(503, { "retry-after": "1" }).end();
      else if (n === 3) seen.socket.resetAndDestroy();
      else {
        sse(seen);
        seen.res.end(n === 4 ? "" : event(result("1-2", 1), "A-1"));
      }
    };
    const world = hastyWorld([]);
    const { connection, recorder } = await session(connectorTo(server.url, { world }));
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    expect(resumptions(server)).toHaveLength(5);
    expect(recorder.downs()).toEqual([]);
  });

  it("whose resumed stream stays open with nothing in it is asked for once more", async () => {
    const server = await serve(primedThenCut("A-0", 5));
    server.onGet = (seen) => {
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else if (resumptions(server).length === 1) sse(seen, ": attached to nothing\n\n");
      else sse(seen, event(result("1-2", 1), "A-1"));
    };
    const real = realWorld();
    const world: World = {
      ...real,
      timer: (ms, fire) => real.timer(ms === 15_000 ? 50 : ms, fire),
    };
    const { connection, recorder } = await session(connectorTo(server.url, { world }));
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    expect(resumptions(server)).toHaveLength(2);
    expect(recorder.outcomes("1-2")).toEqual([]);
  });

  it("drops replies of other streams that the server replays", async () => {
    const server = await serve((seen) => {
      if (seen.rpc?.id === "1-2") json(seen, result("1-2", "first"));
      else primedThenCut("B-0", 5)(seen);
    });
    server.onGet = (seen) => {
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else {
        sse(seen, event(result("1-2", "again"), "A-9"), event(result("1-3", 3), "B-1"));
        seen.res.end();
      }
    };
    const { connection, recorder } = await session(connectorTo(server.url));
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
    connection.send(request("1-3"), asUnsafe("1-3"));
    await recorder.reply("1-3");
    expect(recorder.replies("1-2")).toHaveLength(1);
  });

  it.each([
    [404, "", "session_lost", 1],
    [400, rpcError(null, -32000, "No valid session ID provided"), "session_lost", 1],
    [400, rpcError(null, -32000, "Invalid event ID"), "reset", 0],
    [405, "", "reset", 0],
  ] as const)(
    "that the server refuses with %i %s is lost (%s)",
    async (code, body, kind, downs) => {
      const server = await serve(primedThenCut("A-0", 5));
      server.onGet = (seen) => {
        if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
        else seen.res.writeHead(code).end(body);
      };
      const { connection, recorder } = await session(connectorTo(server.url));
      connection.send(request("1-2"), asUnsafe("1-2"));
      expect(await recorder.outcome("1-2")).toMatchObject({ kind: "lost", failure: { kind } });
      if (downs > 0) expect((await recorder.down()).failure.kind).toBe("session_lost");
      expect(recorder.downs()).toHaveLength(downs);
    },
  );

  it("that was forgotten is NOT asked for any more", async () => {
    const server = await serve(primedThenCut("A-0", 5));
    server.onGet = (seen) => {
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else sse(seen, ": nothing yet\n\n");
    };
    const { connection, recorder } = await session(connectorTo(server.url));
    connection.send(request("1-2"), asUnsafe("1-2"));
    const get = await until("the resumption", () => resumptions(server)[0]);
    connection.forget("1-2");
    await until("its socket to close", () => get.socket.destroyed);
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(resumptions(server)).toHaveLength(1);
  });
});

describe("a ticket", () => {
  /** A session with one unsafe call whose answer broke off when its server went away. */
  async function brokenSession(retryMs = 5) {
    const server = await serve(primedThenCut("A-0", retryMs));
    let isGone = false;
    const connector = connectorTo(server.url);
    const made = await session(connector);
    await until("the own stream's refusal", () => server.gets().length === 1);
    server.handler = (seen) => {
      sse(seen, priming("A-0", retryMs));
      isGone = true;
      setImmediate(() => void server.close());
    };
    made.connection.send(request("1-2"), asUnsafe("1-2"));
    const down = await made.recorder.down();
    expect(isGone).toBe(true);
    return { connector, down, made, port: Number(new URL(connector.target).port) };
  }

  it("names the requests whose answers may still come, and they have no outcome", async () => {
    const { down, made } = await brokenSession();
    expect(down.failure.kind).toBe("connect_refused");
    expect(down.resume?.requestIds).toEqual(["1-2"]);
    expect(made.recorder.outcomes("1-2")).toEqual([]);
    expect(made.recorder.told.at(-1)).toBe(down);
  });

  it("takes the old session up again, and the answer comes over the new connection", async () => {
    const { connector, down, port } = await brokenSession();
    const again = await serve((seen) => {
      json(seen, result(seen.rpc?.id, {}));
    }, port);
    again.onGet = (seen) => {
      if (seen.headers["last-event-id"] === undefined) seen.res.writeHead(405).end();
      else sse(seen, event(result("1-2", "kept"), "A-1"));
    };
    const made = await dialTo(connector, down.resume);
    connections.push(made.connection);
    expect(made.isResumed).toBe(true);
    const told = await made.recorder.reply("1-2");
    expect(told.message.text).toContain("kept");
    expect(again.calls("ping")[0]?.headers["mcp-session-id"]).toBe("s-1");
    expect(again.calls("initialize")).toEqual([]);
    expect(made.recorder.replies("hf-resume-1")).toEqual([]);
  });

  it.each([
    [404, ""],
    [400, rpcError(null, -32000, "No valid session ID provided")],
    [200, rpcError("hf-resume-1", -32001, "Session not found")],
  ])("whose session is forgotten (%i) gives a fresh connection", async (code, body) => {
    const { connector, down, port } = await brokenSession();
    const again = await serve((seen) => {
      json(seen, body, code);
    }, port);
    const made = await dialTo(connector, down.resume);
    connections.push(made.connection);
    expect(made.isResumed).toBe(false);
    again.sessionId = "s-2";
    await shakeHands(made, "2-1");
    expect(again.calls("initialize")[0]?.headers["mcp-session-id"]).toBeUndefined();
    expect(made.connection.describe()).toEqual({ session: "s-2" });
    expect(made.recorder.told.filter((t) => t.kind === "outcome")).toEqual([]);
  });

  it("fails to dial while nobody listens, and while the server refuses", async () => {
    const { connector, down, port } = await brokenSession();
    const signal = new AbortController().signal;
    const dead = await connector.dial(new Recorder(), down.resume, signal);
    expect(dead).toMatchObject({ kind: "failed", failure: { kind: "connect_refused" } });
    const answers: [number, string][] = [
      [401, "auth"],
      [503, "server_error"],
    ];
    const again = await serve(() => undefined, port);
    for (const [code, kind] of answers) {
      again.handler = (seen) => {
        seen.res.writeHead(code).end();
      };
      const outcome = await connector.dial(new Recorder(), down.resume, signal);
      expect(outcome).toMatchObject({ kind: "failed", failure: { kind } });
    }
  });

  it("a dial that is given up while the server is silent resolves as failed", async () => {
    const { connector, down, port } = await brokenSession();
    const again = await serve(() => undefined, port);
    const controller = new AbortController();
    const dialling = connector.dial(new Recorder(), down.resume, controller.signal);
    const ping = await until("the ping", () => again.calls("ping")[0]);
    controller.abort();
    expect((await dialling).kind).toBe("failed");
    await until("its socket to close", () => ping.socket.destroyed);
  });
});

describe("the server's own stream", () => {
  it("brings messages without a related id, and is resumed after it ends", async () => {
    const server = await serve(() => undefined);
    const note = (n: number): string =>
      event(`{"jsonrpc":"2.0","method":"notifications/n${String(n)}"}`, `G-${String(n)}`);
    server.onGet = (seen) => {
      const n = server.gets().length;
      sse(seen, "retry: 5\n\n", note(n));
      if (n === 1) seen.res.end();
      if (n === 2) setImmediate(() => seen.socket.resetAndDestroy());
    };
    const { recorder } = await session(connectorTo(server.url));
    await until("three notes", () => recorder.notifications().length === 3);
    expect(recorder.notifications()).toEqual([1, 2, 3].map((n) => `notifications/n${String(n)}`));
    expect(server.gets().map((s) => s.headers["last-event-id"])).toEqual([undefined, "G-1", "G-2"]);
    expect(recorder.told.every((t) => t.kind !== "message" || t.relatedId !== "x")).toBe(true);
    expect(recorder.downs()).toEqual([]);
  });

  it.each([404, 405, 400, 401])(
    "that is refused with %i is no failure and is asked for once",
    async (code) => {
      const server = await serve((seen) => {
        json(seen, result(seen.rpc?.id, {}));
      });
      server.onGet = ({ res }) => res.writeHead(code).end("no session stream");
      const { connection, recorder } = await session(connectorTo(server.url));
      await until("the GET", () => server.gets().length === 1);
      connection.send(request("1-2", "ping"), asRead("1-2"));
      await recorder.reply("1-2");
      expect(server.gets()).toHaveLength(1);
      expect(recorder.downs()).toEqual([]);
    },
  );

  it("that keeps closing with nothing in it is opened ever more slowly", async () => {
    const delays: number[] = [];
    const server = await serve(() => undefined);
    server.onGet = (seen) => {
      sse(seen, ": hello\n\n");
      seen.res.end();
    };
    await session(connectorTo(server.url, { world: hastyWorld(delays), connectTimeoutMs: 77_777 }));
    // From the fourth on, the delay is at least 4 s (half of 8 s, plus jitter).
    const long = await until("a long delay", () => delays.find((d) => d >= 4_000 && d <= 30_000));
    expect(long).toBeLessThanOrEqual(30_000);
    expect(server.gets().length).toBeGreaterThanOrEqual(3);
  });

  it("that was open and is 404 when opened again means a lost session", async () => {
    const server = await serve(() => undefined);
    server.onGet = (seen) => {
      if (server.gets().length > 1) seen.res.writeHead(404).end();
      else {
        sse(seen, "retry: 5\n\n");
        setImmediate(() => seen.res.end());
      }
    };
    const { recorder } = await session(connectorTo(server.url));
    expect((await recorder.down()).failure.kind).toBe("session_lost");
  });

  it("that can't be connected any more takes the link down, once, with a ticket", async () => {
    const server = await serve(() => undefined);
    server.onGet = (seen) => {
      sse(seen, priming("G-0", 5));
    };
    const { connection, recorder } = await session(connectorTo(server.url));
    await until("the stream", () => server.gets().length === 1);
    await server.close();
    const down = await recorder.down();
    expect(down.failure.kind).toBe("connect_refused");
    expect(down.resume?.requestIds).toEqual([]);
    await connection.close(100);
    expect(recorder.downs()).toHaveLength(1);
    expect(connection.send(INITIALIZE("1-9"), { kind: "handshake", id: "1-9" })).toBe(false);
  });
});

describe("a held connection", () => {
  const big = JSON.stringify({ jsonrpc: "2.0", method: "flood", params: "x".repeat(1_000_000) });

  it("reads no stream, not one that opens meanwhile either, and loses nothing", async () => {
    let own: Seen | undefined;
    const server = await serve((seen) => {
      sse(seen, ...Array.from({ length: 50 }, () => event(big)), event(result("1-2", "late")));
      seen.res.end();
    });
    server.onGet = (seen) => {
      own = seen;
      sse(seen);
    };
    const { connection, recorder } = await session(connectorTo(server.url));
    const stream = await until("the server's own stream", () => own);
    connection.hold?.(true);
    for (let n = 0; n < 50; n++) stream.res.write(event(big));
    connection.send(request("1-2"), asUnsafe("1-2"));
    const call = await until("the call", () => server.calls("tools/call")[0]);
    for (let turn = 0; turn < 500; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(recorder.notifications()).toEqual([]);
    expect(stream.res.writableLength).toBeGreaterThan(20_000_000);
    expect(call.res.writableLength).toBeGreaterThan(20_000_000);
    connection.hold?.(false);
    await recorder.reply("1-2");
    await until("all that was sent", () => recorder.notifications().length === 100);
    expect(recorder.downs()).toEqual([]);
  });

  it("still hears at once that a call was refused", async () => {
    const server = await serve((seen) => {
      json(seen, rpcError("1-2", -32602, "no"), 400);
    });
    server.onGet = ({ res }) => res.writeHead(405).end();
    const { connection, recorder } = await session(connectorTo(server.url));
    connection.hold?.(true);
    connection.send(request("1-2"), asUnsafe("1-2"));
    await recorder.reply("1-2");
  });
});
