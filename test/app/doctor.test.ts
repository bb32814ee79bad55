import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocketServer } from "ws";
import type { Check } from "../../src/app/commands/doctor.ts";
import { runCommandLine } from "../../src/app/command-line.ts";
import { testFolder, testOutside } from "./support/outside.ts";

async function doctor(argv: string[], env: NodeJS.ProcessEnv = {}, folder = testFolder()) {
  const outside = testOutside(folder, { PATH: process.env["PATH"], ...env });
  const code = await runCommandLine(["doctor", ...argv], outside);
  return { code, out: outside.stdout(), error: outside.stderr(), folder };
}

async function checksOf(argv: string[], env?: NodeJS.ProcessEnv, folder?: string) {
  const [json, ...rest] = ["--json", ...argv];
  const { code, out } = await doctor([json, ...rest], env, folder);
  const { isFine, checks } = JSON.parse(out) as { isFine: boolean; checks: Check[] };
  const byName = new Map(checks.map((check) => [check.name, check]));
  return { code, isFine, byName };
}

/** A server in a few lines; what it notes goes to the file that it is given. */
const SERVER = `
const note = (text) => require("node:fs").appendFileSync(process.argv[1], text + "\\n");
console.error("starting with " + process.env.API_KEY);
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  note(method);
  const result = method === "initialize"
    ? { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: { name: "tiny", version: "1" } }
    : { tools: [{ name: "a" }, { name: "b" }] };
  if (id !== undefined) console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
}).on("close", () => note("end"));
`;

describe("without a server", () => {
  test("checks this machine and is fine", async () => {
    const { code, isFine, byName } = await checksOf([]);
    expect([code, isFine]).toEqual([0, true]);
    expect([...byName.keys()]).toEqual(
      "node,configuration,state folder,disk,fsync,sqlite,journals".split(","),
    );
    expect(byName.get("fsync")?.text).toMatch(/^median of 20: \d+\.\d\d ms$/);
    expect(byName.get("sqlite")?.text).toMatch(/^SQLite 3\./);
  });

  test("leaves nothing behind in the state folder", async () => {
    const { folder, out } = await doctor([]);
    expect(readdirSync(join(folder, "state"))).toEqual([]);
    expect(out).toMatch(/^ok {3}node {10}Node /);
  });

  test("names a broken file and goes on; exit 1", async () => {
    const folder = testFolder();
    writeFileSync(join(folder, "holdfast.json"), "{ oops }");
    const { code, byName } = await checksOf([], {}, folder);
    expect(code).toBe(1);
    expect(byName.get("configuration")).toMatchObject({ verdict: "fail" });
    expect(byName.get("configuration")?.text).toContain("holdfast.json:1:3: this is not JSON");
    expect(byName.get("sqlite")).toMatchObject({ verdict: "ok" });
  });

  test("warns of an entry whose variable is missing", async () => {
    const folder = testFolder();
    const config = { servers: { a: { command: "x" }, b: { command: "${GONE_VARIABLE}" } } };
    writeFileSync(join(folder, "holdfast.json"), JSON.stringify(config));
    const { code, byName } = await checksOf([], {}, folder);
    expect(code).toBe(0);
    expect(byName.get("configuration")).toMatchObject({ verdict: "warn" });
    expect(byName.get("configuration")?.text).toContain("GONE_VARIABLE is not set");
  });

  test("fails where the state folder cannot be made", async () => {
    const folder = testFolder();
    writeFileSync(join(folder, "file"), "");
    const env = { HOLDFAST_STATE_DIR: join(folder, "file/state") };
    const { code, byName } = await checksOf([], env, folder);
    expect(code).toBe(1);
    expect(byName.get("state folder")).toMatchObject({ verdict: "fail" });
    expect(byName.get("state folder")?.advice).toContain("--state-dir");
  });
});

describe("with a command", () => {
  test("starts it, says hello, lists its tools and ends it", async () => {
    const folder = testFolder();
    const notes = join(folder, "notes");
    const { code, byName } = await checksOf(
      ["--", process.execPath, "-e", SERVER, notes],
      {},
      folder,
    );
    expect(byName.get("server node")?.text).toMatch(
      /^tiny 1, MCP 2025-11-25, 2 tools, first answer after \d+ ms$/,
    );
    expect(code).toBe(0);
    expect(readFileSync(notes, "utf8").split("\n")).toEqual([
      "initialize",
      "notifications/initialized",
      "tools/list",
      "end",
      "",
    ]);
  });

  test("that exits tells its code and last words, without its secrets", async () => {
    const script = `console.error("bad key " + process.env.API_KEY); process.exit(7)`;
    const { code, byName } = await checksOf(["--", process.execPath, "-e", script], {
      API_KEY: "s3cret-value",
    });
    expect(code).toBe(1);
    expect(byName.get("server node")).toMatchObject({ verdict: "fail" });
    expect(byName.get("server node")?.text).toContain(
      "it exited with code 7; last output: bad key ***",
    );
  });

  test("that does not exist is named", async () => {
    const { code, byName } = await checksOf(["--", "no-such-command-anywhere"]);
    expect(code).toBe(1);
    expect(byName.get("server no-such-command-anywhere")?.text).toContain(
      "the command was not found: no-such-command-anywhere",
    );
  });
});

async function listen(handle: RequestListener): Promise<string> {
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/mcp`;
}

describe("with a URL", () => {
  test.each(["application/json", "text/event-stream"])(
    "says hello over %s, and ends the session",
    async (type) => {
      const seen: string[] = [];
      const url = await listen((request, response) => {
        let body = "";
        request.on("data", (chunk) => (body += String(chunk)));
        request.on("end", () => {
          const { id, method } = JSON.parse(body || "{}") as { id?: number; method?: string };
          const session = String(request.headers["mcp-session-id"]);
          seen.push(
            `${method ?? request.method ?? ""} ${session} ${String(request.headers["x-a"])}`,
          );
          if (id === undefined) {
            response.writeHead(202).end();
            return;
          }
          const serverInfo = { name: "web", version: "2" };
          const result = { protocolVersion: "2025-06-18", serverInfo, tools: [{ name: "a" }] };
          const text = JSON.stringify({ jsonrpc: "2.0", id, result });
          response.writeHead(200, { "content-type": type, "mcp-session-id": "s1" });
          response.end(type === "application/json" ? text : `event: message\ndata: ${text}\n\n`);
        });
      });
      const { code, byName } = await checksOf([url, "--header", "X-A: 1"]);
      expect(byName.get(`server ${new URL(url).host}`)?.text).toContain(
        "web 2, MCP 2025-06-18, 1 tools",
      );
      expect(code).toBe(0);
      expect(seen).toEqual([
        "initialize undefined 1",
        "notifications/initialized s1 1",
        "tools/list s1 1",
        "DELETE s1 1",
      ]);
    },
  );

  test("tells the HTTP status, or why there was no connection", async () => {
    const url = await listen((_, response) => response.writeHead(401).end("who are you"));
    const refused = await checksOf([url]);
    expect(refused.code).toBe(1);
    expect(refused.byName.get(`server ${new URL(url).host}`)?.text).toContain(
      "HTTP 401 Unauthorized who are you",
    );
    const gone = await checksOf(["http://127.0.0.1:1/mcp"]);
    expect(gone.byName.get("server 127.0.0.1:1")?.text).toMatch(
      /fetch failed: .*(ECONNREFUSED|bad port)/,
    );
  });
});

describe("with a server of an older or another transport", () => {
  const reply = (text: string): string | undefined => {
    const { id } = JSON.parse(text) as { id?: number };
    const serverInfo = { name: "old", version: "1" };
    const result = { protocolVersion: "2024-11-05", serverInfo, tools: [{ name: "a" }] };
    return id === undefined ? undefined : JSON.stringify({ jsonrpc: "2.0", id, result });
  };

  test("says hello over HTTP+SSE", async () => {
    let stream: ServerResponse | undefined;
    const url = await listen((request, response) => {
      if (request.method === "GET") {
        stream = response.writeHead(200, { "content-type": "text/event-stream" });
        stream.write("event: endpoint\r\ndata: /message?sessionId=1\r\n\r\n");
        return;
      }
      let body = "";
      request.on("data", (chunk) => (body += String(chunk)));
      request.on("end", () => {
        response.writeHead(202).end();
        const text = reply(body);
        if (text !== undefined) stream?.write(`event: message\ndata: ${text}\n\n`);
      });
    });
    const { code, byName } = await checksOf([url, "--transport", "sse"]);
    expect(byName.get(`server ${new URL(url).host}`)?.text).toContain(
      "old 1, MCP 2024-11-05, 1 tools",
    );
    expect(code).toBe(0);
  });

  test("says that a page is no event stream", async () => {
    const url = await listen((_, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html>"),
    );
    const { code, byName } = await checksOf([url, "--transport", "sse"]);
    expect(byName.get(`server ${new URL(url).host}`)?.text).toContain("is it of type http?");
    expect(code).toBe(1);
  });

  test("says hello over WebSocket, or tells the HTTP status", async () => {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    onTestFinished(() => {
      for (const client of server.clients) client.terminate();
      server.close();
    });
    await new Promise((resolve) => server.once("listening", resolve));
    server.on("connection", (socket) => {
      socket.on("message", (data: Buffer) => {
        const text = reply(data.toString());
        if (text !== undefined) socket.send(text);
      });
    });
    const host = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    const { code, byName } = await checksOf([`ws://${host}/mcp`]);
    expect(byName.get(`server ${host}`)?.text).toContain("old 1, MCP 2024-11-05, 1 tools");
    expect(code).toBe(0);
    const url = await listen((_, response) => response.writeHead(401).end());
    const refused = await checksOf([url.replace("http:", "ws:")]);
    expect(refused.byName.get(`server ${new URL(url).host}`)?.text).toContain("401");
    expect(refused.code).toBe(1);
  });
});

test("a name of the file is dialled as run would; a wrong one is a finding", async () => {
  const folder = testFolder();
  const notes = join(folder, "notes");
  const config = {
    servers: { tiny: { command: process.execPath, args: ["-e", SERVER, notes] } },
  };
  writeFileSync(join(folder, "holdfast.json"), JSON.stringify(config));
  const { code, byName } = await checksOf(["tiny"], {}, folder);
  expect([code, byName.get("server tiny")?.verdict]).toEqual([0, "ok"]);
  expect(existsSync(notes)).toBe(true);
  const wrong = await checksOf(["tny"], {}, folder);
  expect(wrong.code).toBe(1);
  expect(wrong.byName.get("server")?.text).toContain('did you mean "tiny"?');
});
