/** Ends what waits on a line, all at once: at its end, or when the server's state is gone. */
import type { EngineContext } from "./context.ts";
import type { Heir } from "./drain.ts";
import type { Line } from "./line.ts";
import type { LiveCall } from "./live-call.ts";

/**
 * The end of these lines: withdraws what waits, except what was promised to run late, which is said
 * so, and what stays on disk for the next process, if there is one: calls of sessions that outlive this one, and what
 * a dead process left and nobody here waits for.
 */
export async function withdrawWaiting(line: Line, cause: string, heir: Heir): Promise<void> {
  const isOwn = ({ row, waiters }: LiveCall) =>
    (heir === "nobody" || !isLasting(line, row.sessionId)) &&
    (waiters.size > 0 || line.members.get(row.sessionId) !== undefined);
  const promised = line.queue.calls().filter(({ row }) => row.acknowledgedAt !== undefined);
  // Also where the next process has the call: a repetition that waits for it is in no journal.
  for (const call of promised) line.keeper.tellAllPending(call);
  await withdraw(line, cause, isOwn);
}

/**
 * The end of one session: withdraws what it has waiting, except what was promised to run late. Callers
 * that still wait are told.
 */
export async function withdrawSession(line: Line, cause: string, sessionId: string): Promise<void> {
  await withdraw(line, cause, ({ row }) => row.sessionId === sessionId);
}

/** The session's client can come back to it in another process. */
export function isLasting(line: Line, sessionId: string): boolean {
  return line.members.get(sessionId)?.session.keyDigest !== undefined;
}

async function withdraw(
  line: Line,
  cause: string,
  isOwn: (call: LiveCall) => boolean,
): Promise<void> {
  const calls = line.queue.calls().filter(isOwn);
  const promised = calls.filter((call) => call.row.acknowledgedAt !== undefined);
  for (const call of promised) line.keeper.tellAllPending(call);
  const own = calls.filter((call) => call.row.acknowledgedAt === undefined);
  await Promise.all(own.map((call) => line.dispatcher.cancel(call, cause)));
}

/** Ends what waits, all of it by default, as not executed: what it relied on is gone. */
export async function expireWaiting(
  context: EngineContext,
  line: Line,
  cause: string,
  isMeant: (call: LiveCall) => boolean = () => true,
): Promise<void> {
  const at = context.world.now();
  await Promise.all(
    line.queue
      .calls()
      .filter(isMeant)
      .map((call) => line.dispatcher.stop(call, { kind: "expire", id: call.row.id, cause, at })),
  );
}
