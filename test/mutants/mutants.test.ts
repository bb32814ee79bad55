/** The mutants can be built, whatever became of the sources: the gate itself runs apart (`npm run mutants`). */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import ts from "typescript";
import { MUTANTS } from "./list.ts";
import { edited, type Mutant } from "./mutant.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

/** The changed files of a mutant. */
function built({ edits }: Mutant): ReadonlyMap<string, string> {
  const texts = new Map<string, string>();
  for (const edit of edits) {
    texts.set(edit.file, edited(texts.get(edit.file) ?? read(`src/${edit.file}`), edit));
  }
  return texts;
}

describe("a mutant", () => {
  it.each(MUTANTS)("$name changes what is there exactly once, into a program", (mutant) => {
    for (const [file, text] of built(mutant)) {
      const { diagnostics } = ts.transpileModule(text, { fileName: file, reportDiagnostics: true });
      expect(diagnostics?.map(({ messageText }) => messageText)).toEqual([]);
    }
  });

  it.each(MUTANTS.flatMap((mutant) => (mutant.caughtBy === "unit lane" ? [mutant] : [])))(
    "$name has a test that is there",
    ({ unit }) => {
      const text = read(unit.file) + read("test/store/conformance.ts");
      expect(text).toContain(unit.test);
    },
  );

  it("has a name of its own", () => {
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  });

  it.each([
    ["no text", "a"],
    ["twice", "b b"],
    ["nothing", "b"],
  ])("whose text is not there exactly once, or that changes nothing, fails: %s", (why, text) => {
    const edit = { file: "x.ts", find: "b", replace: why === "nothing" ? "b" : "c" };
    expect(() => edited(text, edit)).toThrow(why);
  });
});
