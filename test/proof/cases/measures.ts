/** What was measured over a limit, and at it. */
import type { Evidence, Measures } from "../evidence.ts";
import { type Case, evidence } from "../builders.ts";

const MIB = 1024 * 1024;
const measured = (measures: Measures): Evidence => evidence({ measures });

const pair = (invariant: string, says: string, broken: Measures, sound: Measures): Case => ({
  invariant,
  says,
  broken: measured(broken),
  but: "at the limit",
  sound: measured(sound),
});

const recovered = (transport: string, ms: number): Measures => ({
  recoveryMs: [{ transport, ms }],
});

export const MEASURES: readonly Case[] = [
  // The hold of the builder's row is 45 s.
  pair("L1", "a call ended too late", { quietMs: 75_001 }, { quietMs: 75_000 }),
  pair(
    "L2",
    "a local upstream's return was noticed late",
    recovered("stdio", 3_001),
    recovered("stdio", 3_000),
  ),
  pair("L2", "a remote one's, too", recovered("http", 16_001), recovered("http", 16_000)),
  pair("L3", "a flooding session took the others' share", { shares: [10, 1] }, { shares: [10, 6] }),
  pair(
    "L4",
    "a breaker stayed open",
    { breakers: { files: "half_open" } },
    { breakers: { files: "closed" } },
  ),
  pair(
    "R1",
    "memory grew",
    { idleRssBytes: 80 * MIB, peakRssBytes: 176 * MIB + 1 },
    { idleRssBytes: 80 * MIB, peakRssBytes: 176 * MIB },
  ),
  pair(
    "R2",
    "the write-ahead log grew",
    { walPeakBytes: 64 * MIB + 1 },
    { walPeakBytes: 64 * MIB },
  ),
  pair("R3", "the event loop was held up", { loopLagP99Ms: 51 }, { loopLagP99Ms: 50 }),
  pair("R4", "a timer was left over", { leaked: { timers: 1 } }, { leaked: { timers: 0 } }),
  {
    invariant: "fatal",
    says: "a bug of Holdfast's own",
    broken: evidence({ fatal: ["assertion failed"] }),
    but: "nothing of the kind",
    sound: evidence(),
  },
];
