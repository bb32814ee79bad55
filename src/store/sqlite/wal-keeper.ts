/**
 * Moves the WAL into the database from the writing thread, so that it stays small: a long WAL costs
 * disk twice, which on a full disk would take the room that results need.
 */
import { statSync } from "node:fs";
import type { Database, Statement } from "better-sqlite3";

const PASSIVE_FROM_BYTES = 4 * 1024 * 1024;
const TRUNCATE_FROM_BYTES = 64 * 1024 * 1024;
const IDLE_FROM_BYTES = 256 * 1024;
/** A page and the head of its frame. */
const FRAME_BYTES = 4096 + 24;

export class WalKeeper {
  readonly #db: Database;
  readonly #walPath: string;
  readonly #look: Statement;
  /** What the last checkpoint had to leave, because of readers. */
  #leftBytes = 0;

  constructor(db: Database, path: string) {
    this.#db = db;
    this.#walPath = `${path}-wal`;
    this.#look = db.prepare("pragma wal_checkpoint(noop)");
  }

  checkpointIfLong(): void {
    const pendingBytes = this.#pendingBytes();
    this.#leftBytes = Math.min(this.#leftBytes, pendingBytes);
    if (pendingBytes - this.#leftBytes < PASSIVE_FROM_BYTES) return;
    const fileBytes = statSync(this.#walPath, { throwIfNoEntry: false })?.size ?? 0;
    this.#checkpoint(fileBytes > TRUNCATE_FROM_BYTES ? "truncate" : "passive");
  }

  checkpointIdle(): void {
    if (this.#pendingBytes() > IDLE_FROM_BYTES) this.#checkpoint("passive");
  }

  /** Gives the room of the WAL file back. */
  checkpointAll(): void {
    this.#checkpoint("truncate");
  }

  /**
   * What is not in the database yet. Neither the file's size tells that, which is kept and written again,
   * nor the payloads of a batch: a row that is changed is written anew with all of its request.
   */
  #pendingBytes(): number {
    const { log, checkpointed } = this.#look.get() as { log: number; checkpointed: number };
    return (log - checkpointed) * FRAME_BYTES;
  }

  /** A long read (a snapshot) keeps the WAL from being emptied: that waits for the next time, not calls. */
  #checkpoint(how: "passive" | "truncate"): void {
    this.#db.pragma("busy_timeout = 0");
    try {
      this.#db.pragma(`wal_checkpoint(${how})`);
    } finally {
      this.#db.pragma("busy_timeout = 5000");
      this.#leftBytes = this.#pendingBytes();
    }
  }
}
