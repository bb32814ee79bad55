/** Backups and restores for the commands: the store's snapshots with this platform's folders. */
import { existsSync, statSync } from "node:fs";
import type { World } from "../base/world.ts";
import { JournalError, RefusedError, errorText } from "../base/errors.ts";
import type { SnapshotHeader } from "../core/snapshot.ts";
import { readJournals } from "../store/reader.ts";
import type { ReadJournal } from "../store/reader.ts";
import { makeSnapshot } from "../store/snapshot/make.ts";
import type { MadeSnapshot } from "../store/snapshot/make.ts";
import { restoreSnapshot } from "../store/snapshot/restore.ts";
import type { Restored } from "../store/snapshot/restore.ts";
import { EXTENSION, snapshotsOn } from "../store/snapshot/shelf.ts";
import type { Shelved } from "../store/snapshot/shelf.ts";
import { readSnapshotHeader } from "../store/snapshot/unpack.ts";
import { FILES_BESIDE } from "./journal-snapshots.ts";
import { daemonDigest } from "./serve-plan.ts";

export interface Backup {
  readonly made: readonly MadeSnapshot[];
  /** Journals without a call or session, by path. */
  readonly empty: readonly string[];
  /** Journals of which there is no snapshot, and why. */
  readonly failed: readonly { readonly path: string; readonly why: string }[];
}

export interface ListedSnapshot {
  readonly path: string;
  readonly bytes: number;
  /** Undefined where it can't be read; then `problem` says why. */
  readonly header: SnapshotHeader | undefined;
  readonly problem: string | undefined;
}

const isEmpty = ({ counts, problem, sessions }: ReadJournal): boolean =>
  problem === undefined && sessions === 0 && Object.values(counts).every((count) => count === 0);

/** A snapshot of every journal of a state folder. `to`: a folder, or a file where there is one journal. */
export async function backUp(
  world: World,
  version: string,
  stateFolder: string,
  to: string,
): Promise<Backup> {
  const journals = await readJournals(stateFolder);
  const full = journals.filter((journal) => !isEmpty(journal));
  if (isFile(to) && full.length > 1) {
    throw new RefusedError(
      `${full.length} journals don't fit into one file; name a folder: --to ${to.slice(0, -EXTENSION.length)}`,
    );
  }
  const made: MadeSnapshot[] = [];
  const failed: { path: string; why: string }[] = [];
  for (const { path, upstreamDigest16, number } of full) {
    try {
      const where = isFile(to) ? { file: to } : { shelf: to };
      const plan = {
        version,
        stateFolder,
        upstreamDigest16,
        number,
        files: FILES_BESIDE,
        to: where,
      };
      const one = await makeSnapshot(world, plan);
      if (one !== undefined) made.push(one);
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof JournalError)) throw error;
      failed.push({ path, why: errorText(error) });
    }
  }
  return { made, empty: journals.filter(isEmpty).map(({ path }) => path), failed };
}

/** By its name, unless there is a folder of that name. */
const isFile = (to: string): boolean =>
  to.endsWith(EXTENSION) && !(existsSync(to) && statSync(to).isDirectory());

/** The newest first. Throws `RefusedError` for what is no folder that can be read. */
export function listSnapshots(shelf: string): ListedSnapshot[] {
  return filesOn(shelf).map(({ path, bytes }) => {
    try {
      return { path, bytes, header: readSnapshotHeader(path), problem: undefined };
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      return { path, bytes, header: undefined, problem: error.message };
    }
  });
}

function filesOn(shelf: string): Shelved[] {
  try {
    return snapshotsOn(shelf);
  } catch (error) {
    throw new RefusedError(`the snapshots in ${shelf} can't be listed: ${errorText(error)}`);
  }
}

/** What the journal in a snapshot was for; a daemon's configuration file. */
export const readTarget = (path: string): string => readSnapshotHeader(path).journal.target;

/**
 * `configPath`: of the daemon that a daemon's journal is for; by default the one that it was of. Rejects
 * with `RefusedError` or `JournalError`.
 */
export function restore(
  world: World,
  path: string,
  stateFolder: string,
  configPath: string | undefined,
): Promise<Restored> {
  const { journal } = readSnapshotHeader(path);
  const isDaemons = journal.upstream === daemonDigest(journal.target);
  const isMoved = isDaemons && configPath !== undefined;
  const to = isMoved ? { upstreamDigest: daemonDigest(configPath) } : {};
  return restoreSnapshot(world, { path, stateFolder, files: FILES_BESIDE, ...to });
}
