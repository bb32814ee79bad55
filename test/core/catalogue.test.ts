import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CATALOGUE_FORMAT,
  EMPTY_CATALOGUE,
  listText,
  offeredLists,
  readCatalogue,
  shownHandshake,
  toolFacts,
  toolsOf,
  UNKNOWN_TOOL,
  variantFor,
  withVariant,
  type Variant,
} from "../../src/core/catalogue.ts";
import { aServerHandshake, aTool } from "../support/builders.ts";

const aVariant = (overrides: Partial<Variant> = {}): Variant => ({
  key: "k",
  handshake: aServerHandshake(),
  lists: { tools: [aTool()] },
  seenAt: 1,
  ...overrides,
});

describe("a catalogue from disk", () => {
  it("comes back as it was written", () => {
    const catalogue = withVariant(EMPTY_CATALOGUE, aVariant());
    expect(readCatalogue(JSON.parse(JSON.stringify(catalogue)))).toEqual(catalogue);
    expect(readCatalogue(EMPTY_CATALOGUE)).toEqual(EMPTY_CATALOGUE);
  });

  it.each([
    ["nothing", undefined],
    ["an array", []],
    ["another format", { format: CATALOGUE_FORMAT + 1, variants: [] }],
    ["no variants", { format: CATALOGUE_FORMAT }],
    ["a variant that is none", { format: CATALOGUE_FORMAT, variants: [null] }],
    ["a variant without a key", { format: 1, variants: [{ ...aVariant(), key: undefined }] }],
    ["a handshake that is none", { format: 1, variants: [{ ...aVariant(), handshake: [] }] }],
    ["a list that is none", { format: 1, variants: [{ ...aVariant(), lists: { tools: {} } }] }],
    ["no time", { format: 1, variants: [{ ...aVariant(), seenAt: "1" }] }],
  ])("is NOT read from %s", (_, value) => {
    expect(readCatalogue(value)).toBeUndefined();
  });

  it("never throws, whatever is in the file", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(readCatalogue(value)).toBeUndefined();
        const read = readCatalogue({ format: CATALOGUE_FORMAT, variants: [value] });
        expect(read).toBeUndefined();
      }),
    );
  });
});

describe("variants", () => {
  it("are found by key; another one only where that is near enough", () => {
    const catalogue = withVariant(
      withVariant(EMPTY_CATALOGUE, aVariant({ key: "a" })),
      aVariant({ key: "b" }),
    );
    expect(variantFor(catalogue, "a", false)?.key).toBe("a");
    expect(variantFor(catalogue, "c", false)).toBeUndefined();
    expect(variantFor(catalogue, "c", true)?.key).toBe("b");
    expect(variantFor(EMPTY_CATALOGUE, "a", true)).toBeUndefined();
  });

  it("are at most eight, one for each key, the last confirmed first, and never lost but the oldest", () => {
    const keys = fc.array(fc.constantFrom(..."abcdefghijkl"), { maxLength: 40 });
    fc.assert(
      fc.property(keys, (all) => {
        const catalogue = all.reduce(
          (now, key, i) => withVariant(now, aVariant({ key, seenAt: i })),
          EMPTY_CATALOGUE,
        );
        const expected = [...new Set([...all].reverse())].slice(0, 8);
        expect(catalogue.variants.map((variant) => variant.key)).toEqual(expected);
        for (const { key, seenAt } of catalogue.variants) expect(seenAt).toBe(all.lastIndexOf(key));
      }),
    );
  });
});

describe("the handshake that a client is shown", () => {
  it("declares listChanged for each list there is, and is otherwise the upstream's", () => {
    const handshake = aServerHandshake({
      capabilities: {
        tools: { listChanged: false, x: 1 },
        resources: { subscribe: true },
        logging: {},
        experimental: { y: {} },
      },
      instructions: "be kind",
      _meta: { z: 1 },
    });
    expect(shownHandshake(handshake)).toEqual({
      ...handshake,
      capabilities: {
        tools: { listChanged: true, x: 1 },
        resources: { subscribe: true, listChanged: true },
        logging: {},
        experimental: { y: {} },
      },
    });
  });

  it("does NOT declare a list that the upstream does not offer", () => {
    expect(shownHandshake(aServerHandshake({ capabilities: {} }))["capabilities"]).toEqual({});
    expect(offeredLists(aServerHandshake({ capabilities: { logging: {} } }))).toEqual([]);
    expect(offeredLists({})).toEqual([]);
  });

  it("offers templates wherever it offers resources", () => {
    expect(offeredLists({ capabilities: { resources: {} } })).toEqual([
      "resources",
      "resourceTemplates",
    ]);
    expect(offeredLists({ capabilities: { tools: true, prompts: {} } })).toEqual(["prompts"]);
  });
});

describe("the text of a list", () => {
  const items = fc.array(fc.jsonValue(), { maxLength: 6 });

  it("is equal in any order of items, and different for a different item", () => {
    fc.assert(
      fc.property(items, fc.infiniteStream(fc.nat()), (list, order) => {
        const shuffled = list
          .map((item) => ({ item, at: order.next().value as number }))
          .sort((a, b) => a.at - b.at)
          .map(({ item }) => item);
        expect(listText(shuffled)).toBe(listText(list));
        expect(listText([...list, "one more"])).not.toBe(listText(list));
      }),
    );
  });

  it("is different if a description or a schema differs", () => {
    expect(listText([aTool()])).not.toBe(listText([aTool({ description: "Other." })]));
    expect(listText([aTool()])).not.toBe(listText([aTool({ inputSchema: {} })]));
  });
});

describe("what is read out of a tool", () => {
  it.each([
    ["nothing said", undefined, "unsafe", false],
    ["annotations that are none", "readOnly", "unsafe", false],
    ["read-only", { readOnlyHint: true }, "read", false],
    ["read-only and idempotent", { readOnlyHint: true, idempotentHint: true }, "read", false],
    ["idempotent", { idempotentHint: true }, "idempotent", true],
    [
      "idempotent, not read-only",
      { idempotentHint: true, readOnlyHint: false },
      "idempotent",
      true,
    ],
    [
      "destructive and idempotent",
      { idempotentHint: true, destructiveHint: true },
      "idempotent",
      true,
    ],
    ["not destructive", { destructiveHint: false }, "unsafe", true],
    ["destructive", { destructiveHint: true }, "unsafe", false],
    ["read-only but destructive", { readOnlyHint: true, destructiveHint: true }, "unsafe", false],
    [
      "read-only, destructive and idempotent",
      { readOnlyHint: true, destructiveHint: true, idempotentHint: true },
      "unsafe",
      false,
    ],
    ["a hint that is no boolean", { readOnlyHint: "true", idempotentHint: 1 }, "unsafe", false],
  ])("%s", (_, annotations, safety, isHarmless) => {
    const facts = toolFacts(aTool({ annotations }));
    expect(facts).toMatchObject({ safety, isHarmless });
  });

  it("is never safer than the hints that it was given", () => {
    const hint = fc.constantFrom(undefined, true, false);
    fc.assert(
      fc.property(hint, hint, hint, (readOnlyHint, idempotentHint, destructiveHint) => {
        const annotations = { readOnlyHint, idempotentHint, destructiveHint };
        const { safety } = toolFacts(aTool({ annotations }));
        if (safety === "read") expect(readOnlyHint).toBe(true);
        if (safety === "idempotent") expect(idempotentHint).toBe(true);
        if (readOnlyHint === true && destructiveHint === true) expect(safety).toBe("unsafe");
      }),
    );
  });

  it("has an equal schema for an equal schema in another order of keys", () => {
    const one = toolFacts(aTool({ inputSchema: { type: "object", properties: {} } }));
    const other = toolFacts(aTool({ inputSchema: { properties: {}, type: "object" } }));
    expect(one.schema).toBe(other.schema);
    expect(toolFacts(aTool({ inputSchema: undefined })).schema).toBe("{}");
  });

  it("is by name, where there is a name; an unknown tool is unsafe and harmful", () => {
    const tools = toolsOf([aTool({ name: "a" }), aTool({ name: "__proto__" }), null, {}, 7]);
    expect([...tools.keys()]).toEqual(["a", "__proto__"]);
    expect(UNKNOWN_TOOL).toMatchObject({ safety: "unsafe", isHarmless: false });
  });
});
