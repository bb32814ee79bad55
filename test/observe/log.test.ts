import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import { createLog, fileWriter, streamWriter } from "../../src/observe/log.ts";

const world = { now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) };

function collected(level: "debug" | "info" | "warn" | "error", format: "pretty" | "json") {
  const lines: string[] = [];
  const log = createLog({ level, format, world, write: (line) => lines.push(line) });
  return { log, lines };
}

describe("lines", () => {
  test("for people have time, level, message and fields", () => {
    const { log, lines } = collected("info", "pretty");
    log("warn", "upstream went away", { upstream: "git hub", attempt: 3, why: undefined });
    expect(lines).toEqual(['03:04:05.678 warn  upstream went away upstream="git hub" attempt=3\n']);
  });

  test("as JSON are one object with instant, level, message and fields", () => {
    const { log, lines } = collected("info", "json");
    log("info", "two\nlines", { attempt: 3, message: "not this" });
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      at: "2026-01-02T03:04:05.678Z",
      level: "info",
      message: "two\nlines",
      attempt: 3,
    });
  });

  test("below the level are not written", () => {
    const { log, lines } = collected("warn", "pretty");
    log("debug", "a");
    log("info", "b");
    log("error", "c");
    expect(lines.join("")).toBe("03:04:05.678 error c\n");
  });

  test("stay one line, and no server's text can steer a terminal", () => {
    const { log, lines } = collected("info", "pretty");
    log("info", "a\nb\u001b[2J", { stderr: "x\ny\u001b]0;" });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.slice(0, -1)).not.toMatch(/[\u0000-\u001f]/);
  });

  test.each(["pretty", "json"] as const)("as %s show no command of 8 bits either", (format) => {
    const { log, lines } = collected("info", format);
    log("info", "a \u009b2J b", { why: "c \u009b2J d\u2028" });
    expect(lines.join()).not.toMatch(/[\u007f-\u009f\u2028]/);
    expect(lines.join()).toContain("c \\u009b2J d");
  });
});

describe("logging never throws", () => {
  test("where the writer throws, and says later how many lines were lost", () => {
    const lines: string[] = [];
    let isBroken = true;
    const write = (line: string) => {
      if (isBroken) throw new Error("EPIPE");
      lines.push(line);
    };
    const log = createLog({ level: "info", format: "json", world, write });
    log("error", "one");
    log("error", "two");
    isBroken = false;
    log("info", "three");
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: "warn", lost: 2 },
      { message: "three" },
    ]);
  });

  test("to a pipe whose reader is gone", async () => {
    const reader = spawn(process.execPath, ["-e", ""], { stdio: ["pipe", "ignore", "ignore"] });
    const write = streamWriter(reader.stdin as unknown as NodeJS.WriteStream);
    const log = createLog({ level: "info", format: "pretty", world, write });
    await once(reader, "exit");
    for (let i = 0; i < 100; i++) log("error", "x".repeat(10_000));
    if (!reader.stdin.closed) await once(reader.stdin, "close");
    expect(() => {
      write("after");
    }).toThrow("the reader is gone");
    log("error", "after");
  });

  test("to a stream that nobody reads, whose unread lines stay bounded", () => {
    const stuck = new Writable({ write: () => undefined });
    const write = streamWriter(stuck as unknown as NodeJS.WriteStream);
    const log = createLog({ level: "info", format: "pretty", world, write });
    for (let i = 0; i < 100; i++) log("error", "x".repeat(100_000));
    expect(stuck.writableLength).toBeLessThan(1_500_000);
    stuck.destroy();
  });
});

test("a log file is private and appended to; one that cannot be opened is a configuration error", () => {
  const folder = mkdtempSync(join(tmpdir(), "hf-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, "log");
  fileWriter(path)("one\n");
  fileWriter(path)("two\n");
  expect(readFileSync(path, "utf8")).toBe("one\ntwo\n");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(() => fileWriter(join(folder, "no/log"))).toThrow(/log file .* cannot be opened: ENOENT/);
});
