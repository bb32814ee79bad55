/** docs/SPEC.md keeps its word: every invariant is in its matrix, and every test that it names exists. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { CALL_STATES, isTerminal } from "../src/core/call.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(ROOT + path, "utf8");
const SPEC = read("docs/SPEC.md");

const rows = (pattern: RegExp) =>
  SPEC.split("\n")
    .filter((line) => pattern.test(line))
    .map((line) =>
      line
        .split("|")
        .map((cell) => cell.trim())
        .slice(1, -1),
    );

/** [invariant, what it says, test file, test name] */
const MATRIX = rows(/^\|[^|]*\|[^|]*\| *`test\//);

it("the matrix was found", () => {
  expect(MATRIX.length).toBeGreaterThan(15);
});

it.each(MATRIX)("%s (%s) is tested by what it names", (_, __, file, name) => {
  const source = read(String(file).replaceAll("`", ""));
  expect(source).toContain(JSON.stringify(name));
});

it("every numbered invariant of the pure layers and the engine is in the matrix, and has a number of its own", () => {
  const known = new Set(MATRIX.map(([id]) => id));
  const numbered = ["base", "wire", "core", "engine"].flatMap((part) =>
    readdirSync(`${ROOT}src/${part}`)
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => [...read(`src/${part}/${name}`).matchAll(/^ \* ([A-Z]\d+)\. /gm)])
      .map(([, id]) => id),
  );
  expect(numbered.length).toBeGreaterThan(8);
  expect(numbered.filter((id) => !known.has(id))).toEqual([]);
  expect(numbered.filter((id, i) => numbered.indexOf(id) !== i)).toEqual([]);
});

it("every state is described, with what is terminal", () => {
  const described = rows(/^\| `[a-z_]+` +\| (yes|no) /).map(([state, terminal]) => [
    state,
    terminal,
  ]);
  const expected = CALL_STATES.map((state) => [`\`${state}\``, isTerminal(state) ? "yes" : "no"]);
  for (const pair of expected) expect(described).toContainEqual(pair);
  expect(described).toHaveLength(expected.length + 1); // `received` has no row.
});
