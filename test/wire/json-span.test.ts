/** Spans are checked against `JSON.parse`: whatever it reads, the span of it parses to. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memberOf, membersOf } from "../../src/wire/json-span.ts";

/** JSON text with random white space and random escapes, whose value is known from JSON.parse. */
const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const jsonText: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(
      "null",
      "true",
      "false",
      "0",
      "-1",
      "1.50",
      "1e3",
      "-0",
      "12345678901234567890",
    ),
    anyString(),
    fc
      .array(fc.tuple(space, tie("value"), space), { maxLength: 4 })
      .map((items) => `[${items.map(([a, v, b]) => a + v + b).join(",")}]`),
    fc
      .array(fc.tuple(space, anyString(), space, space, tie("value"), space), { maxLength: 4 })
      .map(
        (items) => `{${items.map(([a, k, b, c, v, d]) => `${a}${k}${b}:${c}${v}${d}`).join(",")}}`,
      ),
  ),
})).value;

function anyString(): fc.Arbitrary<string> {
  const plain = fc.string({ unit: "binary", maxLength: 8 }).map((s) => JSON.stringify(s));
  const hostile = fc
    .array(fc.constantFrom("\\\\", '\\"', "\\u0061", "\\ud83d", "{", "}", "[", "]", ",", ":", "id"))
    .map((parts) => `"${parts.join("")}"`);
  return fc.oneof(plain, hostile);
}

const entriesOf = (text: string): [string, unknown][] =>
  membersOf(text).map((m) => [m.key, JSON.parse(text.slice(m.start, m.end)) as unknown]);

describe("membersOf", () => {
  it("finds exactly the members that JSON.parse finds, for any JSON text", () => {
    fc.assert(
      fc.property(space, jsonText, space, (before, json, after) => {
        const text = before + json + after;
        const value: unknown = JSON.parse(text);
        if (typeof value !== "object" || value === null) return;
        const entries = entriesOf(text);
        if (Array.isArray(value)) {
          expect(entries.map(([, item]) => item)).toEqual(value);
          return;
        }
        // `fromEntries` lets the last of equal keys win, as JSON.parse does; Map keeps `__proto__`.
        expect(new Map(entries)).toEqual(new Map(Object.entries(value)));
      }),
      { numRuns: 2_000 },
    );
  });

  it("gives spans without the white space around the value", () => {
    const text = ' { "a" :  [1 , 2]  ,\n"b":\t"x" } ';
    const spans = membersOf(text).map((m) => text.slice(m.start, m.end));
    expect(spans).toEqual(["[1 , 2]", '"x"']);
  });

  it("reads keys that are spelled with escapes", () => {
    expect(entriesOf('{"\\u0069d":1,"a\\"b":2}')).toEqual([
      ["id", 1],
      ['a"b', 2],
    ]);
  });

  it("finds nothing in an empty object or array", () => {
    expect(membersOf("{ }")).toEqual([]);
    expect(membersOf(" [\n]")).toEqual([]);
  });

  it("survives nesting a million deep and a string of ten million characters", () => {
    const deep = `{"a":${"[".repeat(1_000_000)}${"]".repeat(1_000_000)},"b":1}`;
    expect(membersOf(deep).map((m) => m.key)).toEqual(["a", "b"]);
    const long = `{"a":"${'\\"'.repeat(5_000_000)}","b":1}`;
    expect(membersOf(long).map((m) => m.key)).toEqual(["a", "b"]);
  });
});

describe("memberOf", () => {
  it("finds what JSON.parse finds at any path, and nothing where there is nothing", () => {
    const keys = fc.array(fc.constantFrom("a", "b", "id", "__proto__"), { maxLength: 3 });
    const tree = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 3 },
        fc.integer(),
        fc.array(fc.tuple(fc.constantFrom("a", "b", "id", "__proto__"), tie("node"))),
      ),
    })).node;
    const spell = (node: unknown): string =>
      Array.isArray(node)
        ? `{${(node as [string, unknown][]).map(([k, v]) => ` "${k}" :${spell(v)}`).join(",")}}`
        : String(node);
    fc.assert(
      fc.property(tree, keys, (node, path) => {
        const text = spell(node);
        let expected: unknown = JSON.parse(text);
        for (const key of path) {
          const isThere =
            typeof expected === "object" && expected !== null && Object.hasOwn(expected, key);
          expected = isThere ? (expected as Record<string, unknown>)[key] : undefined;
        }
        const span = memberOf(text, ...path);
        const found: unknown =
          span === undefined ? undefined : JSON.parse(text.slice(span.start, span.end));
        expect(found).toEqual(expected);
      }),
      { numRuns: 1_000 },
    );
  });

  it("does NOT look into arrays or strings that look like objects", () => {
    expect(memberOf('{"params":[{"id":1}]}', "params", "id")).toBeUndefined();
    expect(memberOf('{"params":"{\\"id\\":1}"}', "params", "id")).toBeUndefined();
  });
});
