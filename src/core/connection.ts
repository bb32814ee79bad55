/**
 * The state of one upstream connection, as data: what it is, why, and when the next attempt is due.
 * The supervisor owns sockets and timers and does what this says.
 *
 *     idle → dialling → handshaking → serving → waiting | open | needs_auth | misconfigured → dialling
 *     any → draining → stopped
 *
 * L1. It never gives up: every state but `idle`, `draining` and `stopped` leads to another attempt.
 * L2. Backoff resets on proven health (`HEALTHY_AFTER_MS` of serving), not on connect.
 * L3. While a caller waits, every cool-down (backoff, breaker, crash loop) is capped; what the server
 *     asked for (`gatedUntil`) is kept.
 * L4. A lost session is taken up again at once, but three in a minute count as failures.
 */
import type { TransportKind } from "./transport.ts";
import { unreachable } from "../base/assert.ts";
import { BACKOFF, backoffMs, HEALTHY_AFTER_MS } from "./backoff.ts";
import { type Breaker, CLOSED, onFailure, onSuccess, opensUntil, probe } from "./breaker.ts";
import { type Failure, FAILURES } from "./failure.ts";
import type { UpstreamState } from "./status.ts";

export type { UpstreamState } from "./status.ts";

export interface Link {
  readonly state: UpstreamState;
  readonly since: number;
  /** The last failure, kept until health is proven again. */
  readonly failure: Failure | undefined;
  readonly failedAt: number | undefined;
  /** When it was first not serving since it last served; for "down for 21 s". */
  readonly troubleSince: number | undefined;
  /** Failures in a row since health was proven. */
  readonly failures: number;
  readonly breaker: Breaker;
  /** When the process exited, within the crash-loop window. */
  readonly exits: readonly number[];
  /** When the session was lost, within the last minute. */
  readonly sessionLosses: readonly number[];
  /** The instant of the next attempt, without a caller waiting. */
  readonly nextAttemptAt: number | undefined;
  /** The server asked us to wait until then (429, 503 with Retry-After). */
  readonly gatedUntil: number | undefined;
  readonly restarts: number;
}

export type LinkEvent =
  | { readonly kind: "want" } // a session wants this upstream
  | { readonly kind: "use" } // a call came while it is not serving
  | { readonly kind: "renew" } // an operator wants another connection, whatever failed before
  | { readonly kind: "dial" }
  | { readonly kind: "dialled" }
  | { readonly kind: "serve" }
  | { readonly kind: "reply" }
  | { readonly kind: "fail"; readonly failure: Failure } // an attempt or a serving connection
  | { readonly kind: "strike" } // one request failed at the transport; the link itself may live
  | { readonly kind: "gate"; readonly untilAt: number }
  | { readonly kind: "wake" } // the machine slept, or the network changed
  | { readonly kind: "drain" }
  | { readonly kind: "stop" };

export interface LinkContext {
  readonly now: number;
  /** In [0, 1). */
  readonly random: number;
  readonly transport: TransportKind;
}

export const CRASH_WINDOW_MS = 60_000;
const CRASHES_TO_COOL = 5;
export const CRASH_COOLDOWN_MS = 300_000;
const SESSION_LOSS_WINDOW_MS = 60_000;
const SESSION_LOSSES_MAX = 3;
const PERSON_PROBE_MS = 30_000;
/** No server's wish to be left alone is heeded for longer. */
const GATE_MAX_MS = 900_000;
/** A use may cause an attempt, but not more often than this. */
const USE_SPACING_MS = 1_000;

export function freshLink(now: number): Link {
  return {
    state: "idle",
    since: now,
    failure: undefined,
    failedAt: undefined,
    troubleSince: undefined,
    failures: 0,
    breaker: CLOSED,
    exits: [],
    sessionLosses: [],
    nextAttemptAt: undefined,
    gatedUntil: undefined,
    restarts: 0,
  };
}

export function step(link: Link, event: LinkEvent, context: LinkContext): Link {
  if (link.state === "stopped") return link;
  const { now } = context;
  switch (event.kind) {
    case "want":
      return link.state === "idle" ? onWant(link, now) : link;
    case "use":
      return soonerForUse(link, now);
    case "renew":
      return onRenew(link, now);
    case "dial":
      return {
        ...to(link, "dialling", now),
        breaker: probe(link.breaker),
        nextAttemptAt: undefined,
        troubleSince: link.troubleSince ?? now,
      };
    case "dialled":
      return to(link, "handshaking", now);
    case "serve":
      return { ...to(link, "serving", now), troubleSince: undefined, nextAttemptAt: undefined };
    case "reply":
      return onReply(link, now);
    case "fail":
      return link.state === "draining" ? link : onFail(link, event.failure, context);
    case "strike":
      return onStrike(link, context);
    case "gate":
      return { ...link, gatedUntil: Math.max(link.gatedUntil ?? 0, event.untilAt) };
    case "wake":
      return onWake(link, context);
    case "drain":
      return { ...to(link, "draining", now), nextAttemptAt: undefined };
    case "stop":
      return { ...to(link, "stopped", now), nextAttemptAt: undefined };
    default:
      return unreachable(event);
  }
}

function onWant(link: Link, now: number): Link {
  const { nextAttemptAt = now, troubleSince = now } = link;
  return { ...link, nextAttemptAt, troubleSince };
}

/** Everything that held an attempt back is forgotten, what the server asked for included. */
function onRenew(link: Link, now: number): Link {
  if (link.state === "draining") return link;
  const fresh = { ...freshLink(now), restarts: link.restarts, troubleSince: now };
  if (link.state === "idle") return fresh;
  return { ...fresh, state: "waiting", nextAttemptAt: now };
}

/** Instants of a clock that was set back since are cut; a gate of the server stays. */
function onWake(link: Link, { now, random }: LinkContext): Link {
  const gatedUntil =
    link.gatedUntil === undefined ? undefined : Math.min(link.gatedUntil, now + GATE_MAX_MS);
  const woken = { ...link, failures: 0, gatedUntil };
  if (!isAway(link.state)) return woken;
  const nextAttemptAt = Math.max(now + random * 1000, gatedUntil ?? 0);
  return { ...woken, breaker: probe(link.breaker), nextAttemptAt };
}

/** Not connected and not trying right now. */
export function isAway(state: UpstreamState): boolean {
  return (
    state === "waiting" || state === "open" || state === "needs_auth" || state === "misconfigured"
  );
}

/** When the next attempt is due, with L3 applied; undefined where none is planned. */
export function nextDialAt(
  link: Link,
  hasCaller: boolean,
  transport: TransportKind,
): number | undefined {
  if (link.nextAttemptAt === undefined) return undefined;
  const isPersonNeeded = link.state === "needs_auth" || link.state === "misconfigured";
  if (!hasCaller || isPersonNeeded || link.failedAt === undefined) return link.nextAttemptAt;
  const cappedAt = Math.min(link.nextAttemptAt, link.failedAt + BACKOFF[transport].demandCapMs);
  return Math.max(cappedAt, link.gatedUntil ?? 0);
}

/** A link that serves but fails call after call holds them; the first one after the pause is the probe. */
function onStrike(link: Link, { now, random, transport }: LinkContext): Link {
  const breaker = onFailure(link.breaker, now, random);
  if (breaker.state !== "open" || link.state !== "serving") return { ...link, breaker };
  const untilAt = now + Math.min(breaker.openMs, BACKOFF[transport].demandCapMs);
  return {
    ...link,
    breaker: probe(breaker),
    gatedUntil: Math.max(link.gatedUntil ?? 0, untilAt),
  };
}

function to(link: Link, state: UpstreamState, now: number): Link {
  return link.state === state ? link : { ...link, state, since: now };
}

function soonerForUse(link: Link, now: number): Link {
  if (!isAway(link.state) || link.nextAttemptAt === undefined) return link;
  const earliest = Math.max(now, (link.failedAt ?? 0) + USE_SPACING_MS, link.gatedUntil ?? 0);
  return earliest < link.nextAttemptAt ? { ...link, nextAttemptAt: earliest } : link;
}

/** Whether a reply changes the link at all; spares the hot path a step for each. */
export function isReplyNews(link: Link, now: number): boolean {
  if (link.breaker.state !== "closed" || link.breaker.failures > 0) return true;
  return isProven(link, now) && (link.failures > 0 || link.failure !== undefined);
}

const isProven = (link: Link, now: number): boolean =>
  link.state === "serving" && now - link.since >= HEALTHY_AFTER_MS;

function onReply(link: Link, now: number): Link {
  const breaker = onSuccess(link.breaker);
  if (!isProven(link, now) || (link.failures === 0 && link.failure === undefined)) {
    return breaker === link.breaker ? link : { ...link, breaker };
  }
  return { ...link, breaker, failures: 0, failure: undefined, exits: [] };
}

function onFail(link: Link, failure: Failure, context: LinkContext): Link {
  const { now } = context;
  const wasHealthy = isProven(link, now);
  const base: Link = {
    ...link,
    failure,
    failedAt: now,
    troubleSince: link.troubleSince ?? now,
    failures: (wasHealthy ? 0 : link.failures) + 1,
    restarts: link.state === "serving" ? link.restarts + 1 : link.restarts,
    exits: recent(
      failure.kind === "process_exit" ? [...link.exits, now] : link.exits,
      now,
      CRASH_WINDOW_MS,
    ),
  };
  switch (FAILURES[failure.kind].recovery) {
    case "wait_for_person": {
      const state = failure.kind === "auth" ? "needs_auth" : "misconfigured";
      // The state's start is kept over probes, so that callers are answered after 2 s of it.
      const since = link.failure?.kind === failure.kind ? personSince(link) : now;
      return { ...base, state, since, nextAttemptAt: now + PERSON_PROBE_MS };
    }
    case "reinitialize":
      return onSessionLost(base, context);
    case "gate": {
      const gatedUntil = now + (failure.retryAfterMs ?? 1_000);
      return retryAt({ ...base, gatedUntil }, gatedUntil, now);
    }
    case "redial":
    case "none":
      return redial(base, failure, context);
  }
}

function personSince(link: Link): number {
  return link.troubleSince ?? link.since;
}

function onSessionLost(link: Link, context: LinkContext): Link {
  const { now } = context;
  const sessionLosses = recent([...link.sessionLosses, now], now, SESSION_LOSS_WINDOW_MS);
  if (sessionLosses.length < SESSION_LOSSES_MAX) {
    return { ...retryAt({ ...link, sessionLosses }, now, now), failures: 0 };
  }
  const over = sessionLosses.length - SESSION_LOSSES_MAX + 1;
  const pause = backoffMs(BACKOFF[context.transport], over, context.random);
  return retryAt({ ...link, sessionLosses }, now + pause, now);
}

function redial(link: Link, failure: Failure, context: LinkContext): Link {
  const { now } = context;
  const breaker = FAILURES[failure.kind].countsForBreaker
    ? onFailure(link.breaker, now, context.random)
    : link.breaker;
  if (link.exits.length >= CRASHES_TO_COOL) {
    const looping: Failure = { ...failure, kind: "crash_loop" };
    return retryAt({ ...link, breaker, failure: looping }, now + CRASH_COOLDOWN_MS, now);
  }
  const at = Math.max(now + delay(link, context), opensUntil(breaker) ?? 0);
  const waiting = retryAt({ ...link, breaker }, at, now);
  return breaker.state === "open" ? { ...waiting, state: "open" } : waiting;
}

function delay(link: Link, context: LinkContext): number {
  // `failures` counts the one that just happened; the first attempt after health is immediate.
  return backoffMs(BACKOFF[context.transport], link.failures - 1, context.random);
}

function retryAt(link: Link, at: number, now: number): Link {
  return { ...link, state: "waiting", since: now, nextAttemptAt: at };
}

/** Those of `instants` that lie within the window. */
export function recent(
  instants: readonly number[],
  now: number,
  windowMs: number,
): readonly number[] {
  return instants.filter((at) => now - at < windowMs);
}
