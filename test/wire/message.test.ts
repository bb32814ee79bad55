/** Invariants M1 (nothing is re-serialised), M2 (the minimum of JSON-RPC 2.0), M3 (bounded values) and M4 (large replies). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CONTAINERS_MAX,
  formatError,
  formatNotification,
  formatRequest,
  formatResult,
  parseMessage,
  progressTokenSpan,
  withIdText,
  withMember,
  withUpstreamId,
  type RequestMessage,
} from "../../src/wire/message.ts";
import { jsonPieces, jsonText, PIECE_CHARS, writeJson } from "../../src/wire/json-text.ts";

function aRequest(text: string): RequestMessage {
  const message = parseMessage(text);
  if (message.kind !== "request") throw new Error(`not a request but ${message.kind}: ${text}`);
  return message;
}

describe("a valid message", () => {
  it.each([
    // Both key orders that the official SDKs write.
    ["request", '{"jsonrpc":"2.0","id":1,"method":"ping"}', "1"],
    ["request", '{"method":"tools/call","params":{"name":"a"},"jsonrpc":"2.0","id":1}', "1"],
    ["reply", '{"jsonrpc":"2.0","id":"a","result":{}}', '"a"'],
    ["reply", '{"result":{},"jsonrpc":"2.0","id":7}', "7"],
    ["reply", '{"error":{"code":-32000,"message":"no"},"jsonrpc":"2.0","id":7}', "7"],
    ["reply", '{"jsonrpc":"2.0","id":1,"result":null}', "1"],
    // Ids keep their spelling, whatever JavaScript would make of them.
    ["request", '{"jsonrpc":"2.0","id":0,"method":"m"}', "0"],
    ["request", '{"jsonrpc":"2.0","id":-0,"method":"m"}', "-0"],
    ["request", '{"jsonrpc":"2.0","id":1.0,"method":"m"}', "1.0"],
    ["request", '{"jsonrpc":"2.0","id":1.5e3,"method":"m"}', "1.5e3"],
    ["request", '{"jsonrpc":"2.0","id":9007199254740993,"method":"m"}', "9007199254740993"],
    ["request", '{"jsonrpc":"2.0","id":1e999,"method":"m"}', "1e999"],
    ["request", '{"jsonrpc":"2.0","id":"","method":"m"}', '""'],
    ["request", '{"jsonrpc":"2.0","id":"\\u0061\\ud800","method":"m"}', '"\\u0061\\ud800"'],
    ["request", '{"jsonrpc":"2.0","\\u0069d":5,"method":"m"}', "5"],
    // Decoys.
    ["request", '{"params":{"id":9,"result":1},"jsonrpc":"2.0","id":2,"method":"m"}', "2"],
    ["request", '{"x":"\\"id\\":3,","jsonrpc":"2.0","id":4,"method":"m","extra":[{}]}', "4"],
    ["request", '\t{ "jsonrpc" : "2.0" ,\r "id" : 6 , "method" : "m" } ', "6"],
    ["request", '{"jsonrpc":"2.0","id":1,"method":"日本/🙂","params":{"é":"\u2028"}}', "1"],
    ["request", '{"jsonrpc":"2.0","id":1,"method":"m","params":[1,2]}', "1"],
    ["request", '{"__proto__":{"result":1},"jsonrpc":"2.0","id":1,"method":"toString"}', "1"],
  ])("is a %s: %s", (kind, text, idText) => {
    const message = parseMessage(text);
    expect(message.kind).toBe(kind);
    if (message.kind !== "request" && message.kind !== "reply") return;
    expect(message.text).toBe(text);
    const span = message.idSpan;
    expect(span && text.slice(span.start, span.end)).toBe(idText);
    if (message.kind === "request") expect(message.idText).toBe(idText);
  });

  it("is a notification where there is no id, also with extra members", () => {
    const text = '{"jsonrpc":"2.0","method":"notifications/x","params":{"id":1},"_x":1}';
    expect(parseMessage(text)).toEqual({
      kind: "notification",
      text,
      method: "notifications/x",
      params: { id: 1 },
    });
  });

  it("may be a reply to nothing: id null or none", () => {
    const error = '"error":{"code":-32700,"message":"bad"}';
    for (const text of [`{"jsonrpc":"2.0","id":null,${error}}`, `{"jsonrpc":"2.0",${error}}`]) {
      const message = parseMessage(text);
      expect(message).toMatchObject({ kind: "reply", id: undefined, error: { code: -32700 } });
      if (message.kind === "reply" && message.idSpan === undefined)
        expect(withIdText(message, "5")).toBe(text);
    }
  });

  it("keeps the data of an error and forgives a code or message of the wrong type", () => {
    const text = '{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":1,"data":[1]}}';
    expect(parseMessage(text)).toMatchObject({ error: { code: 0, message: "", data: [1] } });
  });

  it("may have params that are not an object, which then count as none", () => {
    expect(aRequest('{"jsonrpc":"2.0","id":1,"method":"m","params":null}').params).toBeUndefined();
  });
});

describe("what is no message", () => {
  it.each([
    ["", -32700, undefined],
    ["{", -32700, undefined],
    ['{"jsonrpc":"2.0","id":1,"method":"m"}}', -32700, undefined],
    ["{'jsonrpc':'2.0'}", -32700, undefined],
    ['{"jsonrpc":"2.0","id":NaN,"method":"m"}', -32700, undefined],
    ["1", -32600, undefined],
    ["null", -32600, undefined],
    ['"text"', -32600, undefined],
    ["[]", -32600, undefined],
    ["{}", -32600, undefined],
    ['{"id":1,"method":"m"}', -32600, "1"],
    ['{"jsonrpc":2.0,"id":1,"method":"m"}', -32600, "1"],
    ['{"jsonrpc":"1.0","id":"x","method":"m"}', -32600, '"x"'],
    ['{"jsonrpc":"2.0","id":1}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"method":"m","result":1}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"method":"m","error":null}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"method":7}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"method":null}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"error":"text"}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":1,"error":null}', -32600, "1"],
    ['{"jsonrpc":"2.0","id":null,"method":"m"}', -32600, undefined],
    ['{"jsonrpc":"2.0","id":{},"method":"m"}', -32600, undefined],
    ['{"jsonrpc":"2.0","id":[1],"method":"m"}', -32600, undefined],
    ['{"jsonrpc":"2.0","id":true,"result":1}', -32600, undefined],
    // Which of two ids would the answer go to? Refused, and nobody is answered by a guess.
    ['{"jsonrpc":"2.0","id":1,"method":"m","id":2}', -32600, undefined],
    ['{"jsonrpc":"2.0","id":1,"result":1,"\\u0069d":2}', -32600, undefined],
  ])("%s", (text, code, idText) => {
    const message = parseMessage(text);
    expect(message).toMatchObject({ kind: "malformed", code, idText });
    if (message.kind === "malformed") expect(message.reason).not.toBe("");
  });

  it("never throws, whatever comes", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), fc.json()), (text) => {
        expect(typeof parseMessage(text).kind).toBe("string");
      }),
      { numRuns: 2_000 },
    );
  });

  it("never throws on nesting half a million deep, and carries it unchanged", () => {
    const depth = CONTAINERS_MAX - 2;
    const deep = `${"[".repeat(depth)}${"]".repeat(depth)}`;
    const text = `{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":${deep}}}`;
    expect(withUpstreamId(aRequest(text), "1-1")).toBe(text.replace('"id":1', '"id":"1-1"'));
    expect(parseMessage("[".repeat(depth)).kind).toBe("malformed");
  });

  it("that are large replies keep their text only, and tell their result when asked (M4)", () => {
    const result = { content: [{ type: "text", text: "é".repeat(300_000) }], isError: true };
    const reply = parseMessage(formatResult('"7-1"', result));
    expect(reply.kind).toBe("reply");
    if (reply.kind !== "reply") return;
    expect(Object.getOwnPropertyDescriptor(reply, "result")).not.toHaveProperty("value");
    expect(reply.result).toEqual(result);
    expect([reply.id, reply.error]).toEqual(["7-1", undefined]);
    expect(withIdText(reply, "8")).toBe(formatResult("8", result));
  });

  it("of more objects and arrays than memory is good for is refused, under its id where that is certain", () => {
    const over = CONTAINERS_MAX - 1;
    const reason = "more than 500000 objects and arrays";
    for (const many of [
      "[".repeat(over) + "]".repeat(over),
      `[${"{},".repeat(over - 2)}{}]`,
      // Never closed: counted before anybody tries to read it.
      '{"a":'.repeat(over),
    ]) {
      const text = `{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":${many}}}`;
      expect(parseMessage(text)).toMatchObject({ kind: "malformed", reason, idText: "1" });
      expect(parseMessage(`[${text}]`)).toMatchObject({ kind: "malformed", idText: undefined });
    }
    const result = `[${"[],".repeat(over)}[]]`;
    const reply = `{"result":${result},"jsonrpc":"2.0","id":"1-7"}`;
    expect(parseMessage(reply)).toMatchObject({ kind: "malformed", reason, idText: '"1-7"' });
    // What stands in a string is text, whatever it looks like, also where the string has no end.
    const text = `{"jsonrpc":"2.0","id":1,"method":"${'[{\\"'.repeat(over)}`;
    expect(parseMessage(`${text}"}`)).toMatchObject({ kind: "request" });
    expect(parseMessage(text)).toMatchObject({ kind: "malformed", code: -32700 });
  });
});

describe("a batch", () => {
  it("is cut into the texts of its messages as they came", () => {
    const texts = ['{"jsonrpc":"2.0","method":"a"}', ' { "x" : "],[" } '.trim(), "1"];
    expect(parseMessage(`[ ${texts.join(" ,\n")} ]`)).toEqual({ kind: "batch", texts });
  });
});

// ── M1 ──────────────────────────────────────────────────────────────────────────────────────────

const idSpelling = fc.oneof(
  fc.string({ unit: "binary" }).map((s) => JSON.stringify(s)),
  fc.constantFrom("0", "-0", "1.0", "1e3", "9007199254740993", '"\\u0061"'),
);
const token = fc.option(
  fc.oneof(
    fc.string().map((s) => JSON.stringify(s)),
    fc.integer().map(String),
  ),
  { nil: undefined },
);

/** A request of arbitrary content and key order, in pieces around its id and its progress token. */
const request = fc
  .record({
    id: idSpelling,
    token,
    args: fc.json(),
    other: fc.json(),
    order: fc.shuffledSubarray(["jsonrpc", "id", "method", "params", "other"], { minLength: 5 }),
    gap: fc.constantFrom("", " ", "\t", "  "),
  })
  .map(({ id, token, args, other, order, gap }) => {
    const render = (idText: string, tokenText: string | undefined): string => {
      const meta = tokenText === undefined ? "" : `,"_meta":{"id":0,"progressToken":${tokenText}}`;
      const members: Record<string, string> = {
        jsonrpc: '"2.0"',
        id: idText,
        method: '"tools/call"',
        params: `{"name":"t","id":"decoy","arguments":${args}${meta}}`,
        other,
      };
      return `{${order.map((key) => `${gap}"${key}"${gap}:${gap}${String(members[key])}`).join(",")}}`;
    };
    return { id, token, render };
  });

describe("splicing an id (M1)", () => {
  it("changes the id and the progress token and not one other character", () => {
    fc.assert(
      fc.property(request, fc.string(), ({ id, token, render }, newId) => {
        const message = aRequest(render(id, token));
        expect(message.idText).toBe(id);
        const by = JSON.stringify(newId);
        const spliced = withUpstreamId(message, newId);
        expect(spliced).toBe(render(by, token === undefined ? undefined : by));
        expect(aRequest(spliced).id).toBe(newId);
        expect(withIdText(message, by)).toBe(render(by, token));
        expect(withIdText(aRequest(spliced), id)).toBe(
          render(id, token === undefined ? undefined : by),
        );
      }),
      { numRuns: 1_000 },
    );
  });

  it("of a reply brings the client's own id back as it was spelled", () => {
    fc.assert(
      fc.property(idSpelling, fc.json(), (idText, result) => {
        const text = `{"result":${result},"_x":1.50,"jsonrpc":"2.0","id":"1-7"}`;
        const reply = parseMessage(text);
        if (reply.kind !== "reply") throw new Error("not a reply");
        expect(withIdText(reply, idText)).toBe(
          `{"result":${result},"_x":1.50,"jsonrpc":"2.0","id":${idText}}`,
        );
      }),
    );
  });

  it.each(["null", "{}", "[1]", "true"])(
    "does NOT turn the invalid progress token %s into a valid one",
    (tokenText) => {
      const text = `{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":${tokenText}}}}`;
      expect(withUpstreamId(aRequest(text), "1-1")).toBe(text.replace('"id":1', '"id":"1-1"'));
    },
  );

  it("finds the progress token that JSON.parse would find", () => {
    const text =
      '{"params":{"_meta":{"progressToken":1,"progressToken":"two"}},"_meta":{"progressToken":3}}';
    const span = progressTokenSpan(text);
    expect(span && text.slice(span.start, span.end)).toBe('"two"');
    expect(progressTokenSpan('{"params":{"_meta":{}}}')).toBeUndefined();
    expect(progressTokenSpan('{"params":[]}')).toBeUndefined();
  });

  it("replaces one nested member, or nothing where it is not there", () => {
    const text = '{"params":{ "progressToken" : "1-1" ,"progress":0.50}}';
    expect(withMember(text, ["params", "progressToken"], "9")).toBe(
      '{"params":{ "progressToken" : 9 ,"progress":0.50}}',
    );
    expect(withMember(text, ["params", "absent"], "9")).toBe(text);
  });
});

describe("messages of our own", () => {
  it("are read back as what they are", () => {
    const error = { code: -32000, message: 'a "quoted"\nline' };
    expect(parseMessage(formatResult('"x"', { a: 1 }))).toMatchObject({ result: { a: 1 } });
    expect(parseMessage(formatError("1.0", error))).toMatchObject({ id: 1, error });
    expect(parseMessage(formatError(undefined, error))).toMatchObject({ id: undefined, error });
    expect(parseMessage(formatRequest("1-1", "m", { a: 1 }))).toMatchObject({
      kind: "request",
      id: "1-1",
      method: "m",
      params: { a: 1 },
    });
    expect(formatRequest(1, "m")).not.toContain("params");
    expect(parseMessage(formatNotification("n"))).toMatchObject({
      kind: "notification",
      method: "n",
      params: undefined,
    });
  });

  it("are one line each, whatever is in them", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.jsonValue(), (text, value) => {
        const all = [
          formatResult("1", value),
          formatError("1", { code: 1, message: text, data: value }),
          formatRequest(text, text, value),
          formatNotification(text, value),
        ];
        for (const message of all) expect(message).not.toMatch(/[\r\n]/);
      }),
    );
  });

  it("carry values of any depth, which JSON.stringify does not", () => {
    const depth = 100_000;
    const nested = `{"a":${'[{"b":'.repeat(depth)}1.5${"}]".repeat(depth)},"c":"é"}`;
    const value: unknown = JSON.parse(nested);
    expect(() => JSON.stringify(value)).toThrow(RangeError);
    expect(formatResult("1", value)).toBe(`{"jsonrpc":"2.0","id":1,"result":${nested}}`);
    expect(formatRequest("x", "initialize", value)).toBe(
      `{"jsonrpc":"2.0","id":"x","method":"initialize","params":${nested}}`,
    );
    expect(formatNotification("n", value)).toContain(nested);
    expect(formatError("1", { code: 1, message: "m", data: value })).toContain(nested);
  });

  it("are written as JSON.stringify would, at any depth", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(writeJson(value, Object.keys)).toBe(JSON.stringify(value));
        expect(jsonText(value)).toBe(JSON.stringify(value));
      }),
    );
    expect(jsonText(undefined)).toBe("null");
  });

  it("are the same in pieces, where long, wherever characters of two halves and lone halves stand", () => {
    const long = PIECE_CHARS + 1;
    for (const value of [
      ..."abcd".split("").map((_, n) => `${"x".repeat(n)}${"😀".repeat(long)}`),
      `x${"\ud83d".repeat(long)}😀`,
      `${"x".repeat(PIECE_CHARS - 1)}\ud83dy`,
      ['"\n'.repeat(long), { a: "é".repeat(long) }],
      Array.from({ length: 5_000 }, (_, n) => (n % 7 === 0 ? undefined : `${String(n)},"😀`)),
      Array.from({ length: 5_000 }, (_, n) => ({ n, "ü😀": [n, null, "x"] })),
    ]) {
      const pieces = [...jsonPieces(value, Object.keys)];
      expect(pieces.length).toBeGreaterThan(1);
      expect(Buffer.concat(pieces.map((piece) => Buffer.from(piece))).toString()).toBe(
        JSON.stringify(value),
      );
    }
  });
});
