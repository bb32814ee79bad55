/**
 * The bare relay: the least that a Node process between an MCP client and a server can do. It is what
 * Holdfast's cost is divided by. It has no features: no journal, no queue, no reconnect, no limits, no
 * id translation.
 *
 *     node relay.mjs -- command args…       stdio → stdio
 *     node relay.mjs http://host/mcp        stdio → Streamable HTTP
 *
 * What it does, exactly:
 *   stdio → stdio   In each direction: decode the bytes as UTF-8, cut them at newlines, JSON.parse each
 *                   line and look at its `id` and `method` (no proxy can route without), then write the
 *                   original text of the line plus a newline: one write per message.
 *   stdio → HTTP    For each line: JSON.parse, then one POST with node:http over a keep-alive agent
 *                   without a socket limit. The session id of the answer to `initialize` goes with
 *                   every later POST. The answer's body is collected, JSON.parsed for its `id`, and
 *                   written to stdout as one line: one write per message. JSON answers only.
 *   It ends when its stdin ends (and its child with it) or when its child ends.
 */
import { spawn } from "node:child_process";
import { Agent, request } from "node:http";
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

const [first, ...others] = process.argv.slice(2);
if (first === "--") relayToChild(others);
else relayToUrl(first);
