/**
 * Evidence put in order, once, for all invariants: what belongs to one call, and how each row stood in each
 * view. Linear in the evidence but for the sorting; each payload is looked at once.
 */
import type { CallRow } from "../../src/core/call.ts";
import type { Asked, Evidence, Execution, JournalView } from "./evidence.ts";

/** One journal, over all its views. */
export interface JournalFacts {
  readonly name: string;
  readonly kind: "disk" | "memory" | "abandoned";
  readonly views: readonly JournalView[];
}

/** One row, as it stood in the views in which it was. */
export interface RowHistory {
  readonly id: string;
  readonly journal: JournalFacts;
  /** Undefined where its request was dropped before anybody looked, and nothing that ran names it. */
  nonce: string | undefined;
  /** Number of the first view that has it. The views follow each other from there on. */
  readonly first: number;
  readonly versions: CallRow[];
  /** In a later view it was not there any more; only retention may explain that. */
  isVanished: boolean;
  /** A power loss took it, as it may take a read that nobody was promised. */
  isPowerLost: boolean;
}

/** Everything about one nonce: who asked (more than once where it was repeated), which rows, what ran. */
export interface Group {
  readonly nonce: string;
  readonly asks: Asked[];
  readonly rows: RowHistory[];
  /** In order of time. */
  readonly executions: Execution[];
}

export interface Ledger {
  readonly evidence: Evidence;
  readonly groups: ReadonlyMap<string, Group>;
  readonly journals: readonly JournalFacts[];
  /** All rows; of a call that went on in memory only the row there. */
  readonly rows: ReadonlyMap<string, RowHistory>;
  /** Every row of every journal. */
  readonly histories: readonly RowHistory[];
  /** Of some rows it can't be told to which call they belong: their requests were dropped before. */
  readonly hasUnlinked: boolean;
  readonly incarnations: number;
  /** Whose each session of a client is. */
  readonly principals: ReadonlyMap<string, string>;
  /** Calls of which the upstream said something untrue. */
  readonly liedAbout: ReadonlySet<string>;
  readonly slackMs: number;
  readonly setBackMs: number;
}

export const lastOf = (history: RowHistory): CallRow => history.versions.at(-1) as CallRow;

/** How the row stood in view `index` of its journal; undefined where it was not there. */
export const versionIn = (history: RowHistory, index: number): CallRow | undefined =>
  history.versions[index - history.first];

/** The number of the first view at `at` or later; undefined if none came any more. */
export function viewSince({ views }: JournalFacts, at: number): number | undefined {
  let low = 0;
  let high = views.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((views[middle] as JournalView).at < at) low = middle + 1;
    else high = middle;
  }
  return low < views.length ? low : undefined;
}

/** What the clients of a group expect of it; a class that changed between repetitions counts as the strictest. */
export function safetyOf({ asks }: Group): "read" | "idempotent" | "unsafe" {
  if (asks.some(({ safety }) => safety === "unsafe") || asks.length === 0) return "unsafe";
  return asks.some(({ safety }) => safety === "idempotent") ? "idempotent" : "read";
}

/** A power loss may take this row, and what was last written of it (`mustSync`). */
export const mayLosePower = (row: CallRow): boolean =>
  row.safety === "read" && row.acknowledgedAt === undefined;

const NONCE = '"nonce":';

/** The nonce of a request, as the client wrote it, without the quotes. */
export function nonceIn(request: string): string | undefined {
  const at = request.indexOf(NONCE);
  if (at < 0) return undefined;
  let start = at + NONCE.length;
  while (request[start] === " ") start++;
  if (request[start] === '"') return request.slice(start + 1, request.indexOf('"', start + 1));
  let end = start;
  while (end < request.length && !",} ".includes(request.charAt(end))) end++;
  return request.slice(start, end);
}

function journalsOf(views: readonly JournalView[]): readonly JournalFacts[] {
  const byName = new Map<string, JournalView[]>();
  for (const view of views) {
    const known = byName.get(view.journal);
    if (known === undefined) byName.set(view.journal, [view]);
    else known.push(view);
  }
  return [...byName].map(([name, own]) => {
    const kinds = own.map(({ kind }) => kind ?? "disk");
    const kind = kinds.find((other) => other !== "disk") ?? "disk";
    return { name, kind, views: own };
  });
}

function historiesOf(journal: JournalFacts): readonly RowHistory[] {
  const known = new Map<string, RowHistory>();
  const all: RowHistory[] = [];
  for (const [index, view] of journal.views.entries()) {
    for (const row of view.rows) {
      const history = known.get(row.id);
      // A row that comes back after it had vanished begins anew: the first history tells that it vanished.
      if (history !== undefined && history.first + history.versions.length === index) {
        history.versions.push(row);
        history.nonce ??= nonceIn(row.request);
        continue;
      }
      const nonce = nonceIn(row.request);
      const next = { id: row.id, journal, nonce, first: index, versions: [row] };
      const begun = { ...next, isVanished: false, isPowerLost: false };
      known.set(row.id, begun);
      all.push(begun);
    }
  }
  for (const history of all) judgeEnd(history);
  return all;
}

/** Where the row was last seen before the journal's last view: why. */
function judgeEnd(history: RowHistory): void {
  const { views } = history.journal;
  const next = views[history.first + history.versions.length];
  if (next === undefined) return;
  if (next.isAfterPowerLoss && mayLosePower(lastOf(history))) history.isPowerLost = true;
  else history.isVanished = true;
}

class Groups {
  readonly byNonce = new Map<string, Group>();

  of(nonce: string): Group {
    const known = this.byNonce.get(nonce);
    if (known !== undefined) return known;
    const group: Group = { nonce, asks: [], rows: [], executions: [] };
    this.byNonce.set(nonce, group);
    return group;
  }
}

/** One history for each id. Of a call that its process took along into memory, the one there. */
function authoritative(histories: readonly RowHistory[]): ReadonlyMap<string, RowHistory> {
  const rows = new Map<string, RowHistory>();
  for (const history of histories) {
    const known = rows.get(history.id);
    if (known === undefined || known.journal.kind === "abandoned" || known.isPowerLost)
      rows.set(history.id, history);
  }
  return rows;
}

export function ledgerOf(evidence: Evidence): Ledger {
  const groups = new Groups();
  for (const ask of evidence.asked) groups.of(ask.nonce).asks.push(ask);
  const byRequest = new Map<string, string>();
  const executions = [...evidence.executions].sort((a, b) => a.at - b.at);
  for (const execution of executions) {
    groups.of(execution.nonce).executions.push(execution);
    if (execution.requestId !== undefined) byRequest.set(execution.requestId, execution.nonce);
  }
  const journals = journalsOf(evidence.views);
  const histories = journals.flatMap(historiesOf);
  const rows = authoritative(histories);
  let hasUnlinked = false;
  for (const history of histories) {
    history.nonce ??= byRequest.get(lastOf(history).upstreamId ?? "");
    if (history.nonce === undefined) hasUnlinked ||= isUnread(history);
    else if (rows.get(history.id) === history) groups.of(history.nonce).rows.push(history);
  }
  for (const group of groups.byNonce.values()) group.asks.sort(byTime);
  const lies = evidence.faults.filter(({ isLie }) => isLie === true);
  return {
    evidence,
    groups: groups.byNonce,
    journals,
    rows,
    histories,
    hasUnlinked,
    incarnations: evidence.incarnations ?? countIncarnations(evidence.asked, journals),
    principals: new Map(evidence.asked.map(({ session, principal }) => [session, principal])),
    liedAbout: new Set(lies.flatMap(({ nonces }) => nonces ?? [])),
    slackMs: evidence.rules?.slackMs ?? 0,
    setBackMs: evidence.rules?.setBackMs ?? 0,
  };
}

/** Nobody saw its request, so that it may be any call's; one that was seen without a nonce is none's. */
const isUnread = ({ versions }: RowHistory): boolean =>
  versions.every(({ request }) => request === "");

const byTime = (a: Asked, b: Asked) => (a.at ?? 0) - (b.at ?? 0);

/** At least as many as calls were made in; every death leaves a view, and so does the end. */
function countIncarnations(asked: readonly Asked[], journals: readonly JournalFacts[]): number {
  const views = journals.reduce((most, journal) => Math.max(most, journal.views.length), 1);
  return asked.reduce((most, { incarnation }) => Math.max(most, incarnation), views);
}
