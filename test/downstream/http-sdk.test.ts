import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { afterEach, describe, expect, it } from "vitest";
import { must } from "../../src/base/assert.ts";
import { until } from "../support/http-rig.ts";
import {
  type Call,
  closeFaces,
  cutAll,
  type Face,
  face,
  reply,
  say,
  type Turn,
} from "../support/http-door.ts";

interface Sdk {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  /** Messages that a server sent unasked. */
  readonly notes: string[];
  readonly errors: string[];
  /** Statuses of all responses, in order. */
  readonly statuses: string[];
  /** Breaks all its connections. */
  cut(): void;
}

const clients: Client[] = [];
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close();
  await closeFaces();
});

async function connect(at: Face): Promise<Sdk> {
  const statuses: string[] = [];
  const open = new Set<AbortController>();
  const transport = new StreamableHTTPClientTransport(new URL(`${at.url}/mcp/box`), {
    fetch: async (url, init) => {
      const breaker = new AbortController();
      open.add(breaker);
      const response = await fetch(url, { ...init, signal: breaker.signal });
      statuses.push(`${init?.method ?? "GET"} ${String(response.status)}`);
      return response;
    },
  });
  const client = new Client({ name: "sdk", version: "1" });
  clients.push(client);
  const notes: string[] = [];
  const errors: string[] = [];
  client.onerror = (error) => errors.push(error.message);
  client.fallbackNotificationHandler = (notification) => {
    notes.push(notification.method);
    return Promise.resolve();
  };
  await client.connect(transport);
  const cut = () => {
    for (const breaker of open) breaker.abort();
    open.clear();
  };
  return { client, transport, notes, errors, statuses, cut };
}

const text = (answer: unknown) => JSON.stringify(answer);
const content = (words: string) => ({ content: [{ type: "text", text: words }] });

describe("the official SDK's client", () => {
  it("connects, calls, hears what is said unasked, and ends its session", async () => {
    const at = await face();
    const { client, transport, notes, statuses } = await connect(at);
    at.door.onRequest = (turn) => {
      if (turn.request.method === "tools/list")
        reply(turn.stream, turn.request.idText, { tools: [] });
      else {
        const call = at.door.accept(turn);
        say(turn.stream, "notifications/of_the_call");
        at.door.settle(call, content("hello"));
      }
    };
    expect(await client.listTools()).toEqual({ tools: [] });
    expect(text(await client.callTool({ name: "a" }))).toContain("hello");
    await until("the standalone stream", () => statuses.includes("GET 200"));
    say(at.door.link, "notifications/unasked");
    await until("both messages", () => notes.length === 2);
    expect(notes).toEqual(["notifications/of_the_call", "notifications/unasked"]);
    await transport.terminateSession();
    expect(at.door.causes).toEqual(["the client ended its session"]);
    expect(statuses.at(-1)).toBe("DELETE 200");
  });

  it("gets the answer of a call whose connection broke in the middle, and nothing twice", async () => {
    const at = await face();
    const { client, notes, cut, statuses } = await connect(at);
    await until("the standalone stream", () => statuses.includes("GET 200"));
    let turn: Turn | undefined;
    let call: Call | undefined;
    at.door.onRequest = (t) => {
      turn = t;
      call = at.door.accept(t);
      say(t.stream, "notifications/before");
    };
    const answer = client.callTool({ name: "slow" });
    await until("the message", () => notes.length === 1);
    cut();
    await until("the listener to notice", () => at.door.link.isOpen?.() === false);
    say(must(turn, "a turn").stream, "notifications/meanwhile");
    expect(at.door.settle(must(call, "a call"), content("late"))).toBe(false);
    expect(text(await answer)).toContain("late");
    expect(notes).toEqual(["notifications/before", "notifications/meanwhile"]);
  });

  it("gets the answer of a call after the proxy was started anew at the same place", async () => {
    const at = await face();
    const { client, errors, notes } = await connect(at);
    let call: Call | undefined;
    at.door.onRequest = (turn) => {
      call = at.door.accept(turn);
    };
    const answer = client.callTool({ name: "slow" });
    await until("the call", () => call);
    cutAll();
    await at.listener.stop(0);
    const again = await face({ port: at.port, memory: at.door.memory });
    must(call, "a call").answer = JSON.stringify({
      jsonrpc: "2.0",
      id: Number(must(call, "a call").idText),
      result: content("after"),
    });
    expect(text(await answer)).toContain("after");
    await until("the word of the gap", () => notes.length > 0 || errors.length > 0);
    expect(again.door.links).toHaveLength(1);
    again.door.onRequest = (turn) => {
      again.door.settle(again.door.accept(turn), content("new"));
    };
    expect(text(await client.callTool({ name: "next" }))).toContain("new");
  });

  it("does not come back again and again for a call that it took back, or that failed", async () => {
    const at = await face();
    const { client, statuses } = await connect(at);
    at.door.onRequest = (turn) => {
      const call = at.door.accept(turn);
      if (call.idText === "1") {
        const error = '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"failed"}}';
        turn.stream.send(error, { kind: "reply", idText: "1" });
      }
    };
    const returns = () => statuses.filter((status) => status === "GET 204").length;
    await expect(client.callTool({ name: "a" })).rejects.toThrow("failed");
    await until("the first return", () => returns() === 1);
    const takenBack = new AbortController();
    const answer = client.callTool({ name: "b" }, undefined, { signal: takenBack.signal });
    await until("the second call", () => at.door.memory.calls.size === 2);
    takenBack.abort();
    await expect(answer).rejects.toThrow();
    // By then the first would have come back again.
    await until("the second return", () => returns() >= 2);
    expect(returns()).toBe(2);
  });
});
