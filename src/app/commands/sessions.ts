/** `holdfast sessions`: lists and ends sessions, with and without a running proxy. */
import type { CallRow } from "../../core/call.ts";
import { clientFacts, sessionOverAt } from "../../core/session.ts";
import type { SessionRow } from "../../core/session.ts";
import type { SessionStatus } from "../../core/status.ts";
import type { TransportKind } from "../../core/transport.ts";
import { ageText, many, safe } from "../../observe/text.ts";
import type { Paint } from "../../observe/text.ts";
import { isObject } from "../../wire/message.ts";
import type { Folders } from "../options.ts";
import type { Outside, Say } from "./screen.ts";
import { paintFor, sayer } from "./screen.ts";
import type { CallSource } from "./sources.ts";
import { pickOne, upstreamNameOf, withSources } from "./sources.ts";

export type SessionsRequest =
  | { readonly verb: "list"; readonly isAll: boolean; readonly limit: number }
  | { readonly verb: "end"; readonly id: string };

/** `detached`: the client is not there, and may come back. The names are those of `--json`. */
interface Listed {
  readonly id: string;
  /** "name version" as the client gave it. */
  readonly client: string;
  readonly upstream: string;
  readonly transport: TransportKind;
  readonly principal: string;
  readonly protocolVersion: string;
  readonly state: "attached" | "detached" | "ended" | "expired";
  readonly createdAt: number;
  readonly lastSeenAt: number;
  /** Calls that have not run yet, or whose outcome is still looked for. */
  readonly waiting: number;
}

interface Located {
  readonly id: string;
  readonly source: CallSource;
  readonly session: Listed;
}

function clientOf({ handshake }: SessionRow): string {
  const told: unknown = handshake === "" ? {} : JSON.parse(handshake);
  const { name, version } = clientFacts(isObject(told) ? told : {});
  return `${name} ${version}`.trim();
}

function stateOf(row: SessionRow, live: SessionStatus | undefined, now: number): Listed["state"] {
  if (row.endedAt !== undefined) return "ended";
  if (live !== undefined) return live.isAttached ? "attached" : "detached";
  // Its process is gone, and without a key its client can't return to another.
  if (row.keyDigest === undefined) return "ended";
  return sessionOverAt(row) > now ? "detached" : "expired";
}

/** What a proxy says of a session that is in no journal. */
function ofStatus(live: SessionStatus): Listed {
  const { id, client, transport, principal, protocolVersion, createdAt, lastSeenAt } = live;
  const { name, waiting } = live.upstream;
  const state: Listed["state"] = live.isAttached ? "attached" : "detached";
  const about = { transport, principal, protocolVersion, state, createdAt, lastSeenAt, waiting };
  return { id, client, upstream: name, ...about };
}

/** What the journal knows, and what the proxy knows better while it runs. */
function ofRow(
  row: SessionRow,
  source: CallSource,
  live: SessionStatus | undefined,
  waiting: number,
  now: number,
): Listed {
  const { id, transport, principal, protocolVersion, createdAt } = row;
  return {
    id,
    client: clientOf(row),
    upstream: upstreamNameOf(row, source),
    transport,
    principal,
    protocolVersion,
    state: stateOf(row, live, now),
    createdAt,
    lastSeenAt: Math.max(row.lastSeenAt, live?.lastSeenAt ?? 0),
    waiting: live?.upstream.waiting ?? waiting,
  };
}

function countBySession(rows: readonly CallRow[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { sessionId } of rows) counts.set(sessionId, (counts.get(sessionId) ?? 0) + 1);
  return counts;
}

async function sessionsOf(source: CallSource, now: number): Promise<Located[]> {
  const live = new Map(source.status?.sessions.map((session) => [session.id, session]));
  const rows = await source.control.sessions();
  const waiting = countBySession(
    await source.control.list({ states: ["queued", "in_doubt"], isUndelivered: true }),
  );
  const listed = rows.map((row) =>
    ofRow(row, source, live.get(row.id), waiting.get(row.id) ?? 0, now),
  );
  for (const { id } of rows) live.delete(id);
  listed.push(...[...live.values()].map(ofStatus));
  return listed.map((session) => ({ id: session.id, source, session }));
}

/** A proxy that looks after a dead one's journal may name the same sessions: it comes first and knows better. */
async function sessionsIn(sources: readonly CallSource[], now: number): Promise<Located[]> {
  const lists = await Promise.all(sources.map((source) => sessionsOf(source, now)));
  const found = new Map<string, Located>();
  for (const located of lists.flat()) if (!found.has(located.id)) found.set(located.id, located);
  return [...found.values()];
}

const isOver = ({ session }: Located) => session.state === "ended" || session.state === "expired";

async function tableOf(sessions: readonly Listed[], now: number, paint: Paint): Promise<string> {
  const { default: Table } = await import("cli-table3");
  const table = new Table({
    head: ["session", "client", "server", "over", "principal", "state", "waiting", "age", "seen"],
    style: { head: [], border: [] },
  });
  for (const session of sessions) {
    const { state } = session;
    table.push([
      session.id,
      safe(session.client),
      safe(session.upstream),
      session.transport,
      safe(session.principal),
      state === "attached" ? paint.green(state) : state,
      String(session.waiting),
      ageText(now - session.createdAt),
      `${ageText(now - session.lastSeenAt)} ago`,
    ]);
  }
  return `${table.toString()}\n`;
}

async function list(
  { isAll, limit }: SessionsRequest & { verb: "list" },
  all: readonly Located[],
  outside: Outside,
  say: Say,
): Promise<number> {
  const wanted = all
    .filter((located) => isAll || !isOver(located))
    .map(({ session }) => session)
    .sort((a, b) => b.lastSeenAt - a.lastSeenAt);
  const sessions = wanted.slice(0, limit);
  const more = wanted.length - sessions.length;
  const table = await tableOf(sessions, outside.world.now(), await paintFor(outside));
  const rest = more === 0 ? "" : `… and ${many(more, "more session")}: --limit\n`;
  return say({ sessions }, sessions.length === 0 ? "No sessions.\n" : table + rest);
}

/** Rejects with `RefusedError` where it cannot be done. */
export async function steerSessions(
  request: SessionsRequest,
  isJson: boolean,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const say = sayer(isJson, outside);
  return withSources(folders, outside, async (sources) => {
    const all = await sessionsIn(sources, outside.world.now());
    if (request.verb === "list") return list(request, all, outside, say);
    const { source, id, session } = pickOne("session", request.id, all);
    await source.control.endSession(id);
    return say({ id }, `Session ${id} of ${safe(session.client)} has ended.\n`);
  });
}
