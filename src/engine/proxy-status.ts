/** What `status` tells of a whole process. */
import type {
  JournalStats,
  ProxyStatus,
  RecoveryReport,
  ServingStatus,
  SessionStatus,
} from "../core/status.ts";
import type { SnapshotStatus } from "../core/snapshot.ts";
import type { Branch } from "./branch.ts";
import { sumOf } from "./tally.ts";

export interface StatusParts {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: number;
  readonly now: number;
  readonly branches: readonly Branch[];
  readonly heldForPerson: number;
  /** Undefined while it is still being opened. */
  readonly journal: JournalStats | undefined;
  readonly takenOn: readonly string[];
  /** Of this process's own journal first. */
  readonly opened: readonly RecoveryReport[];
  readonly serving: ServingStatus | undefined;
  readonly snapshots: SnapshotStatus | undefined;
}

const OPENING: JournalStats = {
  kind: "memory",
  path: undefined,
  degraded: "still opening",
  bytes: 0,
  walBytes: 0,
  fsyncMs: undefined,
  commits: 0,
  rows: 0,
};

export function proxyStatus(parts: StatusParts): ProxyStatus {
  const { version, pid, startedAt, now, branches, heldForPerson, journal, opened } = parts;
  const sessions = branches.flatMap((branch) => branch.sessions());
  const reasons = reasonsOf(parts, sessions);
  const { calls, failures } = sumOf(branches.map(({ context }) => context.tally));
  return {
    version,
    pid,
    startedAt,
    now,
    upstreamName: branches.map(({ name }) => name).join(", "),
    health: reasons.length === 0 ? "healthy" : "degraded",
    reasons,
    upstreams: branches.map((branch) => branch.summary()),
    sessions,
    serving: parts.serving,
    heldForPerson,
    journal: journal ?? OPENING,
    takenOn: parts.takenOn,
    recovery: opened[0],
    snapshots: parts.snapshots,
    calls,
    failures,
  };
}

function reasonsOf(parts: StatusParts, sessions: readonly SessionStatus[]): readonly string[] {
  const { journal, heldForPerson, opened, serving, snapshots } = parts;
  const reasons = new Set<string>();
  for (const { upstream } of sessions) {
    // An upstream that nobody has asked for yet is not missing.
    if (upstream.state === "serving" || upstream.state === "idle") continue;
    const cause = upstream.lastFailure === undefined ? "" : `: ${upstream.lastFailure.message}`;
    reasons.add(`'${upstream.name}' is ${upstream.state}${cause}`);
  }
  if (journal?.degraded !== undefined)
    reasons.add(`the journal is in memory only: ${journal.degraded}`);
  if (heldForPerson > 0)
    reasons.add(`calls of an earlier process that wait for a person: ${String(heldForPerson)}`);
  for (const { wentBackwards } of opened) {
    if (wentBackwards === undefined) continue;
    const { because } = wentBackwards;
    if (because === undefined) reasons.add("the journal holds less than was once written to it");
    else reasons.add(`a journal was ${because}`);
  }
  if (snapshots?.failure !== undefined)
    reasons.add(`no snapshot of the journal was made: ${snapshots.failure.message}`);
  if (serving?.problem !== undefined)
    reasons.add(`the configuration on disk is not used: ${serving.problem}`);
  if (serving?.doorTrouble !== undefined)
    reasons.add(`tokens can't be checked, so nobody is let in: ${serving.doorTrouble}`);
  return [...reasons];
}
