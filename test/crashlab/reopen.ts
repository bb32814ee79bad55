/**
 * Opens what was found on a disk with the code that a start of Holdfast runs (that of the journal
 * thread, in this process), recovers it, and reads all that it hands out.
 */
import type { Database } from "better-sqlite3";
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import { journalFiles, makeFolders } from "../../src/store/layout.ts";
import type { JournalFiles } from "../../src/store/layout.ts";
import { decodeRow } from "../../src/store/rows.ts";
import type { RowValues } from "../../src/store/rows.ts";
import { openWriting } from "../../src/store/sqlite/connection.ts";
import type { Driver } from "../../src/store/sqlite/connection.ts";
import type { Command, RecoveredStep } from "../../src/store/sqlite/protocol.ts";
import { Recovered } from "../../src/store/sqlite/recovered.ts";
import { Writer } from "../../src/store/sqlite/writer.ts";
import { textOf } from "./history.ts";

const world = realWorld();

/** What a journal hands out at one time. Texts as in `History`. */
export interface Contents {
  readonly calls: ReadonlyMap<string, string>;
  readonly rows: readonly CallRow[];
  readonly sessions: ReadonlyMap<string, string>;
  readonly facts: ReadonlyMap<string, string>;
}

export interface Reopened {
  /** Before anything was recovered. */
  readonly found: Contents;
  readonly recovered: Contents;
  /** After a second recovery. */
  readonly again: Contents;
  /** Ids of the calls that recovery says are live. */
  readonly live: readonly string[];
  /** What the first and the second recovery put in doubt or expired. */
  readonly changes: readonly [number, number];
  readonly warnings: readonly string[];
  readonly wentBackwards: boolean;
  /** What SQLite says of the file after all that; "ok", one hopes. The opening looked more closely. */
  readonly integrity: string;
}

/** The first journal of an upstream in a state folder. */
export const filesIn = (folder: string, upstream: string): JournalFiles =>
  journalFiles(folder, upstream, 1);

export interface ReopenOptions {
  readonly driver: Driver;
  /** The state folder. */
  readonly folder: string;
  readonly upstream: string;
  readonly now: number;
  readonly dropsDelivered: boolean;
}

type Run = (...batch: Command[]) => readonly unknown[];

/** Throws what a start would refuse with. */
export function reopen(options: ReopenOptions): Reopened {
  return withWriter(options, (run, writer, db, warnings) => {
    const found = contents(run);
    const first = recover(run, options.now);
    const recovered = contents(run);
    const second = recover(run, options.now);
    return {
      found,
      recovered,
      again: contents(run),
      live: liveOf(first),
      changes: [changesOf(first), changesOf(second)],
      warnings,
      wentBackwards: writer.wentBackwards,
      integrity: String(db.pragma("quick_check", { simple: true })),
    };
  });
}

/** What a damaged journal hands out, in the order in which a process asks. */
export interface Inspected {
  /** After recovery. */
  readonly contents: Contents;
  readonly live: readonly string[];
  /** Calls that are found when they are asked for by id. */
  readonly foundById: ReadonlyMap<string, string>;
  /** Row numbers: an id may be what is damaged. */
  readonly quarantined: ReadonlySet<number>;
  readonly warnings: readonly string[];
  readonly wentBackwards: boolean;
}

/** Throws what a start, or a reading, would be refused with. */
export function inspect(options: ReopenOptions, ids: Iterable<string>): Inspected {
  return withWriter(options, (run, writer, db, warnings) => {
    const first = recover(run, options.now);
    const foundById = new Map<string, string>();
    for (const id of ids) {
      const [values] = run(["find", id]) as [RowValues | undefined];
      if (values !== undefined) foundById.set(id, textOf(readable(values)));
    }
    const read = contents(run);
    const quarantined = db.prepare("select seq from quarantine").pluck().all() as number[];
    return {
      contents: read,
      live: liveOf(first),
      foundById,
      quarantined: new Set(quarantined),
      warnings,
      wentBackwards: writer.wentBackwards,
    };
  });
}

function withWriter<T>(
  options: ReopenOptions,
  use: (run: Run, writer: Writer, db: Database, warnings: string[]) => T,
): T {
  makeFolders(options.folder, options.upstream);
  const files = filesIn(options.folder, options.upstream);
  const db = openWriting(options.driver, files.path);
  try {
    const { dropsDelivered } = options;
    const writer = new Writer(db, world, { ...files, durability: "process", dropsDelivered });
    const warnings: string[] = [];
    const run = (...batch: Command[]): readonly unknown[] => {
      const reply = writer.run(batch);
      warnings.push(...reply.warnings);
      return reply.results;
    };
    return use(run, writer, db, warnings);
  } finally {
    db.close();
  }
}

function recover(run: Run, now: number): Recovered {
  const recovered = new Recovered();
  for (let after: number | undefined = 0; after !== undefined;) {
    const [step] = run(["recover", now, false, after]) as [RecoveredStep];
    after = recovered.add(step);
  }
  return recovered;
}

const liveOf = ({ live }: Recovered): string[] => live.map((values) => readable(values).id);

const changesOf = ({ report }: Recovered): number => report.expired + report.putInDoubt;

function contents(run: Run): Contents {
  const [calls, sessions, facts] = run(["list", {}], ["sessions"], ["kept", "fact."]) as [
    RowValues[],
    string[],
    [string, string][],
  ];
  const rows = calls.map(readable);
  return {
    rows,
    calls: new Map(rows.map((row) => [row.id, textOf(row)])),
    sessions: new Map(sessions.map((body) => [(JSON.parse(body) as { id: string }).id, body])),
    facts: new Map(facts),
  };
}

function readable(values: RowValues): CallRow {
  const row = decodeRow(values);
  if (typeof row === "string") throw new Error(`an unreadable row was handed out: ${row}`);
  return row;
}
