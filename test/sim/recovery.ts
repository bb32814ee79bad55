/** Recovering twice is recovering once (I9), tried on a copy of a disk that a kill left. */
import type { Database } from "better-sqlite3";
import type { World } from "../../src/base/world.ts";
import type { RecoveredStep } from "../../src/store/sqlite/protocol.ts";
import { Recovered } from "../../src/store/sqlite/recovered.ts";
import type { SideFiles } from "../../src/store/sqlite/side-files.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import { readAll } from "./rows.ts";

const NOTHING = () => undefined;
const BESIDE: SideFiles = {
  mark: { read: NOTHING, write: NOTHING, close: NOTHING },
  ballast: { ensure: NOTHING, release: NOTHING, hasRoomAgain: () => true },
  wal: {
    checkpointIfLong: NOTHING,
    checkpointIdle: NOTHING,
    checkpointAll: NOTHING,
  },
};
const OPTIONS = {
  path: "a copy",
  highWaterPath: "",
  ballastPath: "",
  durability: "full",
  dropsDelivered: false,
} as const;

/** What the second recovery changed, in words; undefined where it changed nothing. Closes `db`. */
export function secondRecovery(db: Database, world: World): string | undefined {
  const recover = () => {
    const writer = new Writer(db, world, OPTIONS, BESIDE);
    const recovered = new Recovered();
    for (let after: number | undefined = 0; after !== undefined;) {
      const [step] = writer.run([["recover", world.now(), false, after]]).results;
      after = recovered.add(step as RecoveredStep);
    }
    const { live, report } = recovered;
    return { live, report, rows: JSON.stringify(readAll(db)) };
  };
  try {
    const first = recover();
    const second = recover();
    const { expired, putInDoubt } = second.report;
    if (expired + putInDoubt > 0)
      return `expired ${String(expired)} and put ${String(putInDoubt)} in doubt once more`;
    if (first.rows !== second.rows) return `${first.rows} became ${second.rows}`;
    const hasSameLive = JSON.stringify(first.live) === JSON.stringify(second.live);
    return hasSameLive ? undefined : "hands out other live calls";
  } finally {
    db.close();
  }
}
