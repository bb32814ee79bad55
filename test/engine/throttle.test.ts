import { expect, it } from "vitest";
import { Stage } from "../support/stage.ts";

const log = (n: number) =>
  `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":${String(n)}}}`;
const PING = '{"jsonrpc":"2.0","id":"s-1","method":"ping"}';

it("a server waits while its client does not read, and nothing of what it says is lost", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  client.congested(true);
  expect(stage.upstream.isHeld).toBe(true);
  const id = client.call("write", "a");
  stage.upstream.say(log(1));
  await stage.world.advance(10);
  expect(stage.upstream.ledger).toHaveLength(1);
  expect(client.told(id)).toBeUndefined();
  client.congested(false);
  await stage.world.advance(10);
  expect(stage.upstream.isHeld).toBe(false);
  expect(client.told(id)?.text).toBe("write a");
  expect(client.notifications("notifications/message")).toHaveLength(1);
});

it("a held connection is not judged by its silence, however long that is", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  // It has answered a ping: from now on it is judged by pings.
  await stage.world.advance(31_000);
  expect(stage.upstream.methods).toContain("ping");
  client.congested(true);
  await stage.world.advance(3_600_000);
  expect(stage.upstream.dials).toBe(1);
  client.congested(false);
  await stage.world.advance(120_000);
  expect(stage.upstream.dials).toBe(1);
});

it("the server is let go when its client leaves", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  client.congested(true);
  client.leave();
  expect(stage.upstream.isHeld).toBe(false);
});

it("the server is let go when its client's connection is gone", async () => {
  const stage = await new Stage().start();
  const client = stage.guest({ transport: "ws", key: "k".repeat(40) });
  client.initialize();
  client.notify("notifications/initialized");
  await stage.world.advance(10);
  client.congested(true);
  expect(stage.upstream.isHeld).toBe(true);
  client.handler.detached("its connection broke");
  expect(stage.upstream.isHeld).toBe(false);
});

it("the next connection is prepared first, and held as soon as it serves", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  client.congested(true);
  stage.upstream.kill();
  await stage.world.advance(5_000);
  expect(stage.upstream.dials).toBe(2);
  expect(stage.upstream.isHeld).toBe(true);
  stage.upstream.say(PING);
  expect(stage.upstream.seen.some((text) => text.includes('"s-1"'))).toBe(false);
  client.congested(false);
  expect(stage.upstream.seen.some((text) => text.includes('"s-1"'))).toBe(true);
});

it("an end in order lets the server go, so that what it answers is still taken", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  client.congested(true);
  const id = client.call("write", "a");
  await stage.world.advance(10);
  const drained = stage.proxy.drain("SIGTERM");
  await stage.world.advance(1_000);
  await drained;
  expect(client.told(id)?.text).toBe("write a");
});

it("a shared line is NOT held for one of its clients", async () => {
  const stage = await new Stage({ settings: { isolation: "shared" } }).start();
  const slow = await stage.connected();
  const other = await stage.connected();
  slow.congested(true);
  expect(stage.upstream.isHeld).toBe(false);
  const id = other.call("write", "a");
  await stage.world.advance(10);
  expect(other.told(id)?.text).toBe("write a");
});

it("a server waits while its answers wait for the disk", async () => {
  const stage = await new Stage().start();
  const client = await stage.connected();
  stage.upstream.keeps.add("write");
  const ids = [1, 2, 3].map((nonce) => client.call("write", nonce));
  await stage.world.advance(10);
  const large = "x".repeat(7 * 1024 * 1024);
  stage.journal.hold();
  stage.upstream.answer(1, large);
  expect(stage.upstream.isHeld).toBe(false);
  stage.upstream.answer(2, large);
  expect(stage.upstream.isHeld).toBe(true);
  stage.journal.release();
  await stage.world.advance(10);
  expect(stage.upstream.isHeld).toBe(false);
  stage.upstream.answer(3);
  await stage.world.advance(10);
  for (const id of ids) expect(client.told(id)?.isError).toBe(false);
});
