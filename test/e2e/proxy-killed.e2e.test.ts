/** The proxy itself is killed with SIGKILL. */
import { describe, expect } from "vitest";
import {
  call,
  calls,
  connect,
  status,
  untilAway,
  untilWaiting,
} from "../support/holdfast-process.ts";
import { isAlive, labTest, touch, until } from "../support/lab.ts";
import { stdioUpstream, ALL_UPSTREAMS } from "../support/upstream-process.ts";

describe.each(ALL_UPSTREAMS)("a %s upstream", (_name, open) => {
  labTest(
    "50 unsafe calls queued when the proxy is killed each run once, in order, after both are back",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      await call(first.client, "read_value", { nonce: "before" });
      await upstream.down();
      await untilAway(lab, first.client);
      const nonces = Array.from({ length: 50 }, (_, i) => `n${String(i)}`);
      const answers = Promise.allSettled(
        nonces.map((nonce) => call(first.client, "append", { nonce })),
      );
      await untilWaiting(lab, 50);
      await first.kill();
      for (const answer of await answers) expect(answer.status).toBe("rejected");

      await upstream.up();
      const second = await connect(lab, { args: upstream.target });
      await until("the calls to have run", () => lab.nonces().length >= 51);
      expect(await call(second.client, "append", { nonce: "new" })).toMatchObject({
        isError: false,
      });
      // New calls never wait behind the old ones, so "new" may stand anywhere.
      expect(lab.nonces().filter((nonce) => nonce !== "new")).toEqual(["before", ...nonces]);
      expect(lab.nonces().filter((nonce) => nonce === "new")).toHaveLength(1);
      const done = await until("the results to be recorded", async () => {
        const rows = await calls(lab, "--state", "done", "--limit", "100");
        return rows.filter((row) => row.tool === "append").length >= 50 ? rows : undefined;
      });
      for (const row of done) expect(row.executed).toBe("yes");
      const [proxy] = await status(lab);
      expect(proxy?.recovery?.found).toMatchObject({ queued: 50 });
    },
  );

  labTest("an unsafe call in flight when the proxy is killed is NOT sent again", async (lab) => {
    const upstream = await open(lab);
    const first = await connect(lab, { args: upstream.target });
    const gate = lab.path("gate");
    const answer = call(first.client, "slow_append", { nonce: "u", gate });
    const lost = expect(answer).rejects.toThrow();
    await until("the call to be started", () => lab.nonces().includes("u"));
    await first.kill();
    await lost;

    const second = await connect(lab, { args: upstream.target });
    expect(await call(second.client, "append", { nonce: "new" })).toMatchObject({ isError: false });
    const [row] = await until("the call to be given up", async () => {
      const rows = await calls(lab, "--state", "dead");
      return rows.length > 0 ? rows : undefined;
    });
    expect(row).toMatchObject({ tool: "slow_append", executed: "unknown" });
    expect(lab.nonces()).toEqual(["u", "new"]);
    touch(gate);
  });

  labTest(
    "an unsafe call repeated after the proxy was killed is warned once, then sent",
    async (lab) => {
      const upstream = await open(lab);
      const args = { nonce: "u", gate: lab.path("gate") };
      const first = await connect(lab, { args: upstream.target });
      const lost = expect(call(first.client, "slow_append", args)).rejects.toThrow();
      await until("the call to be started", () => lab.nonces().includes("u"));
      await first.kill();
      await lost;
      touch(args.gate);
      const second = await connect(lab, { args: upstream.target });
      const repeat = await call(second.client, "slow_append", args);
      expect(repeat.isError).toBe(true);
      expect(lab.nonces()).toEqual(["u"]);
      expect(await call(second.client, "slow_append", args)).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["u", "u"]);
    },
  );

  labTest("a proxy killed twice in a row runs what was queued once", async (lab) => {
    const upstream = await open(lab);
    const first = await connect(lab, { args: upstream.target });
    // What the second proxy answers from: the server must not be gone before it has told its tools.
    await first.client.listTools();
    await call(first.client, "read_value", { nonce: "before" });
    await upstream.down();
    await untilAway(lab, first.client);
    const lost = expect(call(first.client, "append", { nonce: "q" })).rejects.toThrow();
    await untilWaiting(lab, 1);
    await first.kill();
    await lost;
    const second = await connect(lab, { args: upstream.target });
    await second.client.listTools();
    await second.kill();
    await upstream.up();
    const third = await connect(lab, { args: upstream.target });
    await until("the call to have run", () => lab.nonces().includes("q"));
    expect(await call(third.client, "append", { nonce: "new" })).toMatchObject({ isError: false });
    expect(lab.nonces().filter((nonce) => nonce === "q")).toHaveLength(1);
  });

  labTest(
    "a result that was never delivered is given to an identical call after the restart",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      await call(first.client, "read_value", { nonce: "before" });
      await upstream.down();
      await untilAway(lab, first.client);
      const lost = expect(call(first.client, "append", { nonce: "q" })).rejects.toThrow();
      await untilWaiting(lab, 1);
      await first.kill();
      await lost;
      await upstream.up();
      const second = await connect(lab, { args: upstream.target });
      await until("the result to be recorded", async () =>
        (await calls(lab, "--state", "done")).some((row) => row.tool === "append"),
      );
      const repeat = await call(second.client, "append", { nonce: "q" });
      expect(repeat).toMatchObject({ isError: false, told: { executed: "yes" } });
      expect(repeat.text).toContain("append q ");
      expect(lab.nonces()).toEqual(["before", "q"]);
    },
  );
});

describe("a child of a killed proxy", () => {
  labTest(
    "is gone within the reaper's time, even if it ignores that its stdin was closed",
    async (lab) => {
      const upstream = await stdioUpstream(lab);
      const { client, kill } = await connect(lab, { args: upstream.target });
      await call(client, "read_value", { nonce: "n" });
      const [pid] = lab.serverPids();
      // Frozen, it can't see the end of its input.
      upstream.freeze();
      await kill();
      await until("the child to be gone", () => pid !== undefined && !isAlive(pid), 20_000);
    },
  );
});
