/** What the main thread makes of answers of the journal thread. */
import { statSync } from "node:fs";
import { assert } from "../../base/assert.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import type { JournalStats } from "../../core/status.ts";
import { decodeRow } from "../rows.ts";
import type { RowValues } from "../rows.ts";

export function readRow(values: RowValues): CallRow {
  const row = decodeRow(values);
  assert(typeof row !== "string", `a row from the journal thread: ${String(row)}`);
  return row;
}

/** What a session of an earlier version is taken for, which had no such members: one that nobody can open. */
const BEFORE_KEYS = {
  principal: "local",
  transport: "stdio",
  peer: "",
  protocolVersion: "",
  timeoutMs: 0,
} as const;

/** Columns that are `undefined` are absent in JSON. */
export function readSession(body: string): SessionRow {
  const row: SessionRow = { ...BEFORE_KEYS, ...(JSON.parse(body) as SessionRow) };
  const { keyDigest, logLevel, endedAt } = row;
  return { ...row, keyDigest, logLevel, endedAt };
}

export function statsOf(
  path: string,
  of: Pick<JournalStats, "fsyncMs" | "commits" | "rows">,
): JournalStats {
  const files = { bytes: sizeOf(path), walBytes: sizeOf(`${path}-wal`) };
  return { kind: "sqlite", path, degraded: undefined, ...files, ...of };
}

/** By `stat`, which opens nothing and so drops no lock. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
