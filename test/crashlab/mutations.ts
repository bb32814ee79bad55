/**
 * Damaged files of a journal: each must be noticed when it is opened, recovered or read, or do no harm
 * at all; a wrong row is never handed out.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "../../src/base/errors.ts";
import type { Driver } from "../../src/store/sqlite/connection.ts";
import { damages } from "./damage.ts";
import type { Damage, Files, Sources } from "./damage.ts";
import { Disk } from "./disk.ts";
import type { History, Span } from "./history.ts";
import { judgeInspected } from "./judge.ts";
import { inspect } from "./reopen.ts";
import type { Inspected } from "./reopen.ts";
import type { StoreRun } from "./record.ts";
import { isOfDisk } from "./trace.ts";

export const NOTICES = ["refused", "went backwards", "quarantined", "harmless", "MISSED"] as const;
export type Notice = (typeof NOTICES)[number];

export interface MutationFigures {
  readonly count: number;
  readonly missed: number;
  /** By kind of damage, how often each thing came of it. */
  readonly table: Record<string, Record<Notice, number>>;
  /** What was missed, in words. */
  readonly findings: readonly string[];
}

export interface MutationOptions {
  readonly driver: Driver;
  readonly upstream: string;
  readonly history: History;
  /** What the sound files may and must hold. */
  readonly span: Span;
  readonly now: number;
  readonly dropsDelivered: boolean;
  /** At most so many cases of a kind. */
  readonly each: number;
  readonly seed: number;
  readonly place: string;
}

/** The files of the first journal when so many records had happened, with all that was written. */
export function filesAt(run: StoreRun, count: number, upstream: string): Files {
  const disk = new Disk(run.folder);
  for (const record of run.records.slice(0, count)) if (isOfDisk(record)) disk.apply(record);
  const base = join(run.folder, "state", "journals", upstream.slice(0, 16), "1");
  const db = disk.read(`${base}.db`);
  if (db === undefined) throw new Error(`there is no journal yet after ${count} records`);
  return { db, wal: disk.read(`${base}.db-wal`), mark: disk.read(`${base}.hwm`) };
}

export function runMutations(sources: Sources, options: MutationOptions): MutationFigures {
  const table: MutationFigures["table"] = {};
  const findings: string[] = [];
  let count = 0;
  for (const damage of damages(sources, options.each, options.seed)) {
    const { notice, text } = tryDamage(damage, options);
    const row = (table[damage.kind] ??= newRow());
    row[notice]++;
    count++;
    if (notice === "MISSED") findings.push(`${damage.kind} (${damage.where}): ${text}`);
  }
  return { count, missed: findings.length, table, findings };
}

export const newRow = (): Record<Notice, number> => ({
  refused: 0,
  "went backwards": 0,
  quarantined: 0,
  harmless: 0,
  MISSED: 0,
});

function tryDamage(damage: Damage, options: MutationOptions): { notice: Notice; text: string } {
  const folder = join(options.place, "damaged");
  rmSync(folder, { recursive: true, force: true });
  const journals = join(folder, "journals", options.upstream.slice(0, 16));
  mkdirSync(journals, { recursive: true });
  const put = (name: string, bytes: Buffer | undefined) => {
    if (bytes !== undefined) writeFileSync(join(journals, name), bytes);
  };
  put("1.db", damage.files.db);
  put("1.db-wal", damage.files.wal);
  put("1.hwm", damage.files.mark);
  const { history } = options;
  let inspected: Inspected;
  try {
    inspected = inspect({ ...options, folder }, history.callIds);
  } catch (error) {
    return { notice: "refused", text: errorText(error) };
  }
  if (inspected.wentBackwards) return { notice: "went backwards", text: "" };
  const problems = judgeInspected(history, options.span, inspected, options.now);
  if (problems.length > 0) return { notice: "MISSED", text: problems.join("; ").slice(0, 300) };
  const isNoticed = inspected.quarantined.size > 0 || inspected.warnings.length > 0;
  return { notice: isNoticed ? "quarantined" : "harmless", text: "" };
}
