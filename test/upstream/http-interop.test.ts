/** The HTTP upstream against official servers: server-everything as a process, the SDK's transport here. */
import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import {
  StreamableHTTPServerTransport,
  type EventStore,
} from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import { afterEach, describe, expect, it } from "vitest";
import type { Connection } from "../../src/ports.ts";
import {
  asRead,
  asUnsafe,
  connectorTo,
  dialTo,
  request,
  shakeHands,
  until,
  type Link,
} from "../support/http-rig.ts";
import { ownPort } from "../support/port.ts";

const children: ChildProcess[] = [];
const servers: Server[] = [];
const connections: Connection[] = [];

afterEach(async () => {
  await Promise.all(connections.splice(0).map((connection) => connection.close(2_000)));
  await Promise.all(children.splice(0).map((child) => kill(child)));
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
}

/** Starts server-everything; resolves when it listens. */
async function startEverything(port: number): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    ["node_modules/@modelcontextprotocol/server-everything/dist/index.js", "streamableHttp"],
    { env: { ...process.env, PORT: String(port) }, stdio: ["ignore", "ignore", "pipe"] },
  );
  children.push(child);
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const isUp = await until("server-everything to listen", () => {
    if (child.exitCode !== null) return "exited";
    return said.includes("listening on port") ? "up" : undefined;
  });
  if (isUp === "exited") throw new Error(`server-everything exited: ${said}`);
  return child;
}

async function everything(): Promise<{ child: ChildProcess; port: number; url: string }> {
  const port = await ownPort();
  const child = await startEverything(port);
  return { child, port, url: `http://127.0.0.1:${String(port)}/mcp` };
}

async function session(url: string): Promise<Link> {
  const made = await dialTo(connectorTo(url));
  connections.push(made.connection);
  await shakeHands(made);
  return made;
}

const longCall = (id: string, duration: number): string =>
  request(id, "tools/call", {
    name: "trigger-long-running-operation",
    arguments: { duration, steps: 50 },
    _meta: { progressToken: id },
  });

describe("server-everything", () => {
  it("answers lists and calls, with progress on the stream of its call", async () => {
    const { url } = await everything();
    const { connection, recorder } = await session(url);
    connection.send(request("1-2", "tools/list"), asRead("1-2"));
    const list = await recorder.reply("1-2");
    expect(list.message.text).toContain('"echo"');
    const call = longCall("1-3", 0.5);
    connection.send(call, asUnsafe("1-3"));
    const done = await recorder.reply("1-3");
    expect(done.message.kind === "reply" && done.message.error).toBeUndefined();
    const progress = recorder.told.filter(
      (t) =>
        t.kind === "message" &&
        t.message.kind === "notification" &&
        t.message.method === "notifications/progress",
    );
    expect(progress.length).toBeGreaterThan(0);
    expect(progress.every((t) => t.kind === "message" && t.relatedId === "1-3")).toBe(true);
    expect(recorder.downs()).toEqual([]);
  });

  it("killed in a call and restarted: down with a ticket, a fresh session, the call NOT answered", async () => {
    const { child, port, url } = await everything();
    const connector = connectorTo(url);
    const first = await dialTo(connector);
    connections.push(first.connection);
    await shakeHands(first);
    first.connection.send(longCall("1-2", 100), asUnsafe("1-2"));
    await until("progress", () =>
      first.recorder.notifications().includes("notifications/progress"),
    );
    await kill(child);
    const down = await first.recorder.down();
    expect(down.failure.kind).toBe("connect_refused");
    expect(first.recorder.outcomes("1-2")).toEqual([]);
    await startEverything(port);
    const second = await dialTo(connector, down.resume);
    connections.push(second.connection);
    expect(second.isResumed).toBe(false);
    await shakeHands(second, "2-1");
    second.connection.send(
      request("2-2", "tools/call", { name: "echo", arguments: { message: "hello" } }),
      asUnsafe("2-2"),
    );
    expect((await second.recorder.reply("2-2")).message.text).toContain("hello");
    expect(second.recorder.replies("1-2")).toEqual([]);
  });
});

/** Ids name their stream; replays only that stream, in order of insertion. */
class FaithfulEventStore implements EventStore {
  readonly #events: { id: string; streamId: string; message: JSONRPCMessage }[] = [];

  storeEvent(streamId: string, message: JSONRPCMessage): Promise<string> {
    const id = `${streamId}/${String(this.#events.length)}`;
    this.#events.push({ id, streamId, message });
    return Promise.resolve(id);
  }

  getStreamIdForEventId(eventId: string): Promise<string | undefined> {
    return Promise.resolve(this.#events.find((e) => e.id === eventId)?.streamId);
  }

  async replayEventsAfter(
    lastEventId: string,
    { send }: { send(id: string, message: JSONRPCMessage): Promise<void> },
  ): Promise<string> {
    const at = this.#events.findIndex((e) => e.id === lastEventId);
    const streamId = this.#events[at]?.streamId ?? "";
    for (const stored of this.#events.slice(at + 1)) {
      // The priming event is an empty object, and no message.
      if (stored.streamId === streamId && "jsonrpc" in stored.message) {
        await send(stored.id, stored.message);
      }
    }
    return streamId;
  }
}

interface SdkServer {
  readonly url: string;
  readonly runs: () => number;
  readonly release: () => void;
  readonly end: () => Promise<void>;
  /** Sockets of POSTs of the tool, newest last. */
  readonly sockets: Socket[];
}

/** An SDK server with one session, an event store, and a tool that ends when released. */
async function sdkServer(): Promise<SdkServer> {
  let runs = 0;
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const mcp = new McpServer({ name: "slow", version: "1" });
  mcp.registerTool("slow", { description: "ends when released" }, async (extra) => {
    runs += 1;
    await extra.sendNotification({
      method: "notifications/progress",
      params: { progressToken: "t", progress: 1 },
    });
    await released;
    return { content: [{ type: "text", text: "released" }] };
  });
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    eventStore: new FaithfulEventStore(),
    retryInterval: 20,
  });
  await mcp.connect(transport as Transport);
  const sockets: Socket[] = [];
  const server = createServer((req, res) => {
    if (req.method === "POST") sockets.push(req.socket);
    void transport.handleRequest(req, res);
  });
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${String(port)}/mcp`;
  return { url, runs: () => runs, release, sockets, end: () => transport.close() };
}

describe("an SDK server with an event store", () => {
  it("gives the answer of a call whose stream was reset, and runs it once", async () => {
    const server = await sdkServer();
    const { connection, recorder } = await session(server.url);
    connection.send(request("1-2", "tools/call", { name: "slow" }), asUnsafe("1-2"));
    // Only now is it certain that the event id of this stream has arrived.
    await until("the tool to tell", () => recorder.notifications().length === 1);
    server.sockets.at(-1)?.resetAndDestroy();
    await until("the stream to be gone", () => server.sockets.at(-1)?.destroyed);
    server.release();
    expect((await recorder.reply("1-2")).message.text).toContain("released");
    expect(server.runs()).toBe(1);
    expect(recorder.outcomes("1-2")).toEqual([]);
    expect(recorder.downs()).toEqual([]);
  });

  it("has closed its session: the next call is refused as session lost, and did NOT run", async () => {
    const server = await sdkServer();
    const { connection, recorder } = await session(server.url);
    connection.send(request("1-2", "ping"), asRead("1-2"));
    await recorder.reply("1-2");
    await server.end();
    connection.send(request("1-3", "tools/call", { name: "slow" }), asUnsafe("1-3"));
    expect(await recorder.outcome("1-3")).toMatchObject({
      kind: "refused",
      failure: { kind: "session_lost" },
    });
    await recorder.down();
    expect(server.runs()).toBe(0);
  });
});
