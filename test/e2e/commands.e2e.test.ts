/** `holdfast status` and `holdfast calls`, beside a running proxy and without one. */
import { describe, expect } from "vitest";
import {
  call,
  calls,
  command,
  connect,
  status,
  untilAway,
  untilWaiting,
} from "../support/holdfast-process.ts";
import { labTest, touch, until } from "../support/lab.ts";
import { stdioUpstream, UPSTREAMS } from "../support/upstream-process.ts";

describe.each(UPSTREAMS)("with a %s upstream", (_name, open) => {
  labTest("status tells a healthy proxy from one whose upstream is down", async (lab) => {
    const upstream = await open(lab);
    const { client, pid } = await connect(lab, { args: ["--name", "books", ...upstream.target] });
    await call(client, "append", { nonce: "n" });
    expect((await command(lab, ["status", "--json"])).code).toBe(0);
    const [healthy] = await status(lab);
    expect(healthy).toMatchObject({ pid, upstreamName: "books", health: "healthy" });
    expect(healthy?.journal).toMatchObject({ kind: "sqlite" });
    expect(healthy?.sessions[0]?.client).toContain("e2e");

    await upstream.down();
    await untilAway(lab, client);
    const answer = call(client, "append", { nonce: "waits" });
    await untilWaiting(lab, 1);
    expect((await command(lab, ["status", "--json"])).code).toBe(1);
    const [degraded] = await status(lab);
    expect(degraded?.health).toBe("degraded");
    expect(degraded?.reasons).not.toEqual([]);
    expect(degraded?.sessions[0]?.upstream.lastFailure?.message).toBeTruthy();
    const text = await command(lab, ["status"], { NO_COLOR: "1" });
    expect(text.stdout).toContain("books");
    expect(text.stdout).not.toContain("\u001b");

    await upstream.up();
    expect(await answer).toMatchObject({ isError: false });
    await until("the upstream to be healthy again", async () => {
      const [proxy] = await status(lab);
      return proxy?.sessions[0]?.upstream.state === "serving" && proxy.health === "healthy";
    });
  });

  labTest(
    "calls tells what became of each, while the proxy runs and after it ended",
    async (lab) => {
      const upstream = await open(lab);
      const proxy = await connect(lab, { args: ["--hold", "2s", ...upstream.target] });
      await call(proxy.client, "append", { nonce: "done" });
      await upstream.down();
      await untilAway(lab, proxy.client);
      expect((await call(proxy.client, "append", { nonce: "expired" })).told?.executed).toBe("no");
      const beside = await calls(lab);
      const seen = (rows: typeof beside) =>
        rows
          .filter((row) => row.tool === "append")
          .map(({ state, executed }) => `${state} ${executed}`)
          .sort();
      expect(seen(beside)).toEqual(["done yes", "expired no"]);
      await proxy.close();
      expect(seen(await calls(lab))).toEqual(["done yes", "expired no"]);
      expect((await command(lab, ["status", "--json"])).code).toBe(0);
      expect(await status(lab)).toEqual([]);
      const [expired] = await calls(lab, "--state", "expired");
      const shown = await command(lab, ["calls", "show", expired?.id ?? "", "--json"]);
      expect(shown.code).toBe(0);
      expect(shown.stdout).toContain("append");
    },
  );

  labTest(
    "a call lost with its proxy that a person retries runs once, as a new call",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      const args = { nonce: "u", gate: lab.path("gate") };
      const lost = expect(call(first.client, "slow_append", args)).rejects.toThrow();
      await until("the call to be started", () => lab.nonces().includes("u"));
      await first.kill();
      await lost;
      touch(args.gate);
      const second = await connect(lab, { args: upstream.target });
      const [row] = await until("the call to be given up", async () => {
        const rows = await calls(lab, "--state", "dead");
        return rows.length > 0 ? rows : undefined;
      });
      const retried = await command(lab, ["calls", "retry", row?.id ?? "", "--json"]);
      expect(retried.code).toBe(0);
      const copy = JSON.parse(retried.stdout) as { id: string; redriveOf: string };
      expect(copy.redriveOf).toBe(row?.id);
      await until("the retried call to be done", async () =>
        (await calls(lab, "--state", "done")).some(({ id }) => id === copy.id),
      );
      await call(second.client, "append", { nonce: "later" });
      expect(lab.nonces()).toEqual(["u", "u", "later"]);
      expect(await calls(lab, "--state", "dead")).toMatchObject([
        { id: row?.id, executed: "unknown" },
      ]);
    },
  );

  labTest("an expired call that a person retries runs once, as a new call", async (lab) => {
    const upstream = await open(lab);
    const proxy = await connect(lab, { args: ["--hold", "2s", ...upstream.target] });
    await call(proxy.client, "read_value", { nonce: "before" });
    await upstream.down();
    await untilAway(lab, proxy.client);
    const told = await call(proxy.client, "append", { nonce: "again" });
    expect(told.told).toMatchObject({ executed: "no" });
    await upstream.up();
    expect((await command(lab, ["calls", "retry", told.told?.callId ?? ""])).code).toBe(0);
    await until("the retried call to run", () => lab.nonces().includes("again"));
    await call(proxy.client, "append", { nonce: "later" });
    expect(lab.nonces()).toEqual(["before", "again", "later"]);
    const [old] = await calls(lab, "--state", "expired");
    expect(old).toMatchObject({ id: told.told?.callId, executed: "no" });
  });

  labTest(
    "a call whose answer was delivered is not kept, and a retry of it is refused",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: upstream.target });
      await call(client, "append", { nonce: "n" });
      const [row] = await calls(lab, "--state", "done");
      const refused = await command(lab, ["calls", "retry", row?.id ?? ""]);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain(row?.id);
      await call(client, "append", { nonce: "later" });
      expect(lab.nonces()).toEqual(["n", "later"]);
    },
  );

  labTest(
    "a call with an unknown outcome takes a person's note and stays as it is",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: upstream.target });
      const crashed = call(client, "crash", { nonce: "c" });
      await until("the crash", () => lab.nonces().includes("c"));
      await upstream.up();
      const id = (await crashed).told?.callId ?? "";
      const settled = await command(lab, ["calls", "settle", id, "--note", "it did run"]);
      expect(settled.code).toBe(0);
      const [row] = await calls(lab, "--state", "dead");
      expect(row).toMatchObject({ id, state: "dead", executed: "unknown", note: "it did run" });
    },
  );
});

describe("without any proxy", () => {
  labTest("status says so and is content, calls lists nothing", async (lab) => {
    const { code, stdout } = await command(lab, ["status"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/no proxy/i);
    expect(await status(lab)).toEqual([]);
    expect(await calls(lab)).toEqual([]);
  });

  labTest("calls that a killed proxy left are listed, and can be withdrawn", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const first = await connect(lab, { args: upstream.target });
    await call(first.client, "read_value", { nonce: "before" });
    await upstream.down();
    await untilAway(lab, first.client);
    const lost = expect(call(first.client, "append", { nonce: "left" })).rejects.toThrow();
    await untilWaiting(lab, 1);
    await first.kill();
    await lost;
    const [row] = await calls(lab, "--state", "queued");
    expect(row).toMatchObject({ tool: "append" });
    expect((await command(lab, ["status", "--json"])).code).toBe(1);
    expect((await command(lab, ["calls", "cancel", row?.id ?? ""])).code).toBe(0);
    await upstream.up();
    const second = await connect(lab, { args: upstream.target });
    await call(second.client, "append", { nonce: "later" });
    expect(lab.nonces()).toEqual(["before", "later"]);
  });

  labTest(
    "an unknown call, verb or option is refused with exit code 2 or 1 and a reason",
    async (lab) => {
      const none = await command(lab, ["calls", "show", "c_none"]);
      expect(none.code).not.toBe(0);
      expect(none.stderr).toContain("c_none");
      const verb = await command(lab, ["calls", "forget", "c_none"]);
      expect(verb.code).toBe(2);
      expect(verb.stderr).toContain("forget");
      const option = await command(lab, ["--no-such-option", "--", "node", "x.js"]);
      expect(option.code).toBe(2);
      expect(option.stderr).toContain("--no-such-option");
    },
  );

  labTest("help shows examples, version shows the version", async (lab) => {
    const help = await command(lab, ["--help"]);
    expect(help.code).toBe(0);
    expect(help.stdout).toContain("holdfast");
    expect(help.stdout).toContain("--hold");
    const version = await command(lab, ["--version"]);
    expect(version.code).toBe(0);
    expect(version.stdout.trim()).toMatch(/^\d+\.\d+\.\d+/);
  });

  labTest("doctor says what works", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const { code, stdout } = await command(lab, ["doctor", "--json", ...upstream.target]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toBeTypeOf("object");
  });
});
