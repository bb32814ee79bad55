/** The part of a link that survives the process. */
import { type Breaker, saved } from "./breaker.ts";
import { CRASH_COOLDOWN_MS, CRASH_WINDOW_MS, freshLink, type Link, recent } from "./connection.ts";
import type { Failure } from "./failure.ts";

/** What survives the process: a restart of the proxy must not reset a crash loop. */
export interface SavedLink {
  readonly failures: number;
  readonly breaker: Breaker;
  readonly exits: readonly number[];
  readonly failure: Failure | undefined;
  readonly failedAt: number | undefined;
  readonly nextAttemptAt: number | undefined;
}

export function saveLink(link: Link, now: number): SavedLink {
  const { failures, breaker, exits, failure, failedAt, nextAttemptAt } = link;
  return { failures, breaker: saved(breaker, now), exits, failure, failedAt, nextAttemptAt };
}

/** A link that goes on where another process left off. Instants in the future of a stepped clock are cut. */
export function restoreLink(from: SavedLink, now: number): Link {
  const link = { ...freshLink(now), ...from };
  const latest = now + CRASH_COOLDOWN_MS;
  const isCooling = link.nextAttemptAt !== undefined && link.nextAttemptAt > now;
  return {
    ...link,
    failure: isCooling ? link.failure : undefined, // One that is over explains nothing any more.
    state: isCooling ? "waiting" : "idle",
    troubleSince: isCooling ? link.failedAt : undefined,
    exits: recent(link.exits, now, CRASH_WINDOW_MS),
    failedAt: link.failedAt === undefined ? undefined : Math.min(link.failedAt, now),
    nextAttemptAt:
      link.nextAttemptAt === undefined ? undefined : Math.min(link.nextAttemptAt, latest),
  };
}
