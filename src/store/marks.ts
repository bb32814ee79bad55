/**
 * Small files beside a journal: how far it was when it last reached the platter, and whether it was
 * left behind in mid-life. They only raise suspicion; nothing is ever restored from them.
 */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { syncFolder } from "./layout.ts";

export interface HighWater {
  readonly dbId: string;
  readonly commits: number;
  readonly seq: number;
}

/** `<n>.hwm`: one line of fixed width, written in place without fsync. */
export class HighWaterFile {
  readonly #path: string;
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined where there is none or it is torn: then nothing is known, and nothing suspected. */
  read(): HighWater | undefined {
    if (!existsSync(this.#path)) return undefined;
    const [dbId, commits, seq, sum] = readFileSync(this.#path, "utf8").trim().split(" ");
    if (dbId === undefined || crc32(`${dbId} ${commits} ${seq}`) !== Number(sum)) return undefined;
    return { dbId, commits: Number(commits), seq: Number(seq) };
  }

  write(mark: HighWater): void {
    this.#fd ??= openSync(this.#path, existsSync(this.#path) ? "r+" : "wx+", 0o600);
    const text = `${mark.dbId} ${mark.commits} ${mark.seq}`;
    writeSync(this.#fd, `${text} ${crc32(text)}`.padEnd(96) + "\n", 0);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** `<n>.abandoned`: its process went on without it; its live rows may have run since. */
export function markAbandoned(path: string, at: number): void {
  writeFileSync(path, `${at}\n`, { mode: 0o600, flush: true });
  syncFolder(dirname(path));
}

export function isMarkedAbandoned(path: string): boolean {
  return existsSync(path);
}

export function clearAbandoned(path: string): void {
  rmSync(path, { force: true });
}
