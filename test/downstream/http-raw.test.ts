import { request as httpRequest } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { until } from "../support/http-rig.ts";
import {
  ACCEPT,
  type Client,
  clientOf,
  closeFaces,
  type Face,
  face,
  INITIALIZE,
  Raw,
  reply,
  rpc,
} from "../support/http-door.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

afterEach(closeFaces);

const QUICK = { headersMs: 200, requestMs: 400, checkMs: 20 };

const HEAD = [
  "POST /mcp/box HTTP/1.1",
  "Host: localhost",
  "Content-Type: application/json",
  `Accept: ${ACCEPT}`,
];

/** Whoever else is there notices nothing. */
const isServed = async (client: Client): Promise<void> => {
  expect(await client.ask(rpc("still", "ping"))).toMatchObject({ status: 200 });
};

async function served(options: Parameters<typeof face>[0] = {}): Promise<[Face, Client]> {
  const at = await face(options);
  return [at, await clientOf(at)];
}

describe("a path", () => {
  it.each([
    "/",
    "/mcp",
    "/mcp/",
    "//mcp/box",
    "/mcp//box",
    "/mcp/box/",
    "/mcp/./box",
    "/mcp/../mcp/box",
    "/mcp/%2e%2e/mcp/box",
    "/mcp/..",
    "/mcp/%62ox",
    "/mcp%2fbox",
    "/mcp/box%2f",
    "/mcp/box%00",
    "/mcp/box%",
    "/mcp/box;a=b",
    "/MCP/box",
    "/mcp/box#a",
    "/mcp\\box",
    "/sse/box/message/",
    "/sse/box/other",
    "/sse/message",
    "http://localhost/mcp/box",
    "*",
  ])("that is not exactly one of ours gets 404: %s", async (path) => {
    const [at, client] = await served();
    const raw = new Raw(at).write(
      `POST ${path} HTTP/1.1`,
      ...HEAD.slice(1),
      "Content-Length: 2",
      "",
      "{}",
    );
    await raw.says("HTTP/1.1 4");
    expect(raw.text).toMatch(/^HTTP\/1\.1 40[04] /);
    expect(at.door.links).toHaveLength(1);
    await isServed(client);
  });
});

describe("a connection that is slow", () => {
  it("with its headers is ended", async () => {
    const [at, client] = await served({ patience: QUICK });
    const raw = new Raw(at).write("POST /mcp/box HTTP/1.1", "Host: loc");
    await raw.says("HTTP/1.1 408 Request Timeout");
    await raw.closed();
    await isServed(client);
  });

  it("to say anything at all is ended", async () => {
    const [at, client] = await served({ patience: QUICK });
    await new Raw(at).closed();
    await isServed(client);
  });

  it("with its body is ended", async () => {
    const [at, client] = await served({ patience: QUICK });
    const raw = new Raw(at).write(...HEAD, "Content-Length: 100", "", "{");
    await raw.closed();
    expect(raw.text).toContain("HTTP/1.1 408");
    await isServed(client);
  });

  it("and pauses in its body for ten seconds is told so and ended", async () => {
    const world = new VirtualWorld();
    const [at, client] = await served({ world });
    const raw = new Raw(at).write(...HEAD, "Content-Length: 100", "Expect: 100-continue", "", "");
    await raw.says("100 Continue");
    await world.advance(9_000);
    raw.write("{");
    await until("the byte", () => raw.socket.bytesWritten > 0);
    await isServed(client);
    await world.advance(1_500);
    await isServed(client);
    expect(raw.text).not.toContain("408");
    await world.advance(10_000);
    await raw.says("HTTP/1.1 408");
    await world.advance(2_500);
    await raw.closed();
  });
});

describe("too much", () => {
  it("of a body is refused by its length, before it comes", async () => {
    const [at, client] = await served();
    const raw = new Raw(at).write(...HEAD, "Content-Length: 104857600", "", "{");
    await raw.says("HTTP/1.1 413");
    expect(raw.text).toContain("--max-request-bytes");
    await isServed(client);
  });

  it("of a body without a length is refused as soon as it is, and 100 MB take no memory", async () => {
    const [at, client] = await served();
    const before = process.memoryUsage().rss;
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { ...client.headers, accept: ACCEPT, "content-type": "application/json" };
      const options = { port: at.port, method: "POST", path: "/mcp/box", headers, agent: false };
      const request = httpRequest({ host: "127.0.0.1", ...options }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on("error", reject);
      const chunk = Buffer.alloc(1_048_576, " ");
      let count = 0;
      const more = () => {
        while (count++ < 100) if (!request.write(chunk)) return void request.once("drain", more);
        request.end();
      };
      more();
    });
    expect(status).toBe(413);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1_048_576);
    await isServed(client);
  });

  it("of headers gets 431", async () => {
    const [at, client] = await served();
    const raw = new Raw(at).write(...HEAD, `X-Long: ${"x".repeat(20_000)}`, "", "");
    await raw.says("HTTP/1.1 431");
    await raw.closed();
    await isServed(client);
  });

  it("of connections is told so, and the ones before go on", async () => {
    const [at] = await served({ connectionsMax: 3 });
    const open = [1, 2, 3].map(() => new Raw(at));
    for (const raw of open) raw.write("GET /nothing HTTP/1.1", "Host: localhost", "", "");
    for (const raw of open) await raw.says("404");
    const surplus = new Raw(at).write("GET /nothing HTTP/1.1", "Host: localhost", "", "");
    await surplus.says("HTTP/1.1 503");
    expect(surplus.text).toContain("there are 3 connections, and there may not be more");
    await surplus.closed();
    open[0]?.write("GET /nothing HTTP/1.1", "Host: localhost", "", "");
    await until("another answer", () => (open[0]?.text.split("404 Not Found").length ?? 0) === 3);
    open[1]?.socket.destroy();
    // As soon as the listener has noticed, there is room again.
    for (let text = "503"; text.includes("503");) {
      const next = new Raw(at).write("GET /nothing HTTP/1.1", "Host: localhost", "", "");
      ({ text } = await next.says("HTTP/1.1"));
    }
  });
});

describe("bytes that are no request", () => {
  it.each([
    ["garbage", ["\u0016\u0003\u0001 hello", "", ""]],
    ["two lengths", [...HEAD, "Content-Length: 2", "Content-Length: 3", "", "{}"]],
    [
      "a length and chunks",
      [...HEAD, "Content-Length: 2", "Transfer-Encoding: chunked", "", "0", "", ""],
    ],
    ["a header with a line end in it", [...HEAD, "X-A: a\nb", "", ""]],
    ["a header without a colon", [...HEAD, "evil", "", ""]],
    ["no Host", ["GET /mcp/box HTTP/1.1", "", ""]],
  ])("%s are refused", async (_, lines) => {
    const [at, client] = await served();
    const raw = new Raw(at).write(...lines);
    await raw.says("HTTP/1.1 400");
    await raw.closed();
    await isServed(client);
  });

  it("behind a request that is being answered do not disturb its answer", async () => {
    const [at, client] = await served();
    const body = INITIALIZE("2025-11-25");
    let isAsked = false;
    at.door.onInitialize = () => {
      isAsked = true;
    };
    const raw = new Raw(at).write(
      ...HEAD,
      `Content-Length: ${String(body.length)}`,
      "",
      `${body}garbage`,
      "",
      "",
    );
    await raw.closed();
    expect(raw.text).not.toContain("HTTP/1.1 400");
    expect(isAsked).toBe(true);
    await isServed(client);
  });
});

describe("what a client says in its headers", () => {
  it("never comes back in ours", async () => {
    const [at] = await served();
    const evil = "a%0d%0aSet-Cookie:%20x=1";
    const raw = new Raw(at).write(
      `POST /mcp/${evil}?${evil} HTTP/1.1`,
      "Host: localhost",
      `Mcp-Session-Id: ${evil}`,
      `Origin: http://localhost/${evil}`,
      "Content-Length: 0",
      "",
      "",
    );
    await raw.says("\r\n\r\n");
    expect(raw.text.split("\r\n\r\n")[0]).not.toMatch(/cookie|%0d/i);
  });
});

describe("requests in one go on one connection", () => {
  it("are answered in their order", async () => {
    const [at, client] = await served();
    const one = (id: number) => {
      const body = rpc(id, "ping");
      const head = [
        ...HEAD,
        `Mcp-Session-Id: ${client.key}`,
        `Content-Length: ${String(body.length)}`,
      ];
      return [...head, "", body].join("\r\n");
    };
    const raw = new Raw(at);
    raw.socket.write([1, 2, 3].map(one).join(""));
    await until("three answers", () => raw.text.split("HTTP/1.1 200").length === 4);
    const order = [...raw.text.matchAll(/"id":(\d)/g)].map((match) => match[1]);
    expect(order).toEqual(["1", "2", "3"]);
  });
});

describe("a half-open connection", () => {
  it("still gets its answer", async () => {
    const [at, client] = await served();
    const body = rpc(1, "ping");
    const head = [
      ...HEAD,
      `Mcp-Session-Id: ${client.key}`,
      `Content-Length: ${String(body.length)}`,
    ];
    const raw = new Raw(at).write(...head, "", body);
    raw.socket.end();
    await raw.closed();
    expect(raw.text).toContain('"id":1,"result"');
  });
});

describe("an upgrade", () => {
  const upgrade = (path: string, to: string, ...more: string[]) => [
    `GET ${path} HTTP/1.1`,
    "Connection: Upgrade, HTTP2-Settings",
    `Upgrade: ${to}`,
    "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ...more,
  ];

  it.each(["websocket", "h2c"])(
    "to %s that does not wait for the answer before it ends the connection",
    async (to) => {
      const [at, client] = await served();
      at.door.onRequest = ({ request, stream }) => {
        if (request.method !== "slow") reply(stream, request.idText, {});
      };
      const body = rpc(7, "slow");
      const raw = new Raw(at).write(
        ...HEAD,
        `Mcp-Session-Id: ${client.key}`,
        `Content-Length: ${String(body.length)}`,
        "",
        `${body}${upgrade("/ws/box", to, "Host: localhost", "", "").join("\r\n")}`,
      );
      await raw.closed();
      expect(raw.text).toBe("");
      expect(at.visits).toEqual([]);
      await isServed(client);
    },
  );

  it("to WebSocket reaches its route only at its path, from an allowed Origin", async () => {
    const [at] = await served();
    const host = "Host: localhost";
    const raws = [
      new Raw(at).write(...upgrade("/ws/box?session=k", "websocket", host, "", "")),
      new Raw(at).write(...upgrade("/mcp/box", "websocket", host, "", "")),
      new Raw(at).write(...upgrade("/ws/other", "websocket", host, "", "")),
      new Raw(at).write(
        ...upgrade("/ws/box", "websocket", host, "Origin: http://evil.example", "", ""),
      ),
      new Raw(at).write(...upgrade("/ws/box", "websocket", "Host: evil.example", "", "")),
    ];
    const statuses = [];
    for (const raw of raws) {
      await raw.closed();
      statuses.push(raw.text.slice(9, 12));
    }
    expect(statuses).toEqual(["101", "404", "404", "403", "403"]);
    expect(at.visits.map((visit) => visit.url.search)).toEqual(["?session=k"]);
  });

  it("to anything else is not taken, and the request is served as if it had not been offered", async () => {
    const [at] = await served();
    const body = INITIALIZE("2025-11-25");
    const head = [
      ...HEAD,
      "Connection: Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAM",
    ];
    const raw = new Raw(at);
    raw.write(...head, `Content-Length: ${String(body.length)}`, "", body.slice(0, 10));
    raw.write(body.slice(10));
    await raw.says('"protocolVersion"');
    expect(raw.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    // The connection is a plain one from there on.
    raw.write("GET /nothing HTTP/1.1", "Host: localhost", "", "");
    await raw.says("404 Not Found");
  });
});
