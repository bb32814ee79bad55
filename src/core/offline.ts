/**
 * What a waiting caller gets and when (design §5), as a pure function of policy, call, client and now.
 *
 * O1. A caller is never left without an answer past its hold.
 * O2. A call runs past its hold only if its caller was told so (`defer` commits that first).
 * O3. Where no attempt can fall within the hold, or a person has to act, the caller is not kept waiting.
 *
 * Tasks (2025-11-25 and the 2026 extension) and `input_required` tickets will be further steps here:
 * they hand the waiting out earlier, and change nothing about the end of the hold.
 */
import type { TransportKind } from "./transport.ts";
import { type Link, nextDialAt } from "./connection.ts";
import type { Safety } from "../wire/methods.ts";
import type { UpstreamState } from "./status.ts";
import type { DeferMode, Settings } from "./settings.ts";

export interface WaitFacts {
  readonly since: number;
  readonly holdUntil: number;
  /** The call is already promised to run late (an attached repeat of a deferred call). */
  readonly isAcknowledged: boolean;
  readonly mayDefer: boolean;
  /** The next progress tick is due then; undefined without a progress token. */
  readonly tickAt: number | undefined;
  readonly upstream: {
    readonly state: UpstreamState;
    readonly since: number;
    readonly nextAttemptAt: number | undefined;
  };
}

export type WaitStep =
  | { readonly kind: "wait"; readonly untilAt: number }
  | { readonly kind: "tick" }
  /** Commit the deferral, then answer `pending`. */
  | { readonly kind: "defer" }
  /** Already deferred: answer `pending`; the call stays. */
  | { readonly kind: "pending" }
  /** Commit the end of the call, then answer `no`. */
  | { readonly kind: "expire" };

/** How long a caller waits for an upstream that needs a person to act. */
export const PERSON_PATIENCE_MS = 2_000;

export function nextWaitStep(facts: WaitFacts, now: number): WaitStep {
  const endAt = Math.min(facts.holdUntil, earlyEndAt(facts));
  if (now >= endAt) {
    if (facts.isAcknowledged) return { kind: "pending" };
    return { kind: facts.mayDefer ? "defer" : "expire" };
  }
  if (facts.tickAt !== undefined && now >= facts.tickAt) return { kind: "tick" };
  return { kind: "wait", untilAt: Math.min(endAt, facts.tickAt ?? endAt) };
}

/** When something may be sent next: the next dial, or while serving the end of a wait that the server asked for. */
export function nextSendAt(link: Link, transport: TransportKind, now: number): number | undefined {
  if (link.state !== "serving") return nextDialAt(link, true, transport);
  return link.gatedUntil !== undefined && link.gatedUntil > now ? link.gatedUntil : undefined;
}

/** O3. */
function earlyEndAt(facts: WaitFacts): number {
  const { state, since, nextAttemptAt } = facts.upstream;
  if (state === "needs_auth" || state === "misconfigured") {
    return Math.max(since, facts.since) + PERSON_PATIENCE_MS;
  }
  // A serving upstream has a next attempt only where it asked to be left alone.
  const isAway = state === "waiting" || state === "open" || state === "serving";
  if (isAway && nextAttemptAt !== undefined && nextAttemptAt > facts.holdUntil) {
    return facts.since + PERSON_PATIENCE_MS;
  }
  return Infinity;
}

/** Whether a call may run later than its caller waits. Reads never: nobody would use the answer. */
export function mayDefer(
  mode: DeferMode,
  override: boolean | undefined,
  tool: { readonly safety: Safety; readonly isHarmless: boolean } | undefined,
): boolean {
  if (tool === undefined) return false;
  if (override !== undefined) return override;
  switch (mode) {
    case "none":
      return false;
    case "writes":
      return tool.safety !== "read";
    case "harmless":
      return tool.safety !== "read" && tool.isHarmless;
  }
}

/** Clients known by name, for defaults only. Sources: docs/SPEC.md, "Clients". */
interface KnownClient {
  readonly name: RegExp;
  /** How long it waits for a call before it gives up and, often, repeats. */
  readonly patienceMs?: number;
  readonly handshakeMs?: number;
}

const KNOWN_CLIENTS: readonly KnownClient[] = [
  { name: /openai[-_ ]?agents/i, patienceMs: 5_000 },
  { name: /codex/i, handshakeMs: 10_000 },
];

const known = (name: string): KnownClient | undefined =>
  KNOWN_CLIENTS.find((c) => c.name.test(name));

/** A client's patience where it is known, ms. */
export function patienceMs(clientName: string): number | undefined {
  return known(clientName)?.patienceMs;
}

/** The hold of one call, ms: the tool's, else the client's, else a second less than a known patience, else the default. */
export function holdMs(settings: Settings, clientName: string, tool: string | undefined): number {
  const own = tool === undefined ? undefined : settings.tools[tool]?.holdMs;
  if (own !== undefined) return own;
  const configured = settings.clients[clientName];
  if (configured !== undefined) return configured;
  const patience = patienceMs(clientName);
  return patience === undefined || settings.isHoldChosen
    ? settings.holdMs
    : Math.min(settings.holdMs, patience - 1_000);
}

/** How long `initialize` may wait for an upstream of which nothing is known, ms. */
export function handshakeWaitMs(settings: Settings, clientName: string): number {
  const limit = known(clientName)?.handshakeMs;
  return limit === undefined
    ? settings.handshakeWaitMs
    : Math.min(settings.handshakeWaitMs, limit - 2_000);
}

/** Less patience than this is not enough for an unsafe call: its caller would be gone before the answer. */
export const UNSAFE_PATIENCE_MS = 5_000;
