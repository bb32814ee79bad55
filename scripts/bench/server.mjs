/**
 * The fixture server of the benchmark: a raw MCP server over stdio or Streamable HTTP that does next to
 * nothing per call, so that what is measured is what stands in front of it.
 *
 *     node server.mjs [--gate FILE]            stdio
 *     node server.mjs --http [--port N]        HTTP; prints its port as the first line of stdout
 *
 * S1. With `--gate`, it exits at once with code 7 unless FILE exists: an upstream that is kept down.
 * S2. `look` is annotated read-only, `write` is not: the one passes straight through, the other is
 *     journalled. Both answer the same bytes.
 * S3. One write per message, never batched, as a server of the official SDK does.
 */
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { onLines } from "./lines.mjs";

const { values } = parseArgs({
  options: {
    gate: { type: "string" },
    http: { type: "boolean", default: false },
    port: { type: "string", default: "0" },
  },
});

if (values.gate !== undefined && !existsSync(values.gate)) {
  process.stderr.write("bench server: the gate is closed\n");
  process.exit(7);
}

const inputSchema = {
  type: "object",
  properties: { n: { type: "integer" }, text: { type: "string" } },
};

const TOOLS = [
  {
    name: "look",
    description: "Reads and changes nothing.",
    inputSchema,
    annotations: { readOnlyHint: true },
  },
  {
    name: "write",
    description: "Changes something that cannot be undone.",
    inputSchema,
    annotations: { readOnlyHint: false, destructiveHint: true, idempotentHint: false },
  },
];

const FILLER = "the quick brown fox jumps over the lazy dog; ".repeat(4);

function resultOf(method, params) {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: params?.protocolVersion ?? "2025-11-25",
        capabilities: { tools: {} },
        serverInfo: { name: "bench", version: "1.0.0" },
      };
    case "ping":
      return {};
    case "tools/list":
      return { tools: TOOLS };
    case "tools/call":
      return { content: [{ type: "text", text: `${params.arguments.n}: ${FILLER}` }] };
    default:
      return undefined;
  }
}

/** The answer to one message as text, or undefined where none is due. */
function answer(message) {
  if (message.method === undefined || message.id === undefined) return undefined;
  const result = resultOf(message.method, message.params);
  if (result !== undefined) return JSON.stringify({ jsonrpc: "2.0", id: message.id, result });
  const error = { code: -32601, message: "Method not found" };
  return JSON.stringify({ jsonrpc: "2.0", id: message.id, error });
}

function serveStdio() {
  onLines(process.stdin, (line) => {
    const text = answer(JSON.parse(line));
    if (text !== undefined) process.stdout.write(text + "\n");
  });
  process.stdin.on("end", () => process.exit(0));
}

function serveHttp() {
  const sessionId = randomUUID();
  const server = createServer((request, response) => {
    if (request.method === "DELETE") return void response.writeHead(200).end();
    if (request.method !== "POST") return void response.writeHead(405).end();
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const message = JSON.parse(Buffer.concat(chunks).toString("utf8"));
      const text = answer(message);
      if (text === undefined) return void response.writeHead(202).end();
      const headers = { "content-type": "application/json" };
      if (message.method === "initialize") headers["mcp-session-id"] = sessionId;
      headers["content-length"] = Buffer.byteLength(text);
      response.writeHead(200, headers).end(text);
    });
  });
  // A keep-alive socket that the server closes under a client would add resets to what is measured.
  server.keepAliveTimeout = 60_000;
  server.listen(Number(values.port), "127.0.0.1", () => {
    process.stdout.write(`${server.address().port}\n`);
  });
  // The driver holds our stdin open; when it dies, so do we.
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}

if (values.http) serveHttp();
else serveStdio();
