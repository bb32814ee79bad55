/** What the main thread makes of answers of the journal thread. */
import { statSync } from "node:fs";
import { assert } from "../../base/assert.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { decodeRow } from "../rows.ts";
import type { RowValues } from "../rows.ts";

export function readRow(values: RowValues): CallRow {
  const row = decodeRow(values);
  assert(typeof row !== "string", `a row from the journal thread: ${String(row)}`);
  return row;
}

/** Columns that are `undefined` are absent in JSON. */
export function readSession(body: string): SessionRow {
  const row = JSON.parse(body) as SessionRow;
  return { ...row, logLevel: row.logLevel, endedAt: row.endedAt };
}

/** By `stat`, which opens nothing and so drops no lock. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
