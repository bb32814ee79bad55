/**
 * Clients that mean harm, against the real daemon: each is refused with the status that says why, and
 * a client beside them is not disturbed.
 */
import { Agent } from "node:http";
import { describe, expect } from "vitest";
import { WebSocket } from "ws";
import { lastingDaemon, sharedLedger, type LastingDaemon } from "../support/lasting-daemon.ts";
import { command } from "../support/holdfast-process.ts";
import { labTest, touch, until, type Lab } from "../support/lab.ts";
import { neighbourOf } from "../support/neighbour.ts";
import { residentBytes } from "../support/proc.ts";
import { pourBody, requestText, speak, statusOf, wireTo, type Wire } from "../support/raw-http.ts";
import { exchange, POST_HEADERS, RawSession, VERSION } from "../support/raw-session.ts";

const MIB = 1024 * 1024;
/** A garbage collector takes its time; 100 MB that were kept would show. */
const GROWTH_MAX_BYTES = 80 * MIB;
/** Whoever is starved waits for the end of all harm; the rest is the speed of the machine, and who else uses it. */
const MEDIAN_MAX_MS = 2_000;
const WORST_MAX_MS = 5_000;
const LIST = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} });

const oneLedger = (lab: Lab): Promise<LastingDaemon> =>
  lastingDaemon(lab, { ledger: sharedLedger(lab) });

const settled = async (session: RawSession): Promise<void> => {
  // Without the tools' annotations every call would be unsafe.
  await session.request("tools/list");
};

/**
 * Does harm while a neighbour works. Its calls must be answered meanwhile, and the daemon must not keep what it was sent.
 */
async function beside(
  daemon: LastingDaemon,
  harm: (untilCalls: (count: number) => Promise<unknown>) => Promise<void>,
) {
  const session = await RawSession.open(daemon.mcp("ledger"));
  await settled(session);
  const before = residentBytes(daemon.pid);
  const neighbour = neighbourOf(session);
  await harm((count) => until("the neighbour's calls", () => neighbour.calls() >= count));
  const { calls, medianMs, worstMs } = await neighbour.leave();
  expect(calls).toBeGreaterThan(0);
  expect(medianMs).toBeLessThan(MEDIAN_MAX_MS);
  expect(worstMs).toBeLessThan(WORST_MAX_MS);
  expect(residentBytes(daemon.pid) - before).toBeLessThan(GROWTH_MAX_BYTES);
}

/** The headers of a good POST, as bytes; `instead` replaces those of the same names, "" leaves one out. */
function headersOf(
  daemon: LastingDaemon,
  session: RawSession | undefined,
  instead: Readonly<Record<string, string>> = {},
  length = Buffer.byteLength(LIST),
): string[] {
  const all: Record<string, string> = {
    host: `127.0.0.1:${String(daemon.port)}`,
    ...POST_HEADERS,
    "content-length": String(length),
    ...(session?.headers() ?? {}),
    ...instead,
  };
  return Object.entries(all).flatMap(([name, value]) => (value === "" ? [] : `${name}: ${value}`));
}

const goodPost = (daemon: LastingDaemon, session: RawSession, target = "/mcp/ledger"): string =>
  requestText("POST", target, headersOf(daemon, session), LIST);

describe("at the door", () => {
  labTest("a wrong Host or Origin is refused before anything else is looked at", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    const wrong: readonly (readonly [Record<string, string>, number])[] = [
      [{ host: "evil.example" }, 403],
      [{ host: `evil.example:${String(daemon.port)}` }, 403],
      [{ host: "127.0.0.1.evil.example" }, 403],
      [{ host: "localhost.evil.example" }, 403],
      [{ host: "2130706433" }, 400],
      [{ host: "0x7f000001" }, 400],
      [{ host: "evil@127.0.0.1" }, 400],
      [{ host: "127.0.0.1, evil.example" }, 400],
      [{ host: "" }, 400],
      [{ origin: "https://evil.example" }, 403],
      [{ origin: "http://localhost.evil.example" }, 403],
      [{ origin: "http://127.0.0.1@evil.example" }, 403],
      [{ origin: "null" }, 403],
      [{ origin: "file://" }, 403],
      [{ origin: `http://localhost:${String(daemon.port)} https://evil.example` }, 403],
    ];
    for (const [instead, status] of wrong) {
      const bytes = requestText("POST", "/mcp/ledger", headersOf(daemon, session, instead), LIST);
      const heard = await speak(daemon.port, bytes);
      expect([instead, heard.status]).toEqual([instead, status]);
      expect(heard.text).not.toContain('"result"');
    }
    // Two of what may be there once.
    for (const [name, status] of [
      ["host", 400],
      ["origin", 403],
    ] as const) {
      const twice = [...headersOf(daemon, session), `${name}: localhost`, `${name}: localhost`];
      const heard = await speak(daemon.port, requestText("POST", "/mcp/ledger", twice, LIST));
      expect([name, heard.status]).toEqual([name, status]);
    }
    // None of it harmed the session that it named.
    await settled(session);
  });

  labTest("a path in any spelling but its own names nothing", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    const nothing = [
      "/",
      "/mcp",
      "/mcp/",
      "/mcp/other",
      "/MCP/ledger",
      "/mcp/LEDGER",
      "/mcp/ledger/",
      "/mcp/../mcp/ledger",
      "/mcp/./ledger",
      "/mcp/ledger/../ledger",
      "/mcp/%2e%2e/mcp/ledger",
      "/x/../mcp/ledger",
      "/mcp%2fledger",
      "/mcp%2Fledger",
      "/mcp/%6cedger",
      "/mcp/ledger%00",
      "/mcp/ledger%0d%0aX-Evil:%201",
      "/mcp/ledger%",
      "/mcp/ledger%ff",
      "/mcp/ledger;x=1",
      "//mcp/ledger",
      "/mcp//ledger",
      "/\\mcp\\ledger",
      "/mcp/constructor",
      "/mcp/__proto__",
      "/mcp/ledger#fragment",
      `http://127.0.0.1:${String(daemon.port)}/mcp/ledger`,
      "http://evil.example/mcp/ledger",
    ];
    for (const target of nothing) {
      const heard = await speak(daemon.port, goodPost(daemon, session, target));
      expect([target, heard.status]).toEqual([target, 404]);
      expect(heard.text.toLowerCase()).not.toContain("x-evil");
    }
    // What HTTP itself does not allow.
    for (const target of ["/mcp/ledger\0", "/mcp/led ger", "mcp/ledger", "/mcp/ledger\r"]) {
      const heard = await speak(daemon.port, goodPost(daemon, session, target));
      expect([target, heard.status]).toEqual([target, 400]);
    }
    await settled(session);
  });

  labTest("what is no HTTP, or says two things at once, is refused", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    const post = (headers: readonly string[], body: string) =>
      requestText("POST", "/mcp/ledger", headers, body);
    const good = headersOf(daemon, session);
    const chunked = headersOf(daemon, session, {
      "content-length": "",
      "transfer-encoding": "chunked",
    });
    const garbage: readonly (readonly [string, string, number])[] = [
      ["no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS hello\r\n\r\n", 400],
      ["a wrong version", "POST /mcp/ledger HTTP/9.9\r\n\r\n", 400],
      ["a chunk size that is none", post(chunked, "xyz\r\n{}\r\n0\r\n\r\n"), 400],
      ["a chunk size below nothing", post(chunked, "-5\r\n{}\r\n0\r\n\r\n"), 400],
      ["a chunk size beyond all bounds", post(chunked, `${"f".repeat(32)}\r\n{}`), 400],
      ["a chunk longer than it says", post(chunked, "2\r\n{}{}{}\r\n0\r\n\r\n"), 400],
      ["a length and chunks", post([...good, "transfer-encoding: chunked"], LIST), 400],
      ["two lengths", post([...good, "content-length: 5"], LIST), 400],
      [
        "a length below nothing",
        post(headersOf(daemon, session, { "content-length": "-1" }), ""),
        400,
      ],
      ["a bare CR in a value", post([...good, "x-note: a\rX-Evil: 1"], LIST), 400],
      ["a NUL in a value", post([...good, "x-note: a\0b"], LIST), 400],
      ["a space in a name", post([...good, "x evil: 1"], LIST), 400],
      ["a name that is none", post([...good, ": 1"], LIST), 400],
      ["headers beyond 16 KiB", post([...good, `x-note: ${"a".repeat(20_000)}`], LIST), 431],
      ["many small headers", post([...good, ...manyHeaders(2_000)], LIST), 431],
    ];
    for (const [what, bytes, status] of garbage) {
      const heard = await speak(daemon.port, bytes);
      expect([what, heard.status]).toEqual([what, status]);
      expect(heard.text.toLowerCase()).not.toContain("x-evil");
    }
    await settled(session);
  });

  labTest("garbage behind a good request is NOT taken for an answer to it", async (lab) => {
    touch(lab.path("down"));
    const daemon = await oneLedger(lab);
    const params = {
      protocolVersion: VERSION,
      capabilities: {},
      clientInfo: { name: "x", version: "1" },
    };
    const hello = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params });
    const wire = await wireTo(daemon.port);
    // The server is down and was never seen, so the answer is due for a while.
    const headers = headersOf(daemon, undefined, {}, hello.length);
    wire.write(requestText("POST", "/mcp/ledger", headers, hello));
    await until("the server to be tried", () => daemon.stderr().includes("dialling"));
    wire.write("this is no request\r\n\r\n");
    await until("its end", () => wire.isOver());
    expect(wire.text()).toBe("");
  });

  labTest(
    "what a client says comes back in a body, as data, and never as a header or an event",
    async (lab) => {
      const daemon = await oneLedger(lab);
      const session = await RawSession.open(daemon.mcp("ledger"));
      await settled(session);
      const evil = '1"\r\nX-Evil: 1\r\n\r\ndata: {"evil":true}\n\nid: evil\n\n';
      for (const header of [
        "mcp-session-id",
        "mcp-protocol-version",
        "last-event-id",
        "user-agent",
      ]) {
        // A line break ends a header whoever sends it, so this is two of them.
        const instead = { [header]: `x\r\nX-Evil: 1` };
        const bytes = requestText("POST", "/mcp/ledger", headersOf(daemon, session, instead), LIST);
        const { text } = await speak(daemon.port, bytes);
        expect(text.toLowerCase()).not.toContain("x-evil");
      }
      const params = { name: "append", arguments: { nonce: evil } };
      const { status, headers, text } = await session.post({
        id: evil,
        method: "tools/call",
        params,
      });
      expect(status).toBe(200);
      expect(headers).not.toHaveProperty("x-evil");
      expect(headers["content-type"]).toContain("text/event-stream");
      const lines = text.split("\n");
      expect(lines.filter((line) => line.startsWith("id: evil"))).toEqual([]);
      const answers = lines.filter((line) => line.startsWith("data: {"));
      expect(answers).toHaveLength(1);
      expect(JSON.parse(answers[0]?.slice(6) ?? "")).toMatchObject({ id: evil });
      expect(lab.nonces()).toEqual([evil]);
    },
  );
});

const manyHeaders = (count: number): string[] =>
  Array.from({ length: count }, (_, n) => `x-h${String(n)}: 12345678`);

describe("tokens and sessions of others", () => {
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

  async function createToken(lab: Lab, name: string, ...more: string[]): Promise<string> {
    const args = ["token", "create", "--name", name, "--json", ...more];
    const { stdout } = await command(lab, args);
    return (JSON.parse(stdout) as { token: string }).token;
  }

  labTest("without a valid token for this server nobody comes in", async (lab) => {
    const daemon = await lastingDaemon(
      lab,
      { ledger: sharedLedger(lab), other: sharedLedger(lab) },
      { auth: "required" },
    );
    const alice = await createToken(lab, "alice");
    const carol = await createToken(lab, "carol", "--upstream", "other");
    const doris = await createToken(lab, "doris");
    const url = daemon.mcp("ledger");
    const session = await RawSession.open(url, { headers: bearer(alice) });
    const statusFor = async (headers: Readonly<Record<string, string>>) =>
      exchange(url, {
        method: "POST",
        headers: { ...POST_HEADERS, "mcp-session-id": session.key, ...headers },
        body: LIST,
      });

    const without = await statusFor({});
    expect(without.status).toBe(401);
    expect(without.headers["www-authenticate"]).toBe('Bearer realm="holdfast"');
    for (const token of ["hft_nonsense", alice.slice(0, -1), `${alice}A`, alice.toUpperCase()]) {
      expect((await statusFor(bearer(token))).status).toBe(401);
    }
    expect((await statusFor({ authorization: `Basic ${alice}` })).status).toBe(401);
    expect((await statusFor({ authorization: `Bearer ${alice} ${alice}` })).status).toBe(400);
    // In the place of a header it is no token.
    expect((await exchange(`${url}?token=${alice}`, { method: "POST", body: LIST })).status).toBe(
      401,
    );
    expect((await statusFor(bearer(carol))).status).toBe(403);
    expect((await statusFor(bearer(doris))).status).toBe(404);

    expect((await statusFor(bearer(alice))).status).toBe(200);
    await command(lab, ["token", "revoke", "alice"]);
    await until("the revocation to be known", async () => {
      return (await statusFor(bearer(alice))).status === 401;
    });
    const gone = await RawSession.open(url, { headers: bearer(alice) }).catch((e: unknown) => e);
    expect(String(gone)).toContain("401");
  });

  labTest("the session of another can't be used, listened to or ended", async (lab) => {
    const daemon = await lastingDaemon(
      lab,
      { ledger: sharedLedger(lab), other: sharedLedger(lab) },
      { auth: "required" },
    );
    const alice = bearer(await createToken(lab, "alice"));
    const bob = bearer(await createToken(lab, "bob"));
    const url = daemon.mcp("ledger");
    const hers = await RawSession.open(url, { headers: alice });
    await settled(hers);
    const his = await RawSession.open(url, { headers: bob });
    const gate = lab.path("gate");
    const asked = hers.ask("slow_append", "secret", { gate });
    await until("her call to run", () => lab.nonces().includes("secret"));
    const eventId = await until("its event id", () => asked.lastEventId);

    const asHer = { "mcp-session-id": hers.key, ...bob };
    const posted = await exchange(url, {
      method: "POST",
      headers: { ...POST_HEADERS, ...asHer },
      body: LIST,
    });
    const listened = { accept: "text/event-stream", ...asHer };
    const standalone = await exchange(url, { headers: listened });
    const resumed = await exchange(url, { headers: { ...listened, "last-event-id": eventId } });
    const ended = await exchange(url, { method: "DELETE", headers: asHer });
    // At another server the same session is as unknown, to herself, too.
    const elsewhere = await exchange(daemon.mcp("other"), {
      method: "POST",
      headers: { ...POST_HEADERS, ...hers.headers() },
      body: LIST,
    });
    const nobody = await exchange(url, {
      method: "POST",
      headers: { ...POST_HEADERS, "mcp-session-id": "x".repeat(32), ...bob },
      body: LIST,
    });
    for (const one of [posted, standalone, resumed, ended, elsewhere]) {
      // Nothing tells a session of somebody else from one that never was.
      expect([one.status, one.headers["content-type"]]).toEqual([404, "application/json"]);
      expect(JSON.parse(one.text)).toMatchObject({ error: { message: "Session not found" } });
    }
    expect(nobody.status).toBe(404);

    // His own session and the id of her event: the call is none of his.
    const peek = exchange(url, {
      headers: { accept: "text/event-stream", "last-event-id": eventId, ...his.headers() },
    });
    touch(gate);
    expect((await peek).text).not.toContain("secret");
    await asked.ended;
    expect(asked.answers).toHaveLength(1);
    expect(JSON.stringify(asked.answers)).toContain("slow_append secret");
    expect(his.strays).toEqual([]);
  });

  labTest("over SSE and WebSocket it is no different", async (lab) => {
    const daemon = await lastingDaemon(lab, { ledger: sharedLedger(lab) }, { auth: "required" });
    const alice = bearer(await createToken(lab, "alice"));
    const bob = bearer(await createToken(lab, "bob"));
    const origin = `http://127.0.0.1:${String(daemon.port)}`;
    const wire = await wireTo(daemon.port);
    const headers = [`host: 127.0.0.1:${String(daemon.port)}`, "accept: text/event-stream"];
    wire.write(
      requestText("GET", "/sse/ledger", [...headers, `authorization: ${alice.authorization}`]),
    );
    const endpoint = await until("the endpoint of her stream", () => {
      return /data: (\/\S+)/.exec(wire.text())?.[1];
    });
    const hello = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
    const type = { "content-type": "application/json" };
    const post = (target: string, more: Readonly<Record<string, string>>) =>
      exchange(origin + target, { method: "POST", headers: { ...type, ...more }, body: hello });
    expect((await post(endpoint, bob)).status).toBe(404);
    expect((await post(endpoint, {})).status).toBe(401);
    expect((await post(`${endpoint}x`, alice)).status).toBe(404);
    expect((await post(endpoint, { ...alice, origin: "https://evil.example" })).status).toBe(403);
    wire.destroy();

    const upgrade = (options: { origin?: string; headers?: Record<string, string> }) =>
      new Promise<number>((resolve) => {
        const socket = new WebSocket(
          `ws://127.0.0.1:${String(daemon.port)}/ws/ledger`,
          "mcp",
          options,
        );
        socket.on("unexpected-response", (request, response) => {
          resolve(response.statusCode ?? 0);
          request.destroy();
        });
        // What `destroy` makes of it.
        socket.on("error", () => undefined);
        socket.on("open", () => {
          resolve(101);
          socket.close();
        });
      });
    expect(await upgrade({ headers: alice })).toBe(101);
    expect(await upgrade({ headers: alice, origin: "https://evil.example" })).toBe(403);
    expect(await upgrade({ headers: { ...alice, host: "evil.example" } })).toBe(403);
    expect(await upgrade({})).toBe(401);
    const session = await RawSession.open(daemon.mcp("ledger"), { headers: alice });
    expect(await upgrade({ headers: { ...bob, "mcp-session-id": session.key } })).toBe(404);
  });
});

describe("a neighbour is not disturbed", () => {
  labTest("by bodies of 100 MB, announced or not", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    await beside(daemon, async () => {
      const announced = Array.from({ length: 4 }, () => flood(daemon, session, "length"));
      const chunked = Array.from({ length: 4 }, () => flood(daemon, session, "chunks"));
      for (const status of await Promise.all([...announced, ...chunked])) expect(status).toBe(413);
    });
  });

  labTest("by 300 connections that never finish a request", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    await beside(daemon, async () => {
      const host = `host: 127.0.0.1:${String(daemon.port)}`;
      const beginnings = [
        "",
        "POST /mcp/ledger HT",
        `POST /mcp/ledger HTTP/1.1\r\n${host}\r\nx-slow: `,
        requestText("POST", "/mcp/ledger", headersOf(daemon, session, {}, 1_000), '{"jsonrpc"'),
        requestText("POST", "/mcp/ledger", headersOf(daemon, session, {}, 1_000)),
      ];
      const wires: Wire[] = [];
      for (let n = 0; n < 300; n++) {
        const wire = await wireTo(daemon.port);
        wire.write(beginnings[n % beginnings.length] ?? "");
        wires.push(wire);
      }
      // A drop now and then does not make them last.
      const dripping = setInterval(() => {
        for (const wire of wires.filter((_, n) => n % beginnings.length === 2)) wire.write("a");
      }, 500);
      try {
        await until("all of them to be cut off", () => wires.every((wire) => wire.isOver()));
      } finally {
        clearInterval(dripping);
        for (const wire of wires) wire.destroy();
      }
      for (const wire of wires) expect(statusOf(wire.text())).toBe(408);
    });
  });

  labTest("by 10,000 made-up session ids", async (lab) => {
    const daemon = await oneLedger(lab);
    const url = daemon.mcp("ledger");
    await beside(daemon, async () => {
      const seen = new Map<number, number>();
      let n = 0;
      const guess = async () => {
        while (n < 10_000) {
          const key = `guess${String(n++)}`.padEnd(32, "x");
          const headers = { "mcp-session-id": key };
          const { status } =
            n % 3 === 0
              ? await exchange(url, { method: "DELETE", headers })
              : await exchange(url, {
                  method: "POST",
                  headers: { ...POST_HEADERS, ...headers },
                  body: LIST,
                });
          seen.set(status, (seen.get(status) ?? 0) + 1);
        }
      };
      await Promise.all(Array.from({ length: 32 }, guess));
      expect([...seen]).toEqual([[404, 10_000]]);
    });
  });

  labTest("by 500 new sessions that nobody uses, where 50 may be kept", async (lab) => {
    const daemon = await lastingDaemon(lab, { ledger: sharedLedger(lab) }, { maxSessions: 50 });
    await beside(daemon, async () => {
      // With more at once the bound on connections would come first.
      const agent = new Agent({ keepAlive: true, maxSockets: 50 });
      const began = await Promise.allSettled(
        Array.from({ length: 500 }, () => RawSession.open(daemon.mcp("ledger"), { agent })),
      );
      agent.destroy();
      const refused = began.filter((one) => one.status === "rejected");
      // The neighbour's is one of the fifty.
      expect(refused).toHaveLength(451);
      for (const { reason } of refused) expect(String(reason)).toContain("--max-sessions");
    });
  });

  labTest("by 100 MB of answers that nobody reads", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    await beside(daemon, async (untilCalls) => {
      const deaf = await wireTo(daemon.port);
      deaf.socket.pause();
      // What is asked comes back in the answer.
      const body = JSON.stringify({ jsonrpc: "2.0", id: "x".repeat(50_000), method: "ping" });
      const headers = headersOf(daemon, session, {}, body.length);
      const ping = requestText("POST", "/mcp/ledger", headers, body);
      for (let n = 0; n < 2_000; n++) deaf.write(ping);
      await untilCalls(100);
      expect(deaf.socket.writableLength).toBeGreaterThan(0);
      deaf.destroy();
    });
  });

  labTest("and requests in one breath are answered in their order", async (lab) => {
    const daemon = await oneLedger(lab);
    const session = await RawSession.open(daemon.mcp("ledger"));
    await beside(daemon, async () => {
      const wire = await wireTo(daemon.port);
      const ids = Array.from({ length: 20 }, (_, n) => n + 1);
      const ping = (id: number) => JSON.stringify({ jsonrpc: "2.0", id, method: "ping" });
      const post = (id: number) => {
        const body = ping(id);
        const headers = headersOf(daemon, session, {}, Buffer.byteLength(body));
        return requestText("POST", "/mcp/ledger", headers, body);
      };
      wire.write(ids.map(post).join(""));
      const answered = () =>
        [...wire.text().matchAll(/"id":(\d+),"result"/g)].map(([, id]) => Number(id));
      await until("twenty answers", () => answered().length === 20);
      expect(answered()).toEqual(ids);
      // Garbage behind them ends the connection, and nothing else.
      wire.write("this is no request\r\n\r\n");
      await until("its end", () => wire.isOver());
      expect(wire.text()).toContain("HTTP/1.1 400");
    });
  });
});

/** Sends 100 MB until it is refused. Resolves to the status. */
async function flood(
  daemon: LastingDaemon,
  session: RawSession,
  form: "length" | "chunks",
): Promise<number> {
  const size = 100 * 1_000_000;
  const wire = await wireTo(daemon.port);
  const instead: Record<string, string> =
    form === "chunks" ? { "content-length": "", "transfer-encoding": "chunked" } : {};
  wire.write(requestText("POST", "/mcp/ledger", headersOf(daemon, session, instead, size)));
  return pourBody(wire, size, form);
}
