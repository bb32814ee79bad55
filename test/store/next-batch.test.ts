import { describe, expect, it } from "vitest";
import { encodeRow, REQUEST_AT } from "../../src/store/rows.ts";
import type { Command } from "../../src/store/sqlite/protocol.ts";
import { charsOf, NextBatch, packed, unpacked } from "../../src/store/sqlite/next-batch.ts";
import { aCall } from "./builders.ts";

const settle = (id: string, characters: number): Command => {
  const reply = "x".repeat(characters);
  return [
    "change",
    { kind: "settle", id, attempt: 1, state: "done", executed: "yes", reply, at: 1 },
    true,
  ];
};

const ids = (commands: readonly Command[]) =>
  commands.map((command) => (command[0] === "change" ? command[1].id : command[0]));

describe("a batch", () => {
  it("is all that arrived meanwhile, where that is small", () => {
    const next = new NextBatch();
    for (let n = 0; n < 5_000; n++) next.push(settle(String(n), 10), undefined);
    expect(next.take().commands).toHaveLength(5_000);
    expect(next.size).toBe(0);
  });

  it("leaves large payloads beyond 4 MiB to the next one, in order, each with its waiter", () => {
    const next = new NextBatch();
    const waiter = { resolve: () => undefined, reject: () => undefined };
    for (const id of ["a", "b", "c"]) next.push(settle(id, 3_000_000), undefined);
    next.push(settle("d", 10), waiter);
    expect(ids(next.take().commands)).toEqual(["a", "b"]);
    const rest = next.take();
    expect(ids(rest.commands)).toEqual(["c", "d"]);
    expect(rest.waiters).toEqual([undefined, waiter]);
    expect(next.size).toBe(0);
  });

  it("holds one payload of any size", () => {
    const next = new NextBatch();
    for (const id of ["a", "b"]) next.push(settle(id, 16_000_000), undefined);
    expect(ids(next.take().commands)).toEqual(["a"]);
    expect(ids(next.take().commands)).toEqual(["b"]);
  });
});

describe("a parcel", () => {
  it("of small payloads is the batch itself", () => {
    const commands = [settle("a", 262_143), settle("b", 0)];
    const parcel = packed(commands);
    expect(parcel.commands).toBe(commands);
    expect(parcel.transfer).toEqual([]);
  });

  it("has large replies as bytes that go over without a copy, and that are given back", () => {
    const [small, large] = [settle("a", 262_143), settle("b", 262_144)];
    const parcel = packed([small, large]);
    expect(parcel.commands[0]).toBe(small);
    const [name, change, isSynced, reply] = parcel.commands[1] as Command & { 0: "change" };
    expect([name, isSynced]).toEqual(["change", true]);
    expect(change).toEqual({ ...(large[1] as object), reply: "" });
    expect(parcel.transfer).toEqual([reply?.buffer]);
    expect(Buffer.from(reply ?? []).toString()).toBe("x".repeat(262_144));
    unpacked(parcel.commands);
    expect(reply?.length).toBe(0);
  });

  it("has large requests so, too, and leaves the row as it was", () => {
    const values = encodeRow(aCall({ state: "queued", request: "é".repeat(262_144) }));
    const before = [...values];
    const [command] = packed([["admit", values, true]]).commands as [Command & { 0: "admit" }];
    expect(values).toEqual(before);
    expect(command[1]).toEqual(values.with(REQUEST_AT, ""));
    expect(Buffer.from(command[3] ?? []).toString()).toBe(values[REQUEST_AT]);
    expect(charsOf(command)).toBe(524_288);
    unpacked([command]);
    expect(charsOf(command)).toBe(0);
  });
});
