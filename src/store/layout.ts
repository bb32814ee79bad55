/**
 * Where the files of journals are: `<state folder>/journals/<upstream digest, 16>/<n>.db` and beside it
 * `<n>.lock.db`, `<n>.hwm`, `<n>.abandoned`, `<n>.db.draft` while it is made from a file; one `ballast`
 * for the whole state folder.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  statfsSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";

export interface JournalFiles {
  readonly number: number;
  readonly path: string;
  readonly lockPath: string;
  readonly highWaterPath: string;
  readonly abandonedPath: string;
  readonly ballastPath: string;
  /** Of what retention takes away from it, if that is archived. */
  readonly archiveBase: string;
  readonly draftPath: string;
}

export function upstreamFolder(folder: string, upstreamDigest: string): string {
  return join(folder, "journals", upstreamDigest.slice(0, 16));
}

export function journalFiles(folder: string, upstreamDigest: string, number: number): JournalFiles {
  const base = join(upstreamFolder(folder, upstreamDigest), String(number));
  return {
    number,
    path: `${base}.db`,
    lockPath: `${base}.lock.db`,
    highWaterPath: `${base}.hwm`,
    abandonedPath: `${base}.abandoned`,
    ballastPath: join(folder, "ballast"),
    archiveBase: join(folder, "archive", upstreamDigest.slice(0, 16), String(number)),
    draftPath: `${base}.db.draft`,
  };
}

/**
 * Something is there of a journal, or is left of one that was moved away: its WAL would be taken for a
 * new one's, and its mark tell of it.
 */
export function isUsed({ path, highWaterPath, abandonedPath }: JournalFiles): boolean {
  return [path, `${path}-wal`, `${path}-shm`, highWaterPath, abandonedPath].some(existsSync);
}

/** Numbers of the journals of an upstream, ascending. */
export function journalNumbers(folder: string, upstreamDigest: string): number[] {
  return numbersOf(folder, upstreamDigest, /^([1-9][0-9]*)\.db$/);
}

/** Numbers of journals that are being made, or whose making was killed. */
export function draftNumbers(folder: string, upstreamDigest: string): number[] {
  return numbersOf(folder, upstreamDigest, /^([1-9][0-9]*)\.db\.draft(?:-wal|-shm)?$/);
}

function numbersOf(folder: string, upstreamDigest: string, pattern: RegExp): number[] {
  const path = upstreamFolder(folder, upstreamDigest);
  if (!existsSync(path)) return [];
  const numbers = readdirSync(path)
    .map((name) => pattern.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number);
  return [...new Set(numbers)].sort((a, b) => a - b);
}

/** Digests of the upstreams that have journals in this state folder. */
export function upstreamsWithJournals(folder: string): string[] {
  const path = join(folder, "journals");
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();
}

/** Makes the folders with mode 0700. Throws what the file system says. */
export function makeFolders(folder: string, upstreamDigest: string): void {
  makeLastingFolder(upstreamFolder(folder, upstreamDigest));
}

/**
 * Makes a folder with mode 0700, and what is missing above it, unless it is there. What is synced in it
 * later would be lost with its name, so the names are synced here. Throws what the file system says.
 */
export function makeLastingFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const last = resolve(first);
  for (let made = resolve(path); made.length >= last.length; made = dirname(made))
    syncFolder(dirname(made));
}

/**
 * Carries what is in a file to the platter. Of one that no connection of this process has open: closing
 * it would drop that one's locks.
 */
export function syncFile(path: string): void {
  const fd = openSync(path, "r+");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Carries the names in a folder to the platter. Throws where the disk fails. */
export function syncFolder(path: string): void {
  // Windows can't, and its file systems keep names in a log.
  if (process.platform === "win32") return;
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some file systems know no such thing; SQLite makes nothing of it there, either.
    if ((error as NodeJS.ErrnoException).code === "EIO") throw error;
  } finally {
    closeSync(fd);
  }
}

/** Magic numbers of file systems whose locks can't be trusted (Linux). */
const NETWORK_TYPES: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0x517b, "SMB"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x5346414f, "AFS"],
  [0x00c36400, "Ceph"],
]);

/** The name of the network file system that the folder is on, if it is. */
export function networkFileSystem(folder: string, platform: string): string | undefined {
  if (platform !== "linux") return undefined;
  return NETWORK_TYPES.get(statfsSync(folder).type >>> 0);
}
