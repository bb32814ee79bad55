/**
 * A lock between processes: an exclusive transaction on a database of its own. A journal's is held for
 * life, that of the token file for the time of a change. It is free the moment its process ends, however
 * that happens; there is nothing stale to clean up.
 *
 * L1. A lock file is never unlinked, and never opened by anything but SQLite once it exists.
 */
import { createPrivateFile, sqliteCode } from "./connection.ts";
import type { Driver } from "./connection.ts";

export interface Lock {
  release(): void;
}

/**
 * Undefined where another holds it, and still does after `waitMs`, during which this thread is blocked.
 * Throws what the file system or SQLite says otherwise.
 */
export function tryLock(driver: Driver, path: string, waitMs = 0): Lock | undefined {
  createPrivateFile(path);
  const db = new driver(path, { timeout: waitMs });
  try {
    // Nothing is ever committed here, so nothing has to be undone after a kill.
    db.pragma("journal_mode = memory");
    db.exec("begin exclusive");
  } catch (error) {
    db.close();
    if (sqliteCode(error)?.startsWith("SQLITE_BUSY") === true) return undefined;
    throw error;
  }
  return {
    release() {
      db.close();
    },
  };
}
