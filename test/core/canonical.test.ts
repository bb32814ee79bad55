/** Equal values have equal text, different ones never: an earlier call's answer depends on it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { callPieces, canonical, canonicalPieces } from "../../src/core/canonical.ts";

/** The value with the members of every object in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, item]) => [key, shuffled(item)] as const)
      .reverse(),
  );
}

const canonicalText = (json: string): string =>
  [...canonicalPieces(json, JSON.parse(json))].join("");

const nested = (depth: number, core: string): unknown =>
  JSON.parse(`${"[".repeat(depth)}${core}${"]".repeat(depth)}`);

describe("canonical", () => {
  it("sorts keys at every depth and writes no white space", () => {
    expect(canonical({ b: [{ y: 1, x: null }], a: "ü\n" })).toBe(
      '{"a":"ü\\n","b":[{"x":null,"y":1}]}',
    );
  });

  it("is equal for equal values in any order of keys, and parses back to the value", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(canonical(shuffled(value))).toBe(canonical(value));
        expect(JSON.parse(canonical(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it("is different for different values", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const isEqual = JSON.stringify(shuffledSorted(a)) === JSON.stringify(shuffledSorted(b));
        expect(canonical(a) === canonical(b)).toBe(isEqual);
      }),
    );
  });

  it("tells arrays in another order, and absent from null, apart", () => {
    expect(canonical([1, 2])).not.toBe(canonical([2, 1]));
    expect(canonical({ a: null })).not.toBe(canonical({}));
    expect(canonical({ a: undefined })).toBe(canonical({}));
    expect(canonical(undefined)).toBe("null");
    expect(canonical([undefined])).toBe("[null]");
  });

  it("tells values apart that differ a hundred thousand levels down", () => {
    const depth = 100_000;
    expect(canonical(nested(depth, "1"))).toBe(canonical(nested(depth, "1")));
    expect(canonical(nested(depth, "1"))).not.toBe(canonical(nested(depth, "2")));
  });
});

/** An order of its own, so that the check does not lean on what it checks. */
function shuffledSorted(value: unknown): unknown {
  if (Array.isArray(value)) return { array: value.map(shuffledSorted) };
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([k, v]) => [k, shuffledSorted(v)] as const);
  return { object: entries.sort(([a], [b]) => (a < b ? -1 : 1)) };
}

describe("canonicalPieces", () => {
  it("is equal for texts of one value, whatever their white space and order of keys", () => {
    expect(canonicalText('{ "b":1, "a" : "\\u0061" }')).toBe(canonicalText('{"a":"a","b":1}'));
  });

  it("does NOT take two numbers for one that only JavaScript cannot tell apart", () => {
    const write = (id: string) => canonicalText(`{"id":${id}}`);
    expect(write("1180000000000000001")).not.toBe(write("1180000000000000002"));
    expect(write("1180000000000000001")).toBe(write("1180000000000000001"));
    expect(write("0.1000000000000000055")).not.toBe(write("0.1"));
    expect(write("1e999")).not.toBe(write("2e999"));
    expect(write("1e999")).not.toBe(write("null"));
  });

  it("does NOT take digits in strings for numbers", () => {
    expect(canonicalText('{"a":"1180000000000000001 \\" -1.0"}')).toBe(
      canonical({ a: '1180000000000000001 " -1.0' }),
    );
  });

  it("gives equal texts only for equal values, and the same as canonical for plain numbers", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value, undefined, 1);
        expect(canonicalText(text).startsWith(canonical(JSON.parse(text)))).toBe(true);
      }),
    );
    expect(canonicalText("[1,-2.5,1e+21]")).toBe(canonical([1, -2.5, 1e21]));
  });

  it("come in small pieces, also of one long text and of many inexact numbers", () => {
    for (const json of [
      JSON.stringify({ a: "\n".repeat(1_000_000) }),
      `[${"1.50,".repeat(200_000)}2]`,
      JSON.stringify({ a: Array.from({ length: 50_000 }, (_, n) => ({ n })) }),
    ]) {
      const longest = Math.max(
        ...[...canonicalPieces(json, JSON.parse(json))].map((p) => p.length),
      );
      expect(longest).toBeLessThan(100_000);
    }
  });
});

describe("callPieces", () => {
  const pieces = (text: string, scope = ["alice", "up"]) => {
    const { params } = JSON.parse(text) as { params?: Record<string, unknown> };
    return [...callPieces(scope, { text, params })].join("");
  };

  it("hold the scope and the arguments, and nothing else of the call", () => {
    const call = '{"id":1,"params":{"name":"a","_meta":{"x":1},"arguments":{"b":1.0}}}';
    expect(pieces(call)).toBe('["alice","up"] {"b":1} 1.0');
    expect(pieces('{"id":2,"params":{"arguments":{ "b" : 1.0 }}}')).toBe(pieces(call));
    expect(pieces(call, ["bob", "up"])).not.toBe(pieces(call));
  });

  it("take absent arguments for empty ones, and the last of duplicates", () => {
    expect(pieces('{"params":{"name":"a"}}')).toBe('["alice","up"] {}');
    expect(pieces('{"params":[1]}')).toBe('["alice","up"] {}');
    expect(pieces('{"params":{"arguments":{"b":1},"arguments":{"b":2}}}')).toBe(
      '["alice","up"] {"b":2}',
    );
  });
});
