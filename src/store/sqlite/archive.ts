/**
 * What retention takes away, kept for good if somebody wants that: `<n>-<year>-<month>.jsonl` in the
 * archive folder, one JSON object a line: `{archivedAt, of, call}`. `of` is `result` (with request and
 * reply, which are dropped now) or `record` (the whole row is deleted now).
 *
 * AR1. A line is on disk before what it tells is gone. After a kill in between it comes twice; `call.id`
 *      tells.
 * AR2. What can't be archived is not taken away.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { makeLastingFolder, syncFolder } from "../layout.ts";
import { decodeRow } from "../rows.ts";
import type { RowValues } from "../rows.ts";

export type Archived = readonly [of: "result" | "record", values: RowValues];

const LINE_BREAK = 10;

export class Archive {
  readonly #base: string;

  /** `base`: folder and number, such as `…/archive/0123456789abcdef/1`. */
  constructor(base: string) {
    this.#base = base;
  }

  /** `now`: epoch ms. Throws what the file system says, and leaves the file as it was. */
  append(rows: readonly Archived[], now: number): void {
    if (rows.length === 0) return;
    const path = `${this.#base}-${new Date(now).toISOString().slice(0, 7)}.jsonl`;
    makeLastingFolder(dirname(path));
    const lines = rows.map(([of, values]) =>
      JSON.stringify({ archivedAt: now, of, call: decodeRow(values) }),
    );
    const fd = openSync(path, "a+", 0o600);
    try {
      const before = fstatSync(fd).size;
      try {
        // The line that a kill tore stays alone.
        writeWhole(fd, `${endsTorn(fd, before) ? "\n" : ""}${lines.join("\n")}\n`);
        fsyncSync(fd);
        // What is synced in a new file would be lost with its name.
        if (before === 0) syncFolder(dirname(path));
      } catch (error) {
        ftruncateSync(fd, before);
        throw error;
      }
    } finally {
      closeSync(fd);
    }
  }
}

function endsTorn(fd: number, size: number): boolean {
  const last = Buffer.alloc(1);
  return size > 0 && readSync(fd, last, 0, 1, size - 1) === 1 && last[0] !== LINE_BREAK;
}

function writeWhole(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
}
