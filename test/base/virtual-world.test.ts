/** The virtual world is what engine tests stand on, so it is tested like the engine (V1–V3). */
import { describe, expect, it, vi } from "vitest";
import { realWorld } from "../../src/base/world.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

describe("the virtual world", () => {
  it("fires timers in order of due time, equal ones in order of making, on their instant", async () => {
    const world = new VirtualWorld();
    const start = world.monotonic();
    const fired: string[] = [];
    const note = (name: string) => () => fired.push(`${name}@${String(world.monotonic() - start)}`);
    world.timer(20, note("late"));
    world.timer(10, note("first"));
    world.timer(10, note("second"));
    world.timer(30, note("never"));
    await world.advance(25);
    expect(fired).toEqual(["first@10", "second@10", "late@20"]);
    expect(world.monotonic() - start).toBe(25);
    expect(world.pendingTimers).toBe(1);
    expect(world.nextTimerMs).toBe(5);
  });

  it("fires a timer that another one armed, if it falls within the same advance", async () => {
    const world = new VirtualWorld();
    const fired: number[] = [];
    const start = world.now();
    const again = (): void => {
      fired.push(world.now() - start);
      world.timer(10, again);
    };
    world.timer(10, again);
    await world.advance(35);
    expect(fired).toEqual([10, 20, 30]);
  });

  it("lets promise reactions and soon callbacks run between two timers", async () => {
    const world = new VirtualWorld();
    const order: string[] = [];
    world.timer(1, () => {
      order.push("timer 1");
      void Promise.resolve()
        .then(() => Promise.resolve())
        .then(() => {
          order.push("reaction");
          world.soon(() => {
            order.push("soon");
            void Promise.resolve().then(() => order.push("reaction of soon"));
          });
        });
    });
    world.timer(2, () => order.push("timer 2"));
    await world.advance(2);
    expect(order).toEqual(["timer 1", "reaction", "soon", "reaction of soon", "timer 2"]);
  });

  it("does NOT fire a cancelled timer, also when another timer of the same instant cancels it", async () => {
    const world = new VirtualWorld();
    const fired: string[] = [];
    world.timer(5, () => {
      cancel();
      fired.push("canceller");
    });
    const cancel = world.timer(5, () => fired.push("cancelled"));
    await world.advance(10);
    cancel();
    expect(fired).toEqual(["canceller"]);
  });

  it("runs until a condition holds and stops there", async () => {
    const world = new VirtualWorld();
    let isReached = false;
    const start = world.now();
    world.timer(40, () => (isReached = true));
    world.timer(41, () => (isReached = false));
    await world.runUntil(() => isReached, 1_000);
    expect(world.now() - start).toBe(40);
  });

  it("rejects when the condition does not hold within the time given", async () => {
    const world = new VirtualWorld();
    await expect(world.runUntil(() => false, 1_000)).rejects.toThrow("not within 1000 ms");
  });

  it("rejects with what a timer throws", async () => {
    const world = new VirtualWorld();
    world.timer(1, () => {
      throw new Error("boom");
    });
    await expect(world.advance(1)).rejects.toThrow("boom");
  });

  it("says so when a timer re-arms itself for ever, instead of hanging", async () => {
    const world = new VirtualWorld();
    let firings = 0;
    const again = (): void => {
      if (++firings < 300_000) world.timer(0, again);
    };
    world.timer(0, again);
    await expect(world.advance(1)).rejects.toThrow("re-arming");
  });

  it("moves the wall clock alone in suspend and in a step", () => {
    const world = new VirtualWorld({ startAt: 1_000 });
    const monotonic = world.monotonic();
    world.suspend(3_600_000);
    expect(world.now()).toBe(3_601_000);
    world.stepWallClock(-600_000);
    expect(world.now()).toBe(3_001_000);
    expect(world.monotonic()).toBe(monotonic);
  });

  it("gives the same randomness and ids for the same seed, others for another", () => {
    const draw = (seed: number) => {
      const world = new VirtualWorld({ seed });
      return [world.random(), world.newId("c"), world.secret(32), world.random()];
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    const world = new VirtualWorld();
    for (let i = 0; i < 1_000; i++) {
      const value = world.random();
      expect(value >= 0 && value < 1).toBe(true);
    }
  });
});

describe("ids", () => {
  it.each([
    ["virtual", new VirtualWorld()],
    ["real", realWorld()],
  ])("of the %s world have a prefix, 26 characters, and sort in order of making", (_, world) => {
    const ids = Array.from({ length: 2_000 }, () => world.newId("c"));
    for (const id of ids) expect(id).toMatch(/^c_[0-9a-hjkmnp-tv-z]{26}$/);
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it.each([
    ["virtual", new VirtualWorld()],
    ["real", realWorld()],
  ])("and secrets of the %s world have the length asked for, and never repeat", (_, world) => {
    const secrets = Array.from({ length: 500 }, () => world.secret(32));
    for (const secret of secrets) expect(Buffer.from(secret, "base64url")).toHaveLength(32);
    expect(secrets.join("")).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(new Set(secrets).size).toBe(secrets.length);
  });

  it("digests are keyed and equal in both worlds", () => {
    const [real, virtual] = [realWorld(), new VirtualWorld()];
    expect(virtual.digest("k", "text")).toBe(real.digest("k", "text"));
    expect(real.digest("k", "text")).not.toBe(real.digest("other", "text"));
    expect(real.digest("", "text")).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("ids of the real world", () => {
  it("sort in order of making, also when the wall clock is set back", () => {
    const now = vi.spyOn(Date, "now");
    try {
      const world = realWorld();
      const at = 1_800_000_000_000;
      const ids = [at, at - 60_000, at + 1, at].map((instant) => {
        now.mockReturnValue(instant);
        return world.newId("c");
      });
      expect([...ids].sort()).toEqual(ids);
    } finally {
      now.mockRestore();
    }
  });

  it("sort in order of making beyond a million in one millisecond", () => {
    const now = vi.spyOn(Date, "now").mockReturnValue(1_800_000_000_000);
    try {
      const world = realWorld();
      let last = "";
      for (let i = 0; i < 1_100_000; i++) {
        const id = world.newId("c");
        if (id <= last) throw new Error(`${id} after ${last}`);
        last = id;
      }
    } finally {
      now.mockRestore();
    }
  });
});
