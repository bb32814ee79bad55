import { describe, expect, it } from "vitest";
import { Bounds, ProcessBounds } from "../../src/engine/bounds.ts";
import { SETTINGS } from "../support/stage.ts";

const limits = {
  ...SETTINGS.limits,
  callsPerSession: 2,
  bytesPerSession: 100,
  callsPerUpstream: 3,
  callsPerProcess: 4,
  bytesPerProcess: 250,
};

/** Two upstreams of one process. */
function twoUpstreams() {
  const all = new ProcessBounds(limits);
  return [new Bounds(limits, all), new Bounds(limits, all)] as const;
}

describe("a bound of a session", () => {
  it("refuses its calls and leaves those of other sessions alone", () => {
    const [one] = twoUpstreams();
    expect(one.admit("a", 10)).toBeUndefined();
    expect(one.admit("a", 10)).toBeUndefined();
    expect(one.admit("a", 10)).toBe(
      "this session has 2 calls open, the limit is 2 (option --max-calls-per-session)",
    );
    expect(one.admit("b", 101)).toBe(
      "this session has 0 bytes open, the limit is 100 (option --max-bytes-per-session)",
    );
    expect(one.admit("b", 100)).toBeUndefined();
  });
});

describe("a bound of an upstream", () => {
  it("refuses calls of all its sessions, and none of another upstream", () => {
    const [one, two] = twoUpstreams();
    for (const session of ["a", "b", "c"]) expect(one.admit(session, 1)).toBeUndefined();
    expect(one.admit("d", 1)).toBe(
      "this server has 3 calls open, the limit is 3 (option --max-calls-per-upstream)",
    );
    expect(two.admit("e", 1)).toBeUndefined();
  });
});

describe("a bound of the process", () => {
  it("refuses calls of all upstreams, whichever holds the others", () => {
    const [one, two] = twoUpstreams();
    for (const session of ["a", "b", "c"]) expect(one.admit(session, 1)).toBeUndefined();
    expect(two.admit("d", 1)).toBeUndefined();
    expect(two.admit("e", 1)).toBe(
      "this proxy has 4 calls open, the limit is 4 (option --max-calls-per-process)",
    );
    one.release("a", 1);
    expect(two.admit("e", 1)).toBeUndefined();
  });

  it("counts bytes, also of calls that an earlier process accepted", () => {
    const [one, two] = twoUpstreams();
    one.count("a", 200);
    expect(two.admit("d", 51)).toBe(
      "this proxy has 200 bytes open, the limit is 250 (option --max-bytes-per-process)",
    );
    expect(two.admit("d", 50)).toBeUndefined();
    one.release("a", 200);
    expect(two.admit("d", 50)).toBeUndefined();
  });

  it("is not loosened by a release of a session that holds nothing", () => {
    const [one, two] = twoUpstreams();
    one.release("ghost", 1_000);
    for (const session of ["a", "b"]) one.admit(session, 100);
    expect(two.admit("d", 51)).toContain("--max-bytes-per-process");
  });
});

describe("what a backlog leaves behind", () => {
  const roomy = {
    ...SETTINGS.limits,
    callsPerSession: 50_000,
    callsPerUpstream: 50_000,
    callsPerProcess: 50_000,
    bytesPerProcess: 1_000_000,
  };
  function watched() {
    const told: number[] = [];
    const all = new ProcessBounds(roomy, { litter: (size) => told.push(size) });
    const [one, two] = [new Bounds(roomy, all), new Bounds(roomy, all)];
    return { one, two, told };
  }

  it("is told each time that 2,500 calls more wait, over all upstreams, and is worth a collection", () => {
    const { one, two, told } = watched();
    for (let n = 0; n < 1_250; n++) for (const each of [one, two]) each.admit("a", 1);
    expect(told).toHaveLength(1);
    expect(told[0]).toBeGreaterThanOrEqual(8 * 1024 * 1024);
    for (let n = 0; n < 2_499; n++) one.admit("b", 1);
    expect(told).toHaveLength(1);
    one.admit("b", 1);
    expect(told).toHaveLength(2);
  });

  it("is NOT told of calls that go straight through, however many", () => {
    const { one, told } = watched();
    for (let n = 0; n < 2_400; n++) one.admit("a", 1);
    for (let n = 0; n < 20_000; n++) {
      one.admit("b", 1);
      one.release("b", 1);
    }
    expect(told).toEqual([]);
  });

  it("counts anew for a backlog that grows again", () => {
    const { one, told } = watched();
    for (let n = 0; n < 2_500; n++) one.admit("a", 1);
    for (let n = 0; n < 2_000; n++) one.release("a", 1);
    for (let n = 0; n < 2_499; n++) one.admit("a", 1);
    expect(told).toHaveLength(1);
    one.admit("a", 1);
    expect(told).toHaveLength(2);
  });
});
