/** The client leaves or the proxy is asked to end: exit code 0, and no child is left behind. */
import { describe, expect } from "vitest";
import { calls, spawnRaw, type RawProxy } from "../support/holdfast-process.ts";
import { isAlive, labTest, touch, until } from "../support/lab.ts";
import { stdioUpstream, UPSTREAMS } from "../support/upstream-process.ts";

const ENDINGS: readonly (readonly [string, (proxy: RawProxy) => void])[] = [
  ["the end of its input", (proxy) => proxy.end()],
  ["SIGTERM", (proxy) => proxy.process.kill("SIGTERM")],
  ["SIGINT", (proxy) => proxy.process.kill("SIGINT")],
];

const append = (nonce: string) => ({ name: "append", arguments: { nonce } });

describe.each(UPSTREAMS)("a proxy of a %s upstream", (_name, open) => {
  for (const [ending, leave] of ENDINGS) {
    labTest(`ends with exit code 0 and no child at ${ending}`, async (lab) => {
      const upstream = await open(lab);
      const proxy = spawnRaw(lab, { args: upstream.target });
      await proxy.handshake();
      const reply = await proxy.request(1, "tools/call", append("n"));
      expect(reply.result).toMatchObject({ content: [{ type: "text" }] });
      leave(proxy);
      expect(await proxy.exited).toEqual({ code: 0, signal: null });
      if (upstream.kind === "stdio") {
        await until("the child to be gone", () => !lab.serverPids().some(isAlive), 20_000);
      }
    });
  }

  labTest("delivers the answer of a call in flight at SIGTERM, before it exits", async (lab) => {
    const upstream = await open(lab);
    const proxy = spawnRaw(lab, { args: ["--drain-timeout", "60s", ...upstream.target] });
    await proxy.handshake();
    const gate = lab.path("gate");
    const params = { name: "slow_append", arguments: { nonce: "last", gate } };
    await proxy.send({ id: 2, method: "tools/call", params });
    await until("the call to be started", () => lab.nonces().includes("last"));
    proxy.process.kill("SIGTERM");
    await until("the end to begin", () => proxy.stderr().includes("SIGTERM"));
    touch(gate);
    expect(await proxy.exited).toEqual({ code: 0, signal: null });
    expect(proxy.messages.find((message) => message.id === 2)?.result).toBeDefined();
    expect(lab.nonces()).toEqual(["last"]);
  });

  labTest("delivers what was asked before its input ended, before it exits", async (lab) => {
    const upstream = await open(lab);
    const proxy = spawnRaw(lab, { args: upstream.target });
    await proxy.handshake();
    await proxy.request(1, "tools/call", append("warm"));
    await proxy.send({ id: 2, method: "tools/call", params: append("last") });
    proxy.end();
    expect(await proxy.exited).toEqual({ code: 0, signal: null });
    expect(proxy.messages.find((message) => message.id === 2)?.result).toBeDefined();
    expect(lab.nonces()).toEqual(["warm", "last"]);
  });

  labTest(
    "records the outcome of a call in flight when its input ends, before it exits",
    async (lab) => {
      const upstream = await open(lab);
      const proxy = spawnRaw(lab, { args: ["--drain-timeout", "60s", ...upstream.target] });
      await proxy.handshake();
      const gate = lab.path("gate");
      const params = { name: "slow_append", arguments: { nonce: "last", gate } };
      await proxy.send({ id: 2, method: "tools/call", params });
      await until("the call to be started", () => lab.nonces().includes("last"));
      proxy.end();
      await until("the end to begin", () => proxy.stderr().includes("stdin"));
      touch(gate);
      expect(await proxy.exited).toEqual({ code: 0, signal: null });
      expect(await calls(lab)).toMatchObject([
        { tool: "slow_append", state: "done", executed: "yes" },
      ]);
    },
  );

  labTest("ends with exit code 0 at SIGTERM while the upstream is down", async (lab) => {
    const upstream = await open(lab);
    const proxy = spawnRaw(lab, { args: upstream.target });
    await proxy.handshake();
    await proxy.request(1, "tools/call", append("n"));
    await upstream.down();
    proxy.process.kill("SIGTERM");
    expect(await proxy.exited).toEqual({ code: 0, signal: null });
  });
});

describe("a child that does not want to go", () => {
  labTest("is frozen in a call, and still gone after SIGTERM to the proxy", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const proxy = spawnRaw(lab, { args: ["--drain-timeout", "2s", ...upstream.target] });
    await proxy.handshake();
    await proxy.request(1, "tools/call", append("n"));
    upstream.freeze();
    await proxy.send({ id: 2, method: "tools/call", params: append("stuck") });
    proxy.process.kill("SIGTERM");
    expect(await proxy.exited).toEqual({ code: 0, signal: null });
    await until("the child to be gone", () => !lab.serverPids().some(isAlive), 20_000);
  });
});
