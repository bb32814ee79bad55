/** `holdfast verify` beside a proxy at work, and on what a killed one leaves. */
import Database from "better-sqlite3";
import { expect } from "vitest";
import { call, command, connect, untilAway, untilWaiting } from "../support/holdfast-process.ts";
import { labTest, touch, until } from "../support/lab.ts";
import type { Lab } from "../support/lab.ts";
import { stdioUpstream } from "../support/upstream-process.ts";

interface Told {
  readonly isFine: boolean;
  readonly journals: readonly {
    readonly path: string;
    readonly upstream: string;
    readonly isRunning: boolean;
    readonly rows: number;
    readonly waiting: number;
    readonly findings: readonly unknown[];
  }[];
  readonly files: readonly unknown[];
}

async function verify(lab: Lab, ...options: string[]): Promise<Told & { code: number }> {
  const { code, stdout } = await command(lab, ["verify", "--json", ...options]);
  return { code, ...(JSON.parse(stdout) as Told) };
}

labTest("verify finds nothing beside a proxy at work, and does not disturb it", async (lab) => {
  const upstream = await stdioUpstream(lab);
  const args = ["--name", "books", ...upstream.target];
  const { client } = await connect(lab, { args });
  await call(client, "append", { nonce: "before" });
  const gate = lab.path("gate");
  const slow = call(client, "slow_append", { nonce: "during", gate });
  await until("the slow call to be started", () => lab.nonces().includes("during"));
  const told = await verify(lab, "--repair");
  expect(told).toMatchObject({ code: 0, isFine: true, files: [] });
  expect(told.journals).toEqual([
    expect.objectContaining({ upstream: "books", isRunning: true, waiting: 1, findings: [] }),
  ]);
  touch(gate);
  expect(await slow).toMatchObject({ isError: false });
  await call(client, "append", { nonce: "after" });
  expect(lab.nonces()).toEqual(["before", "during", "after"]);
});

labTest("verify finds nothing in what a killed proxy leaves, and it runs on after", async (lab) => {
  const upstream = await stdioUpstream(lab);
  const args = ["--hold", "60s", "--defer", "writes", ...upstream.target];
  const first = await connect(lab, { args });
  await call(first.client, "append", { nonce: "done" });
  await upstream.down();
  await untilAway(lab, first.client);
  const lost = expect(call(first.client, "append", { nonce: "waits" })).rejects.toThrow();
  await untilWaiting(lab, 1);
  await first.kill();
  await lost;
  const told = await verify(lab, "--repair");
  expect(told).toMatchObject({ code: 0, isFine: true, files: [] });
  expect(told.journals).toMatchObject([{ isRunning: false, waiting: 1, findings: [] }]);
  await upstream.up();
  await connect(lab, { args });
  await until("the call that waited to run", () => lab.nonces().includes("waits"));
});

labTest("a note of a server that can't be read any more stops no start", async (lab) => {
  const upstream = await stdioUpstream(lab);
  const first = await connect(lab, { args: upstream.target });
  await call(first.client, "append", { nonce: "first" });
  await first.close();
  const { journals } = await verify(lab);
  const db = new Database(journals[0]?.path);
  db.exec("insert or replace into fact (key, value) values ('child:1', '{')");
  db.close();
  expect(await verify(lab)).toMatchObject({
    code: 1,
    journals: [{ findings: [{ check: "facts" }] }],
  });
  const second = await connect(lab, { args: upstream.target });
  expect(await call(second.client, "append", { nonce: "second" })).toMatchObject({
    isError: false,
  });
  await second.close();
  expect((await verify(lab)).code).toBe(0);
});
