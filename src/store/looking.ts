/**
 * One lock of the state folder for whoever takes the locks of journals only for a while: to look, to mend, to
 * restore, to withdraw a call. A process has a journal's lock for life, and has never this one beside it.
 *
 * LK1. A process that starts does not pass a journal over because somebody looks at it: with its calls
 *      and sessions it would be left until the next start.
 * LK2. Two that look don't take each other for a process.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { RefusedError } from "../base/errors.ts";
import type { JournalFiles } from "./layout.ts";
import type { Driver } from "./sqlite/connection.ts";
import { tryLock } from "./sqlite/lock.ts";
import type { Lock } from "./sqlite/lock.ts";

/** Commands wait so long for each other. */
const COMMAND_WAIT_MS = 30_000;
/** A start waits so long for a command: clients wait for it. */
const START_WAIT_MS = 5_000;

const lookingPath = (folder: string): string => join(folder, "look.lock.db");

/**
 * To be held while locks of journals are. Blocks the thread while another looks; throws `RefusedError`
 * where that takes too long.
 */
export function lockLooking(driver: Driver, folder: string, waitMs = COMMAND_WAIT_MS): Lock {
  const lock = tryLock(driver, lookingPath(folder), waitMs);
  if (lock !== undefined) return lock;
  throw new RefusedError(
    `another command has been at work on the journals in ${folder} for ${String(waitMs / 1_000)} s ` +
      "(a verify, restore or import). Do this again when that one has ended",
  );
}

/**
 * LK1. Takes the lock of a journal for life; undefined where another process has it. Blocks the thread while
 * a command looks.
 */
export function lockForLife(
  driver: Driver,
  folder: string,
  { path, lockPath }: JournalFiles,
): Lock | undefined {
  const lock = tryLock(driver, lockPath);
  if (lock !== undefined || !existsSync(path)) return lock;
  const looking = tryLock(driver, lookingPath(folder), START_WAIT_MS);
  try {
    // Whoever looked has let go by now, or at least of this one.
    return tryLock(driver, lockPath);
  } finally {
    looking?.release();
  }
}
