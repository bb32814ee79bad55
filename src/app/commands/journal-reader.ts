/** What the commands need of journals whose proxy does not run. */
import type { CallRow } from "../../core/call.ts";
import type { CallFilter, Journal } from "../../ports.ts";

/** One journal on disk. The names are those of `holdfast status --json`. */
export interface JournalSummary {
  readonly path: string;
  /** Name of the upstream, or its digest where no name was kept. */
  readonly upstream: string;
  /** Rows by state; states without rows may be absent. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface JournalReader {
  /** All journals of a state folder; none if the folder is not there. */
  list(stateFolder: string): Promise<readonly JournalSummary[]>;
  /** Newest first, payloads included. */
  calls(path: string, filter: CallFilter): Promise<readonly CallRow[]>;
  /**
   * Takes the journal's lock and opens it for a change; the caller closes it. Rejects with
   * `RefusedError` while a process has it.
   */
  open(path: string): Promise<Journal>;
}
