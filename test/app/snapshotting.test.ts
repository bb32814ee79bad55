/** Snapshots at intervals, in virtual time: when they are made, and what comes of one that fails. */
import { describe, expect, it } from "vitest";
import type { KeptSnapshot } from "../../src/core/snapshot.ts";
import { Snapshotting } from "../../src/app/snapshotting.ts";
import type { SnapshotParts } from "../../src/app/snapshotting.ts";
import type { SnapshotAnswer } from "../../src/store/snapshot/maker.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

const HOUR = 3_600_000;

function rig(over: Partial<SnapshotParts> = {}) {
  const world = new VirtualWorld();
  const shelf: KeptSnapshot[] = [];
  const begun: number[] = [];
  const logged: string[] = [];
  const rest = { answer: undefined as Promise<SnapshotAnswer> | undefined, stops: 0 };
  const make = (): SnapshotAnswer => {
    const one = { path: `/s/${String(begun.length)}`, at: world.now(), bytes: 10 };
    shelf.unshift(one);
    return { kind: "made", made: { ...one, tookMs: 1 } as never, shelfBytes: 10 * shelf.length };
  };
  const snapshots = new Snapshotting({
    world,
    log: (_level, message) => logged.push(message),
    everyMs: HOUR,
    maxBytes: 1000,
    kept: () => [...shelf],
    start: () => {
      begun.push(world.now());
      const stop = () => {
        rest.stops++;
        return Promise.resolve();
      };
      return { answer: rest.answer ?? Promise.resolve(make()), stop };
    },
    ...over,
  });
  return { world, shelf, begun, logged, rest, snapshots, startedAt: world.now() };
}

describe("snapshots of a running process", () => {
  it("begin soon after the first start, and come once an interval", async () => {
    const { world, begun, snapshots, startedAt } = rig();
    snapshots.start();
    await world.advance(30_000 + 2 * HOUR);
    expect(begun.map((at) => at - startedAt)).toEqual([30_000, 30_000 + HOUR, 30_000 + 2 * HOUR]);
    expect(snapshots.status()).toMatchObject({
      count: 3,
      bytes: 30,
      last: { path: "/s/3" },
      nextAt: world.now() + HOUR,
      failure: undefined,
    });
    await snapshots.stop();
  });

  it("are not put off by restarts: the next is due an interval after the newest there is", async () => {
    const { world, shelf, begun, snapshots, startedAt } = rig();
    shelf.push({ path: "/s/old", at: startedAt - HOUR + 120_000, bytes: 1 });
    snapshots.start();
    await world.advance(121_000);
    expect(begun.map((at) => at - startedAt)).toEqual([120_000]);
    await snapshots.stop();
  });

  it("come within an interval also where the newest is of a future that was set back", async () => {
    const { world, shelf, begun, snapshots, startedAt } = rig();
    shelf.push({ path: "/s/future", at: startedAt + 1000 * HOUR, bytes: 1 });
    snapshots.start();
    await world.advance(HOUR);
    expect(begun).toHaveLength(1);
    await snapshots.stop();
  });

  it("that fail are said once each, shown until one succeeds, and tried again sooner", async () => {
    const { world, begun, logged, rest, snapshots } = rig();
    rest.answer = Promise.resolve({ kind: "failed", text: "no room" });
    snapshots.start();
    await world.advance(30_000);
    expect(snapshots.status().failure).toEqual({ message: "no room", at: world.now() });
    expect(logged).toEqual(["no snapshot of the journal was made"]);
    rest.answer = undefined;
    await world.advance(600_000);
    expect(begun).toHaveLength(2);
    expect(snapshots.status()).toMatchObject({ failure: undefined, count: 1 });
    await snapshots.stop();
  });

  it("whose folder can't be read fail like any other, and the process goes on", async () => {
    const throwing = () => {
      throw new Error("EACCES");
    };
    const { world, snapshots } = rig({ start: throwing, kept: throwing });
    snapshots.start();
    await world.advance(30_000);
    expect(snapshots.status().failure?.message).toBe("EACCES");
    expect(snapshots.status().nextAt).toBe(world.now() + 600_000);
    await snapshots.stop();
  });

  it("come one at a time, and one that is being made is given up at the end", async () => {
    const { world, begun, rest, snapshots } = rig();
    rest.answer = new Promise(() => undefined);
    snapshots.start();
    await world.advance(10 * HOUR);
    expect(begun).toHaveLength(1);
    expect(snapshots.status().nextAt).toBeUndefined();
    await snapshots.stop();
    expect(rest.stops).toBe(1);
    expect(world.pendingTimers).toBe(0);
  });

  it("end where the journal was lost, and are tried NO more", async () => {
    const { world, snapshots } = rig({ start: () => undefined });
    snapshots.start();
    await world.advance(10 * HOUR);
    expect(snapshots.status()).toMatchObject({ count: 0, nextAt: undefined });
    expect(world.pendingTimers).toBe(0);
  });

  it("over the bound are said", async () => {
    const { world, logged, snapshots } = rig({ maxBytes: 5 });
    snapshots.start();
    await world.advance(30_000);
    expect(logged.join()).toMatch(/newest snapshots alone are over --snapshots-max-bytes/);
    await snapshots.stop();
  });
});
