import { describe, expect, test } from "vitest";
import { readArguments } from "../../src/app/args.ts";

const flagsOf = (...argv: string[]) => Object.fromEntries(readArguments(argv).flags);

describe("what follows --", () => {
  test("is untouched, also where it looks like our own flags", () => {
    const command = ["srv", "--hold", "1s", "--help", "--version", "--", "-h", "--nonsense", ""];
    const read = readArguments(["--hold", "2s", "--", ...command]);
    expect(read.command).toEqual(command);
    expect(Object.fromEntries(read.flags)).toEqual({ holdMs: "2s" });
    expect([read.wantsHelp, read.wantsVersion]).toEqual([false, false]);
  });

  test("may be nothing, which is another thing than no --", () => {
    expect(readArguments(["--"]).command).toEqual([]);
    expect(readArguments([]).command).toBeUndefined();
  });
});

describe("our flags", () => {
  test("take their value after a space or an equals sign", () => {
    expect(flagsOf("--hold", "1s")).toEqual({ holdMs: "1s" });
    expect(flagsOf("--hold=1s")).toEqual({ holdMs: "1s" });
    expect(flagsOf("--name=a=b")).toEqual({ name: "a=b" });
  });

  test("that are yes or no take none, and can be negated", () => {
    expect(flagsOf("--control-tool", "--no-trust-annotations")).toEqual({
      controlTool: "true",
      trustAnnotations: "false",
    });
    expect(readArguments(["--quiet", "https://h/"]).words).toEqual(["https://h/"]);
    expect(() => readArguments(["--no-quiet=true"])).toThrow("--no-quiet takes no value");
  });

  test("of headers and lists collect, other ones replace", () => {
    expect(flagsOf("--header", "A: 1", "--header=B: 2", "--hold", "1s", "--hold", "2s")).toEqual({
      header: ["A: 1", "B: 2"],
      holdMs: "2s",
    });
    expect(flagsOf("--allowed-hosts", "a,b", "--allowed-hosts=c")).toEqual({
      allowedHosts: ["a,b", "c"],
    });
  });

  test("that do not exist are an error with the nearest one", () => {
    expect(() => readArguments(["--holdd", "1s"])).toThrow(
      '--holdd is not an option of holdfast; did you mean "--hold"? ' +
        "(flags of the server's command go after --)",
    );
    expect(() => readArguments(["-y"])).toThrow("-y is not an option of holdfast");
  });

  test("without their value are an error, also right before --", () => {
    expect(() => readArguments(["--hold"])).toThrow("--hold needs a value: expected a duration");
    expect(() => readArguments(["--hold", "--", "srv"])).toThrow("--hold needs a value");
  });
});
