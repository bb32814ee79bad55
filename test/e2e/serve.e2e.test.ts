/** The daemon: many servers, sessions that survive it, and a configuration that changes while it serves. */
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { describe, expect } from "vitest";
import { WebSocket } from "ws";
import {
  configure,
  type Daemon,
  ledgerEntry,
  startDaemon,
  visit,
  type Visitor,
} from "../support/daemon.ts";
import { call, command, status } from "../support/holdfast-process.ts";
import { isAlive, labTest, type Lab, touch, until } from "../support/lab.ts";
import { ownPort } from "../support/port.ts";

// The official client takes the socket that browsers have; Node 20 has none.
Object.assign(globalThis, { WebSocket });

const append = ({ client }: Visitor, nonce: string) => call(client, "append", { nonce });
const answers = async (visitor: Visitor, nonce: string) => {
  expect((await append(visitor, nonce)).text).toContain(`append ${nonce}`);
};
const said = (daemon: Daemon, words: string) =>
  until(`the daemon to say: ${words}`, () => daemon.stderr().includes(words));
const ping = (daemon: Daemon, name: string, token?: string) =>
  fetch(new URL(`/mcp/${name}`, daemon.address), {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: "application/json, text/event-stream",
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: HELLO }),
  });
const HELLO = {
  protocolVersion: "2025-06-18",
  capabilities: {},
  clientInfo: { name: "raw", version: "1" },
};

/** Kills the servers; resolves when the daemon knows that its first one is gone. */
async function keepDown(lab: Lab): Promise<void> {
  touch(lab.path("down"));
  for (const pid of lab.serverPids().filter(isAlive)) process.kill(pid, "SIGKILL");
  await until("the daemon to know that its server is gone", async () => {
    const connections = (await status(lab))[0]?.upstreams[0]?.connections;
    return connections !== undefined && connections.serving === undefined;
  });
}

async function twoServers(lab: Lab, listen?: string): Promise<Daemon> {
  configure(lab, { one: ledgerEntry(lab), two: ledgerEntry(lab) });
  return startDaemon(lab, listen);
}

describe("a daemon", () => {
  labTest("serves each server under its name, and ends with 0 and nothing left", async (lab) => {
    const daemon = await twoServers(lab);
    const [one, two] = [await visit(lab, daemon, "one"), await visit(lab, daemon, "two")];
    await answers(one, "a");
    await answers(two, "b");
    expect(new Set(lab.executions().map(({ pid }) => pid)).size).toBe(2);
    expect((await ping(daemon, "three")).status).toBe(404);
    const [proxy] = await status(lab);
    expect(proxy?.upstreams.map(({ name, sessions }) => [name, sessions])).toEqual([
      ["one", 1],
      ["two", 1],
    ]);
    expect(proxy?.serving).toMatchObject({
      address: daemon.address,
      configPath: lab.path("holdfast.json"),
    });
    daemon.signal("SIGTERM");
    expect(await daemon.exited).toBe(0);
    expect(lab.serverPids().filter(isAlive)).toEqual([]);
  });

  labTest(
    "that was killed gives a client its session back, and runs what waited once",
    async (lab) => {
      const listen = `127.0.0.1:${String(await ownPort())}`;
      const first = await twoServers(lab, listen);
      const before = await visit(lab, first, "one");
      await answers(before, "before");
      await keepDown(lab);
      const lost = append(before, "waiting");
      lost.catch(() => undefined);
      await until(
        "the call to wait",
        async () => (await status(lab))[0]?.upstreams[0]?.waiting === 1,
      );
      first.signal("SIGKILL");
      expect(await first.exited).toBe("SIGKILL");
      rmSync(lab.path("down"));

      const second = await startDaemon(lab, listen);
      const { sessionId } = before.transport;
      const after = await visit(lab, second, "one", sessionId === undefined ? {} : { sessionId });
      await answers(after, "after");
      await until("the call to have run", () => lab.nonces().includes("waiting"));
      expect([...lab.nonces()].sort()).toEqual(["after", "before", "waiting"]);
      expect(
        (await status(lab))[0]?.sessions.map(({ protocolVersion }) => protocolVersion),
      ).toEqual([expect.stringMatching(/^2025/)]);
    },
  );

  labTest(
    "lets what is in flight end when it is told to stop, and does not wait when told twice",
    async (lab) => {
      const daemon = await twoServers(lab);
      const { client } = await visit(lab, daemon, "one");
      const gate = lab.path("gate");
      const slow = call(client, "slow_append", { nonce: "slow", gate });
      await until("the call to run", () => lab.nonces().includes("slow"));
      daemon.signal("SIGTERM");
      await said(daemon, "stopped by SIGTERM");
      touch(gate);
      expect((await slow).text).toBe("slow_append slow");
      expect(await daemon.exited).toBe(0);

      rmSync(gate);
      const next = await startDaemon(lab);
      const again = await visit(lab, next, "one");
      const lost = call(again.client, "slow_append", { nonce: "again", gate });
      lost.catch(() => undefined);
      await until("the call to run", () => lab.nonces().includes("again"));
      next.signal("SIGINT");
      await said(next, "stopped by SIGINT");
      next.signal("SIGINT");
      expect(await next.exited).toBe(130);
      touch(gate);
    },
  );
});

describe("the end of a daemon", () => {
  for (const [way, path, Way] of [
    ["SSE", "/sse/one", SSEClientTransport],
    ["WebSocket", "/ws/one", WebSocketClientTransport],
  ] as const) {
    labTest(`lets an answer in flight out over ${way}, and takes nothing new`, async (lab) => {
      const daemon = await twoServers(lab);
      const url = new URL(path, daemon.address);
      if (way === "WebSocket") url.protocol = "ws:";
      const client = new Client({ name: "e2e", version: "1.0.0" });
      lab.onClose(() => client.close());
      await client.connect(new Way(url) as Transport);
      const gate = lab.path("gate");
      const slow = call(client, "slow_append", { nonce: "slow", gate });
      await until("the call to run", () => lab.nonces().includes("slow"));
      daemon.signal("SIGTERM");
      await said(daemon, "stopped by SIGTERM");
      expect((await ping(daemon, "two")).status).toBe(503);
      touch(gate);
      expect((await slow).text).toBe("slow_append slow");
      expect(await daemon.exited).toBe(0);
    });
  }
});

describe("a configuration that changes", () => {
  labTest(
    "brings, takes and changes servers while another client's call is in flight",
    async (lab) => {
      const daemon = await twoServers(lab);
      const [one, two] = [await visit(lab, daemon, "one"), await visit(lab, daemon, "two")];
      await answers(two, "two");
      const gate = lab.path("gate");
      const slow = call(one.client, "slow_append", { nonce: "slow", gate });
      await until("the call to run", () => lab.nonces().includes("slow"));

      configure(lab, { one: ledgerEntry(lab), three: ledgerEntry(lab) });
      await said(daemon, "removed 'two', added 'three'");
      await answers(await visit(lab, daemon, "three"), "three");
      expect((await ping(daemon, "two")).status).toBe(404);
      await expect(append(two, "gone")).rejects.toThrow();

      configure(lab, { one: ledgerEntry(lab), three: ledgerEntry(lab, { LANG: "C.UTF-8" }) });
      await said(daemon, "changed 'three', which is connected to anew");
      const three = await visit(lab, daemon, "three");
      await answers(three, "three again");
      touch(gate);
      expect((await slow).text).toBe("slow_append slow");
      await answers(one, "one");
      expect(lab.nonces().filter((nonce) => nonce === "slow")).toHaveLength(1);
      expect(lab.nonces()).not.toContain("gone");
    },
  );

  labTest("connects the sessions of a changed server anew, and keeps them", async (lab) => {
    const daemon = await twoServers(lab);
    const one = await visit(lab, daemon, "one");
    await answers(one, "before");
    const [before] = lab.serverPids();
    configure(lab, { one: ledgerEntry(lab, { LANG: "C.UTF-8" }), two: ledgerEntry(lab) });
    await said(daemon, "changed 'one', which is connected to anew");
    await until("the old server to end", () => before !== undefined && !isAlive(before));
    await answers(one, "after");
    expect(lab.serverPids()).toHaveLength(2);
  });

  labTest(
    "takes on a setting at the next call, over the same connection, also by SIGHUP",
    async (lab) => {
      const daemon = await twoServers(lab);
      const one = await visit(lab, daemon, "one");
      await answers(one, "before");
      const quick = { ...ledgerEntry(lab), holdfast: { hold: "0s", offline: { defer: "none" } } };
      configure(lab, { one: quick, two: ledgerEntry(lab) });
      await said(daemon, "changed 'one'");
      await answers(one, "after");
      expect(lab.serverPids()).toHaveLength(1);
      await keepDown(lab);
      const told = await append(one, "too late");
      expect(told).toMatchObject({ isError: true, told: { state: "expired", executed: "no" } });
      daemon.signal("SIGHUP");
      await said(daemon, "no server changed");
    },
  );

  labTest("that is not right changes nothing, and says so until it is", async (lab) => {
    const daemon = await twoServers(lab);
    const one = await visit(lab, daemon, "one");
    writeFileSync(lab.path("holdfast.json"), '{"mcpServers": {"one": {"command": }}}');
    await said(daemon, "the configuration stays as it was");
    await answers(one, "still");
    const wrong = (await status(lab))[0];
    expect(wrong?.serving?.problem).toContain("holdfast.json:1:");
    expect(wrong?.health).toBe("degraded");

    configure(lab, { one: ledgerEntry(lab), two: { command: "x", env: { K: "${NOT_SET}" } } });
    await said(daemon, "the variable NOT_SET is not set");
    configure(lab, { one: ledgerEntry(lab) }, { listen: "127.0.0.1:1", journal: "memory" });
    await said(daemon, "removed 'two'; a change of journal needs a restart");
    await answers(one, "again");
    configure(lab, { one: ledgerEntry(lab) });
    await until("all to be well", async () => {
      const serving = (await status(lab))[0]?.serving;
      return serving !== undefined && serving.problem === undefined;
    });
  });
});

describe("a daemon that can't be started as it was asked to", () => {
  labTest("says so where the port is taken, and leaves nothing behind", async (lab) => {
    configure(lab, { one: ledgerEntry(lab) });
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const args = ["serve", "--config", lab.path("holdfast.json")];
    const { code, stderr } = await command(lab, [...args, "--listen", `127.0.0.1:${String(port)}`]);
    other.close();
    expect(code).toBe(2);
    expect(stderr).toContain(`127.0.0.1:${String(port)} is taken by another program`);
  });

  labTest("says so where others could reach it and no token keeps them out", async (lab) => {
    configure(lab, { one: ledgerEntry(lab) });
    const args = ["serve", "--config", lab.path("holdfast.json"), "--listen", "0.0.0.0:0"];
    const { code, stderr } = await command(lab, args);
    expect(code).toBe(2);
    expect(stderr).toContain("can be reached from other machines, and there is no valid token");
  });

  labTest("says so where its journal can't be on disk", async (lab) => {
    configure(lab, { one: ledgerEntry(lab) });
    writeFileSync(lab.path("state"), "in the way");
    const args = ["serve", "--config", lab.path("holdfast.json"), "--listen", "127.0.0.1:0"];
    const { code, stderr } = await command(lab, args);
    expect(code).toBe(2);
    expect(stderr).toMatch(/state folder .* can't be used/);
  });
});

describe("a token", () => {
  labTest("works at once when it is made, and not any more when it is revoked", async (lab) => {
    const daemon = await twoServers(lab);
    expect((await ping(daemon, "one")).status).toBe(200);
    const args = ["token", "create", "--name", "laptop", "--upstream", "one"];
    const token = (await command(lab, args)).stdout.trim();
    const visitor = await visit(lab, daemon, "one", { token });
    await answers(visitor, "with token");
    await until("the door to be closed", async () => (await ping(daemon, "one")).status === 401);
    expect((await ping(daemon, "two", token)).status).toBe(403);
    expect((await command(lab, ["token", "revoke", "laptop"])).code).toBe(0);
    await until(
      "the token to be refused",
      async () => (await ping(daemon, "one", token)).status === 401,
    );
    await expect(append(visitor, "without")).rejects.toThrow();
    expect(lab.nonces()).toEqual(["with token"]);
  });
});
