/** Bodies that are half read: how much of them is in memory, and who waits for whom. */
import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Flow, HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { flowOn, hold } from "../../src/downstream/http/flow.ts";
import { HandWorld } from "../support/door-rig.ts";
import { ACCEPT, clientOf, closeFaces, face, type Face, Raw, rpc } from "../support/http-door.ts";
import { until } from "../support/processes.ts";

afterEach(closeFaces);

const KB = 1024;

class Half implements Flow {
  isHeld = false;
  isGivenUp = false;
  hold(): void {
    expect(this.isHeld).toBe(false);
    this.isHeld = true;
  }
  flowOn(): void {
    expect(this.isHeld).toBe(true);
    this.isHeld = false;
  }
  giveUp(): void {
    this.isGivenUp = true;
  }
}
const areHeld = (...all: readonly Half[]): boolean[] => all.map((one) => one.isHeld);

const TURN_MS = 5_000;
let world: HandWorld;
beforeEach(() => {
  world = new HandWorld();
});

describe("the room for half-read messages", () => {
  it("holds all but the oldest once they are too large together", () => {
    const room = new HalfReadRoom(world, 300 * KB);
    const all = [new Half(), new Half(), new Half()];
    for (const one of all) room.grew(one, 100 * KB);
    expect(areHeld(...all)).toEqual([false, false, false]);
    for (const one of all) room.grew(one, 101 * KB);
    expect(areHeld(...all)).toEqual([false, true, true]);
  });

  it("holds also what comes while it is full", () => {
    const room = new HalfReadRoom(world, 100 * KB);
    const [a, b, c] = [new Half(), new Half(), new Half()];
    room.grew(a, 101 * KB);
    expect(areHeld(a)).toEqual([false]);
    for (const one of [b, c]) room.grew(one, 65 * KB);
    room.grew(a, 102 * KB);
    expect(areHeld(a, b, c)).toEqual([false, true, true]);
  });

  it("lets the next oldest go on while it is still full, and all when it is not", () => {
    const room = new HalfReadRoom(world, 300 * KB);
    const [a, b, c, d] = [new Half(), new Half(), new Half(), new Half()];
    for (const one of [a, b, c, d]) room.grew(one, 150 * KB);
    expect(areHeld(a, b, c, d)).toEqual([false, true, true, true]);
    room.left(a);
    expect(areHeld(b, c, d)).toEqual([false, true, true]);
    room.left(c);
    expect(areHeld(b, d)).toEqual([false, false]);
  });

  it("goes on with the next where a held one is given up first", () => {
    const room = new HalfReadRoom(world, 100 * KB);
    const [a, b, c] = [new Half(), new Half(), new Half()];
    for (const one of [a, b, c]) room.grew(one, 99 * KB);
    room.left(b);
    expect(areHeld(a, b, c)).toEqual([false, false, true]);
    room.left(a);
    expect(areHeld(c)).toEqual([false]);
  });

  it("gives up the one that is read on when it hardly sends while others wait", async () => {
    const room = new HalfReadRoom(world, 300 * KB);
    const [trickle, quick, next] = [new Half(), new Half(), new Half()];
    const leave = (one: Half) => {
      one.giveUp = () => {
        one.isGivenUp = true;
        room.left(one);
      };
    };
    for (const one of [trickle, quick, next]) leave(one);
    room.grew(trickle, 65 * KB);
    for (const one of [quick, next]) room.grew(one, 250 * KB);
    room.grew(trickle, 66 * KB);
    expect(areHeld(trickle, quick, next)).toEqual([false, true, true]);
    await world.fire(TURN_MS);
    expect([trickle, quick, next].map((one) => one.isGivenUp)).toEqual([true, false, false]);
    expect(areHeld(quick, next)).toEqual([false, true]);
    room.grew(quick, (250 + 320) * KB);
    await world.fire(TURN_MS);
    expect(quick.isGivenUp).toBe(false);
    room.left(quick);
    expect(areHeld(next)).toEqual([false]);
    await expect(world.fire(TURN_MS)).rejects.toThrow("no timer");
  });

  it("judges the pace of each message by itself, also where one client sends one after the other", async () => {
    const room = new HalfReadRoom(world, 300 * KB);
    const [one, b, c, d] = [new Half(), new Half(), new Half(), new Half()];
    room.grew(one, 290 * KB);
    room.grew(b, 100 * KB);
    room.grew(c, 280 * KB);
    room.left(one);
    room.grew(one, 250 * KB);
    room.grew(d, 200 * KB);
    room.left(b);
    room.left(c);
    expect(areHeld(one, d)).toEqual([false, true]);
    room.grew(one, 580 * KB);
    await world.fire(TURN_MS);
    expect(one.isGivenUp).toBe(false);
    await world.fire(TURN_MS);
    expect(one.isGivenUp).toBe(true);
  });

  it("never holds a small one, and does not count it", () => {
    const room = new HalfReadRoom(world, 100 * KB);
    const small = Array.from({ length: 50 }, () => new Half());
    for (const one of small) room.grew(one, 64 * KB);
    const [large, another] = [new Half(), new Half()];
    room.grew(large, 99 * KB);
    room.grew(large, 500 * KB);
    room.grew(another, 60 * KB);
    expect(areHeld(...small, large, another)).not.toContain(true);
  });
});

it("a body that is held for two reasons goes on when both are gone", () => {
  const one = new IncomingMessage(new Socket());
  hold(one);
  hold(one);
  flowOn(one);
  expect(one.isPaused()).toBe(true);
  flowOn(one);
  expect(one.isPaused()).toBe(false);
});

/** Requests of which all is sent but the last byte. */
function halfPosts(at: Face, key: string, body: string, count: number): Raw[] {
  const head = [
    "POST /mcp/box HTTP/1.1",
    "Host: localhost",
    "Content-Type: application/json",
    `Accept: ${ACCEPT}`,
    `Mcp-Session-Id: ${key}`,
    "Mcp-Protocol-Version: 2025-11-25",
    `Content-Length: ${String(body.length)}`,
    "Connection: close",
    "",
    "",
  ];
  return Array.from({ length: count }, () => new Raw(at).write(...head).write(body.slice(0, -1)));
}

const LARGE = rpc("large", "ping", { filler: "x".repeat(200 * KB) });

it("large bodies that come together are all answered, whichever ends first", async () => {
  const at = await face({ requestMaxBytes: 256 * KB });
  const client = await clientOf(at);
  const raws = halfPosts(at, client.key, LARGE, 8);
  expect(await client.ask(rpc("between", "ping"))).toMatchObject({ status: 200 });
  for (const raw of raws.toReversed()) raw.write(LARGE.slice(-1));
  for (const raw of raws) expect((await raw.closed()).text).toContain("HTTP/1.1 200");
});

it("a large body that hardly comes is refused while others wait for it, and those are answered", async () => {
  const at = await face({ requestMaxBytes: 256 * KB, world });
  const client = await clientOf(at);
  const raws = halfPosts(at, client.key, LARGE, 8);
  await until("one to be looked at", () => world.hasTimer(TURN_MS));
  await world.fire(TURN_MS);
  for (const raw of raws) raw.write(LARGE.slice(-1));
  const texts = await Promise.all(raws.map(async (raw) => (await raw.closed()).text));
  const refused = texts.filter((text) => !text.includes("HTTP/1.1 200"));
  expect(refused).toHaveLength(1);
  expect(refused[0]).toContain("HTTP/1.1 408");
  expect(refused[0]).toContain("Not executed: the body of the request came too slowly");
});
