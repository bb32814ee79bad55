import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import { runCommandLine } from "../../src/app/command-line.ts";
import { journalReader } from "../../src/app/journals.ts";
import { realWorld } from "../../src/base/world.ts";
import { packageVersion } from "../../src/app/version.ts";
import { NO_JOURNALS, testFolder, testOutside } from "./support/outside.ts";

async function run(argv: string[], env: NodeJS.ProcessEnv = {}, folder = testFolder()) {
  const outside = testOutside(folder, env);
  const code = await runCommandLine(argv, outside);
  return { code, out: outside.stdout(), error: outside.stderr(), plans: outside.plans, folder };
}

describe("journals that can't be read", () => {
  test.each([["status"], ["calls list"], ["calls show c_1"]])(
    "make `%s` say why in words, without a stack, with exit code 1",
    async (words) => {
      const lost = new JournalError("io", "the native module can't be loaded; reinstall");
      const outside = testOutside(
        testFolder(),
        {},
        {
          journals: () => Promise.resolve({ ...NO_JOURNALS, list: () => Promise.reject(lost) }),
        },
      );
      expect(await runCommandLine(words.split(" "), outside)).toBe(1);
      expect(outside.stderr()).toBe("holdfast: the native module can't be loaded; reinstall\n");
    },
  );

  test("are named with what to do where SQLite finds them damaged", async () => {
    const folder = testFolder();
    const path = join(folder, "1.db");
    writeFileSync(path, "no database ".repeat(1000));
    const reader = journalReader(folder, realWorld(), () => undefined);
    await expect(reader.calls(path, {})).rejects.toMatchObject({
      name: "JournalError",
      message: expect.stringMatching(/1\.db can't be read: .*move the file away/s),
    });
  });
});

describe("the wrap form", () => {
  test("passes everything after -- unchanged, also --help, and writes nothing to stdout", async () => {
    const command = ["srv", "--help", "--hold", "1s", "--", "--version", "a b"];
    const { code, out, error, plans } = await run(["--hold", "2s", "--", ...command]);
    expect([code, out, error]).toEqual([0, "", ""]);
    expect(plans[0]?.target).toMatchObject({ command: "srv", args: command.slice(1) });
    expect(plans[0]?.settings.holdMs).toBe(2_000);
  });

  test("wraps a command that is called like one of ours", async () => {
    const { plans } = await run(["--", "status", "--json"]);
    expect(plans[0]?.target).toMatchObject({ command: "status", args: ["--json"] });
  });

  test("takes a URL, with options on both sides", async () => {
    const { plans } = await run(["--hold", "1s", "https://h/mcp", "--header", "A: 1"]);
    expect(plans[0]?.target).toEqual({ kind: "http", url: "https://h/mcp", headers: { A: "1" } });
  });

  test("ends with the proxy's exit code", async () => {
    const outside = testOutside(testFolder(), {}, { runProxy: () => Promise.resolve(1) });
    expect(await runCommandLine(["--", "srv"], outside)).toBe(1);
  });

  test.each([
    [[], "there is nothing to wrap"],
    [["--"], "there is no command after --"],
    [["--hold", "nope", "--", "srv"], '--hold: "nope" is not right'],
    [["npx", "-y", "srv"], "-y is not an option of holdfast"],
    [["npx", "srv"], '"npx" is neither a command of holdfast nor a URL'],
    [["npx", "srv"], "to wrap a command write: holdfast -- npx srv"],
    [["statsu"], 'did you mean "status"?'],
    [["--hold", "1s", "status"], "options go after the command: holdfast status"],
    [["https://h/mcp", "--", "srv"], "expected one of the two"],
    [["https://h/mcp", "more"], '"more" after the URL is not understood'],
    [["run"], "expected: holdfast run NAME"],
    [["run", "a", "b"], "expected: holdfast run NAME"],
    [["run", "a"], "there is no configuration file"],
    [["status", "--", "srv"], 'nothing can follow -- in "holdfast status"'],
    [["status", "--jsn"], "unknown option '--jsn'"],
    [["calls", "show"], "missing required argument 'call'"],
    [["calls", "settle", "c_01"], "required option '--note <text>' not specified"],
    [
      ["calls", "list", "--state", "queud"],
      '--state: "queud" is not a state; did you mean "queued"?',
    ],
    [["calls", "list", "--limit", "0"], '--limit: "0" is not right; expected a whole number'],
  ])("%j is a wrong use: exit 2, told on stderr, nothing on stdout", async (argv, message) => {
    const { code, out, error, plans } = await run(argv);
    expect(error).toContain(message);
    expect(error).toMatch(/^holdfast: .*\n$/s);
    expect([code, out, plans.length]).toEqual([2, "", 0]);
  });

  test("that fails leaves no state folder behind", async () => {
    const { folder } = await run(["--hold", "nope", "--", "srv"]);
    expect(existsSync(join(folder, "state"))).toBe(false);
  });
});

test("run NAME wraps an entry of the file", async () => {
  const folder = testFolder();
  const config = { mcpServers: { gh: { command: "srv", args: ["--x"] } } };
  writeFileSync(join(folder, "holdfast.json"), JSON.stringify(config));
  const { code, plans } = await run(["run", "gh", "--hold", "3s"], {}, folder);
  expect(code).toBe(0);
  expect(plans[0]).toMatchObject({ name: "gh", target: { command: "srv" } });
});

describe("help and version", () => {
  test.each([["--help"], ["-h"], ["help"], ["status", "--help"]])(
    "%s %s goes to stdout with exit 0",
    async (...argv) => {
      const { code, out, error } = await run(argv);
      expect([code, error]).toEqual([0, ""]);
      expect(out).toContain("holdfast");
    },
  );

  test("the help has the forms, examples and exit codes", async () => {
    const { out } = await run(["--help"]);
    expect(out).toContain("holdfast [options] -- command args…");
    expect(out).toContain("holdfast -- npx -y @modelcontextprotocol/server-github");
    expect(out).toContain("Exit codes: 0 healthy or done, 1 degraded or failed, 2 wrong usage");
    for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(110);
  });

  test("the version is the package's", async () => {
    expect(packageVersion()).toMatch(/^\d+\.\d+\.\d+/);
    for (const flag of ["--version", "-V"]) {
      expect(await run([flag])).toMatchObject({ code: 0, out: `${packageVersion()}\n` });
    }
  });
});
