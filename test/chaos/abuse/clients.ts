/** Clients that do not read, send too much, or come too often. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent } from "node:http";
import { WebSocket } from "ws";
import { calls } from "../../support/holdfast-process.ts";
import { elapsed, until } from "../../support/lab.ts";
import { pourBody, requestText, wireTo } from "../../support/raw-http.ts";
import { exchange, POST_HEADERS, RawSession } from "../../support/raw-session.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import type { AbuseCase } from "./case.ts";
import { BAD, besideGood, GOOD, openServe, sessionAt, type Stage } from "./stage.ts";
import { openWrapped } from "./wrapped.ts";

const BODY_BYTES = 100_000_000;
const HALF_BYTES = 4_000_000;
const HALVES = 100;
const MADE_UP = 10_000;
const SESSIONS = 5_000;
const AT_ONCE = 32;
/** 100 MB of notifications in five seconds. */
const CHATTER = { perSecond: "20000", seconds: "5", chars: "1000" };
/** 100,000 short ones, as fast as they can be said; so many times at once. */
const TORRENT = { perSecond: "100000", seconds: "1" };
const WORDS_TIMES = 3;
const LIST = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} });

/** Headers of a request over a connection made by hand. */
const headersOf = (stage: Stage, more: Readonly<Record<string, string>>): string[] =>
  Object.entries({ host: `127.0.0.1:${String(stage.port)}`, ...more }).map(
    ([name, value]) => `${name}: ${value}`,
  );

const deafStream: AbuseCase = {
  name: "never-reads-http",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      const deaf = await wireTo(stage.port);
      const headers = headersOf(stage, { accept: "text/event-stream", ...session.headers() });
      deaf.write(requestText("GET", `/mcp/${BAD}`, headers));
      await until("the stream to be open", () => deaf.text().startsWith("HTTP/1.1 200"));
      deaf.socket.pause();
      const { text } = await session.call("chatter", "c", CHATTER);
      assert.match(text, /^sent \d+$/);
      deaf.destroy();
      return `${text} of 1,000 characters to a stream that nobody reads`;
    });
  },
};

const callOf = (id: number) => ({
  jsonrpc: "2.0",
  id,
  method: "tools/call",
  params: { name: "chatter", arguments: { nonce: `deaf-${String(id)}`, ...TORRENT } },
});
const INITIALIZE = {
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: {
    protocolVersion: "2024-11-05",
    capabilities: {},
    clientInfo: { name: "deaf", version: "1" },
  },
};

/** Connects, initialises, and reads nothing from then on. Resolves to what sends a message. */
async function deafOverSocket(stage: Stage) {
  const url = stage.mcp(BAD).replace("http:", "ws:").replace("/mcp/", "/ws/");
  const socket = new WebSocket(url, "mcp");
  await once(socket, "open");
  socket.send(JSON.stringify(INITIALIZE));
  await once(socket, "message");
  socket.pause();
  return {
    send: (message: object) => {
      socket.send(JSON.stringify(message));
    },
    leave: () => {
      socket.terminate();
    },
  };
}

async function deafOverSse(stage: Stage) {
  const wire = await wireTo(stage.port);
  const headers = headersOf(stage, { accept: "text/event-stream" });
  wire.write(requestText("GET", `/sse/${BAD}`, headers));
  await until("the endpoint", () => /data: \S+\n/.test(wire.text()));
  const path = /data: (\S+)/.exec(wire.text())?.[1] ?? "";
  const send = (message: object) =>
    exchange(`http://127.0.0.1:${String(stage.port)}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(message),
    });
  await send(INITIALIZE);
  await until("the greeting", () => wire.text().includes("serverInfo"));
  wire.socket.pause();
  return { send, leave: wire.destroy };
}

/** Short words weigh more in memory than on the wire. Their client's one stream has its answers, too. */
const deafTo = (kind: "ws" | "sse"): AbuseCase => ({
  name: `never-reads-${kind}`,
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    return besideGood(stage, async () => {
      const deaf = await (kind === "ws" ? deafOverSocket(stage) : deafOverSse(stage));
      await deaf.send({ jsonrpc: "2.0", method: "notifications/initialized" });
      for (let id = 1; id <= WORDS_TIMES; id++) await deaf.send(callOf(id));
      const answered = async () => (await calls(lab, "--state", "done")).length >= WORDS_TIMES;
      await until("all of it to be said", answered);
      deaf.leave();
      return `${String(WORDS_TIMES)} times 100,000 short words for a client that reads none`;
    });
  },
});

const deafWrapped: AbuseCase = {
  name: "never-reads-wrapped",
  isQuick: false,
  run: async (lab) => {
    const wrapped = await openWrapped(lab);
    await wrapped.call("append", "warm");
    await wrapped.gauge.ask();
    const idleBytes = wrapped.gauge.begin();
    try {
      wrapped.stopReading();
      const answered = wrapped.call("chatter", "c", CHATTER);
      const startedAt = Date.now();
      for (let n = 0; n < 20; n++) void wrapped.cast("huge", { bytes: "10000000" });
      await elapsed(startedAt, 8_000);
      const peakBytes = wrapped.gauge.peak();
      wrapped.readOn();
      assert.match((await answered).text, /^sent \d+$/);
      // All that was asked meanwhile was answered before this.
      assert.equal((await wrapped.call("read_value", "after")).text, "value of after");
      const { lag } = await wrapped.gauge.ask();
      const { walPeakBytes } = wrapped.gauge;
      const said = `300 MB for a client that reads again after 8 s; peak then ${String(Math.round(wrapped.gauge.peak() / 1e6))} MB`;
      return { said, idleBytes, peakBytes, walPeakBytes, lagP99Ms: lag.p99 };
    } finally {
      wrapped.gauge.end();
    }
  },
};

const bodies: AbuseCase = {
  name: "bodies-100mb",
  isQuick: true,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    const pour = async (form: "length" | "chunks"): Promise<number> => {
      const wire = await wireTo(stage.port);
      const size: Record<string, string> =
        form === "chunks"
          ? { "transfer-encoding": "chunked" }
          : { "content-length": String(BODY_BYTES) };
      const headers = headersOf(stage, { ...POST_HEADERS, ...session.headers(), ...size });
      wire.write(requestText("POST", `/mcp/${BAD}`, headers));
      return pourBody(wire, BODY_BYTES, form);
    };
    return besideGood(stage, async () => {
      const forms = Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? "length" : "chunks"));
      const statuses = await Promise.all(forms.map(pour));
      for (const status of statuses) assert.equal(status, 413);
      return "8 bodies of 100 MB, announced or not: HTTP 413";
    });
  },
};

const halfBodies: AbuseCase = {
  name: "bodies-half-sent",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    const session = await sessionAt(stage, BAD);
    const half = Buffer.alloc(HALF_BYTES, "x");
    return besideGood(stage, async (neighbour) => {
      const wires = await Promise.all(Array.from({ length: HALVES }, () => wireTo(stage.port)));
      for (const wire of wires) {
        const size = { "content-length": String(HALF_BYTES + 1) };
        const headers = headersOf(stage, { ...POST_HEADERS, ...session.headers(), ...size });
        wire.write(requestText("POST", `/mcp/${BAD}`, headers));
        wire.socket.write(half);
      }
      // Those that are read and say no more are given up after ten seconds, one after the other.
      await until("one to be given up", () =>
        wires.some((wire) => wire.text().startsWith("HTTP/1.1 408")),
      );
      const before = neighbour.calls();
      await until("the neighbour's calls", () => neighbour.calls() > before + 20);
      for (const wire of wires) wire.destroy();
      return `${String(HALVES)} bodies of ${String(HALF_BYTES)} bytes that lack their last one`;
    });
  },
};

/** Runs `step` for 0 … count − 1, some at a time. */
async function many(count: number, step: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async () => {
    while (next < count) await step(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

const madeUp: AbuseCase = {
  name: "sessions-made-up",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab);
    return besideGood(stage, async () => {
      await many(MADE_UP, async (n) => {
        const headers = { ...POST_HEADERS, "mcp-session-id": `guess${String(n)}`.padEnd(32, "x") };
        const post = { method: "POST", headers, body: LIST };
        const { status } = await exchange(stage.mcp(GOOD), post);
        assert.equal(status, 404);
      });
      return `${String(MADE_UP)} made-up session ids: HTTP 404`;
    });
  },
};

const sessions: AbuseCase = {
  name: "sessions-5000",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab) } });
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
    const measured = await besideGood(stage, async () => {
      // One is the neighbour's.
      await many(SESSIONS - 1, async () => {
        await RawSession.open(stage.mcp(GOOD), { agent });
      });
      const beyond = await RawSession.open(stage.mcp(GOOD), { agent }).catch(String);
      const how = typeof beyond === "string" ? "refused" : "given the room of an unused one";
      if (typeof beyond === "string") assert.ok(beyond.includes("--max-sessions"), beyond);
      return `${String(SESSIONS)} sessions at once; one more is ${how}`;
    });
    agent.destroy();
    return measured;
  },
};

export const CLIENTS: readonly AbuseCase[] = [
  deafStream,
  deafTo("ws"),
  deafTo("sse"),
  deafWrapped,
  bodies,
  halfBodies,
  madeUp,
  sessions,
];
