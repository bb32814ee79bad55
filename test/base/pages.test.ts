/** Room for large payloads: what is put in comes out, and what is dropped takes none any more (PG1). */
import { MessageChannel } from "node:worker_threads";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { dropPages, inPages, Pages } from "../../src/base/pages.ts";

const MIB = 1024 * 1024;
const bytes = (text: string) => new TextEncoder().encode(text);
const read = (part: Uint8Array) => Buffer.from(part).toString();

const resident = () => process.memoryUsage.rss();

describe("pages", () => {
  it("hold what is appended, up to their bound", () => {
    const pages = new Pages(10);
    for (const part of ["abc", "", "défg"]) pages.append(bytes(part));
    expect(read(pages.bytes)).toBe("abcdéfg");
    expect(() => {
      pages.append(bytes("xyz"));
    }).toThrow(RangeError);
  });

  it("hold a text in UTF-8, lone halves of characters spelled as everywhere else", () => {
    for (const text of ["", "plain", "日本 😀 é", "a\ud83db", "x".repeat(3 * MIB)]) {
      expect(Buffer.compare(inPages(text), Buffer.from(text))).toBe(0);
    }
  });

  it("that were dropped are empty for everybody, and their memory is with the system at once (PG1)", () => {
    const pages = new Pages(128 * MIB);
    const chunk = new Uint8Array(MIB).fill(0x61);
    for (let n = 0; n < 128; n++) pages.append(chunk);
    const held = pages.bytes;
    const before = resident();
    pages.drop();
    expect(before - resident()).toBeGreaterThan(100 * MIB);
    expect(held.length).toBe(0);
    const text = inPages("x".repeat(MIB));
    dropPages(text);
    expect(text.length).toBe(0);
  });

  it("go to another thread without a copy", async () => {
    const { port1, port2 } = new MessageChannel();
    const sent = inPages("to the other side 😀");
    const arrived = once(port2, "message");
    port1.postMessage(sent, [sent.buffer]);
    expect(sent.length).toBe(0);
    const [got] = (await arrived) as [{ data: Uint8Array } | Uint8Array];
    port1.close();
    const part = got instanceof Uint8Array ? got : got.data;
    expect(read(part)).toBe("to the other side 😀");
    dropPages(part);
    expect(part.length).toBe(0);
  });

  it("are told from other bytes, which stay as they are", () => {
    const other = bytes("as it was");
    dropPages(other);
    expect(read(other)).toBe("as it was");
  });
});
