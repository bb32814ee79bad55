/** The files that a writer keeps beside its database: none of them holds what is not in the database, too. */
import type { Database } from "better-sqlite3";
import { HighWaterFile } from "../marks.ts";
import { Ballast } from "./ballast.ts";
import type { ThreadOptions } from "./protocol.ts";
import { WalKeeper } from "./wal-keeper.ts";

export interface SideFiles {
  readonly mark: Pick<HighWaterFile, "read" | "write" | "close">;
  readonly ballast: Pick<Ballast, "ensure" | "release" | "hasRoomAgain">;
  readonly wal: Pick<WalKeeper, "checkpointIfLong" | "checkpointIdle" | "checkpointAll">;
}

/** Those of a journal on disk. */
export function sideFilesOf(db: Database, options: ThreadOptions): SideFiles {
  return {
    mark: new HighWaterFile(options.highWaterPath),
    ballast: new Ballast(db, options),
    wal: new WalKeeper(db, options.path),
  };
}
