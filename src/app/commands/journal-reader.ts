/** What the commands need of journals whose proxy does not run. */
import type { CallRow } from "../../core/call.ts";
import type { WentBackwards } from "../../core/status.ts";
import type { SessionRow } from "../../core/session.ts";
import type { CallFilter, Journal } from "../../ports.ts";
import type { Examined, ExaminedJournal } from "../../store/examine.ts";

/** One journal on disk. The names are those of `holdfast status --json`. */
export interface JournalSummary {
  readonly path: string;
  /** Name of the upstream, or its digest where no name was kept. */
  readonly upstream: string;
  /** The process that has it now; undefined if none has. */
  readonly ownerPid: number | undefined;
  /** Rows by state; states without rows may be absent. */
  readonly counts: Readonly<Record<string, number>>;
  /** Its calls wait for a person: its process gave it up in mid-life. */
  readonly isAbandoned: boolean;
  /** It was restored, or went backwards otherwise: its calls that change something wait for a person. */
  readonly wentBackwards: WentBackwards | undefined;
  /** Rows that fail their checksum; they are never run. */
  readonly damaged: number;
  /** Why it cannot be read, in words. */
  readonly problem: string | undefined;
}

/** An examined journal, with the name of its upstream, or its digest where none was noted. */
export type NamedJournal = ExaminedJournal & { readonly upstream: string };

export interface JournalReader {
  /** All journals of the state folder; none if the folder is not there. */
  list(): Promise<readonly JournalSummary[]>;
  /** Newest first. */
  calls(path: string, filter: CallFilter): Promise<readonly CallRow[]>;
  /** With its payloads. */
  find(path: string, id: string): Promise<CallRow | undefined>;
  /** In the order in which they began. */
  sessions(path: string): Promise<readonly SessionRow[]>;
  /**
   * Takes the journal's lock and opens it for a change; the caller closes it. Rejects with
   * `RefusedError` while a process has it.
   */
  open(path: string): Promise<Journal>;
  /**
   * Looks for whatever does not fit, in all journals and beside them, and mends what needs no guess if
   * that is asked for. `cache` is the cache folder.
   */
  examine(
    cache: string,
    isRepairing: boolean,
  ): Promise<Examined & { readonly journals: readonly NamedJournal[] }>;
}
