/**
 * The shelf: a folder of snapshots, `<folder>/<upstream digest, 16>/<n>-<time>.hfsnap`, by default
 * `<state folder>/snapshots`. In the latter, too: the lock of whoever makes or restores one, and the
 * staging files, which belong to the holder of that lock.
 *
 * SH1. A file with a snapshot's name is whole: it is written under another name in the same folder,
 *      synced, and renamed. What a kill leaves has a staging file's name, and goes with the next start.
 * SH2. Retention never takes the newest snapshot of an upstream.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync, statSync, statfsSync } from "node:fs";
import { join, resolve } from "node:path";
import { RefusedError } from "../../base/errors.ts";
import type { KeptSnapshot } from "../../core/snapshot.ts";
import { makeLastingFolder } from "../layout.ts";
import type { Driver } from "../sqlite/connection.ts";
import { tryLock } from "../sqlite/lock.ts";
import type { Lock } from "../sqlite/lock.ts";

export const EXTENSION = ".hfsnap";
const NAME = /^([1-9][0-9]*)-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z\.hfsnap$/;
const DIGEST16 = /^[0-9a-f]{16}$/;

export interface Staging {
  /** The copy of a database that is being snapped. */
  readonly copyPath: string;
  /** The database that is being restored. */
  readonly restorePath: string;
}

export function defaultShelf(stateFolder: string): string {
  return join(stateFolder, "snapshots");
}

export function stagingOf(stateFolder: string): Staging {
  const folder = defaultShelf(stateFolder);
  return { copyPath: join(folder, ".copy.db"), restorePath: join(folder, ".restore.db") };
}

/**
 * The name under which a snapshot is written into this folder. One for each state folder, so that the
 * next one to be made there finds what a kill left, and nobody else's.
 */
export function partialPath(stateFolder: string, folder: string): string {
  const whose = createHash("sha256").update(resolve(stateFolder)).digest("hex").slice(0, 8);
  return join(folder, `.holdfast-${whose}.partial`);
}

/** `at`: epoch ms. */
export function snapshotName(number: number, at: number): string {
  const time = new Date(at).toISOString().replace(/[-:.]/g, "");
  return `${number}-${time}${EXTENSION}`;
}

export const shelfLockPath = (stateFolder: string): string =>
  join(defaultShelf(stateFolder), "lock.db");

/** Undefined while another process makes or restores one, after `waitMs` of blocking this thread. */
export function lockShelf(driver: Driver, stateFolder: string, waitMs: number): Lock | undefined {
  makeLastingFolder(defaultShelf(stateFolder));
  return tryLock(driver, shelfLockPath(stateFolder), waitMs);
}

/** Twice the ballast: what is made must not be what fills the disk for the journals. */
export const RESERVE_BYTES = 64 * 1024 * 1024;

/** Throws `RefusedError` where so many bytes are not free in the folder. `what` they are for, in words. */
export function demandRoom(what: string, folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  if (bavail * bsize >= bytes) return;
  const mib = (count: number) => `${Math.ceil(count / 1048576)} MiB`;
  throw new RefusedError(
    `there is no room ${what} in ${folder}: ${mib(bytes)} have to be free, ` +
      `${mib(bavail * bsize)} are`,
  );
}

/** Removes what a killed process left. The caller holds the lock of the shelf. */
export function clearStaging(stateFolder: string, shelf: string): void {
  const { copyPath, restorePath } = stagingOf(stateFolder);
  for (const path of [copyPath, restorePath]) {
    for (const ending of ["", "-journal", "-wal", "-shm"]) rmSync(path + ending, { force: true });
  }
  rmSync(partialPath(stateFolder, shelf), { force: true });
}

/** The same at a start; nothing where somebody is at work there, or never was. */
export function clearLeftStaging(driver: Driver, stateFolder: string, shelf: string): void {
  if (!existsSync(shelfLockPath(stateFolder))) return;
  const lock = lockShelf(driver, stateFolder, 0);
  if (lock === undefined) return;
  try {
    clearStaging(stateFolder, shelf);
  } finally {
    lock.release();
  }
}

export interface Shelved extends KeptSnapshot {
  /** The name of its folder. */
  readonly upstreamDigest16: string;
  /** Of the journal. */
  readonly number: number;
}

/** Snapshots on this shelf, the newest first; of one upstream if it is named. Files are not read. */
export function snapshotsOn(shelf: string, upstreamDigest16?: string): Shelved[] {
  const folders = upstreamDigest16 === undefined ? upstreamsOn(shelf) : [upstreamDigest16];
  return folders
    .flatMap((folder) => snapshotsIn(join(shelf, folder), folder))
    .sort((a, b) => b.at - a.at || b.number - a.number);
}

function upstreamsOn(shelf: string): string[] {
  return existsSync(shelf) ? readdirSync(shelf).filter((name) => DIGEST16.test(name)) : [];
}

function snapshotsIn(folder: string, upstreamDigest16: string): Shelved[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const [, number, ...time] = NAME.exec(name) ?? [];
    const path = join(folder, name);
    const bytes = statSync(path, { throwIfNoEntry: false })?.size;
    if (number === undefined || bytes === undefined) return [];
    const [year, month, day, hour, minute, second, ms] = time;
    const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
    return [{ path, at, bytes, upstreamDigest16, number: Number(number) }];
  });
}

export interface Keeping {
  /** Most snapshots of one journal. */
  readonly count: number;
  /** Most bytes of the whole shelf. */
  readonly maxBytes: number;
}

/** Removes the oldest over the bounds (SH2). The caller holds the lock. Returns what is left in bytes. */
export function retain(shelf: string, { count, maxBytes }: Keeping): number {
  const all = snapshotsOn(shelf);
  const seen = new Map<string, number>();
  const spared = new Set<string>();
  let total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const drop = ({ path, bytes }: Shelved) => {
    rmSync(path, { force: true });
    total -= bytes;
  };
  const kept: Shelved[] = [];
  for (const one of all) {
    const isNewest = !spared.has(one.upstreamDigest16);
    spared.add(one.upstreamDigest16);
    const journal = `${one.upstreamDigest16}/${one.number}`;
    const nth = (seen.get(journal) ?? 0) + 1;
    seen.set(journal, nth);
    if (isNewest) continue;
    if (nth > count) drop(one);
    else kept.push(one);
  }
  for (const one of kept.toReversed()) {
    if (total <= maxBytes) break;
    drop(one);
  }
  return total;
}
