/**
 * Brings a database to the current schema. Safe when several processes start at once: version and
 * change are read and written in one immediate transaction, so one migrates and the others find it done.
 */
import type { Database } from "better-sqlite3";
import { ConfigError } from "../base/errors.ts";
import { APPLICATION_ID, MIGRATIONS } from "./sqlite/migrations.ts";

/**
 * Applies what is missing. Throws `ConfigError` for a database of a newer Holdfast or of something
 * else; nothing is changed then.
 */
export function migrate(db: Database, path: string, migrations = MIGRATIONS): void {
  if (isCurrent(db, migrations.length)) return;
  db.exec("begin immediate");
  try {
    const version = versionOf(db);
    refuseForeign(db, path, version);
    if (version > migrations.length) {
      throw new ConfigError(
        `${path} was written by a newer Holdfast (schema ${version}; this one knows up to ` +
          `${migrations.length}). Update mcp-holdfast, or move the file away.`,
      );
    }
    for (const sql of migrations.slice(version)) db.exec(sql);
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${migrations.length}`);
    db.exec("commit");
  } catch (error) {
    if (db.inTransaction) db.exec("rollback");
    throw error;
  }
}

function versionOf(db: Database): number {
  return db.pragma("user_version", { simple: true }) as number;
}

function isCurrent(db: Database, version: number): boolean {
  return (
    versionOf(db) === version && db.pragma("application_id", { simple: true }) === APPLICATION_ID
  );
}

function refuseForeign(db: Database, path: string, version: number): void {
  const id = db.pragma("application_id", { simple: true }) as number;
  const tables = db.prepare("select count(*) from sqlite_schema").pluck().get() as number;
  const isFresh = id === 0 && version === 0 && tables === 0;
  if (id === APPLICATION_ID || isFresh) return;
  throw new ConfigError(
    `${path} is an SQLite database, but not a journal of Holdfast (application_id ${id}). ` +
      "Move it away, or choose another state folder.",
  );
}
