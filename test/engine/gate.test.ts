import { describe, expect, it } from "vitest";
import { Gate } from "../../src/engine/gate.ts";
import type { Slot } from "../../src/engine/turns.ts";
import { failure } from "../../src/core/failure.ts";
import { QueueRig } from "../support/queue-rig.ts";
import { SETTINGS, Stage } from "../support/stage.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

const slow = failure("rate_limited", "HTTP 429");

describe("the window of an upstream", () => {
  it("starts with one call and grows by one with every good answer, up to its maximum", async () => {
    const rig = new QueueRig();
    rig.addMany(60, "s");
    rig.up();
    const seen: number[] = [];
    while (rig.waiting.length > 20) {
      seen.push(rig.inFlight.length);
      await rig.answer(rig.inFlight[0]!);
    }
    expect(seen.slice(0, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(Math.max(...seen)).toBe(8);
    await rig.drain();
    expect(rig.sent).toHaveLength(60);
  });

  it("does not grow with an answer that is none", async () => {
    const rig = new QueueRig();
    rig.addMany(10, "s");
    rig.up();
    for (let i = 0; i < 5; i++) await rig.answer(rig.inFlight[0]!, false);
    expect(rig.gate.window).toBe(1);
    expect(rig.inFlight).toHaveLength(1);
  });

  it("doubles every 250 ms without room, so that long calls hold up nobody for their own length", async () => {
    const rig = new QueueRig();
    rig.addMany(20, "s");
    rig.up();
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) {
      seen.push(rig.inFlight.length);
      await rig.world.advance(250);
    }
    expect(seen).toEqual([1, 2, 4, 8, 8]);
    expect(rig.world.pendingTimers).toBe(0);
  });

  it("does not widen while nothing waits for it", async () => {
    const rig = new QueueRig();
    rig.add("s");
    rig.up();
    await rig.world.advance(10_000);
    expect(rig.gate.window).toBe(1);
  });

  it("is halved when the server asks to slow down, on any of its lines", async () => {
    const rig = new QueueRig({}, 2);
    rig.addMany(40, "s");
    rig.up(0);
    rig.up(1);
    while (rig.gate.window < 8) await rig.answer(rig.inFlight[0]!);
    rig.lines[1]!.queue.slowDown(rig.world.now() + 1_000);
    expect(rig.gate.window).toBe(4);
    for (let i = 0; i < 5; i++) await rig.answer(rig.inFlight[0]!, false);
    expect(rig.inFlight).toHaveLength(4);
  });

  it("is shared by all lines, and starts anew only when the first comes back after none was there", async () => {
    const rig = new QueueRig({}, 2);
    rig.addMany(60, "a", { line: 0 });
    rig.addMany(60, "b", { line: 1 });
    rig.up(0);
    rig.up(1);
    while (rig.gate.window < 8) await rig.answer(rig.inFlight[0]!);
    expect(rig.peak).toBeLessThanOrEqual(8);
    rig.down(0);
    rig.up(0);
    await rig.world.settle();
    expect(rig.gate.window).toBe(8);
    rig.down(0);
    rig.down(1);
    await rig.world.settle();
    rig.up(1);
    expect(rig.gate.window).toBe(1);
    rig.up(0);
    await rig.world.settle();
    expect(rig.inFlight).toHaveLength(1);
    await rig.drain();
    expect(rig.waiting).toEqual([]);
    expect(rig.fatal).toEqual([]);
  });
});

describe("a line that ends", () => {
  it("no longer counts as one that serves, even if its connection comes up that late", async () => {
    const rig = new QueueRig({}, 2);
    rig.addMany(60, "s", { line: 1 });
    rig.up(1);
    while (rig.gate.window < 8) await rig.answer(rig.inFlight[0]!);
    rig.lines[0]!.queue.pause("the end");
    rig.up(0);
    rig.down(1);
    rig.up(1);
    expect(rig.gate.window).toBe(1);
  });

  it("leaves its slots to the others at once, whatever its journal does", async () => {
    const settings = { backlogWindow: 1, drainMs: 1_000 };
    const one = await new Stage({ settings }).start();
    const { world, gate } = one;
    const two = await new Stage({ settings, world, gate }).start();
    const clients = [await one.connected(), await two.connected()] as const;
    for (const stage of [one, two]) {
      stage.upstream.keeps.add("write");
      stage.upstream.kill(failure("reset", "away"));
    }
    clients[0].call("write", "a");
    await world.advance(10);
    clients[1].call("write", "b");
    one.upstream.down = undefined;
    await world.advance(5_000);
    two.upstream.down = undefined;
    await world.advance(5_000);
    expect([one.upstream.kept.size, two.upstream.kept.size]).toEqual([1, 0]);
    one.journal.hold();
    const over = one.proxy.drain("the client left");
    await world.advance(2_000);
    expect(two.upstream.kept.size).toBe(1);
    one.journal.release();
    await world.advance(10_000);
    await over;
  });
});

describe("the window of a real line", () => {
  it("starts with one call at every recovery", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    for (let outage = 0; outage < 3; outage++) {
      stage.upstream.kill(failure("reset", "away"));
      for (let i = 0; i < 20; i++) client.call("read", `${String(outage)} ${String(i)}`);
      await stage.world.advance(10);
      stage.upstream.keeps.add("read");
      stage.upstream.down = undefined;
      await stage.world.runUntil(() => stage.upstream.kept.size > 0, 5_000);
      await stage.world.advance(1);
      expect([stage.gate.window, stage.upstream.kept.size]).toEqual([1, 1]);
      stage.upstream.keeps.clear();
      stage.upstream.answer(`${String(outage)} 0`);
      await stage.world.advance(1_000);
      expect(stage.gate.window).toBe(8);
    }
    expect(stage.fatal).toEqual([]);
  });
});

describe("a configured rate", () => {
  it("holds for all lines together, on the world's clock", async () => {
    const rig = new QueueRig({ replayRate: 10 }, 2);
    rig.addMany(30, "a", { line: 0 });
    rig.addMany(30, "b", { line: 1 });
    rig.up(0);
    rig.up(1);
    for (let i = 0; i < 20; i++) {
      await rig.world.advance(100);
      for (const call of rig.inFlight) rig.end(call, true);
    }
    await rig.world.settle();
    expect(rig.sent.length).toBeGreaterThanOrEqual(20);
    expect(rig.sent.length).toBeLessThanOrEqual(21);
    expect(rig.sent.filter((call) => call.session === "a").length).toBeGreaterThanOrEqual(8);
    expect(rig.sent.filter((call) => call.session === "b").length).toBeGreaterThanOrEqual(8);
  });
});

describe("a claim", () => {
  const settings = { ...SETTINGS, backlogWindow: 2 };

  it("whose lane has nothing to send any more gives its slot back", async () => {
    const gate = new Gate({ world: new VirtualWorld(), settings, fatal: () => undefined });
    const went: string[] = [];
    gate.claim({ sessionId: "a", isDeferred: false, bytes: 1, granted: () => false });
    gate.claim({
      sessionId: "b",
      isDeferred: false,
      bytes: 1,
      granted: () => went.push("b") > 0,
    });
    await new VirtualWorld().settle();
    expect(went).toEqual(["b"]);
  });

  it("whose grant fails is a bug that is NOT lost", async () => {
    const fatal: unknown[] = [];
    const gate = new Gate({
      world: new VirtualWorld(),
      settings,
      fatal: (error) => fatal.push(error),
    });
    gate.claim({
      sessionId: "a",
      isDeferred: false,
      bytes: 1,
      granted: () => {
        throw new Error("out of cheese");
      },
    });
    await new VirtualWorld().settle();
    expect(fatal).toEqual([new Error("out of cheese")]);
  });

  it("is granted before it is made, where there is room", () => {
    const gate = new Gate({ world: new VirtualWorld(), settings, fatal: () => undefined });
    let slot: Slot | undefined;
    const granted = (one: Slot) => {
      slot = one;
      return true;
    };
    gate.claim({ sessionId: "a", isDeferred: false, bytes: 1, granted });
    expect(slot).toBeDefined();
    slot?.leave(true);
    expect(() => {
      slot?.leave(true);
    }).toThrow("a slot is left once");
  });
});

describe("a limit on concurrency", () => {
  it("holds over all lines of the upstream, and room on one is used by the others", async () => {
    const one = await new Stage({ settings: { concurrency: 2 } }).start();
    const { world, gate } = one;
    const two = await new Stage({ settings: { concurrency: 2 }, world, gate }).start();
    const clients = [await one.connected(), await two.connected()];
    for (const stage of [one, two]) stage.upstream.keeps.add("read");
    const ids = clients.map((client, i) =>
      [0, 1, 2].map((n) => client.call("read", `${String(i)}${String(n)}`)),
    );
    await world.advance(2_000);
    const kept = () => one.upstream.kept.size + two.upstream.kept.size;
    const ran = () => one.upstream.ledger.length + two.upstream.ledger.length;
    for (let done = 0; done < 6; done++) {
      expect(kept()).toBe(Math.min(2, 6 - done));
      expect(ran()).toBe(Math.min(6, done + 2));
      const stage = one.upstream.kept.size > 0 ? one : two;
      const [request] = stage.upstream.kept.values();
      stage.upstream.answer((request?.params?.["arguments"] as { nonce: unknown }).nonce);
      // Time for a small window to widen.
      await world.advance(600);
    }
    for (const [i, client] of clients.entries())
      for (const id of ids[i]!) expect(client.told(id)?.text).toBe("done");
    expect([...one.fatal, ...two.fatal]).toEqual([]);
  });

  it("has room again for the other lines when one ends with calls in flight", async () => {
    const one = await new Stage({ settings: { concurrency: 1, drainMs: 1_000 } }).start();
    const { world, gate } = one;
    const two = await new Stage({ settings: { concurrency: 1 }, world, gate }).start();
    const client = await one.connected();
    const other = await two.connected();
    one.upstream.keeps.add("read");
    client.call("read", "long");
    await world.advance(10);
    const id = other.call("read", "waits");
    await world.advance(2_000);
    expect(other.told(id)).toBeUndefined();
    const over = one.proxy.drain("the client left");
    await world.advance(10_000);
    await over;
    expect(other.told(id)?.text).toBe("read waits");
  });
});

describe("a server that asks one of many lines to slow down", () => {
  it("is left alone there for as long as it asked, and goes on elsewhere", async () => {
    const one = await new Stage().start();
    const { world, gate } = one;
    const two = await new Stage({ world, gate }).start();
    const client = await one.connected();
    const other = await two.connected();
    one.upstream.keeps.add("write");
    const first = client.call("write", "a");
    await world.advance(10);
    one.upstream.fate("a", { kind: "refused", failure: { ...slow, retryAfterMs: 5_000 } });
    one.upstream.keeps.clear();
    const second = other.call("write", "b");
    await world.advance(4_000);
    expect(client.told(first)).toBeUndefined();
    expect(other.told(second)?.text).toBe("write b");
    await world.advance(2_000);
    expect(client.told(first)?.text).toBe("write a");
  });
});
