/**
 * Where calls and sessions are: in proxies that run, reached over their control sockets, and in journals
 * that no process has. Both answer the same questions (`Control`); only the proxy can also run something.
 */
import { RefusedError } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import type { CallRow } from "../../core/call.ts";
import { repeatedCall } from "../../core/repeated-call.ts";
import { isTerminal } from "../../core/call.ts";
import type { ProxyStatus } from "../../core/status.ts";
import type { CallFilter, Control, Journal } from "../../ports.ts";
import { HELD_MARK, readHeldMark } from "../../store/held-mark.ts";
import { many } from "../../observe/text.ts";
import type { Folders } from "../options.ts";
import type { JournalReader } from "./journal-reader.ts";
import { runningProxies } from "./running.ts";
import type { Outside } from "./screen.ts";

/** What can be done without a process that has connections. */
export type CallControl = Omit<Control, "status" | "restart" | "follow">;

export interface CallSource {
  /** The upstream's name. */
  readonly name: string;
  /** Of the proxy that would run a call now; undefined for a journal that nobody has. */
  readonly status: ProxyStatus | undefined;
  readonly control: CallControl;
  /** Calls that a person has to decide about, in words. */
  readonly notice?: string | undefined;
  close(): void;
}

/** How long a call that a person ordered to be repeated may wait for its server to be wrapped again. */
const RETRY_TTL_MS = 3_600_000;

/** Steers the calls of a journal that nobody has; takes its lock for each change. */
export function journalControl(path: string, reader: JournalReader, world: World): CallControl {
  const find = async (journal: Journal, id: string): Promise<CallRow> => {
    const row = await journal.find(id);
    if (row === undefined) throw new RefusedError(`there is no call ${id}`);
    return row;
  };
  const change = async <T>(work: (journal: Journal) => Promise<T>): Promise<T> => {
    const journal = await reader.open(path);
    try {
      return await work(journal);
    } finally {
      await journal.close();
    }
  };
  return {
    list: (filter: CallFilter) => reader.calls(path, filter),
    show: (id) => reader.find(path, id),
    retry: (id) =>
      change(async (journal) => {
        const row = await withdrawSuspect(journal, await find(journal, id), world.now());
        const copy = repeatedCall(row, world.newId("c"), world.now(), RETRY_TTL_MS);
        await journal.admit(copy);
        return copy.id;
      }),
    cancel: (id) =>
      change(async (journal) => {
        const at = world.now();
        const cause = "withdrawn by a person";
        const row = await find(journal, id);
        const isDone = await journal.apply(
          {
            kind: "cancel",
            id,
            from: "queued",
            mayHaveRun: await isSuspect(journal, row),
            cause,
            at,
          },
          true,
        );
        if (!isDone) throw new RefusedError(`call ${id} does not wait: it is ${row.state}`);
        return find(journal, id);
      }),
    settle: (id, note) =>
      change(async (journal) => {
        const row = await find(journal, id);
        if (!isTerminal(row.state)) {
          throw new RefusedError(`call ${id} is ${row.state}; a note is for one that ended`);
        }
        await journal.apply({ kind: "annotate", id, note, at: world.now() }, true);
        return find(journal, id);
      }),
    sessions: async () => (await reader.sessions(path)).toReversed(),
    endSession: (id) => change((journal) => endSession(journal, id, world.now())),
  };
}

/** A person has decided to run it after all: it ends, and its repetition is a sound call. */
async function withdrawSuspect(journal: Journal, row: CallRow, at: number): Promise<CallRow> {
  if (row.state !== "queued" || !(await isSuspect(journal, row))) return row;
  const cause = "repeated by a person as a new call";
  const what = { kind: "cancel", id: row.id, from: "queued", mayHaveRun: true } as const;
  await journal.apply({ ...what, cause, at }, true);
  return (await journal.find(row.id)) ?? row;
}

/** Whether it may have run although it waits: its journal went backwards after it was accepted. */
async function isSuspect(journal: Journal, row: CallRow): Promise<boolean> {
  const text = (await journal.kept(HELD_MARK)).get(HELD_MARK);
  // A damaged mark is one of everything in the journal.
  return text !== undefined && row.seq <= (readHeldMark(text)?.foundSeq ?? Infinity);
}

/** Its calls that wait and of which nobody was told that they run late go with it. */
async function endSession(journal: Journal, id: string, at: number): Promise<void> {
  const session = await journal.findSession(id);
  if (session === undefined) throw new RefusedError(`there is no session ${id}`);
  if (session.endedAt !== undefined) throw new RefusedError(`session ${id} has ended already`);
  for (const row of await journal.list({ sessionId: id, states: ["queued"] })) {
    if (row.acknowledgedAt !== undefined) continue;
    const cause = "its session was ended by a person";
    const mayHaveRun = await isSuspect(journal, row);
    const what = { kind: "cancel", id: row.id, from: "queued", mayHaveRun } as const;
    await journal.apply({ ...what, cause, at }, true);
  }
  await journal.saveSession({ ...session, endedAt: at });
}

/** Works with all sources of these folders, and closes them. */
export async function withSources<T>(
  folders: Folders,
  outside: Outside,
  work: (sources: readonly CallSource[]) => Promise<T>,
): Promise<T> {
  const sources = await findSources(folders, outside);
  try {
    return await work(sources);
  } finally {
    for (const source of sources) source.close();
  }
}

const ADVICE =
  "they were recorded, and wait for you: holdfast calls retry CALL runs one, cancel CALL withdraws it";

function heldNotice({ heldForPerson, upstreamName }: ProxyStatus): string | undefined {
  if (heldForPerson === 0) return undefined;
  return `${many(heldForPerson, "queued call")} of ${upstreamName} may have run since ${ADVICE}`;
}

/** All sources of these folders; the caller closes them. Proxies that do not answer are told of. */
async function findSources(folders: Folders, outside: Outside): Promise<CallSource[]> {
  const sources: CallSource[] = [];
  const owned = new Set<string | undefined>();
  for (const { client, status } of await runningProxies(folders, outside)) {
    for (const path of [status.journal.path, ...status.takenOn]) owned.add(path);
    sources.push({
      name: status.upstreamName,
      status,
      control: client,
      notice: heldNotice(status),
      close: () => {
        client.close();
      },
    });
  }
  const reader = await outside.journals(folders.state);
  for (const journal of await reader.list()) {
    if (owned.has(journal.path) || journal.ownerPid !== undefined) continue;
    const control = journalControl(journal.path, reader, outside.world);
    const notice =
      journal.wentBackwards === undefined || (journal.counts["queued"] ?? 0) === 0
        ? undefined
        : `queued calls of ${journal.upstream} that change something may have run since ${ADVICE}`;
    sources.push({
      name: journal.upstream,
      status: undefined,
      control,
      notice,
      close: () => undefined,
    });
  }
  return sources;
}

/** Enough rows to find an abbreviated id among. */
const SEARCH_LIMIT = 100_000;
const ABBREVIATION_MIN = 4;

/** The call whose id begins or ends with `part`, and where it is. Rejects unless it is exactly one. */
export async function findCall(part: string, sources: readonly CallSource[]): Promise<Found> {
  const lists = sources.map(async (source) =>
    (await source.control.list({ limit: SEARCH_LIMIT })).map(({ id }) => ({ source, id })),
  );
  return pickOne("call", part, (await Promise.all(lists)).flat());
}

/** A thing by its id, and where it is. */
export interface Found {
  readonly source: CallSource;
  readonly id: string;
}

/** Throws `RefusedError` unless it is exactly one. */
export function pickOne<T extends { readonly id: string }>(
  what: "call" | "session",
  part: string,
  all: readonly T[],
): T {
  if (part.length < ABBREVIATION_MIN) {
    throw new RefusedError(`"${part}" is too short for a ${what}'s id; give at least 4 characters`);
  }
  const exact = all.find(({ id }) => id === part);
  if (exact !== undefined) return exact;
  const found = all.filter(({ id }) => id.startsWith(part) || id.endsWith(part));
  const [first, ...others] = found;
  if (first === undefined) throw new RefusedError(`there is no ${what} ${part}`);
  if (others.length === 0) return first;
  const ids = found.slice(0, 5).map(({ id }) => id);
  throw new RefusedError(`"${part}" fits ${String(found.length)} ${what}s: ${ids.join(", ")} …`);
}

/** SHA-256 in hex: how a wrapping proxy names its upstream in rows; a daemon uses the name itself. */
const DIGEST = /^[0-9a-f]{64}$/;

/** What a person calls the upstream of a row. */
export function upstreamNameOf(row: { readonly upstream: string }, source: CallSource): string {
  return DIGEST.test(row.upstream) ? source.name : row.upstream;
}
