/** Reads snapshot files: the head alone, or all of one, into a database that nobody uses yet. */
import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { Transform } from "node:stream";
import { createBrotliDecompress } from "node:zlib";
import { RefusedError, errorText } from "../../base/errors.ts";
import type { SnapshotHeader } from "../../core/snapshot.ts";
import { isObject } from "../../wire/message.ts";
import { HEAD_BYTES, damaged, readHead } from "./format.ts";

/** Of files beside the database; they are held in memory. */
const FILES_MAX_BYTES = 64 * 1024 * 1024;

/** Throws `RefusedError`: it can't be read, is no snapshot, of a newer form, or damaged. */
export function readSnapshotHeader(path: string): SnapshotHeader {
  const { head, bytes } = readStart(path);
  const header = readHead(head, path);
  const expected = HEAD_BYTES + header.contentBytes;
  if (bytes !== expected) throw damaged(path, `it has ${bytes} bytes and not ${expected}`);
  return header;
}

/** As much of the head as is there, and the size of the file. */
function readStart(path: string): { readonly head: Buffer; readonly bytes: number } {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const head = Buffer.alloc(HEAD_BYTES);
    return {
      head: head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0)),
      bytes: fstatSync(fd).size,
    };
  } catch (error) {
    throw new RefusedError(`the snapshot ${path} can't be read: ${errorText(error)}`);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/**
 * Writes the database to `databasePath`, which must not exist, with mode 0600, and syncs it. Resolves to
 * the files that came with it, by name. Rejects with `RefusedError` where anything in the snapshot is
 * not what was written; the caller removes what is there of the database then.
 */
export async function unpackSnapshot(
  path: string,
  header: SnapshotHeader,
  databasePath: string,
): Promise<ReadonlyMap<string, string>> {
  const fd = openSync(databasePath, "wx", 0o600);
  try {
    const tail = await unpackTo(fd, path, header);
    fsyncSync(fd);
    return filesOf(tail, header, path);
  } finally {
    closeSync(fd);
  }
}

/** The bytes after the database. */
async function unpackTo(fd: number, path: string, header: SnapshotHeader): Promise<Buffer> {
  const { databaseBytes, filesBytes } = header;
  if (filesBytes > FILES_MAX_BYTES) throw damaged(path, "its files are too large");
  const sum = createHash("sha256");
  const summing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sum.update(chunk);
      done(null, chunk);
    },
  });
  const packed = createReadStream(path, { start: HEAD_BYTES });
  const plain = createBrotliDecompress();
  packed.on("error", (error) => plain.destroy(error));
  const tail: Buffer[] = [];
  let at = 0;
  try {
    for await (const chunk of packed.pipe(summing).pipe(plain)) {
      const bytes = chunk as Buffer;
      // Before it is written: a small file may unpack to any size.
      if (at + bytes.length > databaseBytes + filesBytes) throw damaged(path, "it holds too much");
      const ofDatabase = bytes.subarray(0, Math.max(0, databaseBytes - at));
      for (let done = 0; done < ofDatabase.length;) done += writeSync(fd, ofDatabase, done);
      if (ofDatabase.length < bytes.length) tail.push(bytes.subarray(ofDatabase.length));
      at += bytes.length;
    }
  } catch (error) {
    throw isOfContent(error) ? damaged(path, "its content can't be unpacked") : error;
  } finally {
    packed.destroy();
  }
  if (at !== databaseBytes + filesBytes) throw damaged(path, "it holds too little");
  if (sum.digest("hex") !== header.contentSha256) {
    throw damaged(path, "the checksum of its content is wrong");
  }
  return Buffer.concat(tail);
}

/** Codes of zlib for what is no brotli: `ERR__ERROR_FORMAT_…`, `ERR_PADDING_…`, `Z_BUF_ERROR`. */
function isOfContent(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof RefusedError) return false;
  return "code" in error && /^(ERR_|Z_)/.test(String(error.code));
}

function filesOf(tail: Buffer, header: SnapshotHeader, path: string): ReadonlyMap<string, string> {
  const files: unknown = JSON.parse(tail.toString());
  if (!isObject(files)) throw damaged(path, "its files can't be read");
  const entries = Object.entries(files);
  if (entries.map(([name]) => name).join() !== header.files.join()) {
    throw damaged(path, "its files are not those of its head");
  }
  return new Map(entries.map(([name, text]) => [name, String(text)]));
}
