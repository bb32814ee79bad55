/**
 * Opens SQLite connections as this project needs them, each time with every pragma and assertion.
 *
 * S1. A writing connection has journal_mode=wal and synchronous=FULL, read back, or it is not used.
 * S2. Files are made with mode 0600 before SQLite sees them, and never opened by anything else:
 *     closing a second descriptor would drop this process's POSIX locks.
 */
import { closeSync, openSync } from "node:fs";
import type { Database, Options } from "better-sqlite3";
import { ConfigError, JournalError, errorText } from "../../base/errors.ts";
import type { JournalTrouble } from "../../base/errors.ts";
import { migrate } from "../migrate.ts";

export type Driver = new (path: string, options?: Options) => Database;

/** Versions before this one corrupt a WAL that is written and checkpointed at once. */
const VERSION_MIN = [3, 51, 3] as const;

/** Loads the native module. Rejects with `JournalError("io")` where it is missing or does not fit. */
export async function loadDriver(): Promise<Driver> {
  try {
    const { default: driver } = await import("better-sqlite3");
    new driver(":memory:").close();
    return driver;
  } catch (error) {
    throw new JournalError(
      "io",
      `the native module better-sqlite3 can't be loaded (${errorText(error).split("\n")[0] ?? ""}); ` +
        "reinstall mcp-holdfast with this version of Node",
      error,
    );
  }
}

/** Makes the file with mode 0600 unless it is there (S2). Throws what the file system says. */
export function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/**
 * Opens, checks and migrates a journal for writing. Blocks for up to 5 s where others are opening it too.
 * Throws `ConfigError` (newer schema, not a journal, SQLite too old) or an SQLite error.
 */
export function openWriting(driver: Driver, path: string, isToBeMended = false): Database {
  createPrivateFile(path);
  const db = new driver(path, { timeout: 5000 });
  try {
    assertVersion(db);
    enterWal(db);
    for (const pragma of [
      "synchronous = full",
      "foreign_keys = on",
      "wal_autocheckpoint = 0",
      "journal_size_limit = 67108864",
      "temp_store = memory",
      // Pages of recent calls are all that is read again; the driver's 16 MiB would fill up for nothing.
      "cache_size = -2048",
      "mmap_size = 0",
      "cell_size_check = on",
      "secure_delete = on",
      "fullfsync = 1",
      "checkpoint_fullfsync = 1",
    ])
      db.pragma(pragma);
    assertPragma(db, path, "journal_mode", "wal");
    assertPragma(db, path, "synchronous", 2);
    migrate(db, path);
    // Not the quick one: that one never looks whether an index tells what its table holds.
    if (!isToBeMended) assertPragma(db, path, "integrity_check", "ok");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Opens an existing journal for short reads. Throws an SQLite error where there is none. */
export function openReading(driver: Driver, path: string): Database {
  return new driver(path, { readonly: true, fileMustExist: true, timeout: 1000 });
}

function assertVersion(db: Database): void {
  const version = db.prepare("select sqlite_version()").pluck().get() as string;
  const parts = version.split(".").map(Number);
  for (const [at, least] of VERSION_MIN.entries()) {
    const part = parts[at] ?? 0;
    if (part > least) return;
    if (part < least) {
      throw new ConfigError(
        `SQLite ${version} can corrupt a journal; ${VERSION_MIN.join(".")} or newer is needed. ` +
          "Reinstall better-sqlite3.",
      );
    }
  }
}

/** The change to WAL wants the file for itself and does not wait for it; others may be opening too. */
function enterWal(db: Database): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; ; tries++) {
    try {
      if (db.pragma("journal_mode = wal", { simple: true }) === "wal") return;
    } catch (error) {
      if (tries >= 250 || !String(sqliteCode(error)).startsWith("SQLITE_BUSY")) throw error;
    }
    if (tries >= 250) return;
    Atomics.wait(pause, 0, 0, 20);
  }
}

function assertPragma(db: Database, path: string, name: string, expected: string | number): void {
  const found = db.pragma(name, { simple: true });
  if (found !== expected) {
    throw new JournalError(
      "io",
      `${path}: ${name} is ${String(found)}, not ${expected}; the journal can't be relied on`,
    );
  }
}

export function sqliteCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" && error.code.startsWith("SQLITE_")
    ? error.code
    : undefined;
}

/** What an error of SQLite means for a journal; undefined where it is none of SQLite or a bug of ours. */
export function troubleOf(error: unknown): JournalTrouble | undefined {
  if (error instanceof JournalError) return error.trouble;
  const code = sqliteCode(error);
  if (code === undefined) return undefined;
  // A full disk may first be noticed while the shared memory file grows.
  if (code === "SQLITE_FULL" || code === "SQLITE_IOERR_SHMSIZE") return "full";
  const isOurBug = /^SQLITE_(CONSTRAINT|MISUSE|RANGE|MISMATCH|ERROR)/.test(code);
  return isOurBug ? undefined : "io";
}
