/** Invariants F1 (oversize), F2 (bounded memory), F3 (UTF-8), and: chunk borders mean nothing. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idOfOversize, LineFramer, type Frame } from "../../src/wire/framing.ts";
import { SseFramer, type SseFrame } from "../../src/wire/sse.ts";

const encoder = new TextEncoder();
const bytes = (text: string) => encoder.encode(text);

interface Framer<F> {
  push(chunk: Uint8Array): F[];
}

/** Pushes `whole` in pieces of the given sizes, repeated. */
function inPieces<F>(framer: Framer<F>, whole: Uint8Array, sizes: readonly number[]): F[] {
  const frames: F[] = [];
  let at = 0;
  for (let i = 0; at < whole.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    frames.push(...framer.push(whole.slice(at, at + size)));
    at += size;
  }
  return frames;
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 });
const lines = (text: string, limit = 1_000): Frame[] => new LineFramer(limit).push(bytes(text));
const text = (value: string): Frame => ({ kind: "text", text: value });

describe("lines", () => {
  it("come out whole, without line ends, empty ones skipped, CRLF or LF", () => {
    expect(lines('{"a":1}\r\n\n\r\n{"b":"\\r"}\nlast')).toEqual([
      text('{"a":1}'),
      text('{"b":"\\r"}'),
    ]);
  });

  it("keep a carriage return that does not end the line", () => {
    expect(lines("a\rb\r\r\n")).toEqual([text("a\rb\r")]);
  });

  it("without a final newline are NOT messages, and their size is known", () => {
    const framer = new LineFramer(10);
    expect(framer.push(bytes("12345"))).toEqual([]);
    expect(framer.pendingBytes).toBe(5);
    expect(framer.push(bytes("67890123"))).toEqual([]);
    expect(framer.pendingBytes).toBe(13);
    framer.push(bytes("\n"));
    expect(framer.pendingBytes).toBe(0);
  });

  it("are the same however the bytes are chunked", () => {
    const part = fc.oneof(
      fc.string({ unit: "binary", maxLength: 30 }),
      fc.constantFrom(
        "\n",
        "\r\n",
        "\r",
        "\n\n",
        "🙂",
        "日本",
        '{"jsonrpc":"2.0"}',
        "x".repeat(60),
      ),
    );
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 20 }),
        fc.boolean(),
        sizes,
        (parts, isBroken, cut) => {
          const whole = bytes(parts.join(""));
          // A broken byte somewhere must not change how the rest is cut.
          if (isBroken && whole.length > 0) whole[whole.length >> 1] = 0xff;
          const inOne = new LineFramer(300).push(whole.slice());
          expect(inPieces(new LineFramer(300), whole, cut)).toEqual(inOne);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("with invalid UTF-8 show their edges, no more than of a line over the limit (F3)", () => {
    const line = `{"jsonrpc":"2.0","id":"1-7","result":"${"x".repeat(600)}`;
    const chunk = Uint8Array.from([...bytes(line), 0xff, ...bytes("}\n")]);
    const [frame] = new LineFramer(10_000).push(chunk);
    if (frame?.kind !== "invalid_utf8") throw new Error(`a frame ${frame?.kind}`);
    expect([frame.head.length, frame.tail.length]).toEqual([256, 256]);
    expect(frame.tail.endsWith("x\u00ff}")).toBe(true);
    expect(idOfOversize(frame.head, frame.tail)).toBe('"1-7"');
  });

  it("with invalid UTF-8 are reported and NOT repaired, and the next line is whole (F3)", () => {
    const latin1 = (bad: number[]) => `"${String.fromCharCode(...bad)}"`;
    for (const bad of [
      [0xff],
      [0xc3],
      [0xed, 0xa0, 0x80],
      [0xc0, 0x80],
      [0xf5, 0x80, 0x80, 0x80],
    ]) {
      const chunk = Uint8Array.from([0x22, ...bad, 0x22, 10, 0x31, 10]);
      expect(new LineFramer(100).push(chunk)).toEqual([
        { kind: "invalid_utf8", bytes: bad.length + 2, head: latin1(bad), tail: latin1(bad) },
        text("1"),
      ]);
    }
  });

  it("over the limit are reported once with head and tail, and the stream goes on (F1)", () => {
    const long = "H".repeat(300) + "m".repeat(1_000) + "T".repeat(300);
    const frame = {
      kind: "oversize",
      bytes: 1_600,
      head: "H".repeat(256),
      tail: "T".repeat(256),
    };
    for (const size of [1, 7, 255, 256, 257, 5_000]) {
      const whole = bytes(`a\n${long}\nb\n`);
      const frames = inPieces(new LineFramer(500), whole, [size]);
      expect(frames).toEqual([text("a"), frame, text("b")]);
    }
  });

  it("that are large are the same in one piece and in many, up to the limit", () => {
    const limit = 2_000_000;
    const part = '{"a":"日本 🙂 é","b":"';
    const line = part.repeat(Math.floor(limit / bytes(part).length) - 1);
    const rest = limit - bytes(line).length;
    const broken = Uint8Array.of(0xf0, 0x9f, 0x99);
    const whole = Buffer.concat([
      ...[line, "\r\n", "small\n", line, "x".repeat(rest), "\n"].map(bytes),
      ...[line, "x".repeat(rest + 1), "\n\ufeff", line, "\n", line.slice(9)].map(bytes),
      broken,
      ...["\n", line, "\r\r\n{}\n"].map(bytes),
    ]);
    const inOne = new LineFramer(limit).push(Uint8Array.from(whole));
    expect(inOne.map((frame) => (frame.kind === "text" ? frame.text.length : frame.kind))).toEqual([
      line.length,
      5,
      line.length + rest,
      "oversize",
      line.length,
      "invalid_utf8",
      line.length + 1,
      2,
    ]);
    for (const cut of [[65_536], [8_191, 100_003], [1_000_003, 1, 2, 3]]) {
      const frames = inPieces(new LineFramer(limit), whole, cut);
      // Compared one by one: a difference of megabytes is not for people.
      expect(frames.map((frame, n) => JSON.stringify(frame) === JSON.stringify(inOne[n]))).toEqual(
        inOne.map(() => true),
      );
    }
  });

  it("of exactly the limit pass, one byte more does not", () => {
    expect(lines("x".repeat(10) + "\n", 10)).toEqual([text("x".repeat(10))]);
    expect(lines("x".repeat(11) + "\n", 10)).toMatchObject([{ kind: "oversize", bytes: 11 }]);
  });

  it("of 200 MB cost no more memory than the limit and a chunk (F2)", () => {
    const framer = new LineFramer(4 * 1024 * 1024);
    const chunk = new Uint8Array(1024 * 1024).fill(0x61);
    const before = process.memoryUsage();
    let peak = 0;
    for (let i = 0; i < 200; i++) {
      // A chunk of its own each time, as from a socket: what is held on to stays visible.
      expect(framer.push(chunk.slice())).toEqual([]);
      const now = process.memoryUsage();
      peak = Math.max(peak, now.arrayBuffers - before.arrayBuffers);
    }
    const frames = framer.push(bytes("\n{}\n"));
    expect(frames).toMatchObject([{ kind: "oversize", bytes: 200 * 1024 * 1024 }, text("{}")]);
    // Garbage that is not collected yet counts too, so the bound is loose; 200 MB would still break it.
    expect(peak).toBeLessThan(120 * 1024 * 1024);
  });

  it("that come byte by byte cost little more memory than their length (F2)", () => {
    const framer = new LineFramer(8 * 1024 * 1024);
    const before = process.memoryUsage();
    for (let i = 0; i < 1_000_000; i++) framer.push(Uint8Array.of(0x61));
    const after = process.memoryUsage();
    // An object for each of a million bytes would be 100 MB and more.
    const held = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    expect(held).toBeLessThan(60_000_000);
    const [frame] = framer.push(bytes("\n"));
    expect(frame).toEqual(text("a".repeat(1_000_000)));
  });
});

describe("the id of an oversize message", () => {
  it.each([
    ['{"jsonrpc":"2.0","id":7,"result":{"a":"xxx', "xxx", "7"],
    ['{"jsonrpc":"2.0","id":"a-1","method":"m', "xxx", '"a-1"'],
    ['{"result":{"content":[', 'xxx"}]},"jsonrpc":"2.0","id":-3}', "-3"],
    ['{"method":"m","params":{', '},"jsonrpc":"2.0","id":"x"}\r', '"x"'],
  ])("is read from %s … %s", (head, tail, idText) => {
    expect(idOfOversize(head, tail)).toBe(idText);
  });

  it.each([
    ["an id deeper in", '{"params":{"jsonrpc":"2.0","id":7,', "xxx"],
    ["an id that is not at the very end", "{", ',"jsonrpc":"2.0","id":7}}'],
    ["an id with escapes", '{"jsonrpc":"2.0","id":"a\\"b",', ""],
    ["a cut off id", '{"jsonrpc":"2.0","id":123', ""],
    ["null", '{"jsonrpc":"2.0","id":null,', ""],
    // Head and tail are Latin-1 of UTF-8: such an id would come back garbled.
    ["an id beyond ASCII", '{"jsonrpc":"2.0","id":"Ã©",', ""],
    ["two ids", '{"jsonrpc":"2.0","id":1,"x":"', '","jsonrpc":"2.0","id":2}'],
  ])("is NOT guessed from %s", (_, head, tail) => {
    expect(idOfOversize(head, tail)).toBeUndefined();
  });
});

// ── SSE ─────────────────────────────────────────────────────────────────────────────────────────

const sse = (input: string, limit = 1_000): SseFrame[] => new SseFramer(limit).push(bytes(input));
const event = (data: string, id?: string, name = "message"): SseFrame => ({
  kind: "event",
  event: name,
  data,
  id,
});

describe("server-sent events", () => {
  it.each([
    ["one event", "data: x\n\n", [event("x")]],
    ["all fields", "event: e\nid: 5\ndata: x\n\n", [event("x", "5", "e")]],
    ["data of several lines", "data: a\ndata:b\ndata:  c\n\n", [event("a\nb\n c")]],
    ["comments and unknown fields", ": keep-alive\n\nfoo: 1\ndata: x\n: c\n\n", [event("x")]],
    ["a field without a colon", "data\n\n", [event("")]],
    ["colons in the data", 'data: {"a":1}\n\n', [event('{"a":1}')]],
    ["the priming event", "id: 1-0\ndata:\n\n", [event("", "1-0")]],
    ["an id alone", "id: 9\n\n", [event("", "9")]],
    ["an empty id", "id:\ndata: x\n\n", [event("x", "")]],
    ["an id with NUL, which is no id", "id: a\0b\ndata: x\n\n", [event("x")]],
    ["a retry", "retry: 2500\n\n", [{ kind: "retry", ms: 2500 }]],
    ["a retry that is no number", "retry: 1.5\nretry: -1\nretry:\n\n", []],
    ["an event of no fields", "\n\n\nevent: e\n\n", []],
    [
      "fields that do not carry over",
      "event: e\nid: 1\ndata: a\n\ndata: b\n\n",
      [event("a", "1", "e"), event("b")],
    ],
    ["an unfinished event, which is none", "data: a\n\ndata: b\n", [event("a")]],
    ["a byte order mark at the start", "\ufeffdata: x\n\n", [event("x")]],
  ] as [string, string, SseFrame[]][])("%s", (_, input, frames) => {
    expect(sse(input)).toEqual(frames);
    for (const end of ["\r\n", "\r"]) expect(sse(input.replaceAll("\n", end))).toEqual(frames);
  });

  it("are the same however the bytes are chunked, with any mixture of line ends", () => {
    const end = fc.constantFrom("\n", "\r\n", "\r");
    const line = fc.oneof(
      fc.constantFrom(
        "",
        "",
        "data: a",
        "data:",
        "id: 1",
        "event: e",
        "retry: 5",
        ": c",
        "data: 🙂日",
      ),
      fc.constant(`data: ${"x".repeat(300)}`),
      fc.string({ unit: "binary", maxLength: 12 }).map((s) => `data: ${s}`),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(line, end), { maxLength: 30 }), sizes, (all, cut) => {
        const whole = bytes(all.flat().join(""));
        const inOne = new SseFramer(300).push(whole.slice());
        expect(inPieces(new SseFramer(300), whole, cut)).toEqual(inOne);
      }),
      { numRuns: 1_000 },
    );
  });

  it("carry any one-line JSON unchanged between any line ends", () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom("\n", "\r\n", "\r"), sizes, (json, end, cut) => {
        const whole = bytes(`id: 7${end}data: ${json}${end}${end}`);
        expect(inPieces(new SseFramer(100_000), whole, cut)).toEqual([event(json, "7")]);
      }),
    );
  });

  it("over the limit are reported once, and the next event is whole (F1)", () => {
    const long = `{"jsonrpc":"2.0","id":3,"result":"${"x".repeat(400)}"}`;
    const tail = long.slice(-256);
    const inOneLine = sse(`id: 1\ndata: ${long}\n\ndata: next\n\n`, 100);
    expect(inOneLine).toEqual([
      { kind: "oversize", bytes: bytes(`data: ${long}`).length, head: long.slice(0, 250), tail },
      event("next"),
    ]);
    const inManyLines = sse(
      `data: {"jsonrpc":"2.0",\n${"data: x\n".repeat(200)}\ndata: next\n\n`,
      100,
    );
    expect(inManyLines).toMatchObject([
      { kind: "oversize", head: '{"jsonrpc":"2.0",' },
      event("next"),
    ]);
    expect(inManyLines).toHaveLength(2);
  });

  it("over the limit show the id of their message where it stands for certain", () => {
    const idIn = (input: string) => {
      const frame = sse(input, 400)[0];
      return frame?.kind === "oversize" ? idOfOversize(frame.head, frame.tail) : "not oversize";
    };
    const fill = "x".repeat(500);
    expect(idIn(`data: {"jsonrpc":"2.0","id":3,"result":"${fill}"}\n\n`)).toBe("3");
    expect(idIn(`data:{"result":"${fill}","jsonrpc":"2.0","id":4}\n\n`)).toBe("4");
    // A nested object that looks like the end of the message, on a line that is not the last.
    const nested = `data: {"result":{"a":"${fill}"\ndata: ,"x":{"y":1,"jsonrpc":"2.0","id":5}\n`;
    expect(idIn(`${nested}data: }}\n\n`)).toBeUndefined();
    // A nested object that looks like the start of the message, on a line that is not the first.
    expect(
      idIn(`data: {"result":\ndata: {"jsonrpc":"2.0","id":6,"a":"${fill}"}}\n\n`),
    ).toBeUndefined();
  });

  it("with invalid UTF-8 are reported and NOT repaired, and the next event is whole (F3)", () => {
    const bad = Uint8Array.from([...bytes("data: "), 0xff, 10, ...bytes("data: y\n\ndata: z\n\n")]);
    expect(new SseFramer(100).push(bad)).toMatchObject([
      { kind: "invalid_utf8", bytes: 7 },
      event("z"),
    ]);
  });

  it("do NOT end with a comment that is larger than any message", () => {
    expect(sse(`: ${"x".repeat(500)}\ndata: y\n\n`, 100)).toEqual([event("y")]);
  });

  it("of 200 MB cost no more memory than the limit and a chunk (F2)", () => {
    const framer = new SseFramer(4 * 1024 * 1024);
    const chunk = new Uint8Array(1024 * 1024).fill(0x61);
    framer.push(bytes("data: "));
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    for (let i = 0; i < 200; i++) {
      framer.push(chunk.slice());
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before);
    }
    expect(framer.push(bytes("\n\ndata: y\n\n"))).toMatchObject([{ kind: "oversize" }, event("y")]);
    expect(peak).toBeLessThan(120 * 1024 * 1024);
  });
});
