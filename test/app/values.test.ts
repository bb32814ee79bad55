import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  formatBytes,
  formatDuration,
  orNone,
  parseBytes,
  parseDuration,
  readBoolean,
  readBytes,
  readDuration,
  readInteger,
  readList,
  readText,
} from "../../src/app/values.ts";

describe("durations", () => {
  test("every duration that is written is read back the same", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10_000_000_000 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });

  test("no text makes the parser throw, and a number without a unit is no duration", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const value = parseDuration(text);
        expect(value === undefined || (Number.isSafeInteger(value) && value >= 0)).toBe(true);
      }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1 }), (count) => {
        expect(parseDuration(String(count))).toBeUndefined();
      }),
    );
  });

  test.each([
    ["45s", 45_000],
    ["2m", 120_000],
    ["1h30m", 5_400_000],
    ["1.5s", 1_500],
    ["250ms", 250],
    ["14d", 1_209_600_000],
    [" 2M ", 120_000],
    ["0", 0],
  ])("%s is %i ms", (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(["", "s", "45", "-1s", "1 s 2", "45x", "1e3s", "99999999999999999999d"])(
    "%j is no duration",
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  test("a duration outside its range is not taken, and a bare number of a file is not either", () => {
    const read = readDuration(1_000, 60_000);
    expect(read("1s")).toEqual({ value: 1_000 });
    expect(read("60s")).toEqual({ value: 60_000 });
    expect(read("999ms")).toBeUndefined();
    expect(read("61s")).toBeUndefined();
    expect(read(45)).toBeUndefined();
  });
});

describe("sizes", () => {
  test("every size that is written is read back the same", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
        expect(parseBytes(formatBytes(bytes))).toBe(bytes);
      }),
    );
  });

  test.each([
    ["4MiB", 4_194_304],
    ["4mib", 4_194_304],
    ["500kB", 500_000],
    ["1024", 1_024],
    ["1.5 KiB", 1_536],
    ["2GiB", 2_147_483_648],
  ])("%s is %i bytes", (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  test.each(["", "MiB", "4X", "-1B", "4 M i B", "1i"])("%j is no size", (text) => {
    expect(parseBytes(text)).toBeUndefined();
  });

  test("a file may give a plain number of bytes, but no fraction", () => {
    expect(readBytes(0, 10)(7)).toEqual({ value: 7 });
    expect(readBytes(0, 10)(7.5)).toBeUndefined();
    expect(readBytes(0, 10)(11)).toBeUndefined();
  });
});

test("counts are whole and within their range", () => {
  const read = readInteger(1, 100);
  expect(read("42")).toEqual({ value: 42 });
  expect(read(42)).toEqual({ value: 42 });
  for (const wrong of ["0", "101", "4.2", "", "x", 0, 101, 4.2, null, true]) {
    expect(read(wrong)).toBeUndefined();
  }
});

test("none is a value of its own: there is no such limit", () => {
  expect(orNone(readInteger(1, 9))("none")).toEqual({ value: undefined });
  expect(orNone(readInteger(1, 9))("10")).toBeUndefined();
});

test("a list is an array, or a text with commas, or several of them, and right as a whole or not at all", () => {
  const read = readList(readText);
  expect(read("a")).toEqual({ value: ["a"] });
  expect(read("a, b,c")).toEqual({ value: ["a", "b", "c"] });
  expect(read(["a,b", "c"])).toEqual({ value: ["a", "b", "c"] });
  expect(read([])).toEqual({ value: [] });
  expect(read("none")).toEqual({ value: [] });
  for (const wrong of ["", "a,", "a,,b", ["a", 1], 1, null, { a: "b" }]) {
    expect(read(wrong)).toBeUndefined();
  }
});

test("yes and no are read in their usual spellings and nothing else", () => {
  for (const yes of [true, "true", "1", "YES", "on"]) {
    expect(readBoolean(yes)).toEqual({ value: true });
  }
  for (const no of [false, "false", "0", "No", "off"]) {
    expect(readBoolean(no)).toEqual({ value: false });
  }
  for (const wrong of ["", "maybe", 1, null]) expect(readBoolean(wrong)).toBeUndefined();
});
