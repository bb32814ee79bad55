/**
 * The bare relay: the least that a Node process between an MCP client and a server can do. It is what
 * Holdfast's cost is divided by. It has no features: no journal, no queue, no reconnect, no limits, no
 * id translation.
 *
 *     node relay.mjs -- command args…            stdio → stdio
 *     node relay.mjs http://host/mcp             stdio → Streamable HTTP
 *     node relay.mjs --listen -- command args…   Streamable HTTP → stdio
 *     node relay.mjs --listen http://host/mcp    Streamable HTTP → Streamable HTTP
 *
 * With `--listen` it prints its port as the first line of stdout.
 *
 * What it does, exactly:
 *   stdio → stdio   In each direction: decode the bytes as UTF-8, cut them at newlines, JSON.parse each
 *                   line and look at its `id` and `method` (no proxy can route without), then write the
 *                   original text of the line plus a newline: one write per message.
 *   stdio → HTTP    For each line: JSON.parse, then one POST with node:http over a keep-alive agent
 *                   without a socket limit. The session id of the answer to `initialize` goes with
 *                   every later POST. The answer's body is collected, JSON.parsed for its `id`, and
 *                   written to stdout as one line: one write per message. JSON answers only.
 *   HTTP → stdio    For each POST: collect the body, JSON.parse it for `id` and `method`, write it to
 *                   the child as one line. The child's line is JSON.parsed for its `id`, and is the
 *                   answer to the POST that waits for it, as plain JSON; a notification gets 202. One
 *                   client only: ids are not translated.
 *   HTTP → HTTP     As HTTP → stdio and stdio → HTTP, one POST for a POST; the session id is passed on
 *                   in both directions.
 *   It ends when its stdin ends (and its child with it) or when its child ends.
 */
import { spawn } from "node:child_process";
import { Agent, createServer, request } from "node:http";
import { onLines } from "./lines.mjs";

/** Ids of requests that wait for their answer: all that a relay has to know. */
const open = new Set();

function note(line) {
  const message = JSON.parse(line);
  if (message.id === undefined) return message;
  if (message.method === undefined) open.delete(message.id);
  else open.add(message.id);
  return message;
}

function relayToChild([command, ...args]) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  onLines(process.stdin, (line) => {
    note(line);
    child.stdin.write(line + "\n");
  });
  onLines(child.stdout, (line) => {
    note(line);
    process.stdout.write(line + "\n");
  });
  process.stdin.on("end", () => child.stdin.end());
  child.on("exit", (code) => process.exit(code ?? 1));
}

function relayToUrl(url) {
  const agent = new Agent({ keepAlive: true });
  let sessionId;

  function post(line) {
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "content-length": Buffer.byteLength(line),
    };
    if (sessionId !== undefined) headers["mcp-session-id"] = sessionId;
    const outgoing = request(url, { method: "POST", agent, headers }, (response) => {
      sessionId ??= response.headers["mcp-session-id"];
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        if (chunks.length === 0) return;
        const text = Buffer.concat(chunks).toString("utf8");
        note(text);
        process.stdout.write(text + "\n");
      });
    });
    outgoing.on("error", (error) => {
      process.stderr.write(`relay: ${error.message}\n`);
      process.exit(1);
    });
    outgoing.end(line);
  }

  onLines(process.stdin, (line) => {
    note(line);
    post(line);
  });
  process.stdin.on("end", () => process.exit(0));
}

/** Calls `take` with the text of each POST, its headers, and the response to it. */
function listen(take) {
  const server = createServer((incoming, response) => {
    const chunks = [];
    incoming.on("data", (chunk) => chunks.push(chunk));
    incoming.on("end", () => {
      take(Buffer.concat(chunks).toString("utf8"), incoming.headers, response);
    });
  });
  // As the fixture server has it, and for the same reason.
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1", () => process.stdout.write(`${server.address().port}\n`));
  process.stdin.resume();
}

function answer(response, text, headers = {}) {
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

function listenForChild([command, ...args]) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = new Map();
  onLines(child.stdout, (line) => {
    const { id } = note(line);
    const response = waiting.get(id);
    waiting.delete(id);
    if (response !== undefined) answer(response, line);
  });
  listen((text, _headers, response) => {
    const { id } = note(text);
    if (id === undefined) response.writeHead(202).end();
    else waiting.set(id, response);
    child.stdin.write(text + "\n");
  });
  process.stdin.on("end", () => child.stdin.end());
  child.on("exit", (code) => process.exit(code ?? 1));
}

function listenForUrl(url) {
  const agent = new Agent({ keepAlive: true });
  listen((text, incoming, response) => {
    note(text);
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "content-length": Buffer.byteLength(text),
    };
    const sessionId = incoming["mcp-session-id"];
    if (sessionId !== undefined) headers["mcp-session-id"] = sessionId;
    const outgoing = request(url, { method: "POST", agent, headers }, (upstream) => {
      const chunks = [];
      upstream.on("data", (chunk) => chunks.push(chunk));
      upstream.on("end", () => {
        if (chunks.length === 0) return void response.writeHead(upstream.statusCode).end();
        const reply = Buffer.concat(chunks).toString("utf8");
        note(reply);
        const begun = upstream.headers["mcp-session-id"];
        answer(response, reply, begun === undefined ? {} : { "mcp-session-id": begun });
      });
    });
    outgoing.on("error", (error) => {
      process.stderr.write(`relay: ${error.message}\n`);
      process.exit(1);
    });
    outgoing.end(text);
  });
  process.stdin.on("end", () => process.exit(0));
}

const args = process.argv.slice(2);
const isListening = args[0] === "--listen";
const [first, ...others] = isListening ? args.slice(1) : args;
if (first === "--") (isListening ? listenForChild : relayToChild)(others);
else (isListening ? listenForUrl : relayToUrl)(first);
