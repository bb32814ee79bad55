/** S1–S3, and the id map of requests that travel against the usual direction. */
import { describe, expect, it } from "vitest";
import { ServerRequests } from "../../src/core/routes.ts";
import { Shield, SHIELD_MS } from "../../src/core/shield.ts";

const doubt = { kind: "doubt", callId: "c_1", at: 0, isWarned: false } as const;

describe("the shield", () => {
  it("S1: does NOT match a call that nobody told it of: parallel equal calls stay separate", () => {
    const shield = new Shield();
    expect(shield.check("f", 0, "warn")).toEqual({ kind: "pass" });
    expect(shield.check("f", 0, "warn")).toEqual({ kind: "pass" });
    shield.remember("f", { kind: "running", callId: "c_1", at: 0 });
    expect(shield.check("f", SHIELD_MS * 10, "warn")).toEqual({ kind: "attach", callId: "c_1" });
    shield.forget("f", "c_2");
    expect(shield.check("f", 0, "warn")).toEqual({ kind: "attach", callId: "c_1" });
    shield.forget("f", "c_1");
    expect(shield.check("f", 0, "warn")).toEqual({ kind: "pass" });
  });

  it("S2: gives an outcome out once, within ten minutes", () => {
    const shield = new Shield();
    shield.remember("f", { kind: "stored", callId: "c_1", at: 0 });
    expect(shield.check("f", SHIELD_MS, "warn")).toEqual({ kind: "replay", callId: "c_1" });
    expect(shield.check("f", SHIELD_MS, "warn")).toEqual({ kind: "pass" });
    shield.remember("f", { kind: "stored", callId: "c_2", at: 0 });
    expect(shield.check("f", SHIELD_MS + 1, "warn")).toEqual({ kind: "pass" });
  });

  it("S3: warns once of an unknown outcome, then lets pass; with block it never does", () => {
    const warn = new Shield();
    warn.remember("f", doubt);
    expect(["f", "f", "f"].map((f) => warn.check(f, 1, "warn").kind)).toEqual([
      "warn",
      "pass",
      "pass",
    ]);
    const block = new Shield();
    block.remember("f", doubt);
    expect(["f", "f", "f"].map((f) => block.check(f, 1, "block").kind)).toEqual([
      "warn",
      "warn",
      "warn",
    ]);
    expect(block.check("f", SHIELD_MS + 1, "block").kind).toBe("pass");
    const off = new Shield();
    off.remember("f", doubt);
    expect(off.check("f", 1, "off").kind).toBe("pass");
  });

  it("forgets what is over, keeps what runs, and takes no call without a fingerprint", () => {
    const shield = new Shield();
    shield.remember(undefined, doubt);
    shield.remember("r", { kind: "running", callId: "c_0", at: 0 });
    for (let i = 0; i < 100; i++) shield.remember(`f${String(i)}`, { ...doubt, at: i });
    shield.sweep(SHIELD_MS + 50);
    expect(shield.size).toBe(51);
    expect(shield.check("r", SHIELD_MS * 2, "warn").kind).toBe("attach");
  });
});

describe("requests of the upstream", () => {
  const request = (upstreamIdText: string, epoch = "1") => ({ upstreamIdText, epoch, method: "m" });

  it("are answered once, under ids of their own", () => {
    const requests = new ServerRequests();
    const ids = [requests.add(request("0")), requests.add(request("0", "2"))];
    expect(new Set(ids).size).toBe(2);
    expect(requests.downstreamIdOf("0", "2")).toBe(ids[1]);
    expect(requests.downstreamIdOf("0", "3")).toBeUndefined();
    expect(requests.take(String(ids[0]))).toEqual(request("0"));
    expect(requests.take(String(ids[0]))).toBeUndefined();
    expect(requests.takeAll()).toEqual([{ ...request("0", "2"), downstreamIdText: ids[1] }]);
    expect(requests.size).toBe(0);
  });
});
