/**
 * A copy of the project in a temporary folder, in which one mutant lives. Nothing of it is ever in the
 * project itself; the folder goes with the mutant.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { edited, type Edit } from "./mutant.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const COPIED = ["src", "test", "package.json", "tsconfig.json", "vitest.config.ts"] as const;

export class Workshop {
  readonly folder: string;

  /** `needsBuild`: what was built is copied, and the changed files are built into it. */
  constructor(edits: readonly Edit[], needsBuild: boolean) {
    this.folder = mkdtempSync(join(tmpdir(), "holdfast-mutant-"));
    try {
      for (const name of COPIED)
        cpSync(join(ROOT, name), join(this.folder, name), { recursive: true });
      symlinkSync(join(ROOT, "node_modules"), join(this.folder, "node_modules"));
      if (needsBuild) cpSync(join(ROOT, "dist"), join(this.folder, "dist"), { recursive: true });
      for (const edit of edits) this.#edit(edit);
      if (needsBuild) for (const { file } of edits) this.#build(file);
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  #edit(edit: Edit): void {
    const path = join(this.folder, "src", edit.file);
    writeFileSync(path, edited(readFileSync(path, "utf8"), edit));
  }

  /** One file without its types: whether it still fits the others is for the tests to say. */
  #build(file: string): void {
    const text = readFileSync(join(this.folder, "src", file), "utf8");
    const { outputText } = ts.transpileModule(text, {
      fileName: file,
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        rewriteRelativeImportExtensions: true,
      },
    });
    writeFileSync(join(this.folder, "dist", file.replace(/\.ts$/, ".js")), outputText);
  }

  clear(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
