/** Moves the WAL into the database from the writing thread, so that it stays small. */
import { statSync } from "node:fs";
import type { Database } from "better-sqlite3";

const PASSIVE_FROM_BYTES = 4 * 1024 * 1024;
const TRUNCATE_FROM_BYTES = 64 * 1024 * 1024;
const IDLE_FROM_BYTES = 256 * 1024;
/** The size is looked up once in so many batches. */
const LOOK_EVERY = 32;

export class WalKeeper {
  readonly #db: Database;
  readonly #walPath: string;
  #batchCount = 0;

  constructor(db: Database, path: string) {
    this.#db = db;
    this.#walPath = `${path}-wal`;
  }

  checkpointIfLong(): void {
    if (++this.#batchCount % LOOK_EVERY !== 0) return;
    const bytes = this.#bytes();
    if (bytes > TRUNCATE_FROM_BYTES) this.#db.pragma("wal_checkpoint(truncate)");
    else if (bytes > PASSIVE_FROM_BYTES) this.#db.pragma("wal_checkpoint(passive)");
  }

  checkpointIdle(): void {
    if (this.#bytes() > IDLE_FROM_BYTES) this.#db.pragma("wal_checkpoint(passive)");
  }

  checkpointAll(): void {
    this.#db.pragma("wal_checkpoint(truncate)");
  }

  /** `stat` opens nothing, so it drops no lock. */
  #bytes(): number {
    return statSync(this.#walPath, { throwIfNoEntry: false })?.size ?? 0;
  }
}
