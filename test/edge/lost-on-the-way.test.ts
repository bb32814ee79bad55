import { describe, expect, it } from "vitest";
import { isLostOnTheWay } from "../chaos/lost.ts";

const asked = { nonce: "n1", at: 2_000, wasCutOff: true, isAcknowledged: false };
const row = (acceptedAt: number, deliveredAt?: number) => ({
  request: '{"params":{"arguments":{"nonce":"n1"}}}',
  acceptedAt,
  deliveredAt,
});

describe("a call without an answer", () => {
  it("lost it where it was written into a connection that was cut, but not over HTTP", () => {
    expect(isLostOnTheWay(asked, "sse", [row(2_001, 2_500)])).toBe(true);
    expect(isLostOnTheWay(asked, "http", [row(2_001, 2_500)])).toBe(false);
    expect(isLostOnTheWay({ ...asked, wasCutOff: false }, "sse", [row(2_001, 2_500)])).toBe(false);
  });

  it("is owed it while its row has not been given out", () => {
    expect(isLostOnTheWay(asked, "sse", [row(2_001)])).toBe(false);
    expect(isLostOnTheWay(asked, "sse", [row(1_000, 1_500), row(2_001)])).toBe(false);
  });

  it("may never have been taken where only the call that it repeats has a row", () => {
    expect(isLostOnTheWay(asked, "sse", [row(1_000)])).toBe(true);
    expect(isLostOnTheWay({ ...asked, isAcknowledged: true }, "sse", [row(1_000)])).toBe(false);
    expect(isLostOnTheWay({ ...asked, wasCutOff: false }, "sse", [row(1_000)])).toBe(false);
    expect(isLostOnTheWay(asked, "sse", [])).toBe(false);
  });
});
