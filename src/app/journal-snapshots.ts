/** The snapshots of a running process's own journal: its settings and the store's maker put together. */
import { basename, dirname } from "node:path";
import type { World } from "../base/world.ts";
import type { SnapshotHeader } from "../core/snapshot.ts";
import type { Journal, Log } from "../ports.ts";
import { RefusedError } from "../base/errors.ts";
import { clearShelf, startSnapshot } from "../store/snapshot/maker.ts";
import type { SnapshotMaking } from "../store/snapshot/maker.ts";
import { defaultShelf, snapshotsOn } from "../store/snapshot/shelf.ts";
import { readSnapshotHeader } from "../store/snapshot/unpack.ts";
import type { Settings } from "./option-table.ts";
import { Snapshotting } from "./snapshotting.ts";

/** What a restore on another machine needs beside the journal: the key of credentials, and the tokens. */
export const FILES_BESIDE: readonly string[] = ["identity.key", "tokens.json"];

export const shelfOf = (
  { snapshotsFolder }: Pick<Settings, "snapshotsFolder">,
  stateFolder: string,
): string => snapshotsFolder ?? defaultShelf(stateFolder);

export interface SnapshotsOf {
  readonly world: World;
  readonly log: Log;
  readonly version: string;
  readonly settings: Settings;
  readonly stateFolder: string;
  readonly journal: Journal;
}

/** Clears what a killed process left. Undefined where the settings or the journal want no snapshots. */
export async function snapshotsOf(of: SnapshotsOf): Promise<Snapshotting | undefined> {
  const { world, log, version, settings, stateFolder, journal } = of;
  const { snapshotsEveryMs: everyMs, snapshotsKeep, snapshotsMaxBytes: maxBytes } = settings;
  const shelf = shelfOf(settings, stateFolder);
  await clearShelf(stateFolder, shelf);
  const { path } = journal.stats();
  if (everyMs === undefined || path === undefined) return undefined;
  const upstreamDigest16 = basename(dirname(path));
  const number = Number(basename(path, ".db"));
  const kept = () => snapshotsOn(shelf, upstreamDigest16);
  const start = (): SnapshotMaking | undefined => {
    // It was lost meanwhile, and the process goes on in memory.
    if (journal.stats().path === undefined) return undefined;
    const newest = kept().find((one) => one.number === number)?.path;
    const since = newest === undefined ? undefined : journalIn(newest);
    return startSnapshot({
      plan: {
        version,
        stateFolder,
        upstreamDigest16,
        number,
        to: { shelf },
        files: FILES_BESIDE,
        ...(since === undefined ? {} : { since }),
      },
      shelf,
      keeping: { count: snapshotsKeep, maxBytes },
    });
  };
  return new Snapshotting({ world, log, everyMs, maxBytes, start, kept });
}

/** Undefined for one that is damaged: then another is made. */
function journalIn(path: string): SnapshotHeader["journal"] | undefined {
  try {
    return readSnapshotHeader(path).journal;
  } catch (error) {
    if (error instanceof RefusedError) return undefined;
    throw error;
  }
}
