/**
 * Where a new journal of an upstream is made: under the lock of a number that nobody used, which a
 * process that starts meanwhile passes over.
 *
 * Locks of a state folder are taken in this order: `import.lock.db` (calls come from a file), then
 * `snapshots/lock.db`, then `look.lock.db`, then those of journals. Only the second and third are ever
 * waited for, so nobody waits for one that waits for it.
 */
import { join } from "node:path";
import { JournalError, RefusedError } from "../base/errors.ts";
import {
  draftNumbers,
  isUsed,
  journalFiles,
  journalNumbers,
  makeFolders,
  makeLastingFolder,
  networkFileSystem,
} from "./layout.ts";
import type { JournalFiles } from "./layout.ts";
import { lockLooking } from "./looking.ts";
import type { Driver } from "./sqlite/connection.ts";
import { clearDraft } from "./sqlite/draft.ts";
import { tryLock } from "./sqlite/lock.ts";
import type { Lock } from "./sqlite/lock.ts";

export interface Place {
  readonly files: JournalFiles;
  /** Held until the journal is there, or given up. */
  readonly lock: Lock;
  /** A journal of this upstream that a process has: only a start takes up what is new. */
  readonly inUse: string | undefined;
}

/**
 * For whoever brings calls from a file into this state folder, which is made if it is not there: an
 * import or a restore looks for its calls in all journals before it publishes, and two of them would not
 * see what the other is about to. Throws `RefusedError` while another is at it: an import from stdin
 * lasts as long as its writer likes.
 */
export function lockArrivals(driver: Driver, folder: string): Lock {
  makeLastingFolder(folder);
  const lock = tryLock(driver, join(folder, "import.lock.db"));
  if (lock !== undefined) return lock;
  throw new RefusedError(
    `another import or restore is under way in ${folder}, and what is in both would be there twice. ` +
      "Do this again when that one has ended",
  );
}

/** Removes drafts whose makers were killed. A draft that is being made is locked, and stays. */
export function clearDrafts(driver: Driver, folder: string, upstreamDigest: string): void {
  for (const number of draftNumbers(folder, upstreamDigest)) {
    const files = journalFiles(folder, upstreamDigest, number);
    const lock = tryLock(driver, files.lockPath);
    if (lock === undefined) continue;
    try {
      clearDraft(files);
    } finally {
      lock.release();
    }
  }
}

/**
 * A place for one more journal of this upstream, also while a process has another of them: what may be
 * made there then, the caller decides. Throws `JournalError` on a network file system.
 */
export function claimPlace(driver: Driver, folder: string, upstreamDigest: string): Place {
  makeFolders(folder, upstreamDigest);
  const network = networkFileSystem(folder, process.platform);
  if (network !== undefined)
    throw new JournalError("io", `${folder} is on a network file system (${network})`);
  clearDrafts(driver, folder, upstreamDigest);
  const inUse = journalInUse(driver, folder, upstreamDigest);
  for (let number = 1; ; number++) {
    const files = journalFiles(folder, upstreamDigest, number);
    const lock = tryLock(driver, files.lockPath);
    if (lock === undefined) continue;
    if (!isUsed(files)) return { files, lock, inUse };
    lock.release();
  }
}

/** A journal of this upstream that a process has. */
function journalInUse(driver: Driver, folder: string, upstreamDigest: string): string | undefined {
  const looking = lockLooking(driver, folder);
  try {
    return journalNumbers(folder, upstreamDigest)
      .map((number) => journalFiles(folder, upstreamDigest, number))
      .find(({ lockPath }) => isTaken(driver, lockPath))?.path;
  } finally {
    looking.release();
  }
}

function isTaken(driver: Driver, lockPath: string): boolean {
  const lock = tryLock(driver, lockPath);
  lock?.release();
  return lock === undefined;
}
