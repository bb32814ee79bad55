/**
 * Puts a snapshot in place as a journal of its own, beside those that are there.
 *
 * SR1. Nothing is touched before the whole snapshot was read and found right.
 * SR2. What is restored went backwards: its database says so itself, so that no call of it that changes
 *      something runs unless a person orders it, whatever files lie beside it.
 * SR3. A call exists once: while a proxy runs on the journal that the snapshot was made of, or calls
 *      live in it, or in an earlier restore of it, nothing is restored; nor while a call of it lives in
 *      any other journal of the state folder, or while an import may bring one.
 * SR4. No file that is there is covered. The database appears under its name whole, by a rename, while
 *      its lock is held.
 */
import { linkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { JournalError, RefusedError, errorText } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import type { RestoredFrom, SnapshotHeader } from "../../core/snapshot.ts";
import { lockArrivals } from "../drafts.ts";
import { isUsed, journalFiles, makeFolders, syncFolder } from "../layout.ts";
import { lockLooking } from "../looking.ts";
import { loadDriver } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { tryLock } from "../sqlite/lock.ts";
import { MIGRATIONS } from "../sqlite/migrations.ts";
import { Lineage, refuseIfTwice } from "./lineage.ts";
import {
  RESERVE_BYTES,
  clearStaging,
  defaultShelf,
  demandRoom,
  lockShelf,
  stagingOf,
} from "./shelf.ts";
import { enterWal, prepareDatabase } from "./prepare.ts";
import { readSnapshotHeader, unpackSnapshot } from "./unpack.ts";

export interface RestorePlan {
  readonly path: string;
  /** The state folder; made if it is not there. */
  readonly stateFolder: string;
  /** Digest of the upstream whose journal it becomes, where that is another than the snapshot's. */
  readonly upstreamDigest?: string;
  /** Names of files that may be put into the state folder if they are not there. */
  readonly files: readonly string[];
}

export interface Restored {
  /** The new journal. */
  readonly path: string;
  readonly header: SnapshotHeader;
  readonly from: RestoredFrom;
  /** Calls that wait for a person. */
  readonly held: number;
  /** Files that were put into the state folder, and those that were there already. */
  readonly filesAdded: readonly string[];
  readonly filesKept: readonly string[];
  /** What could not be found out, in words. */
  readonly notes: readonly string[];
}

const LOCK_WAIT_MS = 30_000;
const NUMBER_MAX = 10_000;

/** Rejects with `RefusedError` (with what to do) or `JournalError`; nothing is changed then. */
export async function restoreSnapshot(
  world: Pick<World, "now">,
  plan: RestorePlan,
): Promise<Restored> {
  const header = readSnapshotHeader(plan.path);
  if (header.schema > MIGRATIONS.length) {
    throw new RefusedError(
      `${plan.path} was made by a newer Holdfast (${header.holdfast}, schema ${header.schema}; this ` +
        `one knows up to ${MIGRATIONS.length}). Update mcp-holdfast.`,
    );
  }
  const driver = await loadDriver();
  try {
    // Held to the end: what an import publishes meanwhile would not be seen (SR3).
    const arrivals = lockArrivals(driver, plan.stateFolder);
    try {
      return await restoreStaged(world, plan, header, driver);
    } finally {
      arrivals.release();
    }
  } catch (error) {
    if (error instanceof RefusedError || error instanceof JournalError) throw error;
    throw new JournalError("io", `${plan.path} was not restored: ${errorText(error)}`, error);
  }
}

/** Under the lock of the shelf, to whose holder the staging files belong. */
async function restoreStaged(
  world: Pick<World, "now">,
  plan: RestorePlan,
  header: SnapshotHeader,
  driver: Driver,
): Promise<Restored> {
  const lock = lockShelf(driver, plan.stateFolder, LOCK_WAIT_MS);
  if (lock === undefined) {
    throw new RefusedError("another process makes or restores a snapshot; try again");
  }
  try {
    clearStaging(plan.stateFolder, defaultShelf(plan.stateFolder));
    return await restoreLocked(world, plan, header, driver);
  } finally {
    clearStaging(plan.stateFolder, defaultShelf(plan.stateFolder));
    lock.release();
  }
}

async function restoreLocked(
  world: Pick<World, "now">,
  plan: RestorePlan,
  header: SnapshotHeader,
  driver: Driver,
): Promise<Restored> {
  const { stateFolder } = plan;
  const { restorePath } = stagingOf(stateFolder);
  // By what its head says: more is not unpacked, and running proxies need what is free.
  const bytes = header.databaseBytes + header.filesBytes;
  demandRoom("to restore it", dirname(restorePath), bytes + RESERVE_BYTES);
  const files = await unpackSnapshot(plan.path, header, restorePath);
  const upstream = plan.upstreamDigest ?? header.journal.upstream;
  makeFolders(stateFolder, upstream);
  // Held as long as what the lineage locks.
  const looking = lockLooking(driver, stateFolder);
  try {
    return placeRestored(world, plan, header, driver, { upstream, files });
  } finally {
    looking.release();
  }
}

function placeRestored(
  world: Pick<World, "now">,
  plan: RestorePlan,
  header: SnapshotHeader,
  driver: Driver,
  { upstream, files }: { upstream: string; files: ReadonlyMap<string, string> },
): Restored {
  const { stateFolder } = plan;
  const { restorePath } = stagingOf(stateFolder);
  const lineage = new Lineage(driver, stateFolder, upstream, header);
  try {
    lineage.refuseIfAlive();
    const from = fromOf(world, header, lineage);
    const { held } = prepareDatabase(driver, restorePath, plan.path, header, {
      from,
      upstream,
      expectedSeq: Math.max(header.journal.seq, lineage.seq ?? 0),
    });
    refuseIfTwice(driver, stateFolder, restorePath);
    enterWal(driver, restorePath);
    const { added, kept } = placeFiles(plan, files);
    const path = place(driver, stateFolder, upstream, restorePath);
    const { notes } = lineage;
    return { path, header, from, held, filesAdded: added, filesKept: kept, notes };
  } finally {
    lineage.release();
  }
}

function fromOf(
  world: Pick<World, "now">,
  { createdAt, journal }: SnapshotHeader,
  { commits }: Lineage,
): RestoredFrom {
  const missing =
    commits === undefined ? {} : { missingCommits: Math.max(0, commits - journal.commits) };
  return { snapshotAt: createdAt, restoredAt: world.now(), ...missing };
}

/** Before the journal: the one with the key must not be found without it. */
function placeFiles(
  plan: RestorePlan,
  files: ReadonlyMap<string, string>,
): { added: string[]; kept: string[] } {
  const added: string[] = [];
  const kept: string[] = [];
  for (const [name, text] of files) {
    // Names come from outside: only those that we know ourselves become paths.
    if (!plan.files.includes(name)) continue;
    const isNew = placeFile(plan.stateFolder, name, text);
    (isNew ? added : kept).push(name);
  }
  return { added, kept };
}

/** Whole or not at all, and never over another; false where one is there. */
function placeFile(stateFolder: string, name: string, text: string): boolean {
  const draft = join(defaultShelf(stateFolder), `.${name}.draft`);
  rmSync(draft, { force: true });
  writeFileSync(draft, text, { mode: 0o600, flag: "wx", flush: true });
  try {
    linkSync(draft, join(stateFolder, name));
    syncFolder(stateFolder);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** SR4. A starting proxy takes the lock of a number before it makes its database. */
function place(driver: Driver, stateFolder: string, upstream: string, from: string): string {
  for (let number = 1; number <= NUMBER_MAX; number++) {
    const files = journalFiles(stateFolder, upstream, number);
    if (isUsed(files)) continue;
    const lock = tryLock(driver, files.lockPath);
    if (lock === undefined) continue;
    try {
      if (isUsed(files)) continue;
      renameSync(from, files.path);
      syncFolder(dirname(files.path));
      return files.path;
    } finally {
      lock.release();
    }
  }
  throw new JournalError("io", `${stateFolder} holds more than ${NUMBER_MAX} journals`);
}
