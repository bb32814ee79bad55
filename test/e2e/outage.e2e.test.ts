/** The upstream dies, restarts, freezes or is not there yet, while no call is in flight. */
import { describe, expect } from "vitest";
import { call, connect, untilAway, untilWaiting } from "../support/holdfast-process.ts";
import { elapsed, labTest } from "../support/lab.ts";
import { ALL_UPSTREAMS } from "../support/upstream-process.ts";

const numbered = (count: number, prefix: string): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i)}`);

describe.each(ALL_UPSTREAMS)("a %s upstream", (_name, open) => {
  labTest("a read-only call right after it died is answered when it is back", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    // Without the tools' annotations every call would be unsafe.
    await client.listTools();
    await call(client, "read_value", { nonce: "before" });
    await upstream.down();
    const answer = call(client, "read_value", { nonce: "after" });
    await untilWaiting(lab, 1);
    await upstream.up();
    expect(await answer).toMatchObject({ text: "value of after", isError: false });
    expect(lab.nonces()).toEqual(["before", "after"]);
  });

  labTest("unsafe calls after it died run once each, in order, when it is back", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    await call(client, "append", { nonce: "before" });
    await upstream.down();
    await untilAway(lab, client);
    const nonces = numbered(5, "n");
    const answers = Promise.all(nonces.map((nonce) => call(client, "append", { nonce })));
    await untilWaiting(lab, 5);
    await upstream.up();
    for (const [i, answer] of (await answers).entries()) {
      expect(answer).toMatchObject({ isError: false });
      expect(answer.text).toContain(`append n${String(i)} `);
    }
    expect(lab.nonces()).toEqual(["before", ...nonces]);
  });

  labTest("a call after it was restarted is answered by the new process", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    await call(client, "append", { nonce: "before" });
    await upstream.restart();
    const answer = await call(client, "append", { nonce: "after" });
    expect(answer).toMatchObject({ isError: false });
    const [before, after] = lab.executions();
    expect(lab.nonces()).toEqual(["before", "after"]);
    expect(after?.pid).not.toBe(before?.pid);
  });

  labTest(
    "a client that starts while it is down gets the tools, and its call later",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      const known = await first.client.listTools();
      const info = first.client.getServerVersion();
      await first.close();
      await upstream.down();

      const second = await connect(lab, { args: upstream.target });
      expect(second.client.getServerVersion()).toEqual(info);
      expect(second.client.getInstructions()).toBe("Every execution is written down.");
      expect((await second.client.listTools()).tools).toEqual(known.tools);
      const answer = call(second.client, "append", { nonce: "waits" });
      await untilWaiting(lab, 1);
      expect(lab.nonces()).toEqual([]);
      await upstream.up();
      expect(await answer).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["waits"]);
    },
  );

  labTest(
    "the tools asked for right after it died come from the catalogue, whatever the hold",
    async (lab) => {
      const upstream = await open(lab);
      const first = await connect(lab, { args: upstream.target });
      const known = await first.client.listTools();
      await first.close();
      const { client } = await connect(lab, { args: ["--hold", "1s", ...upstream.target] });
      await call(client, "read_value", { nonce: "n" });
      await upstream.down();
      expect((await client.listTools()).tools).toEqual(known.tools);
      await upstream.up();
    },
  );

  labTest(
    "a client that starts before it has ever been up gets tools, not an empty list",
    async (lab) => {
      const upstream = await open(lab);
      await upstream.down();
      const connecting = connect(lab, { args: upstream.target });
      await elapsed(Date.now(), 1500);
      await upstream.up();
      const { client } = await connecting;
      const { tools } = await client.listTools();
      expect(tools.map((tool) => tool.name)).toContain("append");
      expect(await call(client, "append", { nonce: "n" })).toMatchObject({ isError: false });
    },
  );

  labTest("calls to it while it is frozen are answered after it thaws, once each", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    await call(client, "append", { nonce: "before" });
    upstream.freeze();
    const nonces = numbered(5, "n");
    const answers = Promise.all([
      ...nonces.map((nonce) => call(client, "append", { nonce })),
      call(client, "read_value", { nonce: "r" }),
    ]);
    let isAnswered = false;
    void answers.then(() => (isAnswered = true));
    await elapsed(Date.now(), 3000);
    expect(isAnswered).toBe(false);
    upstream.thaw();
    for (const answer of await answers) expect(answer).toMatchObject({ isError: false });
    expect([...lab.nonces()].sort()).toEqual(["before", ...nonces, "r"]);
  });

  labTest(
    "500 calls while it is down for 5 s are all answered, once each, in order",
    async (lab) => {
      const upstream = await open(lab);
      const { client } = await connect(lab, { args: upstream.target });
      await call(client, "read_value", { nonce: "before" });
      await upstream.down();
      const downAt = Date.now();
      await untilAway(lab, client);
      const nonces = numbered(500, "n");
      const answers = Promise.all(nonces.map((nonce) => call(client, "append", { nonce })));
      await untilWaiting(lab, 500);
      await elapsed(downAt, 5000);
      await upstream.up();
      for (const [i, answer] of (await answers).entries()) {
        expect(answer).toMatchObject({ isError: false });
        expect(answer.text).toContain(`append n${String(i)} `);
      }
      expect(lab.nonces()).toEqual(["before", ...nonces]);
    },
  );

  labTest("the client keeps its session over five deaths in a row", async (lab) => {
    const upstream = await open(lab);
    const { client } = await connect(lab, { args: upstream.target });
    const expected: string[] = [];
    // Before a list was seen no call is known to be read-only, and one lost in the first death is in doubt.
    await client.listTools();
    for (const nonce of numbered(5, "n")) {
      await upstream.down();
      await upstream.up();
      // Read-only: an answer is due even where the death is noticed only by this very call.
      expect(await call(client, "read_value", { nonce })).toMatchObject({ isError: false });
      expected.push(nonce);
    }
    expect([...new Set(lab.nonces())]).toEqual(expected);
    expect((await client.listTools()).tools).not.toEqual([]);
  });
});
