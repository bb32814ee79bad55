/** What the main thread and the journal thread say to each other: one message a batch each way. */
import type { JournalTrouble } from "../../base/errors.ts";
import type { CallChange } from "../../core/call.ts";
import type { RecoveryReport } from "../../core/status.ts";
import type { JournalFilter } from "../../core/call-filter.ts";
import type { RowValues } from "../rows.ts";

/**
 * - `full`: rows of calls that are not read-only, and whatever was acknowledged, wait for the fsync.
 * - `always`: every commit does.
 * - `process`: none does; what was committed survives the process, not a power cut.
 */
export type Durability = "full" | "always" | "process";

/** What the thread needs to open its journal. */
export interface ThreadOptions {
  readonly path: string;
  readonly highWaterPath: string;
  readonly ballastPath: string;
  readonly durability: Durability;
  /** A delivered row loses its payloads with the mark. */
  readonly dropsDelivered: boolean;
  /** The journal's own bound in pages of 4 KiB; over it, it behaves as on a full disk. */
  readonly pagesMax?: number;
  /** Folder and number of the files that what is pruned goes to. Default: it is gone. */
  readonly archiveBase?: string;
  /** Open calls that one step of a recovery takes, at least 1. Default 500. */
  readonly recoverStepRows?: number;
}

/** One step of a batch. `sync` asks that the batch reaches the platter. */
export type Command =
  /** `request`: in UTF-8, where it is large; the values have none then. */
  | readonly ["admit", values: RowValues, sync: boolean, request?: Uint8Array]
  /** `reply`: that of a settlement in UTF-8, where it is large; the change has none then. */
  | readonly ["change", change: CallChange, sync: boolean, reply?: Uint8Array]
  | readonly ["find", id: string]
  | readonly ["list", filter: JournalFilter]
  /**
   * One step over rows with a greater seq than `after`; the answer says whether there are more.
   * `isAbandoned`: another process may have gone on with its live calls.
   */
  | readonly ["recover", now: number, isAbandoned: boolean, after: number]
  | readonly ["saveSession", id: string, body: string, seenAt: number]
  | readonly ["findSession", id: string]
  | readonly ["sessions"]
  | readonly ["keep", key: string, value: string | null]
  | readonly ["kept", prefix: string]
  /** One step over rows with a greater seq than `after`; the answer says whether there are more. */
  | readonly ["prune", retention: Retention, after: number]
  | readonly ["tidy"];

/** The answer to a command that was not carried out while others of its batch were. */
export interface Refusal {
  readonly refused: JournalTrouble;
  readonly text: string;
}

export function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "refused" in value;
}

/** What is dropped: results and records of calls that ended before these instants, and what is over. */
export interface Retention {
  readonly results: number;
  readonly records: number;
  /** Of the whole journal; `null`: no bound. */
  readonly bytesMax: number | null;
}

export interface Pruned {
  /** Calls deleted by this step. */
  readonly deleted: number;
  /** Where the next step begins; undefined after the last. */
  readonly next: number | undefined;
  /** Why it went no further, in words. */
  readonly trouble?: string;
}

/** What one step of a recovery did. */
export interface RecoveredStep {
  readonly live: readonly RowValues[];
  readonly expired: number;
  readonly putInDoubt: number;
  readonly tookMs: number;
  /** Where the next step begins, or what is known after the last. */
  readonly rest: { readonly next: number } | RecoveryEnd;
}

/** What is known once every open row was looked at. */
export interface RecoveryEnd {
  readonly next?: undefined;
  /** Sound calls by state, as they are after the recovery, and how many are quarantined. */
  readonly counts: Readonly<Record<string, number>>;
  readonly remembered: readonly RowValues[];
  readonly wentBackwards: RecoveryReport["wentBackwards"];
}

export interface BatchReply {
  /** One for each command, in order; what a value is depends on the command. */
  readonly results: readonly unknown[];
  /** Commits so far in the life of the database. */
  readonly commits: number;
  readonly rows: number;
  /** How long the commit took, if it was synced. */
  readonly syncMs: number | undefined;
  /** Things to log: rows that were found damaged, a full disk, a checkpoint that failed. */
  readonly warnings: readonly string[];
}

export type ThreadMessage =
  | { readonly kind: "opened"; readonly liveRows: number; readonly wentBackwards: boolean }
  | { readonly kind: "refused"; readonly isConfig: boolean; readonly text: string }
  | { readonly kind: "batch"; readonly reply: BatchReply }
  /** The connection is gone; nothing is known about the changes of the batch in flight. */
  | { readonly kind: "broken"; readonly text: string }
  | { readonly kind: "closed" };

/** What the main thread needs of the journal thread; a `Worker` has it. */
export interface JournalThread {
  /** `transfer`: goes over without a copy, and is gone here. */
  postMessage(batch: readonly Command[] | "close", transfer?: readonly ArrayBuffer[]): void;
  on(event: "message", hear: (message: ThreadMessage) => void): unknown;
  /** A bug ended it. */
  on(event: "error", hear: (error: Error) => void): unknown;
  on(event: "exit", hear: () => void): unknown;
  /** Resolves when nothing of it is left. */
  terminate(): Promise<unknown>;
}
