/** A state folder with one sound journal, and the means to put a fault into it. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { onTestFinished } from "vitest";
import type { CallChange } from "../../src/core/call.ts";
import type { Journal } from "../../src/ports.ts";
import { examine } from "../../src/store/examine.ts";
import type { Examined } from "../../src/store/examine.ts";
import { openJournals } from "../../src/store/folder.ts";
import { META_COLUMNS, changingOf, lifelongSum, rowSum } from "../../src/store/rows.ts";
import type { SqlValue } from "../../src/store/rows.ts";
import type { Finding } from "../../src/store/verify/finding.ts";
import { NOW, aCall, aFolder, aLog, world } from "./builders.ts";

const UPSTREAM = "a".repeat(64);

export const pathOf = (folder: string, name = "1.db") =>
  join(folder, "journals", "a".repeat(16), name);

/** A state folder that is gone after the test. */
export function anEmptyFolder(): string {
  const folder = aFolder();
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** The journal of the folder's upstream, recovered. The caller closes it. */
export async function openOwn(folder: string): Promise<Journal> {
  const { own } = await openJournals({
    world,
    log: aLog().log,
    folder,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: "full",
  });
  return own;
}

/** Calls 1 to 4: queued, in flight, done, expired. `ids` in this order. */
export async function aStateFolder(
  over: { sessionId?: string } = {},
): Promise<{ folder: string; ids: readonly string[] }> {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  const ids: string[] = [];
  for (let n = 1; n <= 4; n++) {
    const call = aCall({ ...over, fingerprint: `print ${String(n)}`, deadlineAt: NOW + 9e9 });
    ids.push(call.id);
    await own.admit(call);
  }
  const [, sent = "", done = "", expired = ""] = ids;
  const dispatch = (id: string, n: number): CallChange => {
    return { kind: "dispatch", id, attempt: 1, upstreamId: `e1-${String(n)}`, at: NOW };
  };
  for (const change of [
    dispatch(sent, 1),
    dispatch(done, 2),
    { kind: "settle", id: done, attempt: 1, state: "done", executed: "yes", reply: "{}", at: NOW },
    { kind: "expire", id: expired, cause: "late", at: NOW },
  ] satisfies CallChange[])
    await own.apply(change, true);
  await own.close();
  return { folder, ids };
}

/**
 * Changes the journal past all of its rules. `isSummed`: the checksums of all rows are made right again,
 * as if Holdfast itself had written them.
 */
export function sql(folder: string, text: string, { isSummed = false } = {}): void {
  const db = new Database(pathOf(folder));
  db.unsafeMode();
  try {
    db.exec(text);
    if (isSummed) sumAll(db);
    db.pragma("wal_checkpoint(truncate)");
  } finally {
    db.close();
  }
}

/** A queued call like the first. */
export const A_FIFTH_ROW = `create temp table t as select * from call where seq = 1;
  update t set seq = 5, id = 'c_fifth', fingerprint = 'print 5';
  insert into call select * from t`;

/** Changes rows while the index `call_open` does not exist, so that it knows nothing of it. */
export function behindIndex(folder: string, change: string): void {
  behind(folder, "call_open", change, (text) => text);
}

/** The same for the one that keeps ids apart; checksums are made right again. */
export function behindUniqueIndex(folder: string, change: string): void {
  behind(folder, "sqlite_autoindex_call_1", change, (text) =>
    text.replace("id text not null unique", "id text not null"),
  );
}

function behind(
  folder: string,
  index: string,
  change: string,
  rewritten: (tableSql: string) => string,
): void {
  const edit = (work: (db: Database.Database) => void) => {
    const db = new Database(pathOf(folder));
    db.unsafeMode();
    db.pragma("writable_schema = on");
    work(db);
    db.close();
  };
  let row: SqlValue[] = [];
  let table = "";
  const setTable = (db: Database.Database, text: string) =>
    db.prepare("update sqlite_schema set sql = ? where name = 'call'").run(text);
  edit((db) => {
    row = db.prepare("select * from sqlite_schema where name = ?").raw().get(index) as SqlValue[];
    table = db.prepare("select sql from sqlite_schema where name = 'call'").pluck().get() as string;
    db.prepare("delete from sqlite_schema where name = ?").run(index);
    setTable(db, rewritten(table));
  });
  sql(folder, change, { isSummed: true });
  edit((db) => {
    setTable(db, table);
    db.prepare("insert into sqlite_schema values (?, ?, ?, ?, ?)").run(...row);
  });
}

function sumAll(db: Database.Database): void {
  const rows = db
    .prepare(
      `select ${META_COLUMNS.join(", ")}, request_sum, reply_sum
       from call join origin on origin.number = call.origin`,
    )
    .raw()
    .all() as SqlValue[][];
  const length = META_COLUMNS.length;
  for (const row of rows) {
    const sum = rowSum(
      changingOf(row),
      lifelongSum(row),
      Number(row[length]),
      Number(row[length + 1]),
    );
    db.prepare("update call set sum = ? where seq = ?").run(sum, row[META_COLUMNS.indexOf("seq")]);
  }
}

/** Garbles the first page of a table or index. */
export function damage(folder: string, name: string): void {
  const db = new Database(pathOf(folder));
  const root = db.prepare("select rootpage from sqlite_schema where name = ?").pluck().get(name);
  db.pragma("wal_checkpoint(truncate)");
  db.close();
  overwrite(pathOf(folder), (Number(root) - 1) * 4096, 60);
}

export function overwrite(path: string, at: number, length: number): void {
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(length, 0x5a), 0, length, at);
  closeSync(file);
}

/** Nobody is alive but who holds the lock. */
export const look = (folder: string, isRepairing = false, at?: number): Promise<Examined> =>
  examine({
    world: at === undefined ? world : { ...world, now: () => at },
    folder,
    cache: join(folder, "cache"),
    isRepairing,
    isAlive: () => Promise.resolve(false),
  });

export const allOf = ({ journals, files }: Examined): Finding[] => [
  ...journals.flatMap(({ findings }) => findings),
  ...files,
];

/** What is found in the only journal. */
export async function found(folder: string): Promise<readonly Finding[]> {
  const { journals } = await look(folder);
  return journals[0]?.findings ?? [];
}
