/** What is told of one line: to `status`, and to those who follow what happens. */
import { nextDialAt } from "../core/connection.ts";
import type { Failure } from "../core/failure.ts";
import type { UpstreamState, UpstreamStatus } from "../core/status.ts";
import type { EngineContext } from "./context.ts";
import type { Line, LinePlan } from "./line.ts";

/** `connections`: how many have served so far. */
export function lineStatus(
  context: EngineContext,
  line: Line,
  connections: number,
): UpstreamStatus {
  const { supervisor, queue, dispatcher } = line;
  const { link } = supervisor;
  return {
    name: context.settings.upstreamName,
    target: supervisor.connector.target,
    transport: supervisor.connector.kind,
    state: link.state,
    since: link.since,
    lastReplyAt: supervisor.lastReplyAt,
    restarts: Math.max(0, connections - 1),
    breaker: link.breaker.state,
    lastFailure:
      link.failure === undefined || link.failedAt === undefined
        ? undefined
        : { kind: link.failure.kind, message: link.failure.message, at: link.failedAt },
    nextAttemptAt: nextDialAt(link, queue.size > 0, supervisor.connector.kind),
    details: supervisor.channel?.connection?.describe() ?? {},
    waiting: queue.size,
    oldestWaitingAt: queue.oldestAt,
    inFlight: dispatcher.inFlight,
    latencyMs: context.tally.latencyMs,
  };
}

/** Tells followers that the line's connection is in another state. */
export function tellState(
  { feed, world, settings }: EngineContext,
  { isShared, session }: LinePlan,
  state: UpstreamState,
  was: UpstreamState,
  cause: Failure | undefined,
): void {
  if (state === was) return;
  feed.tell(() => ({
    kind: "upstream",
    at: world.now(),
    upstream: settings.upstreamName,
    state,
    was,
    sessionId: isShared ? undefined : session.id,
    cause: state === "serving" ? undefined : cause?.message,
  }));
}
