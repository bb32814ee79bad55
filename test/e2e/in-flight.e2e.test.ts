/** The upstream dies while it is working on a call. */
import { describe, expect } from "vitest";
import { call, calls, connect } from "../support/holdfast-process.ts";
import { labTest, touch, until, type Lab } from "../support/lab.ts";
import { httpUpstream, stdioUpstream, ALL_UPSTREAMS } from "../support/upstream-process.ts";

const untilStarted = (lab: Lab, nonce: string) =>
  until(`${nonce} to be started`, () => lab.nonces().includes(nonce));

describe.each(ALL_UPSTREAMS)("a %s upstream", (_name, open) => {
  labTest("a read-only call in flight when it dies is answered", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    // Without the tools' annotations every call would be unsafe.
    await client.listTools();
    const gate = lab.path("gate");
    const answer = call(client, "slow_read", { nonce: "r", gate });
    await untilStarted(lab, "r");
    await upstream.down();
    touch(gate);
    await upstream.up();
    expect(await answer).toMatchObject({ text: "slow_read r", isError: false });
    expect(lab.nonces()).toEqual(["r", "r"]);
  });

  labTest("an idempotent call in flight when it dies is answered", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    // Without the tools' annotations every call would be unsafe.
    await client.listTools();
    upstream.freeze();
    const answer = call(client, "set_value", { nonce: "i", value: "v" });
    await until("the call to be sent", async () =>
      (await calls(lab)).some((row) => row.tool === "set_value" && row.state === "sent"),
    );
    await upstream.down();
    await upstream.up();
    expect(await answer).toMatchObject({ text: "i is v", isError: false });
    expect(lab.nonces()).toEqual(["i"]);
  });

  labTest(
    "an unsafe call in flight when it dies is NOT sent again; its caller is told unknown",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: upstream.target });
      const gate = lab.path("gate");
      const answer = call(client, "slow_append", { nonce: "u", gate });
      await untilStarted(lab, "u");
      await upstream.down();
      touch(gate);
      await upstream.up();
      const told = await answer;
      expect(told.isError).toBe(true);
      expect(told.told).toMatchObject({ executed: "unknown", state: "dead" });
      expect(told.text).not.toBe("");
      // Whatever would be sent again has been sent once a later call of the same session was answered.
      expect(await call(client, "append", { nonce: "later" })).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["u", "later"]);
      const [row] = await calls(lab, "--state", "dead");
      expect(row).toMatchObject({ id: told.told?.callId, executed: "unknown" });
    },
  );

  labTest(
    "an unsafe call repeated after an unknown outcome is warned once, then sent",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: upstream.target });
      const args = { nonce: "u", gate: lab.path("gate") };
      const first = call(client, "slow_append", args);
      await untilStarted(lab, "u");
      await upstream.restart();
      expect((await first).told).toMatchObject({ executed: "unknown" });
      touch(args.gate);
      // The same arguments in another order are the same call.
      const repeat = await call(client, "slow_append", { gate: args.gate, nonce: args.nonce });
      expect(repeat.isError).toBe(true);
      expect(repeat.told).toBeDefined();
      expect(lab.nonces()).toEqual(["u"]);
      const insisted = await call(client, "slow_append", args);
      expect(insisted).toMatchObject({ isError: false, text: "slow_append u" });
      expect(lab.nonces()).toEqual(["u", "u"]);
    },
  );

  labTest("a call that crashes the server is told the cause, and others go on", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    const crashed = call(client, "crash", { nonce: "c" });
    await untilStarted(lab, "c");
    await upstream.up();
    const told = await crashed;
    expect(told.told).toMatchObject({ executed: "unknown" });
    if (upstream.kind === "stdio") {
      expect(told.text).toContain("code 9");
      expect(told.text).toContain("about to crash");
    }
    expect(await call(client, "append", { nonce: "later" })).toMatchObject({ isError: false });
    expect(lab.nonces()).toEqual(["c", "later"]);
  });
});

describe("the cause in words", () => {
  labTest(
    "a caller of a server that exits at once is told its exit code and last words",
    async (lab) => {
      const upstream = await stdioUpstream(lab);
      const first = await connect(lab, { args: upstream.target });
      await first.client.listTools();
      await first.close();
      await upstream.down();
      const { client } = await connect(lab, { args: ["--hold", "2s", ...upstream.target] });
      const answer = await call(client, "append", { nonce: "n" });
      expect(answer.told).toMatchObject({ executed: "no" });
      expect(answer.text).toContain("code 7");
      expect(answer.text).toContain("the switch says down");
    },
  );

  labTest("a caller of a server that refuses connections is told so", async (lab) => {
    const upstream = await httpUpstream(lab);
    const first = await connect(lab, { args: upstream.target });
    await first.client.listTools();
    await first.close();
    await upstream.down();
    const { client } = await connect(lab, { args: ["--hold", "2s", ...upstream.target] });
    const answer = await call(client, "append", { nonce: "n" });
    expect(answer.told).toMatchObject({ executed: "no" });
    expect(answer.text).toMatch(/refused|ECONNREFUSED/);
  });

  labTest(
    "an unsafe call whose session was lost (HTTP 400) is sent again, and runs once",
    async (lab) => {
      const upstream = await httpUpstream(lab, { LOST: "400" });
      const { client } = await connect(lab, { args: upstream.target });
      await call(client, "append", { nonce: "before" });
      await upstream.down();
      // The same port, the same manners, no memory of the session.
      await upstream.up();
      expect(await call(client, "append", { nonce: "after" })).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["before", "after"]);
    },
  );
});
