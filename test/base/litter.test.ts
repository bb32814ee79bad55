/** When what large payloads leave behind is collected, and that it is. */
import { describe, expect, it } from "vitest";
import { garbageCollector, Litter } from "../../src/base/litter.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

function makeLitter() {
  const turns: (() => void)[] = [];
  let collections = 0;
  const litter = new Litter(
    (work) => turns.push(work),
    () => collections++,
  );
  return { litter, turns, collections: () => collections };
}

describe("litter", () => {
  it("of small payloads is never collected, however many there are (LI1)", () => {
    const { litter, turns } = makeLitter();
    for (let n = 0; n < 10_000; n++) litter.add(256 * KIB - 1);
    expect(turns).toEqual([]);
  });

  it("of large payloads is collected once for each 8 MiB, in a turn of its own (LI2)", () => {
    const { litter, turns, collections } = makeLitter();
    for (let n = 0; n < 31; n++) litter.add(256 * KIB);
    expect(turns).toHaveLength(0);
    litter.add(256 * KIB);
    litter.add(20 * MIB);
    expect(turns).toHaveLength(1);
    expect(collections()).toBe(0);
    turns.pop()?.();
    expect(collections()).toBe(1);
    litter.add(8 * MIB - 1);
    expect(turns).toHaveLength(0);
    litter.add(256 * KIB);
    expect(turns).toHaveLength(1);
  });
});

describe("the garbage collector", () => {
  it("collects what nothing holds any more", async () => {
    const collect = garbageCollector();
    const ref = new WeakRef({ text: "x".repeat(MIB) });
    // What a turn has made stays for that turn.
    await new Promise(setImmediate);
    collect();
    expect(ref.deref() === undefined).toBe(true);
  });
});
