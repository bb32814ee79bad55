/** The part of `status` that only a daemon has: where it serves, its upstreams, and many sessions. */
import type {
  ProxyStatus,
  ServingStatus,
  SessionStatus,
  UpstreamState,
  UpstreamSummary,
} from "../core/status.ts";
import { ageText, many, safe, stateText } from "./text.ts";
import type { Paint } from "./text.ts";

/** None for a wrapping proxy: its one session says it all. */
export function servingLines({ serving, upstreams, now }: ProxyStatus, paint: Paint): string[] {
  if (serving === undefined) return [];
  const lines = upstreams.map((upstream) => upstreamLine(upstream, paint));
  return [...whereLines(serving, now, paint), ...(lines.length === 0 ? ["upstream none"] : lines)];
}

function whereLines(serving: ServingStatus, now: number, paint: Paint): string[] {
  const { address, configPath, loadedAt, problem, doorTrouble } = serving;
  const loaded = `loaded ${ageText(now - loadedAt)} ago`;
  return [
    `serving  ${safe(address)} with ${safe(configPath)}, ${loaded}`,
    ...(problem === undefined
      ? []
      : [`${paint.red("!")} the file as it is now is not used: ${safe(problem)}`]),
    ...(doorTrouble === undefined
      ? []
      : [`${paint.red("!")} tokens can't be checked, so nobody is let in: ${safe(doorTrouble)}`]),
  ];
}

function upstreamLine(upstream: UpstreamSummary, paint: Paint): string {
  const connections = Object.entries(upstream.connections).map(
    ([state, count]) => `${String(count)} ${stateText(state as UpstreamState, paint)}`,
  );
  return (
    `upstream ${paint.bold(safe(upstream.name))} ${connections.join(", ") || "no connection"}; ` +
    `${many(upstream.sessions, "session")} (${upstream.isolation}), ` +
    `${String(upstream.waiting)} waiting, ${String(upstream.inFlight)} in flight  ` +
    paint.dim(safe(upstream.target))
  );
}

/** One line, and a second for the failure of an upstream that is not there. */
export function shortSessionLines(session: SessionStatus, now: number, paint: Paint): string[] {
  const { upstream } = session;
  const oldest =
    upstream.oldestWaitingAt === undefined
      ? ""
      : ` (oldest ${ageText(now - upstream.oldestWaitingAt)})`;
  const lines = [
    `session  ${session.id} ${safe(session.client)} over ${session.transport} as ` +
      `${safe(session.principal)}, ${session.isAttached ? "attached" : "detached"}, ` +
      `${ageText(now - session.createdAt)} old: ${paint.bold(safe(upstream.name))} ` +
      `${stateText(upstream.state, paint)}, ${String(upstream.waiting)} waiting${oldest}, ` +
      `${String(upstream.inFlight)} in flight`,
  ];
  if (isTroubled(session) && upstream.lastFailure !== undefined) {
    const { kind, message, at } = upstream.lastFailure;
    const ago = `${ageText(now - at)} ago`;
    lines.push(`    last error ${ago}: ${safe(message)} ${paint.dim(`(${kind})`)}`);
  }
  return lines;
}

/** An idle upstream is dialled by the next call; nothing is wrong with it. */
const isTroubled = ({ upstream: { state } }: SessionStatus) =>
  state !== "serving" && state !== "idle";

/** Those with waiting calls first, then those whose upstream is away, then those at work, then the rest. */
function rank(session: SessionStatus): number {
  const { waiting, inFlight } = session.upstream;
  if (waiting > 0) return 0;
  if (isTroubled(session)) return 1;
  return inFlight > 0 ? 2 : 3;
}

/** At most `count`; of those that matter alike, the ones last seen. */
export function sessionsThatMatter(
  sessions: readonly SessionStatus[],
  count: number,
): SessionStatus[] {
  return sessions
    .toSorted((a, b) => rank(a) - rank(b) || b.lastSeenAt - a.lastSeenAt)
    .slice(0, count);
}
