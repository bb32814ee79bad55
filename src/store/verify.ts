/**
 * Looks at all journals of a state folder, and at the files beside them, for whatever does not fit. A
 * journal that a process has is read beside it; any other under its lock, so that no start changes it
 * meanwhile. Changes nothing.
 */
import { statSync } from "node:fs";
import { errorText } from "../base/errors.ts";
import { journalFiles, journalNumbers, upstreamsWithJournals } from "./layout.ts";
import type { JournalFiles } from "./layout.ts";
import { HighWaterFile, isMarkedAbandoned } from "./marks.ts";
import { openReading, sqliteCode } from "./sqlite/connection.ts";
import type { Driver } from "./sqlite/connection.ts";
import { tryLock } from "./sqlite/lock.ts";
import type { Lock } from "./sqlite/lock.ts";
import { SideStatements } from "./sqlite/side-statements.ts";
import { lookAtRows, lookAtSessions, lookForDuplicates, lookForOrphans } from "./verify/calls.ts";
import { fault, isDamage } from "./verify/finding.ts";
import type { Check, Finding, JournalView } from "./verify/finding.ts";
import {
  foreignTo,
  isEmpty,
  lookAtPages,
  lookAtSchema,
  ofIndices,
  ofPages,
} from "./verify/structure.ts";
import {
  liveIds,
  lookAtAbandoned,
  lookAtFacts,
  lookAtHead,
  lookAtMark,
  lookAtQuarantine,
} from "./verify/standing.ts";

/** One journal, before anything is known of it. */
export interface Subject {
  readonly files: JournalFiles;
  readonly upstreamDigest16: string;
}

/** What was found in one journal. */
export interface Looked {
  readonly findings: readonly Finding[];
  /** Calls, whatever their state. */
  readonly rows: number;
  /** Of the database, as its head says; undefined where that can't be read. */
  readonly dbId: string | undefined;
  /** Ids of the calls that are not terminal. */
  readonly live: readonly string[];
}

/** In this order: who reads the findings should meet first what explains the others. */
const CONTENT: readonly Check[] = [
  { name: "high-water", look: lookAtMark },
  { name: "head", look: lookAtHead },
  { name: "abandoned", look: lookAtAbandoned },
  { name: "rows", look: lookAtRows },
  { name: "orphans", look: lookForOrphans },
  { name: "duplicates", look: lookForDuplicates },
  { name: "sessions", look: lookAtSessions },
  { name: "facts", look: lookAtFacts },
  { name: "quarantine", look: lookAtQuarantine },
];

/** All journals of a state folder, by upstream and number. */
export function subjectsIn(folder: string): Subject[] {
  return upstreamsWithJournals(folder).flatMap((upstreamDigest16) =>
    journalNumbers(folder, upstreamDigest16).map((number) => ({
      upstreamDigest16,
      files: journalFiles(folder, upstreamDigest16, number),
    })),
  );
}

/** What a journal notes of itself; nothing where it can't be read. */
export function factsOf(driver: Driver, { files }: Subject): ReadonlyMap<string, string> {
  try {
    const db = openReading(driver, files.path);
    try {
      return new Map(new SideStatements(db).kept(""));
    } finally {
      db.close();
    }
  } catch {
    return new Map(); // What is wrong with it, a look will say.
  }
}

export type Hold =
  | { readonly kind: "mine"; readonly lock: Lock }
  | { readonly kind: "taken" }
  /** Its lock file is of no use; in words. */
  | { readonly kind: "broken"; readonly why: string };

/** Takes the journal's lock, if nobody has it. */
export function holdOf(driver: Driver, { files }: Subject): Hold {
  try {
    const lock = tryLock(driver, files.lockPath);
    return lock === undefined ? { kind: "taken" } : { kind: "mine", lock };
  } catch (error) {
    return { kind: "broken", why: errorText(error) };
  }
}

/** Never throws for what is wrong with the journal: that is a finding. */
export function lookAtJournal(driver: Driver, subject: Subject, isRunning: boolean): Looked {
  const { files, upstreamDigest16 } = subject;
  const findings: Finding[] = [];
  let more: Omit<Looked, "findings"> = { rows: 0, dbId: undefined, live: [] };
  // Of one damage, the first that is said of it is enough.
  const guarded = (areRowsLookedAt: boolean, work: () => void) => {
    try {
      work();
    } catch (error) {
      const found = trouble(error, areRowsLookedAt);
      if (!findings.some(({ check }) => check === found.check)) findings.push(found);
    }
  };
  guarded(false, () => {
    const mark = readMark(files.highWaterPath);
    const db = openReading(driver, files.path);
    try {
      db.pragma("cell_size_check = on");
      const isAbandoned = isMarkedAbandoned(files.abandonedPath);
      const view = { db, files, upstreamDigest16, mark, isAbandoned, isRunning };
      if (isEmpty(db)) findings.push(...ofEmpty(view));
      else more = lookInside(view, driver, findings, guarded);
    } finally {
      db.close();
    }
  });
  return { findings, ...more };
}

function lookInside(
  view: JournalView,
  driver: Driver,
  findings: Finding[],
  guarded: (areRowsLookedAt: boolean, work: () => void) => void,
): Omit<Looked, "findings"> {
  const known = { rows: 0, dbId: undefined as string | undefined, live: [] as string[] };
  const foreign = foreignTo(view);
  if (foreign !== undefined) {
    findings.push(foreign);
    return known;
  }
  guarded(false, () => findings.push(...lookAtPages(view)));
  guarded(false, () => findings.push(...lookAtSchema(view, driver)));
  // What is said of rows on damaged pages would be said of the damage.
  if (findings.some(isInTheWay)) return known;
  for (const { look } of CONTENT) guarded(true, () => findings.push(...look(view)));
  guarded(true, () => {
    const side = new SideStatements(view.db);
    known.rows = side.countCalls();
    known.live = liveIds(view);
    const head = view.db.prepare("select db_id from head").pluck();
    known.dbId = head.get() as string | undefined;
  });
  return known;
}

/** Rows can be read without an index, but not without a table. */
const isInTheWay = ({ mend }: Finding): boolean =>
  mend?.kind === "rebuild" || (mend?.kind === "makeObject" && !mend.isIndex);

function readMark(path: string): JournalView["mark"] {
  // A kill may come between its making and its first line.
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0) return "absent";
  return new HighWaterFile(path).read() ?? "torn";
}

/** What a kill at the very first start leaves, unless the mark tells of more. */
function ofEmpty({ mark }: JournalView): Finding[] {
  if (typeof mark === "string" || mark.seq === 0) return [];
  return [
    fault({
      check: "high-water",
      what: `it is empty, and once held calls up to seq ${String(mark.seq)}`,
      means: "all its calls are missing",
      advice: "bring back its last backup (holdfast restore); else the next start begins it anew",
    }),
  ];
}

/**
 * An error of SQLite as a finding. Throws what is none. Where rows are looked at, the pages were found
 * sound: then an index leads nowhere, for which SQLite's own check does not look in a partial one.
 */
function trouble(error: unknown, areRowsLookedAt: boolean): Finding {
  const code = sqliteCode(error);
  if (code === undefined) throw error;
  const text = `${errorText(error)} (${code})`;
  if (isDamage(error)) return areRowsLookedAt ? ofIndices([text]) : ofPages(text);
  return fault({
    check: "reading",
    what: `it can't be read: ${text}`,
    means: "nothing is known of its calls",
    advice: "look at its permissions and its disk, then verify again",
  });
}

/** Journals that are copies of each other: what waits in both would run twice. */
export function lookAcross(
  journals: readonly { readonly path: string; readonly looked: Looked }[],
): Finding[] {
  const findings: Finding[] = [];
  const seen = new Map<string, string>();
  const meet = (key: string, path: string): string | undefined => {
    const other = seen.get(key);
    if (other === undefined) seen.set(key, path);
    return other;
  };
  for (const { path, looked } of journals) {
    const others = new Set<string>();
    let shared = 0;
    for (const id of looked.live) {
      const other = meet(id, path);
      if (other !== undefined) others.add(other);
      if (other !== undefined) shared++;
    }
    const twin = looked.dbId === undefined ? undefined : meet(`db ${looked.dbId}`, path);
    if (twin !== undefined) others.add(twin);
    if (others.size === 0) continue;
    findings.push(
      fault({
        check: "duplicates",
        what: `${path} and ${[...others].join(", ")} are copies of one journal`,
        callCount: shared,
        means: shared === 0 ? "none so far: nothing waits in both" : "they would run twice",
        advice: "keep the one with more in it, and move the other out of the state folder",
      }),
    );
  }
  return findings;
}
