/** `holdfast export`, `calls export` and `import` as command lines, over journals on disk. */
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { runCommandLine } from "../../src/app/command-line.ts";
import type { Outside } from "../../src/app/commands/screen.ts";
import type { CallRow } from "../../src/core/call.ts";
import { journalFiles } from "../../src/store/layout.ts";
import { Draft } from "../../src/store/sqlite/draft.ts";
import { aProxy } from "./support/control.ts";
import { makeStatus } from "./support/samples.ts";
import { makeRow, testFolder, testOutside } from "./support/outside.ts";

async function run(folder: string, argv: string[], overrides: Partial<Outside> = {}) {
  const outside = testOutside(folder, {}, overrides);
  const code = await runCommandLine(argv, outside);
  return { code, out: outside.stdout(), error: outside.stderr() };
}

const BOOKS = "ab".repeat(32);
const DAEMON = "cd".repeat(32);

/** A journal that a dead process left. */
function leave(folder: string, upstream: string, name: string, rows: readonly CallRow[]): string {
  const files = journalFiles(join(folder, "state"), upstream, 1);
  mkdirSync(dirname(files.path), { recursive: true });
  const draft = new Draft(Database, files);
  for (const row of rows) draft.addCall(row);
  draft.keep("upstream", upstream);
  draft.keep("owner", JSON.stringify({ pid: 1, control: join(folder, "gone.sock"), name }));
  draft.seal("");
  draft.publish();
  return files.path;
}

const at = (acceptedAt: number, over: Partial<CallRow> = {}) =>
  makeRow({ id: `c_${String(acceptedAt)}`, acceptedAt, upstream: BOOKS, ...over });
const done = { state: "done", executed: "yes", settledAt: 5_000 } as const;

/** Two calls of a wrapped server, three of two servers of a daemon. */
function twoJournals(): string {
  const folder = testFolder();
  leave(folder, BOOKS, "books", [at(1), at(4, done)]);
  leave(folder, DAEMON, "holdfast serve", [
    at(2, { upstream: "docs" }),
    at(3, { upstream: "git", ...done }),
    at(5, { upstream: "docs", ...done }),
  ]);
  return folder;
}

const idsIn = (text: string) =>
  [...text.matchAll(/"kind":"call","id":"([^"]+)"/g)].map((m) => m[1]);

describe("an export", () => {
  test("to stdout is data only, and its words go to stderr", async () => {
    const { code, out, error } = await run(twoJournals(), ["export"]);
    expect(code).toBe(0);
    const lines = out.split("\n");
    expect(lines.pop()).toBe("");
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
    expect(lines[0]).toContain('{"format":"holdfast-journal","version":1,');
    expect(idsIn(out)).toEqual(["c_1", "c_4", "c_2", "c_3", "c_5"]);
    expect(error).toMatch(/^Exported 5 calls and 0 sessions of 2 journals\. Requests and results/);
  });

  test("to a file is private, appears whole, and replaces nothing", async () => {
    const folder = twoJournals();
    const { code, out } = await run(folder, ["export", "--to", "calls.jsonl", "--json"]);
    const path = join(folder, "calls.jsonl");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      exported: { journals: 2, sessions: 0, calls: 5 },
      file: path,
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = await run(folder, ["export", "--to", "calls.jsonl"]);
    expect(again).toMatchObject({ code: 1, out: "" });
    expect(again.error).toContain("is there already");
    const nowhere = await run(folder, ["export", "--to", "no/such/folder.jsonl"]);
    expect(nowhere).toMatchObject({ code: 1 });
    expect(nowhere.error).toContain("can't be written");
  });

  test("that is interrupted leaves no file", async () => {
    const folder = twoJournals();
    const { code, error } = await run(folder, ["export", "--to", "calls.jsonl"], {
      interrupted: () => Promise.resolve(),
    });
    expect(code).toBe(1);
    expect(error).toContain("interrupted");
    expect(readdirSync(folder).filter((name) => name.includes("calls"))).toEqual([]);
  });

  test("waits for a slow reader", async () => {
    const folder = testFolder();
    const rows = Array.from({ length: 20 }, (_, i) => at(i, { request: "x".repeat(20_000) }));
    leave(folder, BOOKS, "books", rows);
    let unread = 0;
    let most = 0;
    const outside = testOutside(
      folder,
      {},
      {
        out: (text) => {
          unread += text.length;
          most = Math.max(most, unread);
        },
        outTaken: () => {
          unread = 0;
          return Promise.resolve();
        },
      },
    );
    expect(await runCommandLine(["export"], outside)).toBe(0);
    expect(most).toBeLessThan(100_000);
  });

  test("of one server takes its journals, and its calls of a daemon's journal", async () => {
    const folder = twoJournals();
    const of = async (name: string) =>
      idsIn((await run(folder, ["export", "--upstream", name])).out);
    expect(await of("books")).toEqual(["c_1", "c_4"]);
    expect(await of("docs")).toEqual(["c_2", "c_5"]);
    const unknown = await run(folder, ["export", "--upstream", "bocks"]);
    expect(unknown).toMatchObject({ code: 2, out: "" });
    expect(unknown.error).toContain('no journal has a server "bocks"');
    expect(unknown.error).toContain("books");
  });

  test("of calls alone has the filters of a list", async () => {
    const folder = twoJournals();
    const of = async (...more: string[]) =>
      idsIn((await run(folder, ["calls", "export", ...more])).out);
    expect(await of()).toHaveLength(5);
    expect(await of("--limit", "3")).toEqual(["c_4", "c_3", "c_5"]);
    expect(await of("--state", "done", "--limit", "2")).toEqual(["c_4", "c_5"]);
    expect(await of("--state", "queued", "--upstream", "docs")).toEqual(["c_2"]);
    expect((await run(folder, ["calls", "export", "--state", "quued"])).code).toBe(2);
    expect((await run(folder, ["calls", "export", "--limit", "0"])).code).toBe(2);
  });

  test("says what it leaves out: what is in memory, and what can't be read", async () => {
    const folder = twoJournals();
    writeFileSync(journalFiles(join(folder, "state"), BOOKS, 2).path, "x".repeat(8_192));
    const status = makeStatus();
    await aProxy(folder, {}, { ...status, journal: { ...status.journal, kind: "memory" } });
    const { code, out, error } = await run(folder, ["export"]);
    expect(code).toBe(1);
    expect(idsIn(out)).toHaveLength(5);
    expect(error).toContain("'github' keeps its calls in memory; they are left out");
    expect(error).toMatch(/2\.db is left out: file is not a database/);
  });
});

describe("an import", () => {
  test("of what was piped brings all of it, tells what waits, and has nothing to do again", async () => {
    const exported = (await run(twoJournals(), ["export"])).out;
    const there = testFolder();
    const piped = { input: () => Readable.from([Buffer.from(exported)]) };
    const first = await run(there, ["import", "-"], piped);
    expect(first.code).toBe(0);
    expect(first.out).toContain("Imported 5 calls and 0 sessions.\n");
    expect(first.out).toContain("Held for you: 2 calls that may have run since the export");
    const second = await run(there, ["import", "-"], piped);
    expect(second).toEqual({
      code: 0,
      out: "Nothing to do; here already: 5 calls.\n",
      error: "",
    });
    const calls = (text: string) => text.split("\n").filter((line) => line.includes('"call"'));
    expect(calls((await run(there, ["export"])).out)).toEqual(calls(exported));
  });

  test("of a file that is not right says which line, and changes nothing", async () => {
    const folder = testFolder();
    const path = join(folder, "calls.jsonl");
    const { out } = await run(twoJournals(), ["export"]);
    writeFileSync(path, out.replace('"attempt":0', '"attempt":7'));
    const { code, error } = await run(folder, ["import", "calls.jsonl", "--json"]);
    expect(code).toBe(1);
    expect(error).toContain(`holdfast: nothing was imported from ${path}: line 3: attempt 7`);
    const missing = await run(folder, ["import", "nowhere.jsonl"]);
    expect(missing.code).toBe(1);
    expect(missing.error).toContain("ENOENT");
  });

  test("that is interrupted while it waits for input changes nothing", async () => {
    const folder = testFolder();
    const { out } = await run(twoJournals(), ["export"]);
    const silent = new Readable({ read: () => undefined });
    silent.push(out.slice(0, -100));
    const { code, error } = await run(folder, ["import", "-"], {
      input: () => silent,
      interrupted: () => Promise.resolve(),
    });
    expect(code).toBe(1);
    expect(error).toContain("nothing was imported from stdin: the import was interrupted");
    expect((await run(folder, ["export"])).error).toContain("Exported 0 calls");
    expect(existsSync(journalFiles(join(folder, "state"), BOOKS, 1).path)).toBe(false);
  });

  test("names what it did in JSON", async () => {
    const folder = twoJournals();
    await run(folder, ["export", "--to", "calls.jsonl"]);
    const { out } = await run(folder, ["import", "calls.jsonl", "--json"]);
    expect(JSON.parse(out)).toEqual({
      imported: { journals: [], calls: 0, held: 0, callsThere: 5, sessions: 0 },
    });
    expect(readFileSync(join(folder, "calls.jsonl"), "utf8")).toContain('"kind":"end"');
  });
});
