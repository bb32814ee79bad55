/**
 * Raw MCP clients of the benchmark: JSON lines over a child's stdio, and POSTs to a URL. Both have the
 * same face: `request(method, params)` resolves to the parsed answer, and `pid` is the process that is
 * measured.
 *
 * K1. Arguments differ in every call, as no two calls of a real client are alike.
 * K2. An answer that is an error or `isError` stops the benchmark: what is not answered is not measured.
 */
import { Agent, request as httpRequest } from "node:http";
import { onLines } from "./lines.mjs";
import { exited, start, stop } from "./proc.mjs";

const INITIALIZE = {
  protocolVersion: "2025-11-25",
  capabilities: {},
  clientInfo: { name: "holdfast-bench", version: "1.0.0" },
};

/** Speaks to a process that we start. */
export function stdioClient(command, args, options) {
  const child = start(command, args, options);
  const waiting = new Map();
  let nextId = 1;

  onLines(child.stdout, (line) => {
    const message = JSON.parse(line);
    const entry = waiting.get(message.id);
    if (entry === undefined || message.method !== undefined) return;
    waiting.delete(message.id);
    entry.resolve(message);
  });
  const lost = (why) => {
    for (const entry of waiting.values()) entry.reject(new Error(why));
    waiting.clear();
  };
  child.once("exit", (code, signal) => lost(`${command} ended (${code ?? signal})`));
  // The exit tells the cause; a broken pipe before it adds nothing.
  child.stdin.on("error", () => {});

  return {
    child,
    pid: child.pid,
    request(method, params) {
      const id = nextId++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        child.stdin.write(JSON.stringify({ jsonrpc: "2.0", id, method, params }) + "\n");
      });
    },
    notify(method) {
      child.stdin.write(JSON.stringify({ jsonrpc: "2.0", method }) + "\n");
      return Promise.resolve();
    },
    /** Answers that will never come are no failure when we end the process ourselves. */
    abandon() {
      waiting.clear();
    },
    async close() {
      waiting.clear();
      await stop(child);
      await exited(child);
    },
  };
}

/** The answer in the body of a POST: plain JSON, or the one event of a stream that holds a message. */
function answerIn(text, type) {
  if (text === "") return undefined;
  if (!type?.startsWith("text/event-stream")) return JSON.parse(text);
  const from = text.indexOf("data: {") + 6;
  return JSON.parse(text.slice(from, text.indexOf("\n", from)));
}

/**
 * Speaks to a URL with node:http over a keep-alive agent, as the bare relay does. `server`: the process
 * behind the URL that is measured, and `end`, how it is ended.
 */
export function httpClient(url, server) {
  const agent = new Agent({ keepAlive: true });
  let nextId = 1;
  let sessionId;

  function post(body) {
    const text = JSON.stringify(body);
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "content-length": Buffer.byteLength(text),
    };
    if (sessionId !== undefined) headers["mcp-session-id"] = sessionId;
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest(url, { method: "POST", agent, headers }, (response) => {
        sessionId ??= response.headers["mcp-session-id"];
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("end", () => {
          const answer = Buffer.concat(chunks).toString("utf8");
          resolve(answerIn(answer, response.headers["content-type"]));
        });
        response.on("error", reject);
      });
      outgoing.on("error", reject);
      outgoing.end(text);
    });
  }

  return {
    child: server?.child,
    pid: server?.child.pid,
    request: (method, params) => post({ jsonrpc: "2.0", id: nextId++, method, params }),
    notify: (method) => post({ jsonrpc: "2.0", method }),
    abandon() {},
    /** Opens the stream of what the server says unasked; it stays open. Resolves when it is there. */
    listen() {
      const headers = { accept: "text/event-stream", "mcp-session-id": sessionId };
      return new Promise((resolve, reject) => {
        const outgoing = httpRequest(url, { agent, headers }, (response) => {
          response.on("error", () => {});
          response.resume();
          resolve();
        });
        outgoing.on("error", reject);
        outgoing.end();
      });
    },
    /** Ends the session; what is idle of its connections, too. */
    leave() {
      const headers = { "mcp-session-id": sessionId };
      return new Promise((resolve, reject) => {
        const outgoing = httpRequest(url, { method: "DELETE", agent, headers }, (response) => {
          response.resume();
          response.on("end", resolve);
        });
        outgoing.on("error", reject);
        outgoing.end();
      }).finally(() => agent.destroy());
    },
    /** Ends its connections, and leaves the session. */
    hangUp() {
      agent.destroy();
    },
    async close() {
      agent.destroy();
      await server?.end();
    },
  };
}

/** What every client does first: `initialize`, `initialized`, `tools/list`. */
export async function greet(client) {
  await client.request("initialize", INITIALIZE);
  await client.notify("notifications/initialized");
  await client.request("tools/list", {});
}

export const initialize = (client) => client.request("initialize", INITIALIZE);

let counter = 0;

/** One tool call, checked. */
export async function call(client, tool) {
  const n = ++counter;
  const answer = await client.request("tools/call", {
    name: tool,
    arguments: { n, text: "some text of ordinary length, as a note or a path would be" },
  });
  if (answer.result === undefined || answer.result.isError === true)
    throw new Error(`a call was not answered well: ${JSON.stringify(answer).slice(0, 500)}`);
  return answer;
}

/** `count` calls with `inFlight` of them at any moment. Resolves to the time taken in ms. */
export async function burst(client, tool, count, inFlight) {
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left--;
      await call(client, tool);
    }
  };
  const before = performance.now();
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, lane));
  return performance.now() - before;
}

/** `count` calls, one after the other. Resolves to the ms that each took. */
export async function oneByOne(client, tool, count) {
  const taken = [];
  for (let n = 0; n < count; n++) {
    const before = performance.now();
    await call(client, tool);
    taken.push(performance.now() - before);
  }
  return taken;
}
