/**
 * The house rules as tests (house rules R2, R6, R19, R33). Each rule is first shown a file that breaks
 * it and one that does not: a check that cannot fail is no check.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  FILE_LINES_MAX,
  FUNCTION_LINES_MAX,
  importProblems,
  leftoverProblems,
  MAY_IMPORT,
  purityProblems,
  sizeProblems,
  sleepProblems,
  unrunProblems,
  worldProblems,
  type Source,
} from "./support/tidy-rules.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

function filesIn(folder: string, ending: RegExp): Source[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

function filesInIfThere(folder: string, ending: RegExp): Source[] {
  const isThere = readdirSync(ROOT, { withFileTypes: true }).some((e) => e.name === folder);
  return isThere ? filesIn(folder, ending) : [];
}

const SRC = filesIn("src", /\.ts$/);
const TESTS = filesIn("test", /\.(ts|mjs)$/);
const OTHERS = [
  ...filesInIfThere("docs", /\.md$/),
  ...filesInIfThere("scripts", /\.(ts|mjs|sh)$/),
  ...readdirSync(ROOT)
    .filter((name) => /\.(md|ts|mjs)$/.test(name))
    .map((name) => ({ path: name, text: readFileSync(join(ROOT, name), "utf8") })),
];

const source = (path: string, text: string): Source => ({ path, text });

it("there are files to check", () => {
  expect(SRC.length).toBeGreaterThan(15);
  expect(TESTS.length).toBeGreaterThan(10);
});

describe("imports point down the house, never up or sideways", () => {
  it.each([
    ["src/core/a.ts", 'import { b } from "../engine/b.ts";', "core may not import engine"],
    ["src/wire/a.ts", 'import type { B } from "../core/b.ts";', "wire may not import core"],
    ["src/base/a.ts", 'export * from "../wire/b.ts";', "base may not import wire"],
    ["src/store/sqlite/a.ts", 'import "../../upstream/b.ts";', "store may not import upstream"],
    ["src/upstream/a.ts", 'await import("../engine/b.ts");', "upstream may not import engine"],
    ["src/engine/a.ts", 'type B = import("../store/b.ts").B;', "engine may not import store"],
    ["src/core/a.ts", 'import { b } from "node:crypto";', "core may not import node:crypto"],
    ["src/wire/a.ts", 'import { z } from "zod";', "wire may not import zod"],
    ["src/engine/a.ts", 'import net from "node:net";', "engine may not import node:net"],
    ["src/engine/a.ts", 'import b from "better-sqlite3";', "engine may not import better-sqlite3"],
    ["src/engine/a.ts", 'import b from "p-queue-x";', "engine may not import p-queue-x"],
    ["src/core/a.ts", 'import Queue from "p-queue";', "core may not import p-queue"],
    ["src/helpers/a.ts", "", "helpers is no part of the house"],
  ])("a check of %s: %s", (path, text, problem) => {
    expect(importProblems(source(path, text)).join()).toContain(problem);
  });

  it("and what points down is fine, as is prose about imports", () => {
    const text = `
      // import { b } from "../engine/b.ts";
      import type { World } from "../base/world.ts";
      import { call } from "../core/call.ts";
      import { own } from "./own.ts";
      import { EventEmitter } from "node:events";
      import Queue from "p-queue";
      const text = 'import { b } from "../store/b.ts"';`;
    expect(importProblems(source("src/engine/a.ts", text))).toEqual([]);
    expect(importProblems(source("src/app/a.ts", 'import "../engine/b.ts";'))).toEqual([]);
  });

  it("in every file of src/", () => {
    expect(SRC.flatMap(importProblems)).toEqual([]);
  });

  it("and the table itself has no cycle", () => {
    const parts = Object.keys(MAY_IMPORT);
    for (const [i, part] of parts.entries()) {
      const above = parts.slice(i);
      expect(MAY_IMPORT[part]?.filter((target) => above.includes(target))).toEqual([]);
    }
  });
});

describe("files and functions keep their size", () => {
  it("a check of a file and a function that do not", () => {
    const long = `const f = () => {\n${"  f();\n".repeat(FUNCTION_LINES_MAX - 1)}};\n`;
    expect(sizeProblems(source("src/a.ts", long))).toEqual([
      `src/a.ts:1: a function of ${String(FUNCTION_LINES_MAX + 1)} lines`,
    ]);
    const inClass = `class A {\n  m() {${"\n".repeat(FUNCTION_LINES_MAX)}}\n}\n`;
    expect(sizeProblems(source("src/a.ts", inClass))).toHaveLength(1);
    expect(sizeProblems(source("src/a.ts", "\n".repeat(FILE_LINES_MAX + 1)))).toHaveLength(1);
  });

  it("a check of ones that just do", () => {
    const fits = `function f() {\n${"  f();\n".repeat(FUNCTION_LINES_MAX - 2)}}\n`;
    expect(sizeProblems(source("src/a.ts", fits))).toEqual([]);
    expect(sizeProblems(source("src/a.ts", "\n".repeat(FILE_LINES_MAX)))).toEqual([]);
  });

  it("in every file of src/", () => {
    expect(SRC.flatMap(sizeProblems)).toEqual([]);
  });
});

describe("wire and core compute only, and ports.ts holds types only", () => {
  it.each([
    ["src/core/a.ts", "export async function f() {}"],
    ["src/wire/a.ts", "export const f = (p: Promise<void>) => p;"],
    ["src/core/a.ts", "await f();"],
    ["src/ports.ts", "export const LIMIT = 1;"],
    ["src/ports.ts", "export class A {}"],
    ["src/ports.ts", 'import { a } from "./core/a.ts";'],
  ])("a check of %s: %s", (path, text) => {
    expect(purityProblems(source(path, text))).not.toEqual([]);
  });

  it("and prose about promises is fine, as are promises elsewhere and in types of ports", () => {
    const prose = '/** An async Promise to await. */\nexport const text = "await Promise";';
    expect(purityProblems(source("src/core/a.ts", prose))).toEqual([]);
    expect(purityProblems(source("src/engine/a.ts", "await f();"))).toEqual([]);
    const port = 'import type { A } from "./a.ts";\nexport interface B { c(): Promise<A> }';
    expect(purityProblems(source("src/ports.ts", port))).toEqual([]);
  });

  it("in every file of src/", () => {
    expect(SRC.flatMap(purityProblems)).toEqual([]);
  });
});

describe("only base/world.ts touches clocks, timers, randomness and ids", () => {
  it.each([
    "const a = Date.now();",
    "const a = new Date();",
    "const a = new Date;",
    "const a = Math.random();",
    "setTimeout(f, 1);",
    "globalThis.setInterval(f, 1);",
    "const wait = setTimeout;",
    'import { randomUUID } from "node:crypto";',
    "crypto.getRandomValues(a);",
    "performance.now();",
    "process.hrtime.bigint();",
    "AbortSignal.timeout(1);",
    'import { scheduler } from "node:timers/promises";',
  ])("a check of: %s", (text) => {
    expect(worldProblems(source("src/engine/a.ts", text))).not.toEqual([]);
    expect(worldProblems(source("src/base/world.ts", text))).toEqual([]);
  });

  it("and prose about them is fine, as is a date that is given", () => {
    const text = `
      // Date.now() and setTimeout are banned.
      const a = new Date(world.now()).toISOString() + "Math.random()" + \`performance\`;
      world.timer(1, f);`;
    expect(worldProblems(source("src/engine/a.ts", text))).toEqual([]);
  });

  it("in every file of src/", () => {
    expect(SRC.flatMap(worldProblems)).toEqual([]);
  });
});

describe("tests run, all of them, and sleep on no clock", () => {
  it.each([
    ["it", "only('', f)"],
    ["describe", "skip('', f)"],
    ["it", "todo('')"],
    ["test", "skipIf(a)('', f)"],
  ])("a check of: %s.%s", (what, how) => {
    expect(unrunProblems(source("test/a.test.ts", `${what}.${how};`))).toHaveLength(1);
  });

  it.each(["await new Promise((r) => setTimeout(r, 5));", 'import "node:timers/promises";'])(
    "a check of a sleep: %s",
    (text) => {
      expect(sleepProblems(source("test/engine/a.test.ts", text))).toHaveLength(1);
      // Real processes need real deadlines.
      expect(sleepProblems(source("test/e2e/a.test.ts", text))).toEqual([]);
    },
  );

  it("in every file of test/", () => {
    expect(unrunProblems(source("test/a.test.ts", "list.only(1); page.skip(2);"))).toEqual([]);
    expect(TESTS.flatMap(unrunProblems)).toEqual([]);
    expect(TESTS.flatMap(sleepProblems)).toEqual([]);
  });
});

describe("nothing unfinished is left behind", () => {
  it("a check of a mark, and of words that only look like one", () => {
    const mark = "FIX" + "ME";
    expect(leftoverProblems(source("docs/a.md", `a\n// ${mark}: later\n`))).toHaveLength(1);
    expect(leftoverProblems(source("docs/a.md", "a todo list, XXXL, prefixme"))).toEqual([]);
  });

  it("in any file of the project", () => {
    expect([...SRC, ...TESTS, ...OTHERS].flatMap(leftoverProblems)).toEqual([]);
  });
});
