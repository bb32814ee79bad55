/** What a mutant is: one fault of the proxy itself, as exact replacements of text in `src/`. */

/** `find` occurs exactly once in the file, or the gate fails: a mutant can't rot silently. */
export interface Edit {
  /** Below `src/`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** A test file of the project and, in full or in part, the name of the test that has to fail. */
export interface UnitLane {
  readonly file: string;
  readonly test: string;
  /** The test starts what was built: the changed files are built into the copy, too. */
  readonly needsBuild?: true;
}

/** Who has to notice it. What the simulation can't reach has a test of its own. */
export type Lane =
  | {
      readonly caughtBy: "sim";
      readonly expects: readonly string[];
      /** The first seed, where earlier ones send such a proxy into an endless loop. */
      readonly from?: number;
    }
  | { readonly caughtBy: "unit lane"; readonly unit: UnitLane };

export type Mutant = Lane & {
  readonly name: string;
  /** What the fault is, and where the proxy is careful against it in more than one place, that all are taken. */
  readonly says: string;
  readonly edits: readonly Edit[];
};

/** The file's text with the edit done. Throws where the text to be replaced is not there exactly once. */
export function edited(text: string, { file, find, replace }: Edit): string {
  const first = text.indexOf(find);
  if (first < 0) throw new Error(`${file} has no text ${JSON.stringify(find)} any more`);
  if (text.includes(find, first + 1)) throw new Error(`${file} has ${JSON.stringify(find)} twice`);
  if (find === replace) throw new Error(`${file}: the replacement changes nothing`);
  return text.slice(0, first) + replace + text.slice(first + find.length);
}
