/** The files that a writer keeps beside its database: all but the archive tell only of what is in it, too. */
import type { Database } from "better-sqlite3";
import { HighWaterFile } from "../marks.ts";
import { Archive } from "./archive.ts";
import { Ballast } from "./ballast.ts";
import type { ThreadOptions } from "./protocol.ts";
import { WalKeeper } from "./wal-keeper.ts";

export interface SideFiles {
  readonly mark: Pick<HighWaterFile, "read" | "write" | "close">;
  readonly ballast: Pick<Ballast, "ensure" | "release" | "hasRoomAgain">;
  readonly wal: Pick<WalKeeper, "checkpointIfLong" | "checkpointIdle" | "checkpointAll">;
  /** Undefined where what is pruned is gone. */
  readonly archive?: Pick<Archive, "append"> | undefined;
}

/** Those of a journal on disk. */
export function sideFilesOf(db: Database, options: ThreadOptions): SideFiles {
  const { archiveBase } = options;
  return {
    archive: archiveBase === undefined ? undefined : new Archive(archiveBase),
    mark: new HighWaterFile(options.highWaterPath),
    ballast: new Ballast(db, options),
    wal: new WalKeeper(db, options.path),
  };
}
