/**
 * Makes one snapshot of one journal, whether a proxy is at work on it or not.
 *
 * SN1. It holds one instant of the journal: all commits up to it, nothing of any later one.
 * SN2. The journal is only read, and no writer waits: the copy is made in one read transaction, and
 *      bytes are compressed from the copy.
 * SN3. Whatever goes wrong, the journal is as it was, and nothing is left of the attempt.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { constants, createBrotliCompress } from "node:zlib";
import type { Database } from "better-sqlite3";
import { must } from "../../base/assert.ts";
import { JournalError, RefusedError, errorText } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import type { KeptSnapshot, SnapshotHeader } from "../../core/snapshot.ts";
import { isObject } from "../../wire/message.ts";
import { journalFiles, makeLastingFolder, syncFolder } from "../layout.ts";
import { createPrivateFile, loadDriver, openReading } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { HEAD_BYTES, shortened, writeHead } from "./format.ts";
import {
  RESERVE_BYTES,
  clearStaging,
  demandRoom,
  lockShelf,
  partialPath,
  snapshotName,
  stagingOf,
} from "./shelf.ts";

export interface SnapshotPlan {
  /** Of this package. */
  readonly version: string;
  readonly stateFolder: string;
  readonly upstreamDigest16: string;
  /** Of the journal. */
  readonly number: number;
  /** A shelf, or the very file; its folder has to be there. */
  readonly to: { readonly shelf: string } | { readonly file: string };
  /** Files of the state folder that a restore on another machine needs; absent ones are left out. */
  readonly files: readonly string[];
  /** Made only if the journal is another one, or has more commits than this. */
  readonly since?: Pick<SnapshotHeader["journal"], "dbId" | "commits">;
  /** Room that has to be free beside it, bytes. */
  readonly reserveBytes?: number;
}

export interface MadeSnapshot extends KeptSnapshot {
  readonly header: SnapshotHeader;
  readonly tookMs: number;
}

/** Others at work on the same shelf are waited for so long. */
const LOCK_WAIT_MS = 60_000;
const FILE_MAX_BYTES = 4 * 1024 * 1024;
/**
 * Measured on 80 MB of journal: gzip 6 leaves 23 % at 96 MB/s, brotli 4 leaves 3 % at 600 MB/s, for its
 * window of 4 MiB sees that calls of one client resemble each other; 5 is half as fast and no smaller.
 */
const BROTLI = {
  params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_LGWIN]: 22 },
};

/**
 * Undefined where nothing was committed `since`. Rejects with `RefusedError` (no such journal, no room,
 * others at work) or `JournalError` (it can't be read or written).
 */
export async function makeSnapshot(
  world: Pick<World, "now" | "monotonic">,
  plan: SnapshotPlan,
): Promise<MadeSnapshot | undefined> {
  const driver = await loadDriver();
  const folder = "shelf" in plan.to ? plan.to.shelf : dirname(plan.to.file);
  const startedAt = world.monotonic();
  try {
    if ("shelf" in plan.to) makeLastingFolder(folder);
    const lock = lockShelf(driver, plan.stateFolder, LOCK_WAIT_MS);
    if (lock === undefined) {
      throw new RefusedError("another process makes or restores a snapshot; try again");
    }
    try {
      clearStaging(plan.stateFolder, folder);
      const copied = copyJournal(driver, plan, folder);
      if (copied === undefined) return undefined;
      const made = await write(world, plan, folder, copied);
      return { ...made, tookMs: world.monotonic() - startedAt };
    } finally {
      clearStaging(plan.stateFolder, folder);
      lock.release();
    }
  } catch (error) {
    if (error instanceof RefusedError || error instanceof JournalError) throw error;
    throw new JournalError("io", `no snapshot of ${pathOf(plan)}: ${errorText(error)}`, error);
  }
}

const pathOf = ({ stateFolder, upstreamDigest16, number }: SnapshotPlan): string =>
  journalFiles(stateFolder, upstreamDigest16, number).path;

type Copied = Pick<SnapshotHeader, "schema" | "journal">;

/** SN1, SN2: `vacuum into` reads in one transaction, and leaves free pages out. */
function copyJournal(driver: Driver, plan: SnapshotPlan, folder: string): Copied | undefined {
  const path = pathOf(plan);
  const { copyPath } = stagingOf(plan.stateFolder);
  if (!existsSync(path)) throw new RefusedError(`there is no journal ${path}`);
  const live = openReading(driver, path);
  try {
    live.pragma("cache_size = -2048");
    const { since } = plan;
    const head = new SideStatements(live).head();
    if (head.dbId === since?.dbId && head.commits === since.commits) return undefined;
    const bytes = databaseBytes(live);
    const reserve = plan.reserveBytes ?? RESERVE_BYTES;
    demandRoom("for a snapshot", dirname(copyPath), 2 * bytes + reserve);
    demandRoom("for a snapshot", folder, bytes + reserve);
    createPrivateFile(copyPath);
    live.prepare("vacuum into ?").run(copyPath);
  } finally {
    live.close();
  }
  const copy = openReading(driver, copyPath);
  try {
    return describe(copy, plan);
  } finally {
    copy.close();
  }
}

function databaseBytes(db: Database): number {
  const pages = db.pragma("page_count", { simple: true }) as number;
  return pages * (db.pragma("page_size", { simple: true }) as number);
}

function describe(copy: Database, { upstreamDigest16, number }: SnapshotPlan): Copied {
  const side = new SideStatements(copy);
  const { dbId, seq, commits } = side.head();
  const facts = new Map(side.kept(""));
  const owner = ownerOf(facts);
  const upstream = facts.get("upstream") ?? "";
  const journal = {
    upstream: /^[0-9a-f]{64}$/.test(upstream) ? upstream : upstreamDigest16,
    name: shortened(owner.name ?? upstreamDigest16),
    target: shortened(owner.target ?? ""),
    number,
    dbId,
    seq,
    commits,
    calls: side.countByState(),
    sessions: side.countSessions(),
  };
  return { schema: copy.pragma("user_version", { simple: true }) as number, journal };
}

/** Its last process, or what a restore kept of that. */
function ownerOf(facts: ReadonlyMap<string, string>): { name?: string; target?: string } {
  const value: unknown = JSON.parse(facts.get("owner") ?? facts.get("restored") ?? "null");
  if (!isObject(value)) return {};
  const { name, target } = value;
  return {
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof target === "string" ? { target } : {}),
  };
}

/** SH1. The head is written last: it holds the sum of all that follows it. */
async function write(
  world: Pick<World, "now">,
  plan: SnapshotPlan,
  folder: string,
  copied: Copied,
): Promise<Omit<MadeSnapshot, "tookMs">> {
  const { copyPath } = stagingOf(plan.stateFolder);
  const partial = partialPath(plan.stateFolder, folder);
  const files = readFiles(plan);
  const filesText = Buffer.from(JSON.stringify(files));
  const at = world.now();
  const fd = openSync(partial, "wx", 0o600);
  let header: SnapshotHeader;
  try {
    const content = await writeContent(fd, copyPath, filesText);
    header = {
      createdAt: at,
      holdfast: plan.version,
      ...copied,
      files: Object.keys(files),
      databaseBytes: statSync(copyPath).size,
      filesBytes: filesText.length,
      ...content,
    };
    writeWhole(fd, writeHead(header), 0);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  const path = finalPath(plan, at);
  makeLastingFolder(dirname(path));
  renameSync(partial, path);
  syncFolder(dirname(path));
  return { path, at, bytes: HEAD_BYTES + header.contentBytes, header };
}

function finalPath({ to, upstreamDigest16, number }: SnapshotPlan, at: number): string {
  return "file" in to ? to.file : join(to.shelf, upstreamDigest16, snapshotName(number, at));
}

function readFiles({ stateFolder, files }: SnapshotPlan): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of files) {
    const path = join(stateFolder, name);
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined) continue;
    if (size > FILE_MAX_BYTES) throw new RefusedError(`${path} is too large for a snapshot`);
    found[name] = readFileSync(path, "utf8");
  }
  return found;
}

async function writeContent(
  fd: number,
  copyPath: string,
  filesText: Buffer,
): Promise<Pick<SnapshotHeader, "contentBytes" | "contentSha256">> {
  const sum = createHash("sha256");
  let at = HEAD_BYTES;
  const plain = Readable.from(chunksOf(copyPath, filesText));
  const packed = createBrotliCompress(BROTLI);
  plain.on("error", (error) => packed.destroy(error));
  for await (const chunk of plain.pipe(packed)) {
    const bytes = must(chunk instanceof Buffer ? chunk : undefined, "a chunk of bytes");
    sum.update(bytes);
    writeWhole(fd, bytes, at);
    at += bytes.length;
  }
  return { contentBytes: at - HEAD_BYTES, contentSha256: sum.digest("hex") };
}

async function* chunksOf(path: string, last: Buffer): AsyncGenerator<Buffer> {
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
    yield chunk as Buffer;
  }
  yield last;
}

/** A nearly full disk takes a part of what it is given. */
function writeWhole(fd: number, bytes: Buffer, at: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, at + done);
  }
}
