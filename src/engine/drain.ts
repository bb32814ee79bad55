/**
 * The orderly end: nothing new is sent, what waits is withdrawn, what is in flight may finish within
 * the deadline, and no child is left.
 */
import { deferred } from "../base/async.ts";
import type { EngineContext } from "./context.ts";
import type { Line } from "./line.ts";
import type { LiveCall } from "./live-call.ts";
import { isLasting, withdrawWaiting } from "./withdrawal.ts";

/** How often the end of the calls in flight is looked for, ms. */
const LOOK_MS = 20;
const CHILD_GRACE_MS = 4_000;

/** What came before the journal was open is admitted first, so that it has an end that can be told. */
export async function untilJournalOpen(
  { world, journal }: Pick<EngineContext, "world" | "journal">,
  waitMs: number,
): Promise<void> {
  const late = deferred<undefined>();
  const stopTimer = world.timer(waitMs, () => {
    late.resolve(undefined);
  });
  await Promise.race([journal(), late.promise]);
  stopTimer();
}

/** What becomes of sessions that their clients can come back to: the next process has them, or nobody. */
export type Heir = "next process" | "nobody";

/** Calls whose clients come back for them, and which may be sent again. */
const isLeftBy =
  (line: Line) =>
  ({ row, isJournalled }: LiveCall): boolean =>
    isJournalled && row.safety !== "unsafe" && isLasting(line, row.sessionId);

export async function drain(
  context: EngineContext,
  lines: readonly Line[],
  cause: string,
  heir: Heir,
): Promise<void> {
  const withdraw = () => Promise.all(lines.map((line) => withdrawWaiting(line, cause, heir)));
  const isLeft = (line: Line) => (heir === "nobody" ? undefined : isLeftBy(line));
  const { world, log, settings } = context;
  for (const line of lines) line.pause("the end");
  await withdraw();
  const endAt = world.now() + settings.drainMs;
  const isBusy = () => lines.some((line) => line.dispatcher.awaited > 0);
  while (isBusy() && world.now() < endAt) {
    const look = deferred<undefined>();
    world.timer(LOOK_MS, () => {
      look.resolve(undefined);
    });
    await look.promise;
  }
  // Calls that came, or came back unsent, since the first look.
  await withdraw();
  const rest = lines.reduce((sum, line) => sum + line.dispatcher.awaited, 0);
  if (rest > 0) log("warn", "calls were still in flight at the end", { calls: rest });
  await Promise.all(lines.map((line) => line.dispatcher.abandon(cause, isLeft(line))));
  await Promise.all(lines.map((line) => line.stop(CHILD_GRACE_MS, isLeft(line))));
  // What was being committed found its connection gone.
  await withdraw();
}
