/** Ends what waits on a line, all at once: at its end, or when the server's state is gone. */
import type { EngineContext } from "./context.ts";
import type { Line } from "./line.ts";

/** Withdraws what waits, except what was promised to run late; that stays on disk, and is said so. */
export async function withdrawWaiting(line: Line, cause: string): Promise<void> {
  const calls = line.queue.calls();
  const promised = calls.filter((call) => call.row.acknowledgedAt !== undefined);
  for (const call of promised) line.keeper.tellAllPending(call);
  const others = calls.filter((call) => call.row.acknowledgedAt === undefined);
  await Promise.all(others.map((call) => line.dispatcher.cancel(call, cause)));
}

/** Ends all that waits as not executed: the server's state that it relied on is gone. */
export async function expireWaiting(
  context: EngineContext,
  line: Line,
  cause: string,
): Promise<void> {
  const at = context.world.now();
  await Promise.all(
    line.queue
      .calls()
      .map((call) => line.dispatcher.stop(call, { kind: "expire", id: call.row.id, cause, at })),
  );
}
