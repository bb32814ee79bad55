/** The record of what a process did to its disk and said to others, in the order in which it happened. */
import { readFileSync } from "node:fs";

/** As `enum kind` of `native/crashlab.c`, from 1. */
const KINDS = [
  "opened",
  "written",
  "synced",
  "truncated",
  "unlinked",
  "renamed",
  "closed",
  "made_folder",
  "told",
  "sent",
  "linked",
] as const;

export interface TraceRecord {
  readonly kind: (typeof KINDS)[number];
  /** -1 where the call names a path. */
  readonly fd: number;
  /** Ascending from 1 over the whole process. */
  readonly order: number;
  /** Of a write; the new size of a truncation; the flags of an opening. */
  readonly offset: number;
  readonly path: string;
  /** What was written; the new path of a renaming or linking. */
  readonly bytes: Buffer;
}

const HEAD_BYTES = 32;

/** A record that a kill cut short is left out: the call after it was never made. */
export function readTrace(path: string): TraceRecord[] {
  const file = readFileSync(path);
  const records: TraceRecord[] = [];
  for (let at = 0; at + HEAD_BYTES <= file.length;) {
    const kind = KINDS[file.readUInt32LE(at) - 1];
    if (kind === undefined) throw new Error(`no record at byte ${at} of ${path}`);
    const pathEnd = at + HEAD_BYTES + file.readUInt32LE(at + 24);
    const end = pathEnd + file.readUInt32LE(at + 28);
    if (end > file.length) break;
    records.push({
      kind,
      fd: file.readInt32LE(at + 4),
      order: Number(file.readBigUInt64LE(at + 8)),
      offset: Number(file.readBigInt64LE(at + 16)),
      path: file.toString("utf8", at + HEAD_BYTES, pathEnd),
      bytes: file.subarray(pathEnd, end),
    });
    at = end;
  }
  return records;
}

/** Whether it changes what is on the disk, or says what must be on it by now. */
export const isOfDisk = ({ kind }: TraceRecord): boolean => kind !== "told" && kind !== "sent";

/** Whole lines that went out over one kind of stream, each with the order of its last byte. */
export function linesOf(
  records: readonly TraceRecord[],
  kind: "told" | "sent",
): { readonly order: number; readonly text: string }[] {
  const lines: { order: number; text: string }[] = [];
  const rests = new Map<number, string>();
  for (const record of records) {
    if (record.kind !== kind) continue;
    // Latin 1 keeps a character that is cut apart whole until its line is.
    const parts = ((rests.get(record.fd) ?? "") + record.bytes.toString("latin1")).split("\n");
    rests.set(record.fd, parts.pop() ?? "");
    for (const part of parts)
      lines.push({ order: record.order, text: Buffer.from(part, "latin1").toString("utf8") });
  }
  return lines;
}
