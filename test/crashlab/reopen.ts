/**
 * Opens what was found on a disk with the code that a start of Holdfast runs (that of the journal
 * thread, in this process), recovers it, and reads all that it hands out.
 */
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import { journalFiles, makeFolders } from "../../src/store/layout.ts";
import type { JournalFiles } from "../../src/store/layout.ts";
import { decodeRow } from "../../src/store/rows.ts";
import type { RowValues } from "../../src/store/rows.ts";
import { openWriting } from "../../src/store/sqlite/connection.ts";
import type { Driver } from "../../src/store/sqlite/connection.ts";
import type { Command, RecoveredRows } from "../../src/store/sqlite/protocol.ts";
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
  /** What `integrity_check` says; "ok", one hopes. */
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

/** Throws what a start would refuse with. */
export function reopen(options: ReopenOptions): Reopened {
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
    const found = contents(run);
    const [first] = run(["recover", options.now]) as [RecoveredRows];
    const recovered = contents(run);
    const [second] = run(["recover", options.now]) as [RecoveredRows];
    return {
      found,
      recovered,
      again: contents(run),
      live: first.live.map((values) => readable(values).id),
      changes: [changesOf(first), changesOf(second)],
      warnings,
      wentBackwards: writer.wentBackwards,
      integrity: String(db.pragma("integrity_check", { simple: true })),
    };
  } finally {
    db.close();
  }
}

const changesOf = ({ report }: RecoveredRows): number => report.expired + report.putInDoubt;

function contents(run: (...batch: Command[]) => readonly unknown[]): Contents {
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
