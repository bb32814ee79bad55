/**
 * Moves the WAL into the database from the writing thread, so that it stays small: a long WAL costs
 * disk twice, which on a full disk would take the room that results need.
 */
import { statSync } from "node:fs";
import type { Database } from "better-sqlite3";
import type { Command } from "./protocol.ts";

const PASSIVE_FROM_BYTES = 4 * 1024 * 1024;
const TRUNCATE_FROM_BYTES = 64 * 1024 * 1024;
const IDLE_FROM_BYTES = 256 * 1024;
/** What a commit, and a command beside its payload, adds to the WAL; measured, on the high side. */
const COMMIT_BYTES = 12 * 1024;
const COMMAND_BYTES = 1536;

export class WalKeeper {
  readonly #db: Database;
  readonly #walPath: string;
  /** Since the last checkpoint. The file's size tells nothing: it is kept and written again. */
  #writtenBytes = 0;

  constructor(db: Database, path: string) {
    this.#db = db;
    this.#walPath = `${path}-wal`;
  }

  wrote(batch: readonly Command[]): void {
    this.#writtenBytes += COMMIT_BYTES;
    for (const command of batch) this.#writtenBytes += COMMAND_BYTES + payloadBytes(command);
  }

  checkpointIfLong(): void {
    if (this.#writtenBytes < PASSIVE_FROM_BYTES) return;
    const fileBytes = statSync(this.#walPath, { throwIfNoEntry: false })?.size ?? 0;
    this.#checkpoint(fileBytes > TRUNCATE_FROM_BYTES ? "truncate" : "passive");
  }

  checkpointIdle(): void {
    if (this.#writtenBytes > IDLE_FROM_BYTES) this.#checkpoint("passive");
  }

  /** Gives the room of the WAL file back. */
  checkpointAll(): void {
    this.#checkpoint("truncate");
  }

  /** A long read (a snapshot) keeps the WAL from being emptied: that waits for the next time, not calls. */
  #checkpoint(how: "passive" | "truncate"): void {
    this.#writtenBytes = 0;
    this.#db.pragma("busy_timeout = 0");
    try {
      this.#db.pragma(`wal_checkpoint(${how})`);
    } finally {
      this.#db.pragma("busy_timeout = 5000");
    }
  }
}

function payloadBytes(command: Command): number {
  if (command[0] === "admit") {
    return command[1].reduce<number>(
      (sum, value) => sum + (typeof value === "string" ? value.length : 8),
      0,
    );
  }
  return command[0] === "change" && command[1].kind === "settle" ? command[1].reply.length : 0;
}
