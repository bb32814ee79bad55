/**
 * How far the journal has come, by itself and by the mark beside it, and what its processes noted in it:
 * facts, rows set aside, the mark of a journal that was given up.
 */
import { isObject } from "../../wire/message.ts";
import { HELD_MARK, heldMarkText, readHeldMark } from "../held-mark.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { FINDINGS_MAX, NOT_SET_ASIDE, fault, liveCalls, note } from "./finding.ts";
import type { Finding, JournalView, NamedCall } from "./finding.ts";

export interface Head {
  readonly dbId: string;
  readonly seq: number;
  readonly commits: number;
}

/** The greatest `seq` that was ever given out, as far as rows tell; 0 where there are none. */
export const GREATEST_SEQ = `max(coalesce((select max(seq) from call), 0),
  coalesce((select max(seq) from quarantine), 0))`;

export function lookAtHead({ db }: JournalView): Finding[] {
  const head = db.prepare(`select seq, commits, ${GREATEST_SEQ} as greatest from head`).get() as
    (Omit<Head, "dbId"> & { readonly greatest: number }) | undefined;
  if (head === undefined) {
    return [
      fault({
        check: "head",
        what: "the row that tells how far the journal has come is missing",
        ...liveCalls(db),
        means: "no start takes it up, and whether calls are missing can't be told",
        mend: { kind: "makeHead" },
      }),
    ];
  }
  const { seq, commits, greatest } = head;
  if (seq >= greatest && (commits > 0 || greatest === 0)) return [];
  return [
    fault({
      check: "head",
      what: `the head stands at seq ${String(seq)} after ${String(commits)} commits, rows go up to ${String(greatest)}`,
      means: "the next call would get the number of one that is there, and its proxy would end",
      mend: { kind: "raiseHead" },
    }),
  ];
}

const WAITING = "holdfast calls list shows them: retry, cancel or settle each";

/** Whether the journal holds less than it once did. */
export function lookAtMark({ db, mark, isRunning }: JournalView): Finding[] {
  if (mark === "absent") return ofSuspicion(db);
  if (mark === "torn") {
    // A running proxy writes it while it is read.
    if (isRunning) return [];
    return [
      fault({
        check: "high-water",
        what: "the mark beside the journal, of how far it has come, can't be read",
        means: "whether the journal went backwards can't be told",
        mend: { kind: "writeMark" },
      }),
    ];
  }
  const head = db.prepare('select db_id as "dbId", seq, commits from head').get() as
    Head | undefined;
  if (head === undefined) return [];
  if (mark.dbId === head.dbId && mark.commits <= head.commits) return ofSuspicion(db);
  const missing =
    mark.seq > head.seq
      ? `calls from seq ${String(head.seq + 1)} to ${String(mark.seq)} are missing`
      : "the last changes of its calls are missing";
  return [
    fault({
      check: "high-water",
      what:
        mark.dbId === head.dbId
          ? `it went backwards, from commit ${String(mark.commits)} to ${String(head.commits)}`
          : "another database stands in its place",
      ...liveCalls(db),
      means: `${missing}; what waits in it may have run since, and waits for a person`,
      advice: `bring back a newer copy, or its last backup (holdfast restore); else ${WAITING}`,
    }),
  ];
}

/** An earlier start noted that the journal went backwards. */
function ofSuspicion(db: JournalView["db"]): Finding[] {
  const [kept] = new SideStatements(db).kept(HELD_MARK);
  const found = kept === undefined ? undefined : readHeldMark(kept[1]);
  if (found === undefined) return [];
  const { expectedSeq, foundSeq, because } = found;
  const held = liveCalls(db, "call.seq <= ?", foundSeq);
  if (held.callCount === 0) return [];
  return [
    fault({
      check: "high-water",
      what:
        because === undefined
          ? `it once went backwards, from seq ${String(expectedSeq)} to ${String(foundSeq)}`
          : `it was ${because}`,
      ...held,
      means: "they may have run since, and wait for a person",
      advice: WAITING,
    }),
  ];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Facts of which a start, or `status`, makes something. Others may be a newer version's. */
export function lookAtFacts({ db, upstreamDigest16 }: JournalView): Finding[] {
  const findings: Finding[] = [];
  const facts = new SideStatements(db).kept("");
  const seq = db.prepare(`select ${GREATEST_SEQ}`).pluck().get() as number;
  for (const [key, value] of facts.slice(0, FINDINGS_MAX)) {
    const json = parsed(value);
    if (key === HELD_MARK && readHeldMark(value) === undefined) {
      const held = heldMarkText({ expectedSeq: seq, foundSeq: seq });
      findings.push(ofFact(key, "whatever waits in the journal waits for a person", held));
    } else if (key.startsWith("child:") && !isObject(json)) {
      const means = "a server that outlived its proxy may still run beside its successor";
      findings.push(ofFact(key, means, null));
    } else if ((key === "owner" || key.startsWith("link:")) && !isObject(json)) {
      findings.push(ofFact(key, "none: it is as if it had not been noted", null));
    } else if (key === "upstream" && !value.startsWith(upstreamDigest16)) {
      findings.push(
        fault({
          check: "facts",
          what: `it belongs to the upstream ${value.slice(0, 16)}, and lies in the folder of another`,
          ...liveCalls(db),
          means: "its calls don't run here: they are another server's",
          advice:
            "move it, with all files of its number, to a free number in the folder of its own",
        }),
      );
    }
  }
  return findings;
}

function ofFact(key: string, means: string, value: string | null): Finding {
  return fault({
    check: "facts",
    what: `the fact "${key}" can't be read`,
    means,
    mend: { kind: "keepFact", key, value },
  });
}

/** Rows that were set aside already: nothing runs them, and they are never deleted. */
export function lookAtQuarantine({ db }: JournalView): Finding[] {
  const rows = db
    .prepare(
      `select quarantine.id, why, coalesce(tool, method, '?') as tool, coalesce(state, '?') as state
       from quarantine left join call on call.seq = quarantine.seq
       left join origin on origin.number = call.origin
       order by quarantine.seq limit ${String(FINDINGS_MAX)}`,
    )
    .all() as (NamedCall & { readonly why: string })[];
  return rows.map(({ id, why, tool, state }) =>
    note({
      check: "quarantine",
      what: `a damaged call was set aside: ${why}`,
      calls: [{ id, tool, state }],
      means: "it is never run again; whether it ran is known only if you find out",
    }),
  );
}

/** `<n>.abandoned`: its process went on in memory after a disk error. */
export function lookAtAbandoned({ db, isAbandoned, isRunning, files }: JournalView): Finding[] {
  if (!isAbandoned) return [];
  const live = liveCalls(db);
  const what = `it was given up after a disk error (${files.abandonedPath})`;
  if (live.callCount > 0 || isRunning) {
    return [
      fault({
        check: "abandoned",
        what: isRunning ? `${what}, and its proxy goes on in memory` : what,
        ...live,
        means: "what waits in it may have run since, and waits for a person",
        advice: live.callCount > 0 ? WAITING : "look at the disk, then restart the proxy",
      }),
    ];
  }
  return [
    note({
      check: "abandoned",
      what,
      means: "none: nothing in it waits",
      mend: { kind: "clearAbandoned" },
    }),
  ];
}

/** All live calls, for what concerns several journals. */
export const liveIds = ({ db }: JournalView): string[] =>
  db
    .prepare(
      `select id from call where delivered_at is null
       and state in ('queued', 'sent', 'tasked', 'in_doubt') and ${NOT_SET_ASIDE}`,
    )
    .pluck()
    .all() as string[];
