/** SSE and WebSocket behind the real listener: the same checks, the same principals. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { afterEach, beforeEach, expect, it } from "vitest";
import { WebSocket } from "ws";
import { realWorld } from "../../src/base/world.ts";
import { HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { mcpRoute } from "../../src/downstream/http/mcp.ts";
import { httpListener } from "../../src/downstream/http/server.ts";
import { sseRoute } from "../../src/downstream/sse.ts";
import { webSocketRoute } from "../../src/downstream/websocket.ts";
import type { NetworkListener } from "../../src/ports.ts";
import { initialize, ScriptedDoor } from "../support/door-rig.ts";
import { until } from "../support/processes.ts";

let listener: NetworkListener;
let address: string;
let door: ScriptedDoor;

beforeEach(async () => {
  const world = realWorld();
  const common = { world, log: () => {}, requestMaxBytes: 4096 };
  const room = new HalfReadRoom(common.world, 2 * common.requestMaxBytes);
  const posts = { ...common, bodies: { world, bytesMax: common.requestMaxBytes, room } };
  door = new ScriptedDoor();
  listener = httpListener({
    ...common,
    host: "127.0.0.1",
    port: 0,
    connectionsMax: 100,
    // The token is the principal.
    gatekeeper: {
      stillAdmits: () => true,
      admit: (bearer) =>
        bearer === undefined
          ? { kind: "unknown", reason: "a token is needed" }
          : { kind: "admitted", principal: bearer },
    },
    policy: () => ({
      allowedOrigins: [],
      allowedHosts: [],
      isBeyondLoopback: false,
      asksTokens: true,
    }),
    routes: { mcp: mcpRoute(posts), sse: sseRoute({ ...posts, linksMax: 10 }) },
    upgrades: { ws: webSocketRoute({ ...common, linksMax: 10, room }) },
  });
  address = await listener.start((name) => (name === "my files" ? door : undefined));
});
afterEach(() => listener.stop(0));

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

it("an official SSE client passes with its token, and nobody else under its key", async () => {
  const client = new Client({ name: "sdk", version: "1" });
  const transport = new SSEClientTransport(new URL(`${address}/sse/my%20files`), {
    requestInit: { headers: bearer("ann") },
  });
  await client.connect(transport);
  expect((await client.callTool({ name: "echo" })).content).toMatchObject([{ text: "echo" }]);
  const { principal, key } = door.last.link;
  expect(principal).toBe("ann");
  const url = `${address}/sse/my%20files/message?sessionId=${String(key)}`;
  const statusFor = async (headers: Record<string, string>) => {
    const type = { "Content-Type": "application/json" };
    const response = await fetch(url, {
      method: "POST",
      body: initialize(),
      headers: { ...type, ...headers },
    });
    return response.status;
  };
  expect(await statusFor({})).toBe(401);
  expect(await statusFor(bearer("bob"))).toBe(404);
  expect(await statusFor({ ...bearer("ann"), Origin: "http://evil.example" })).toBe(403);
  expect(door.last.heard.filter((method) => method === "initialize")).toHaveLength(1);
  await client.close();
});

it("a WebSocket passes with its token, and nobody else under its key", async () => {
  const sockets: WebSocket[] = [];
  const statusFor = (path: string, headers: Record<string, string>) =>
    new Promise<number | undefined>((resolve) => {
      const socket = new WebSocket(`${address.replace("http", "ws")}${path}`, "mcp", { headers });
      sockets.push(socket);
      socket.on("error", () => {});
      socket.on("upgrade", (response) => {
        resolve(response.statusCode);
      });
      socket.on("unexpected-response", (request, response) => {
        request.destroy();
        resolve(response.statusCode);
      });
    });
  expect(await statusFor("/ws/my%20files", bearer("ann"))).toBe(101);
  sockets[0]?.send(initialize());
  await until("the session", () => door.last.hasBegun);
  const { principal, key } = door.last.link;
  expect(principal).toBe("ann");
  const back = `/ws/my%20files?session=${String(key)}`;
  expect(await statusFor(back, {})).toBe(401);
  expect(await statusFor(back, bearer("bob"))).toBe(404);
  expect(await statusFor(back, { ...bearer("ann"), Origin: "http://evil.example" })).toBe(403);
  expect(await statusFor("/ws/other", bearer("ann"))).toBe(404);
  expect(await statusFor(back, bearer("ann"))).toBe(101);
  for (const socket of sockets) socket.terminate();
});

it("a stop of the listener ends both, and their sessions stay", async () => {
  const client = new Client({ name: "sdk", version: "1" });
  const transport = new SSEClientTransport(new URL(`${address}/sse/my%20files`), {
    requestInit: { headers: bearer("ann") },
  });
  await client.connect(transport);
  const socket = new WebSocket(`${address.replace("http", "ws")}/ws/my%20files`, "mcp", {
    headers: bearer("ann"),
  });
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.on("open", () => {
    socket.send(initialize());
  });
  await until("both sessions", () => door.handlers.filter((h) => h.hasBegun).length === 2);
  await listener.stop(1_000);
  expect(await closed).toBe(1001);
  expect(door.handlers.map((handler) => handler.told)).toEqual([
    ["detached: the proxy is stopping"],
    ["detached: the proxy is stopping"],
  ]);
  await client.close();
});
