import { describe, expect, it } from "vitest";
import { type Claim, QUANTUM_BYTES, Turns } from "../../src/engine/turns.ts";

const KIB = 1024;

/** Turns with a window of that size, and what they granted in order, by session. */
function turnsOf(window: number) {
  const granted: string[] = [];
  const door = { isOpen: true };
  const turns = new Turns({ isOpen: () => door.isOpen, window: () => window });
  const claim = (sessionId: string, bytes = 100, isDeferred = false): Claim => {
    const made: Claim = { sessionId, bytes, isDeferred, granted: () => true };
    const name = isDeferred ? `${sessionId} late` : sessionId;
    turns.enqueue(() => Promise.resolve(granted.push(name)), { claim: made });
    return made;
  };
  /** Grants so many, each of which comes back at once unless it is `held`. */
  const grant = (count: number, isHeld = false) => {
    for (let i = 0; i < count; i++) {
      void turns.dequeue()();
      if (!isHeld) turns.left((granted.at(-1) as string).replace(" late", ""));
    }
  };
  return { turns, granted, claim, grant, door };
}

const count = (granted: readonly string[], name: string) =>
  granted.filter((one) => one === name).length;

describe("turns of sessions", () => {
  it("go by bytes: small requests pass while a large one saves up", () => {
    const { granted, claim, grant } = turnsOf(1);
    for (let i = 0; i < 20; i++) claim("large", 4 * QUANTUM_BYTES);
    for (let i = 0; i < 400; i++) claim("small", 16 * KIB);
    grant(300);
    const large = count(granted, "large");
    const small = count(granted, "small");
    const ratio = (large * 4 * QUANTUM_BYTES) / (small * 16 * KIB);
    expect(ratio).toBeGreaterThan(0.8);
    expect(ratio).toBeLessThan(1.25);
  });

  it("let one call of a session pass before the second quantum of another", () => {
    const { granted, claim, grant } = turnsOf(1);
    for (let i = 0; i < 500; i++) claim("many", 32 * KIB);
    claim("one");
    grant(4);
    expect(granted).toEqual(["many", "many", "one", "many"]);
  });

  it("are over after four calls, however small they are and however many follow", () => {
    const { granted, claim, grant } = turnsOf(1);
    claim("one");
    for (let i = 0; i < 500; i++) {
      claim("many", 1);
      if (i % 50 === 0) claim("one", 1);
    }
    grant(23);
    const runs = granted.map((name) => (name === "many" ? "m" : "o")).join("");
    expect(runs.match(/m+/g)?.map((run) => run.length)).toEqual([4, 4, 4]);
  });

  it("are for the claims of one session first come, first served", () => {
    const { turns } = turnsOf(1);
    const order: number[] = [];
    for (let i = 0; i < 50; i++) {
      const claim: Claim = {
        sessionId: "s",
        bytes: i * KIB,
        isDeferred: false,
        granted: () => true,
      };
      turns.enqueue(() => Promise.resolve(order.push(i)), { claim });
    }
    while (turns.size > 0) void turns.dequeue()();
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it("come to requests of any size while nobody else waits", () => {
    const { granted, claim, grant } = turnsOf(1);
    claim("s", 100 * QUANTUM_BYTES);
    claim("s", 1);
    grant(2);
    expect(granted).toEqual(["s", "s"]);
  });

  it("are NOT saved up by a session that has its share already", () => {
    const { granted, claim, grant, turns } = turnsOf(2);
    for (const session of ["a", "b"]) {
      for (let i = 0; i < 50; i++) claim(session);
      for (let i = 0; i < 20; i++) claim(session, 32 * KIB);
    }
    for (let i = 0; i < 50; i++) {
      // One each; whoever is asked for a second one has its share and passes its turn on.
      grant(2, true);
      for (const session of ["a", "b"]) turns.left(session);
    }
    granted.length = 0;
    grant(30);
    const runs = granted.join("").match(/a+|b+/g) ?? [];
    expect(Math.max(...runs.map((run) => run.length))).toBeLessThanOrEqual(3);
  });
});

describe("the share of one session", () => {
  it("is half of the window, rounded up, while another waits", () => {
    for (const window of [1, 2, 3, 7, 8, 16]) {
      const { granted, claim, grant } = turnsOf(window);
      for (let i = 0; i < 40; i++) claim("many");
      for (let i = 0; i < 40; i++) claim("other");
      grant(window, true);
      expect(count(granted, "many"), String(window)).toBeLessThanOrEqual(Math.ceil(window / 2));
      expect(count(granted, "other"), String(window)).toBeLessThanOrEqual(Math.ceil(window / 2));
    }
  });

  it("is the whole window while nobody else waits", () => {
    const { granted, claim, grant } = turnsOf(8);
    for (let i = 0; i < 8; i++) claim("alone");
    grant(8, true);
    expect(granted).toHaveLength(8);
  });
});

describe("a deferred claim", () => {
  it("comes after those of callers who wait, but is passed over nine times at most", () => {
    const { granted, claim, grant } = turnsOf(8);
    for (let i = 0; i < 60; i++) claim("a");
    for (let i = 0; i < 5; i++) claim("b", 100, true);
    grant(40);
    const places = granted.flatMap((name, i) => (name === "b late" ? [i + 1] : []));
    expect(places).toEqual([10, 20, 30, 40]);
  });

  it("is counted from the moment that it waits", () => {
    const { granted, claim, grant } = turnsOf(8);
    for (let i = 0; i < 40; i++) claim("a");
    grant(20);
    claim("b", 100, true);
    grant(10);
    expect(granted.indexOf("b late")).toBe(29);
  });

  it("goes at once where nobody else waits", () => {
    const { granted, claim, grant } = turnsOf(8);
    claim("b", 100, true);
    grant(1);
    expect(granted).toEqual(["b late"]);
  });
});

describe("what p-queue is told", () => {
  it("is that nothing waits while the gate is closed, and all of it afterwards", () => {
    const { turns, claim, door } = turnsOf(8);
    claim("a");
    claim("a", 100, true);
    door.isOpen = false;
    expect([turns.size, turns.waiting]).toEqual([0, 2]);
    door.isOpen = true;
    expect([turns.size, turns.waiting]).toEqual([2, 2]);
  });

  it("is nothing of a claim that was withdrawn, however often", () => {
    const { turns, claim, grant, granted } = turnsOf(8);
    const gone = claim("a");
    claim("b");
    turns.withdraw(gone);
    turns.withdraw(gone);
    expect(turns.size).toBe(1);
    grant(1);
    expect(granted).toEqual(["b"]);
    expect(turns.size).toBe(0);
  });

  it("is the class of a claim as its priority", () => {
    const { turns, claim } = turnsOf(8);
    claim("a");
    claim("a");
    claim("b", 100, true);
    expect(turns.filter({ priority: 1 })).toHaveLength(2);
    expect(turns.filter({ priority: 0 })).toHaveLength(1);
    expect(() => turns.setPriority()).toThrow("a claim changes its class");
  });
});
