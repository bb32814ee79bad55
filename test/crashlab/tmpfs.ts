/**
 * A small disk that is full: a tmpfs in a mount namespace that nobody else sees, and that goes with the
 * last process in it, whatever becomes of that.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const SIZE = "96m";
const CHILD = fileURLToPath(new URL("tmpfs-child.ts", import.meta.url));
const MOUNT = `mount -t tmpfs -o size=${SIZE},mode=700 crashlab "$1"`;

export interface TmpfsFigures {
  /** Calls until the first was refused. */
  readonly accepted: number;
  /** Results that were recorded on the full disk. */
  readonly recorded: number;
  readonly filledBytes: number;
  readonly findings: readonly string[];
}

/** Why a tmpfs can't be mounted here, in words; undefined where it can. `place`: an empty folder. */
export function tmpfsTrouble(place: string): string | undefined {
  if (process.platform !== "linux") return `tmpfs wants Linux, this is ${process.platform}`;
  const { status, stderr, error } = spawnSync("unshare", ["-m", "sh", "-c", MOUNT, "sh", place]);
  if (error !== undefined) return `unshare can't be run: ${error.message}`;
  return status === 0 ? undefined : `no right to mount a tmpfs: ${stderr.toString().trim()}`;
}

/** Throws where the child breaks. */
export function runTmpfs(place: string): TmpfsFigures {
  const folder = join(place, "small");
  mkdirSync(folder);
  const script = `${MOUNT} && exec "$2" --import tsx "$3" "$1"`;
  const args = ["-m", "sh", "-c", script, "sh", folder, process.execPath, CHILD];
  return JSON.parse(execFileSync("unshare", args).toString()) as TmpfsFigures;
}
