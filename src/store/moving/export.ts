/**
 * Writes sessions and calls of journals as lines, in bounded memory: one page of calls at a time.
 *
 * MV3. A session comes before the calls, and every call's session that its journal has is there: calls
 *      that are younger than the sessions' reading are left out.
 */
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import type { Journal } from "../../ports.ts";
import { Tally, headerLine, recordLine } from "./format.ts";
import type { Counts, Header, MovedRecord } from "./format.ts";
import type { JournalRecord } from "./shapes.ts";

/** A journal to be exported, whatever kind it is. */
export interface ExportSource {
  readonly about: JournalRecord;
  /** Seq of the newest call; 0 if there is none. */
  lastSeq(): Promise<number>;
  sessions(): Promise<readonly SessionRow[]>;
  /** The next calls after this seq, in order, with their payloads; none if there are no more. */
  page(afterSeq: number): Promise<readonly CallRow[]>;
}

export interface ExportWish {
  readonly header: Header;
  /** False for calls alone. */
  readonly withSessions: boolean;
}

/** Lines with their newlines. Returns what was written. Rejects as its sources do. */
export async function* exportLines(
  sources: readonly ExportSource[],
  { header, withSessions }: ExportWish,
): AsyncGenerator<string, Counts> {
  const tally = new Tally();
  const counted = (line: string, kind?: MovedRecord["kind"]) => {
    tally.add(line, kind);
    return `${line}\n`;
  };
  yield counted(headerLine(header));
  for (const source of sources) {
    for await (const record of recordsOf(source, withSessions))
      yield counted(recordLine(record), record.kind);
  }
  yield `${tally.trailer().line}\n`;
  return tally.counts;
}

async function* recordsOf(
  source: ExportSource,
  withSessions: boolean,
): AsyncGenerator<MovedRecord> {
  yield { kind: "journal", journal: source.about };
  // MV3: a session is saved before its first call is admitted.
  const last = await source.lastSeq();
  if (withSessions) {
    for (const session of await source.sessions()) yield { kind: "session", session };
  }
  let after = 0;
  for (;;) {
    const page = await source.page(after);
    for (const call of page) {
      if (call.seq > last) return;
      yield { kind: "call", call };
      after = call.seq;
    }
    if (page.length === 0) return;
  }
}

const PAGE_CALLS = 200;

/** Any journal that is open in this process. `states` empty: calls of all states. */
export function journalSource(
  journal: Pick<Journal, "list" | "sessions">,
  about: JournalRecord,
  states: readonly string[] = [],
): ExportSource {
  const wanted = states.length === 0 ? {} : { states };
  return {
    about,
    lastSeq: async () => (await journal.list({ limit: 1 }))[0]?.seq ?? 0,
    sessions: () => journal.sessions(),
    page: (afterSeq) => journal.list({ ...wanted, afterSeq, limit: PAGE_CALLS }),
  };
}
