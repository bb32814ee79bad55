import { describe, expect, test } from "vitest";
import { readOurs } from "../../src/app/config.ts";
import type { OptionKey } from "../../src/app/option-table.ts";
import { envLayer, flagLayer, resolveSettings } from "../../src/app/resolve.ts";

const flags = (values: Partial<Record<OptionKey, string>>) =>
  flagLayer(new Map(Object.entries(values) as [OptionKey, string][]), "/project");
const file = (scope: "server" | "global", value: object) =>
  readOurs(value, "holdfast.json: holdfast", "/etc/holdfast.json", scope).layer;
const settle = (...layers: Parameters<typeof resolveSettings>[0]) =>
  resolveSettings(layers, "stdio", "/home/u").settings;

describe("precedence", () => {
  const layers = [
    flags({ holdMs: "1s" }),
    envLayer({ HOLDFAST_HOLD: "2s" }, "/project"),
    file("server", { hold: "3s" }),
    file("global", { hold: "4s" }),
  ];

  test.each([
    [0, 1_000],
    [1, 2_000],
    [2, 3_000],
    [3, 4_000],
    [4, 45_000],
  ])("without the first %i sources the hold is %i ms", (dropped, expected) => {
    expect(settle(...layers.slice(dropped)).holdMs).toBe(expected);
  });

  test("an option that somebody set counts as given, others do not", () => {
    const { given } = resolveSettings([flags({ holdMs: "45s" })], "stdio", "/home/u");
    expect([...given]).toEqual(["holdMs"]);
  });

  test("an empty variable is not set", () => {
    expect(settle(envLayer({ HOLDFAST_HOLD: "" }, "/project")).holdMs).toBe(45_000);
  });
});

describe("wrong values", () => {
  test("name the flag, the value and what was expected", () => {
    expect(() => settle(flags({ holdMs: "45x" }))).toThrow(
      '--hold: "45x" is not right; expected a duration such as "45s" or "2m", from 0s to 1d',
    );
  });

  test("name the variable", () => {
    expect(() => settle(envLayer({ HOLDFAST_DEFER: "all" }, "/project"))).toThrow(
      'HOLDFAST_DEFER: "all" is not right; expected one of harmless, writes, none',
    );
  });

  test("name file and key", () => {
    expect(() => settle(file("server", { offline: { ttl: 5 } }))).toThrow(
      "holdfast.json: holdfast.offline.ttl: 5 is not right; expected a duration",
    );
  });

  test("do not show a header's value, which may be a secret", () => {
    const wrong = () => settle(flags({ header: "Authorization Bearer abc123" }));
    expect(wrong).toThrow("--header: the value is not right");
    expect(wrong).not.toThrow("abc123");
  });
});

describe("relations", () => {
  test("a bound that nobody set follows the one that somebody set, up and down", () => {
    const raised = settle(flags({ sessionMaxCalls: "30000" }));
    expect([raised.upstreamMaxCalls, raised.processMaxCalls]).toEqual([30_000, 30_000]);
    const lowered = settle(flags({ processMaxCalls: "500" }));
    expect([lowered.upstreamMaxCalls, lowered.sessionMaxCalls]).toEqual([500, 500]);
  });

  test("a smaller request bound than the default changes no other bound", () => {
    const settings = settle(flags({ requestMaxBytes: "1MiB" }));
    expect(settings.sessionMaxBytes).toBe(67_108_864);
  });

  test("two given bounds that contradict are an error that names both", () => {
    const both = flags({ sessionMaxCalls: "100", upstreamMaxCalls: "50" });
    expect(() => settle(both)).toThrow(
      "--max-calls-per-session is larger than --max-calls-per-upstream allows: " +
        "maxCallsPerSession may be at most maxCallsPerUpstream",
    );
  });

  test("a journal in memory cannot be asked to be durable", () => {
    const both = flags({ journal: "memory", durability: "always" });
    expect(() => settle(both)).toThrow("--durability: a journal in memory (--journal)");
    expect(settle(flags({ journal: "memory" })).journal).toBe("memory");
  });
});

test("paths are made absolute: from the folder of the file, of the process, and from home", () => {
  expect(settle(file("global", { stateDir: "s" })).stateDir).toBe("/etc/s");
  expect(settle(flags({ stateDir: "s" })).stateDir).toBe("/project/s");
  expect(settle(flags({ stateDir: "~/s" })).stateDir).toBe("/home/u/s");
  expect(settle(flags({ stateDir: "/s" })).stateDir).toBe("/s");
});
