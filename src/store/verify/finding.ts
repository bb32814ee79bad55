/**
 * What a look at journals finds, as data: what is wrong, which calls it is about, what that means for
 * them, and how it can be mended without a guess, or why a person has to decide.
 */
import type { Database } from "better-sqlite3";
import { sqliteCode } from "../sqlite/connection.ts";
import type { JournalFiles } from "../layout.ts";
import type { HighWater } from "../marks.ts";

/** A call as far as its record tells; a damaged record may tell wrongly. */
export interface NamedCall {
  readonly id: string;
  /** Its tool, or its method where it has none. */
  readonly tool: string;
  readonly state: string;
}

/** A change that loses nothing, says of no call that it did not run, and lets none run that may have. */
export type Mend =
  | { readonly kind: "setAside"; readonly seq: number; readonly id: string; readonly why: string }
  | { readonly kind: "dropOrigins" }
  | { readonly kind: "dropSession"; readonly id: string }
  | { readonly kind: "raiseHead" }
  | { readonly kind: "makeHead" }
  | { readonly kind: "keepFact"; readonly key: string; readonly value: string | null }
  | {
      readonly kind: "makeObject";
      readonly name: string;
      readonly isIndex: boolean;
      readonly sql: string;
    }
  | { readonly kind: "reindex" }
  | { readonly kind: "enterWal" }
  | { readonly kind: "rebuild" }
  | { readonly kind: "writeMark" }
  | { readonly kind: "clearAbandoned" }
  | { readonly kind: "setMode"; readonly path: string; readonly mode: number }
  | { readonly kind: "remove"; readonly path: string }
  /** With what SQLite has beside it; not while somebody has the lock. */
  | { readonly kind: "removeDraft"; readonly path: string; readonly lockPath: string };

export interface Finding {
  /** Name of the check, pinned for programs. */
  readonly check: string;
  /** `note`: nothing is wrong, but it is worth knowing, or tidied by the way. */
  readonly weight: "fault" | "note";
  /** What is so, as a sentence without its full stop. */
  readonly what: string;
  /** The first of the calls that it is about. */
  readonly calls: readonly NamedCall[];
  /** How many there are. */
  readonly callCount: number;
  /** What it means for calls. */
  readonly means: string;
  /** How `--repair` mends it; undefined where a person has to decide, or nothing needs to be done. */
  readonly mend: Mend | undefined;
  /** What a person can do; empty where nothing needs to be done, or the repair does it. */
  readonly advice: string;
}

/** A journal that is open for reading, and what is known of it besides. */
export interface JournalView {
  readonly db: Database;
  readonly files: JournalFiles;
  /** The folder's name: the first 16 characters of the upstream's digest. */
  readonly upstreamDigest16: string;
  /** Read before the database, so that it can't be ahead of a sound one. */
  readonly mark: HighWater | "absent" | "torn";
  readonly isAbandoned: boolean;
  /** A process has it. */
  readonly isRunning: boolean;
}

export interface Check {
  readonly name: string;
  /** Throws SQLite errors. */
  look(view: JournalView): Finding[];
}

/** More of one kind are found by looking again when these are mended. */
export const FINDINGS_MAX = 10_000;
/** So many calls of a finding are named. */
const NAMED_MAX = 20;

const LIVE = "call.state in ('queued', 'sent', 'tasked', 'in_doubt')";
const NAMES = "call.id, coalesce(origin.tool, origin.method, '?') as tool, call.state";
export const CALLS_NAMED = "call left join origin on origin.number = call.origin";
export const NOT_SET_ASIDE = "call.seq not in (select seq from quarantine)";

type Parts = Partial<Finding> & Pick<Finding, "check" | "what" | "means">;

export function fault(parts: Parts): Finding {
  return { ...EMPTY, callCount: parts.calls?.length ?? 0, weight: "fault", ...parts };
}

export function note(parts: Parts): Finding {
  return { ...EMPTY, callCount: parts.calls?.length ?? 0, weight: "note", ...parts };
}

const EMPTY = { calls: [], mend: undefined, advice: "" } as const;

/** Calls that fit a condition on `call` and `origin`: the first of them, and how many there are. */
export function callsWhere(
  db: Database,
  condition: string,
  ...parameters: (string | number)[]
): Pick<Finding, "calls" | "callCount"> {
  const from = `from ${CALLS_NAMED} where ${NOT_SET_ASIDE} and ${condition}`;
  const calls = db
    .prepare(`select ${NAMES} ${from} order by call.seq limit ${String(NAMED_MAX)}`)
    .all(...parameters) as NamedCall[];
  const count = db.prepare(`select count(*) ${from}`).pluck();
  return { calls, callCount: count.get(...parameters) as number };
}

/** Calls that are not terminal, and fit a condition. */
export function liveCalls(
  db: Database,
  condition = "true",
  ...parameters: (string | number)[]
): Pick<Finding, "calls" | "callCount"> {
  return callsWhere(db, `call.delivered_at is null and ${LIVE} and ${condition}`, ...parameters);
}

/** The file itself is damaged, as opposed to a disk or a permission in the way. */
export function isDamage(error: unknown): boolean {
  return /^SQLITE_(CORRUPT|NOTADB)/.test(sqliteCode(error) ?? "");
}
