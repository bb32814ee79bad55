/**
 * Whether every call's record can be relied on, and fits what it refers to. A record is read with all
 * that its checksum covers in one statement, some hundred in a transaction, so that a running proxy's
 * WAL is never held back for long.
 */
import { isObject } from "../../wire/message.ts";
import { ID_AT, META_COLUMNS, SEQ_AT } from "../rows.ts";
import type { SqlValue } from "../rows.ts";
import { WHOLE_ROWS, checkRow } from "../sqlite/statements.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { CALLS_NAMED, FINDINGS_MAX, callsWhere, fault, liveCalls, note } from "./finding.ts";
import type { Finding, JournalView, NamedCall } from "./finding.ts";

const ROWS_A_TIME = 500;
const METHOD_AT = META_COLUMNS.indexOf("method");
const TOOL_AT = META_COLUMNS.indexOf("tool");
const STATE_AT = META_COLUMNS.indexOf("state");
const ENDED = ["done", "failed", "expired", "cancelled", "dead"];
/** The form of the ids of sessions that have a key: those are on disk before their first call. */
const OF_KEYED_SESSION = `origin.session_id glob 's_${"[0-9a-f]".repeat(24)}'`;

/** Checksums, and the legality of every record. */
export function lookAtRows({ db }: JournalView): Finding[] {
  const next = db.prepare(`${WHOLE_ROWS} and call.seq > ? order by seq limit ${ROWS_A_TIME}`).raw();
  const findings: Finding[] = [];
  for (let after = -1; ;) {
    const before = after;
    for (const read of next.iterate(after) as Iterable<SqlValue[]>) {
      after = Number(read[SEQ_AT]);
      const checked = checkRow(read);
      if (typeof checked === "string") findings.push(ofDamaged(read, checked));
      if (findings.length >= FINDINGS_MAX) return findings;
    }
    if (after === before) return findings;
  }
}

/** What its columns say, true or not. */
function nameOf(read: readonly SqlValue[]): NamedCall {
  const tool = read[TOOL_AT] ?? read[METHOD_AT] ?? "?";
  return { id: String(read[ID_AT]), tool: String(tool), state: String(read[STATE_AT]) };
}

function ofDamaged(read: readonly SqlValue[], why: string): Finding {
  const call = nameOf(read);
  const isOrphan = read[METHOD_AT] === null;
  return fault({
    check: isOrphan ? "orphans" : "rows",
    what: isOrphan ? "the origin of a call is missing: its session and tool are not known" : why,
    calls: [call],
    means: ENDED.includes(call.state)
      ? "it is told of no more; what it says of how the call ended can't be relied on"
      : "it is never run again; whether it ran is not known",
    mend: {
      kind: "setAside",
      seq: Number(read[SEQ_AT]),
      id: call.id,
      why: isOrphan ? "its origin is missing" : why,
    },
    advice: "",
  });
}

/** Records without what they refer to, and the reverse. */
export function lookForOrphans({ db }: JournalView): Finding[] {
  const findings: Finding[] = [];
  const unused = "number not in (select origin from call)";
  const origins = db.prepare(`select count(*) from origin where ${unused}`).pluck().get() as number;
  if (origins > 0) {
    findings.push(
      note({
        check: "orphans",
        what: `${String(origins)} of the table "origin" belong to no call`,
        means: "none; a kill amid clearing up leaves such, and a proxy clears them later",
        mend: { kind: "dropOrigins" },
      }),
    );
  }
  const lost = callsWhere(
    db,
    `call.delivered_at is null and ${OF_KEYED_SESSION}
     and origin.session_id not in (select id from session)`,
  );
  if (lost.callCount > 0) {
    findings.push(
      fault({
        check: "orphans",
        what: "the session of calls that are not delivered is not there",
        ...lost,
        means: "their client can't come back for the answers; what waits still runs",
        advice: "see what became of them with holdfast calls show",
      }),
    );
  }
  return findings;
}

const MULTIPLE = "having count(*) > 1 order by min(call.seq)";

function repeated(view: JournalView, column: string, condition: string): (string | number)[] {
  const sql = `select ${column} from ${CALLS_NAMED} where ${condition} group by ${column} ${MULTIPLE}`;
  return view.db
    .prepare(`${sql} limit ${String(FINDINGS_MAX)}`)
    .pluck()
    .all() as (string | number)[];
}

/** What may be there once only. */
export function lookForDuplicates(view: JournalView): Finding[] {
  const { db } = view;
  // Past the index, which would hide what it does not hold.
  const twice = db.prepare(`select id from call not indexed group by id ${MULTIPLE}`).pluck();
  const findings = (twice.all() as string[]).map((id) =>
    fault({
      check: "duplicates",
      what: `the id ${id} stands for several calls`,
      ...callsWhere(db, "+call.id = ?", id),
      means: "a change to one may be written to the other",
      mend: { kind: "rebuild" },
    }),
  );
  for (const id of repeated(view, "call.upstream_id", "call.upstream_id is not null")) {
    findings.push(
      fault({
        check: "duplicates",
        what: `the id ${String(id)} was used upstream for several calls`,
        ...callsWhere(db, "call.upstream_id = ?", id),
        means: "the answer to one may have been taken for the answer to another",
        advice: "compare their answers with holdfast calls show",
      }),
    );
  }
  const live =
    "call.fingerprint is not null and call.delivered_at is null and call.state = 'queued'";
  for (const print of repeated(view, "call.fingerprint", live)) {
    findings.push(
      note({
        check: "duplicates",
        what: "equal calls wait: same tool, same arguments, same client",
        ...liveCalls(db, "call.fingerprint = ? and call.state = 'queued'", print),
        means: "each of them runs",
        advice: "withdraw with holdfast calls cancel what is only a repetition",
      }),
    );
  }
  return findings;
}

export function lookAtSessions({ db }: JournalView): Finding[] {
  return new SideStatements(db)
    .sessions()
    .filter(({ body }) => body === undefined || !isSession(body))
    .slice(0, FINDINGS_MAX)
    .map(({ id }) =>
      fault({
        check: "sessions",
        what: `session ${id} is damaged`,
        ...liveCalls(db, "origin.session_id = ?", id),
        means: "its client has to begin a new one; its calls stay on record",
        mend: { kind: "dropSession", id },
      }),
    );
}

function isSession(body: string): boolean {
  try {
    return isObject(JSON.parse(body) as unknown);
  } catch {
    return false;
  }
}
