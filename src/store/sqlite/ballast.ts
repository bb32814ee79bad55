/**
 * Room kept for hard times: a file of 16 MiB, one for all journals of a state folder, that is given up
 * on a full disk so that results of calls in flight can still be recorded.
 */
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { Database } from "better-sqlite3";
import type { ThreadOptions } from "./protocol.ts";

export const BALLAST_BYTES = 16 * 1024 * 1024;
/** The page size that SQLite uses by default; `pagesMax` counts in it. */
const PAGE_BYTES = 4096;
/** Free pages under the journal's own bound before calls are accepted again. */
const PAGES_SPARE = 256;

export class Ballast {
  readonly #db: Database;
  readonly #path: string;
  readonly #pagesMax: number | undefined;

  constructor(db: Database, options: Pick<ThreadOptions, "ballastPath" | "pagesMax">) {
    this.#db = db;
    this.#path = options.ballastPath;
    this.#pagesMax = options.pagesMax;
    this.#limitPages(0);
  }

  /**
   * Makes the file unless it is there or the disk is nearly full. Throws what the file system says, and
   * leaves no part of it.
   */
  ensure(): void {
    if (existsSync(this.#path) || this.#freeBytes() < 2 * BALLAST_BYTES) return;
    let fd: number;
    try {
      fd = openSync(this.#path, "wx", 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return;
      throw error;
    }
    try {
      const block = incompressible(1024 * 1024);
      for (let bytes = 0; bytes < BALLAST_BYTES; bytes += block.length) writeSync(fd, block);
    } catch (error) {
      rmSync(this.#path, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
    this.#limitPages(BALLAST_BYTES / PAGE_BYTES);
  }

  /** Whether there is room for the ballast and as much again. Sets the journal's own bound again. */
  hasRoomAgain(): boolean {
    if (this.#freeBytes() < 2 * BALLAST_BYTES) return false;
    if (this.#pagesMax !== undefined) {
      const count = this.#db.pragma("page_count", { simple: true }) as number;
      const free = this.#db.pragma("freelist_count", { simple: true }) as number;
      if (count - free + PAGES_SPARE > this.#pagesMax) return false;
    }
    this.#limitPages(0);
    return true;
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(dirname(this.#path));
    return bavail * bsize;
  }

  #limitPages(more: number): void {
    if (this.#pagesMax !== undefined) this.#db.pragma(`max_page_count = ${this.#pagesMax + more}`);
  }
}

/** A file system that compresses would keep no room for zeros. */
function incompressible(bytes: number): Uint8Array {
  const words = new Uint32Array(bytes / 4);
  let state = 0x9e3779b9;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer);
}
