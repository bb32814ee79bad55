/**
 * Room for one more session in the memory of this process.
 *
 * RM1. At the bound a new session takes the place of the one that nobody has used for the longest, which
 *      goes to sleep and loses nothing by it; it is refused only where none could.
 */
import type { Branch } from "./branch.ts";

/** A client pauses between its handshake and its first call; its session is not taken for unused. */
const UNUSED_MS = 10_000;

/** True if there is room, or has just been made. */
export function makeRoom(branches: Iterable<Branch>, max: number): boolean {
  const all = [...branches];
  const population = all.reduce((sum, branch) => sum + branch.size, 0);
  if (population < max) return true;
  const [drowsiest] = all
    .flatMap((branch) => branch.drowsiest(UNUSED_MS) ?? [])
    .sort((a, b) => a.lastSeenAt - b.lastSeenAt);
  drowsiest?.sleep();
  return drowsiest !== undefined;
}
