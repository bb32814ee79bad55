/** Ends what waits on a line, all at once: at its end, or when the server's state is gone. */
import type { EngineContext } from "./context.ts";
import type { Line } from "./line.ts";
import type { LiveCall } from "./live-call.ts";

/**
 * Withdraws what waits, except what was promised to run late, which is said so, and what a dead process
 * left and nobody here waits for: that stays on disk.
 */
export async function withdrawWaiting(line: Line, cause: string): Promise<void> {
  const calls = line.queue.calls();
  const promised = calls.filter((call) => call.row.acknowledgedAt !== undefined);
  for (const call of promised) line.keeper.tellAllPending(call);
  const own = calls.filter((call) => call.row.acknowledgedAt === undefined && isOwn(line, call));
  await Promise.all(own.map((call) => line.dispatcher.cancel(call, cause)));
}

const isOwn = (line: Line, { row, waiters }: LiveCall): boolean =>
  waiters.size > 0 || (line.hasClient && row.sessionId === line.session.id);

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
