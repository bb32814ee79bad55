import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Asked } from "../../src/downstream/http/asked.ts";
import { formatEventId, parseEventId } from "../../src/downstream/http/event-id.ts";
import { readPlace } from "../../src/downstream/http/paths.ts";
import { PostStream } from "../../src/downstream/http/post-stream.ts";
import { Ring } from "../../src/downstream/http/ring.ts";
import { McpSession } from "../../src/downstream/http/session.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

describe("a path", () => {
  it.each([
    ["/mcp/box", { kind: "mcp", upstream: "box" }],
    ["/mcp/box?a=/../", { kind: "mcp", upstream: "box" }],
    ["/sse/box", { kind: "sse", upstream: "box" }],
    ["/sse/box/message?sessionId=a", { kind: "sse", upstream: "box" }],
    ["/ws/@scope:a.b", { kind: "ws", upstream: "@scope:a.b" }],
    ["/mcp/my%20box", { kind: "mcp", upstream: "my box" }],
    ["/mcp/%C3%A9", { kind: "mcp", upstream: "é" }],
  ])("%s is read", (target, place) => {
    expect(readPlace(target)).toEqual(place);
  });

  it("has one spelling for each name, and no other is read", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (name) => {
        const segment = encodeURIComponent(name);
        const isName = name !== "" && name !== "." && name !== ".." && !/[/\\\p{Cc}]/u.test(name);
        expect(readPlace(`/mcp/${segment}`)?.upstream).toBe(isName ? name : undefined);
        expect(readPlace(`/mcp/${segment}%41`)).toBeUndefined();
        expect(readPlace(`/mcp/${segment}/`)).toBeUndefined();
      }),
    );
  });
});

describe("an event id", () => {
  it.each(["get", "done", "c_1", "c_1+c_2"])(
    "of the stream %s is read as it was written",
    (name) => {
      const id = parseEventId(formatEventId("abcdefgh12", name, 7));
      expect(id).toMatchObject({ epoch: "abcdefgh12", seq: 7 });
      const { stream } = id ?? { stream: undefined };
      const read = stream?.kind === "calls" ? stream.callIds.join("+") : stream?.kind;
      expect(read).toBe(name);
    },
  );

  it.each([
    "",
    "1",
    "abcdefgh12.get",
    "abcdefgh12.get.01",
    "abcdefgh12.get.-1",
    "abcdefgh12.get.1 ",
    "abcdefgh12.get.1.2",
    "abcdefgh12.c_1+.1",
    "abcdefgh12.c_1++c_2.1",
    "abcdefgh12.get+c_1.1",
    "abcdefgh12.other.1",
    "abcdefgh12.../etc.1",
    "ABCDEFGH12.get.1",
    "abcdefgh12.get.9999999999999999",
    `abcdefgh12.${Array.from({ length: 101 }, (_, i) => `c_${String(i)}`).join("+")}.1`,
  ])("that was never given out is none: %s", (text) => {
    expect(parseEventId(text)).toBeUndefined();
  });
});

describe("a ring", () => {
  it("keeps what fits, and says what is lost", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 400_000 }), { maxLength: 40 }),
        fc.integer({ min: 0, max: 45 }),
        (sizes, seen) => {
          const budget = { size: 0 };
          const ring = new Ring(budget);
          for (const [i, size] of sizes.entries()) ring.push(i + 1, "x".repeat(size));
          const { messages, isComplete } = ring.after(seen);
          expect(budget.size).toBeLessThanOrEqual(1_048_576);
          const last = sizes.length;
          const missed = Math.max(0, last - seen);
          // RG2: all of it, or it is said that it is not.
          expect(isComplete).toBe(messages.length === missed);
          expect(messages.map((message) => message.seq)).toEqual(
            messages.map((_, i) => last - messages.length + 1 + i),
          );
          ring.clear();
          expect(budget.size).toBe(0);
        },
      ),
    );
  });

  it("shares 4 MiB with the others of its session", () => {
    const budget = { size: 0 };
    const rings = Array.from({ length: 6 }, () => new Ring(budget));
    const text = "x".repeat(1_000_000);
    for (const ring of rings) ring.push(1, text);
    expect(budget.size).toBe(4_000_000);
    expect(rings.map((ring) => ring.after(0).isComplete)).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});

describe("what was asked over one stream", () => {
  it("is named by the calls that are owed, until nothing is", () => {
    const asked = Asked.anew(["1", "2", "3"]);
    expect(asked.streamName()).toBeUndefined();
    asked.accepted("1", "c_1");
    asked.accepted("2", "c_2");
    expect(asked.streamName()).toBe("c_1+c_2");
    expect(asked.answered("1")).toBe(true);
    expect(asked.answered("1")).toBe(false);
    expect(asked.streamName()).toBe("c_2");
    asked.answered("2");
    // One is open that nobody can come back for.
    expect(asked.streamName()).toBeUndefined();
    expect(asked.orphans()).toEqual(["3"]);
    asked.answered("3");
    expect([asked.isSettled, asked.streamName()]).toEqual([true, "done"]);
  });

  it("of a client that came back for several stays owed until all are answered", () => {
    const asked = Asked.again(["c_1", "c_2"]);
    expect(asked.answered("7")).toBe(true);
    expect(asked.streamName()).toBe("c_1+c_2");
    expect(asked.answered("8")).toBe(true);
    expect(asked.answered("9")).toBe(false);
    expect(asked.streamName()).toBe("done");
  });

  it("may be answered although it was taken back", () => {
    const asked = Asked.anew(["1"]);
    asked.accepted("1", "c_1");
    expect(asked.cancelled("2")).toBe(false);
    expect(asked.cancelled("1")).toBe(true);
    expect([asked.isSettled, asked.hasCancelled, asked.streamName()]).toEqual([true, true, "done"]);
    expect(asked.answered("1")).toBe(true);
    expect(asked.hasCancelled).toBe(false);
  });
});

describe("the stream of a request whose client was gone before the request was a call", () => {
  it("is not kept: nobody can come back for it", () => {
    const world = new VirtualWorld({ seed: 1 });
    const facts = { upstream: "box", principal: "local", peer: "", key: "key", isReturning: true };
    const session = new McpSession(world, facts, { begun: () => {}, ended: () => {} });
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const stream = new PostStream(session, Asked.anew(["1"]), response);
    session.add(stream);
    response.emit("close");
    stream.accepted("1", "c_1");
    expect(stream.isOver).toBe(true);
    expect(session.streamOf("c_1")).toBeUndefined();
  });
});
