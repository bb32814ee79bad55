/** Bodies that are half read: how much of them is in memory, and who waits for whom. */
import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Flow, HalfReadRoom } from "../../src/downstream/half-read-room.ts";
import { flowOn, hold } from "../../src/downstream/http/flow.ts";
import { ACCEPT, clientOf, closeFaces, face, Raw, rpc } from "../support/http-door.ts";

afterEach(closeFaces);

const KB = 1024;

class Half implements Flow {
  isHeld = false;
  hold(): void {
    expect(this.isHeld).toBe(false);
    this.isHeld = true;
  }
  flowOn(): void {
    expect(this.isHeld).toBe(true);
    this.isHeld = false;
  }
}
const areHeld = (...all: readonly Half[]): boolean[] => all.map((one) => one.isHeld);

describe("the room for half-read messages", () => {
  it("holds all but the oldest once they are too large together", () => {
    const room = new HalfReadRoom(300 * KB);
    const all = [new Half(), new Half(), new Half()];
    for (const one of all) room.grew(one, 100 * KB);
    expect(areHeld(...all)).toEqual([false, false, false]);
    for (const one of all) room.grew(one, 101 * KB);
    expect(areHeld(...all)).toEqual([false, true, true]);
  });

  it("lets the next oldest go on while it is still full, and all when it is not", () => {
    const room = new HalfReadRoom(300 * KB);
    const [a, b, c, d] = [new Half(), new Half(), new Half(), new Half()];
    for (const one of [a, b, c, d]) room.grew(one, 150 * KB);
    expect(areHeld(a, b, c, d)).toEqual([false, true, true, true]);
    room.left(a);
    expect(areHeld(b, c, d)).toEqual([false, true, true]);
    room.left(c);
    expect(areHeld(b, d)).toEqual([false, false]);
  });

  it("goes on with the next where a held one is given up first", () => {
    const room = new HalfReadRoom(100 * KB);
    const [a, b, c] = [new Half(), new Half(), new Half()];
    for (const one of [a, b, c]) room.grew(one, 99 * KB);
    room.left(b);
    expect(areHeld(a, b, c)).toEqual([false, false, true]);
    room.left(a);
    expect(areHeld(c)).toEqual([false]);
  });

  it("never holds a small one, and does not count it", () => {
    const room = new HalfReadRoom(100 * KB);
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

it("large bodies that come together are all answered, whichever ends first", async () => {
  const at = await face({ requestMaxBytes: 256 * KB });
  const client = await clientOf(at);
  const body = rpc("large", "ping", { filler: "x".repeat(200 * KB) });
  const raws = Array.from({ length: 8 }, () => {
    const head = [
      "POST /mcp/box HTTP/1.1",
      "Host: localhost",
      "Content-Type: application/json",
      `Accept: ${ACCEPT}`,
      `Mcp-Session-Id: ${client.key}`,
      "Mcp-Protocol-Version: 2025-11-25",
      `Content-Length: ${String(body.length)}`,
      "Connection: close",
      "",
      "",
    ];
    return new Raw(at).write(...head).write(body.slice(0, -1));
  });
  expect(await client.ask(rpc("between", "ping"))).toMatchObject({ status: 200 });
  for (const raw of raws.toReversed()) raw.write(body.slice(-1));
  for (const raw of raws) expect((await raw.closed()).text).toContain("HTTP/1.1 200");
});
