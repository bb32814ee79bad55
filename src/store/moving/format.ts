/**
 * The form in which sessions and calls leave a journal and come into another (docs/EXPORT.md): JSON
 * Lines, a header first, one record a line, a trailer last.
 *
 * MV1. A file that was cut, or changed in any record, is noticed: the trailer counts the records and
 *      carries a checksum of all lines before it.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { RefusedError } from "../../base/errors.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { isObject } from "../../wire/message.ts";
import type { JsonObject } from "../../wire/message.ts";
import { CALL, JOURNAL, SESSION, inOrder } from "./shapes.ts";
import type { JournalRecord } from "./shapes.ts";

export const FORMAT = "holdfast-journal";
/** Grows with every change, for what a reader does not know it refuses. */
export const FORMAT_VERSION = 1;

export interface Header {
  /** When it was written, epoch ms. */
  readonly createdAt: number;
  /** Version of the Holdfast that wrote it. */
  readonly holdfast: string;
  /** The states that were asked for; empty: calls of all states. */
  readonly states: readonly string[];
}

export interface Counts {
  readonly journals: number;
  readonly sessions: number;
  readonly calls: number;
}

export type MovedRecord =
  | { readonly kind: "journal"; readonly journal: JournalRecord }
  | { readonly kind: "session"; readonly session: SessionRow }
  | { readonly kind: "call"; readonly call: CallRow };

const PLURAL = { journal: "journals", session: "sessions", call: "calls" } as const;

/** Counts and sums the lines of one file, written or read. */
export class Tally {
  readonly #hash: Hash = createHash("sha256");
  readonly #counts = { journals: 0, sessions: 0, calls: 0 };

  /** A line before the trailer, without its newline. `kind` undefined for the header. */
  add(line: string, kind: MovedRecord["kind"] | undefined): void {
    this.#hash.update(line).update("\n");
    if (kind !== undefined) this.#counts[PLURAL[kind]]++;
  }

  get counts(): Counts {
    return { ...this.#counts };
  }

  /** The last line, and the sum in it. Ends the sum; only once. */
  trailer(): { readonly line: string; readonly sha256: string } {
    const sha256 = this.#hash.digest("hex");
    return { line: JSON.stringify({ kind: "end", ...this.#counts, sha256 }), sha256 };
  }
}

export function headerLine(header: Header): string {
  return JSON.stringify({ format: FORMAT, version: FORMAT_VERSION, ...header });
}

/** Members that are undefined are absent. Half a surrogate pair is written as an escape, and so kept. */
export function recordLine(record: MovedRecord): string {
  switch (record.kind) {
    case "journal":
      return JSON.stringify({ kind: "journal", ...inOrder(record.journal, JOURNAL) });
    case "session":
      return JSON.stringify({ kind: "session", ...inOrder(record.session, SESSION) });
    case "call":
      return JSON.stringify({ kind: "call", ...inOrder(record.call, CALL) });
  }
}

/** Throws `RefusedError` for what is no header, or one of a newer version. */
export function readHeader(line: string): Header {
  const value = parseObject(line);
  if (value?.["format"] !== FORMAT) {
    throw new RefusedError("line 1 is no header: this was not written by holdfast export");
  }
  const { version, createdAt, holdfast, states } = value;
  if (version !== FORMAT_VERSION) {
    throw new RefusedError(
      `it was written in version ${JSON.stringify(version)} of the format, and this Holdfast reads ` +
        `version ${String(FORMAT_VERSION)}. Update mcp-holdfast.`,
    );
  }
  const isWhole =
    typeof createdAt === "number" && typeof holdfast === "string" && Array.isArray(states);
  if (!isWhole) throw new RefusedError("line 1 is a header that lacks something");
  return { createdAt, holdfast, states: states.map(String) };
}

/** Undefined for a line that is no JSON object. */
export function parseObject(line: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isObject(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
