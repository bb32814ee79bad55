/**
 * Where a new journal of an upstream is made: under the lock of a number that nobody used, which a
 * process that starts meanwhile passes over.
 */
import { JournalError, RefusedError } from "../base/errors.ts";
import {
  draftNumbers,
  isUsed,
  journalFiles,
  journalNumbers,
  makeFolders,
  networkFileSystem,
} from "./layout.ts";
import type { JournalFiles } from "./layout.ts";
import type { Driver } from "./sqlite/connection.ts";
import { clearDraft } from "./sqlite/draft.ts";
import { tryLock } from "./sqlite/lock.ts";
import type { Lock } from "./sqlite/lock.ts";

export interface Place {
  readonly files: JournalFiles;
  /** Held until the journal is there, or given up. */
  readonly lock: Lock;
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
 * A place for one more journal of this upstream. Throws `RefusedError` while a process has one of its
 * journals: only a start takes up what is new.
 */
export function claimPlace(driver: Driver, folder: string, upstreamDigest: string): Place {
  makeFolders(folder, upstreamDigest);
  const network = networkFileSystem(folder, process.platform);
  if (network !== undefined)
    throw new JournalError("io", `${folder} is on a network file system (${network})`);
  clearDrafts(driver, folder, upstreamDigest);
  for (const number of journalNumbers(folder, upstreamDigest)) {
    const { path, lockPath } = journalFiles(folder, upstreamDigest, number);
    const lock = tryLock(driver, lockPath);
    if (lock === undefined)
      throw new RefusedError(`${path} is in use by a running proxy; end that one first`);
    lock.release();
  }
  for (let number = 1; ; number++) {
    const files = journalFiles(folder, upstreamDigest, number);
    const lock = tryLock(driver, files.lockPath);
    if (lock === undefined) continue;
    if (!isUsed(files)) return { files, lock };
    lock.release();
  }
}
