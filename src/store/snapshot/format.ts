/**
 * The form of a snapshot file: a head of 4096 bytes, then the content. Every number is big-endian.
 *
 *     0     8   magic: 0x89 "HFSNAP" 0x0a
 *     8     2   version of this form
 *     10    2   length of the header text in bytes
 *     12    …   header text: JSON in UTF-8, then zeros up to 4064
 *     4064  32  SHA-256 of bytes 0 to 4063
 *     4096  …   content: brotli of the database, then of the files as one JSON object (name → text)
 *
 * SF1. No byte of a snapshot can change, be missing or be added without `readHead` or the reader of the
 *      content seeing it: the head has its own sum, and holds the length and the sum of the content.
 */
import { createHash } from "node:crypto";
import { RefusedError } from "../../base/errors.ts";
import type { SnapshotHeader } from "../../core/snapshot.ts";
import { isObject } from "../../wire/message.ts";

export const HEAD_BYTES = 4096;
export const FORM_VERSION = 1;

/** The high bit and the line break show a transfer that took it for text. */
const MAGIC = Buffer.from("\x89HFSNAP\n", "latin1");
const VERSION_AT = 8;
const LENGTH_AT = 10;
const TEXT_AT = 12;
const SUM_AT = HEAD_BYTES - 32;

/** Names and targets come from outside; so many characters of them fit in any case. */
const TEXT_MAX_CHARS = 240;
export const shortened = (text: string): string => text.slice(0, TEXT_MAX_CHARS);

const sumOf = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

export function writeHead(header: SnapshotHeader): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  const text = Buffer.from(JSON.stringify(header));
  if (text.length > SUM_AT - TEXT_AT) throw new RangeError("the head of a snapshot is too long");
  MAGIC.copy(head);
  head.writeUInt16BE(FORM_VERSION, VERSION_AT);
  head.writeUInt16BE(text.length, LENGTH_AT);
  text.copy(head, TEXT_AT);
  sumOf(head.subarray(0, SUM_AT)).copy(head, SUM_AT);
  return head;
}

/** Throws `RefusedError`: no snapshot, a newer form, or damaged. `path` is for its words. */
export function readHead(head: Buffer, path: string): SnapshotHeader {
  if (head.length < MAGIC.length || !head.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new RefusedError(`${path} is not a snapshot of Holdfast`);
  }
  if (head.length < HEAD_BYTES) throw damaged(path, "its head is cut off");
  if (!sumOf(head.subarray(0, SUM_AT)).equals(head.subarray(SUM_AT))) {
    throw damaged(path, "the checksum of its head is wrong");
  }
  // Read after the sum: so a damaged version is not taken for a newer one.
  const version = head.readUInt16BE(VERSION_AT);
  if (version > FORM_VERSION) {
    throw new RefusedError(
      `${path} was made by a newer Holdfast (form ${version}; this one knows up to ` +
        `${FORM_VERSION}). Update mcp-holdfast.`,
    );
  }
  const text = head.subarray(TEXT_AT, TEXT_AT + head.readUInt16BE(LENGTH_AT)).toString();
  const header: unknown = JSON.parse(text);
  if (!isHeader(header)) throw damaged(path, "its head lacks something");
  return header;
}

export function damaged(path: string, why: string): RefusedError {
  return new RefusedError(
    `the snapshot ${path} is damaged: ${why}. Nothing was changed; take another snapshot ` +
      "(holdfast snapshots lists them).",
  );
}

/** Of a file with the right sum, but whoever made it: paths and sizes are made from these. */
function isHeader(value: unknown): value is SnapshotHeader {
  if (!isObject(value) || !isObject(value["journal"])) return false;
  const { journal, files } = value;
  const isCount = (one: unknown) => Number.isSafeInteger(one) && (one as number) >= 0;
  return (
    [value["createdAt"], value["schema"], journal["number"]].every(isCount) &&
    [journal["seq"], journal["commits"], journal["sessions"]].every(isCount) &&
    [value["databaseBytes"], value["filesBytes"], value["contentBytes"]].every(isCount) &&
    [value["holdfast"], journal["name"], journal["target"]].every((o) => typeof o === "string") &&
    /^[0-9a-f]{16,64}$/.test(String(journal["upstream"])) &&
    /^[0-9a-f]{32}$/.test(String(journal["dbId"])) &&
    /^[0-9a-f]{64}$/.test(String(value["contentSha256"])) &&
    isObject(journal["calls"]) &&
    Array.isArray(files) &&
    files.every((name) => typeof name === "string")
  );
}
