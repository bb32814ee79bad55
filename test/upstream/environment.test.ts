import { describe, expect, it } from "vitest";
import {
  credentialVariables,
  maskText,
  maskValues,
  minimalEnvironment,
  wrapEnvironment,
} from "../../src/upstream/environment.ts";
import { shownCommand } from "../../src/upstream/command-line.ts";
import { NoiseGate } from "../../src/upstream/noise-gate.ts";
import { StderrRing } from "../../src/upstream/stderr-ring.ts";
import { realWorld, type World } from "../../src/base/world.ts";

describe("the environment of a child", () => {
  it("is everything but our own settings when wrapping", () => {
    expect(wrapEnvironment({ A: "1", HOLDFAST_HOLD: "9", B: undefined, holdfast_x: "2" })).toEqual({
      A: "1",
      holdfast_x: "2",
    });
  });

  it("is the minimal list and what was named when serving", () => {
    const env = { PATH: "/bin", HOME: "/h", SHELL: "() { evil; }", API_KEY: "k", USER: undefined };
    expect(minimalEnvironment(env, { EXTRA: "e", HOME: "/other" })).toEqual({
      PATH: "/bin",
      HOME: "/other",
      EXTRA: "e",
    });
  });

  it("shows which credentials it carries, in an order of its own", () => {
    const env = { Z_URL: "z", AWS_PROFILE: "p", my_token: "t", PATH: "/bin", A_KEY: undefined };
    expect(credentialVariables(env)).toEqual([
      ["AWS_PROFILE", "p"],
      ["Z_URL", "z"],
      ["my_token", "t"],
    ]);
  });
});

describe("masking", () => {
  it("covers the values of secrets and of passwords in URLs, and no ordinary words", () => {
    const values = maskValues({
      API_KEY: "abcdef",
      LONGER_TOKEN: "abcdef-123",
      USE_TOKEN: "true",
      SHORT_PASS: "abc",
      DATABASE_URL: "postgres://me:hunter22@db/x",
      AWS_PROFILE: "production",
      DB_HOST: "db.example",
      PRIVATE_KEY: "-----BEGIN-----\nMIIEvQIBADANBg\n--\n",
    });
    expect(values).toContain("MIIEvQIBADANBg");
    expect(maskText("abcdef-123 abcdef MIIEvQIBADANBg hunter22 true abc production", values)).toBe(
      "*** *** *** *** true abc production",
    );
  });

  it("does not loop over an empty value", () => {
    expect(maskText("abc", [""])).toBe("abc");
  });

  it("of a command line cuts one that is very long", () => {
    expect(shownCommand("x", ["y".repeat(5000)], []).length).toBeLessThan(500);
  });
});

describe("the last words of a child", () => {
  const ringOf = (
    maskValues: string[],
    ...chunks: string[]
  ): { ring: StderrRing; lines: string[] } => {
    const lines: string[] = [];
    const ring = new StderrRing(maskValues, (line) => lines.push(line));
    for (const chunk of chunks) ring.push(Buffer.from(chunk));
    return { ring, lines };
  };

  it("are the newest lines, twenty at most and 4 KiB at most", () => {
    const many = Array.from({ length: 50 }, (_, i) => `line ${String(i)}`);
    const { ring, lines } = ringOf([], `${many.join("\r\n")}\n`);
    expect(lines).toEqual(many);
    expect(ring.tail()).toEqual(many.slice(30));
    const { ring: long } = ringOf([], `${"x".repeat(900)}\n`.repeat(10));
    expect(long.tail()).toHaveLength(4);
  });

  it("are masked also where a secret comes in pieces or at the place of a cut", () => {
    const { ring } = ringOf(["hunter22"], "pass is hun", "ter22", `${"y".repeat(987)}hunter22\n`);
    expect(ring.tail().join()).not.toMatch(/hun/);
    expect(ring.tail()[0]).toMatch(/^pass is \*\*\*y+\**…$/);
  });

  it("hold an endless line in bounded memory, and what comes after it", () => {
    const { ring } = ringOf([], ...Array<string>(100).fill("z".repeat(65_536)), "\nafter");
    expect(ring.tail().map((line) => line.length)).toEqual([1001, 5]);
  });

  it("put characters together that were cut between two chunks", () => {
    const ring = new StderrRing([], () => undefined);
    const bytes = Buffer.from("naïve ☃\n");
    for (const byte of bytes) ring.push(Uint8Array.of(byte));
    expect(ring.tail()).toEqual(["naïve ☃"]);
  });
});

describe("noise", () => {
  it("is let through again after a while, with the count of what was not", () => {
    let now = 0;
    const world: World = { ...realWorld(), monotonic: () => now };
    const reports: string[] = [];
    const gate = new NoiseGate(world, (what) => reports.push(what));
    for (let i = 0; i < 8; i++) gate.noise(() => String(i));
    now += 10_000;
    gate.noise(() => "later");
    gate.flush();
    expect(reports).toEqual(["0", "1", "2", "3", "4", "3 more like these", "later"]);
  });
});
