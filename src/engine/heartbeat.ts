/**
 * Notices that the machine slept, was starved, or had its clock stepped, by looking at both clocks on a
 * steady timer (docs/SPEC.md, "Sleep and clocks"). Old timers then do not fire in a burst of attempts:
 * links are woken with jitter, and deadlines are judged by the wall clock.
 */
import type { World } from "../base/world.ts";

const BEAT_MS = 5_000;
const SLEPT_MS = 10_000;
const STEPPED_MS = 2_000;

export type ClockNews = "slept" | "stepped";

/** Starts beating; returns what stops it. */
export function startHeartbeat(
  world: World,
  onNews: (news: ClockNews, gapMs: number) => void,
): () => void {
  let wall = world.now();
  let mono = world.monotonic();
  let stopTimer = () => {};
  const beat = () => {
    const wallGap = world.now() - wall - BEAT_MS;
    const drift = world.now() - wall - (world.monotonic() - mono);
    wall = world.now();
    mono = world.monotonic();
    // On Linux the monotonic clock stands still in suspend; on macOS both go on.
    if (wallGap > SLEPT_MS) onNews("slept", wallGap);
    else if (Math.abs(drift) > STEPPED_MS) onNews("stepped", drift);
    stopTimer = world.timer(BEAT_MS, beat);
  };
  stopTimer = world.timer(BEAT_MS, beat);
  return () => {
    stopTimer();
  };
}
