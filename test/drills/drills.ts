/** All drills, in the order in which they run. */
import { fullJournal, machineCrash, processCrash } from "./crashes.ts";
import { diskLost } from "./disk.ts";
import type { Drill } from "./drill.ts";
import { STREAMS } from "./streams.ts";

export const DRILLS: readonly Drill[] = [
  processCrash,
  machineCrash,
  fullJournal,
  diskLost,
  ...STREAMS,
];
