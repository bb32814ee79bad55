/**
 * Makes a new journal, under a number that is free, of what can be read of a damaged one, and moves that
 * one aside. In this order: a kill in between loses nothing, and what waits in the new one is held.
 *
 * RP4. What a damaged journal holds is put into one new journal, however often its repair is killed: the
 *      new one says from its first instant which file it was made of, and where that goes. The next
 *      repair only moves what is not moved yet.
 */
import { existsSync, linkSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { RefusedError } from "../../base/errors.ts";
import { isObject } from "../../wire/message.ts";
import { isUsed, journalFiles, journalNumbers, syncFolder } from "../layout.ts";
import type { JournalFiles } from "../layout.ts";
import { HighWaterFile } from "../marks.ts";
import type { HighWater } from "../marks.ts";
import { openReading, openWriting, sqliteCode } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { tryLock } from "../sqlite/lock.ts";
import { SideStatements } from "../sqlite/side-statements.ts";
import { liveCalls } from "../verify/finding.ts";
import { salvage } from "./salvage.ts";
import type { Salvaged } from "./salvage.ts";

/** The fact of which file a journal was rebuilt: `RebuiltFact` as JSON. It stays for good. */
const REBUILT = "rebuilt";

interface RebuiltFact {
  /** Number of the damaged journal. */
  readonly number: number;
  /** What the file system calls the damaged file under any name. */
  readonly inode: string;
  /** Its database, where that could be told: a number of the file system may be given out again. */
  readonly dbId: string | null;
  /** Name under which it is kept, in the same folder. */
  readonly aside: string;
}

export interface Rebuilt {
  /** Undefined where nothing could be read. */
  readonly path: string | undefined;
  readonly salvaged: Salvaged;
  /** The damaged file. */
  readonly aside: string;
}

/**
 * The caller holds the lock of the damaged journal. `stamp` goes into the name of what is kept. Throws
 * SQLite errors of the new one, and what the file system says.
 */
export function rebuild(
  driver: Driver,
  { files, upstreamDigest16 }: { files: JournalFiles; upstreamDigest16: string },
  folder: string,
  stamp: string,
): Rebuilt {
  const fact = factOf(driver, files, stamp);
  const made =
    findMade(driver, folder, upstreamDigest16, fact) ??
    makeAnew(driver, files, fact, folder, upstreamDigest16);
  const aside = join(dirname(files.path), made.aside);
  syncFolder(dirname(aside));
  moveAside(files, aside);
  return { path: made.path, salvaged: made.salvaged, aside };
}

function factOf(driver: Driver, files: JournalFiles, stamp: string): RebuiltFact {
  return {
    number: files.number,
    inode: String(statSync(files.path, { bigint: true }).ino),
    dbId: dbIdOf(driver, files) ?? null,
    aside: `${basename(files.path)}.damaged-${stamp}`,
  };
}

function dbIdOf(driver: Driver, { path, highWaterPath }: JournalFiles): string | undefined {
  const read = readIn(driver, path, (side) => side.head() as { dbId: string } | undefined);
  return read?.dbId ?? new HighWaterFile(highWaterPath).read()?.dbId;
}

/** Undefined where it can't be read. Throws where another is in the way: it may be read later. */
function readIn<T>(driver: Driver, path: string, work: (side: SideStatements) => T): T | undefined {
  try {
    const db = openReading(driver, path);
    try {
      return work(new SideStatements(db));
    } finally {
      db.close();
    }
  } catch (error) {
    const code = sqliteCode(error);
    if (code === undefined || code.startsWith("SQLITE_BUSY")) throw error;
    return undefined;
  }
}

/** What a journal says of the file that it was rebuilt from; undefined for any other. */
function readFact(driver: Driver, path: string): RebuiltFact | undefined {
  const kept = readIn(driver, path, (side) => new Map(side.kept(REBUILT)).get(REBUILT));
  const value: unknown = JSON.parse(kept ?? "null");
  return isObject(value) ? (value as unknown as RebuiltFact) : undefined;
}

type Made = Omit<Rebuilt, "aside"> & Pick<RebuiltFact, "aside">;

/** RP4. The journal that a repair made of this very file before it was killed. */
function findMade(
  driver: Driver,
  folder: string,
  upstreamDigest16: string,
  damaged: RebuiltFact,
): Made | undefined {
  for (const number of journalNumbers(folder, upstreamDigest16)) {
    const { path } = journalFiles(folder, upstreamDigest16, number);
    const fact = readFact(driver, path);
    if (fact === undefined || number === damaged.number || !isSame(fact, damaged)) continue;
    if (existsSync(join(dirname(path), fact.aside))) continue;
    return { path, aside: fact.aside, salvaged: salvagedIn(driver, path) };
  }
  return undefined;
}

/** Where one can't tell its database, the place on the disk has to do. */
function isSame(one: RebuiltFact, other: RebuiltFact): boolean {
  const isOther = one.dbId !== null && other.dbId !== null && one.dbId !== other.dbId;
  return one.number === other.number && one.inode === other.inode && !isOther;
}

/** As it is now: a process may have gone on with it. */
function salvagedIn(driver: Driver, path: string): Salvaged {
  const db = openReading(driver, path);
  try {
    const side = new SideStatements(db);
    const aside = db.prepare("select id, why from quarantine order by seq");
    return {
      rows: side.countCalls(),
      sessions: side.countSessions(),
      held: liveCalls(db),
      setAside: aside.all() as { id: string; why: string }[],
    };
  } finally {
    db.close();
  }
}

function makeAnew(
  driver: Driver,
  files: JournalFiles,
  fact: RebuiltFact,
  folder: string,
  upstreamDigest16: string,
): Made {
  const aside = join(dirname(files.path), fact.aside);
  if (existsSync(aside)) throw new RefusedError(`${aside} is in the way of a copy`);
  const path = aside.replace(/\.damaged-(?=[^/\\]*$)/, ".draft-");
  try {
    const mark = new HighWaterFile(files.highWaterPath).read();
    const salvaged = salvageInto(driver, files.path, path, mark, fact);
    const isWorthIt = salvaged.rows + salvaged.sessions + salvaged.setAside.length > 0;
    const made = isWorthIt ? takeNumber(driver, path, folder, upstreamDigest16) : undefined;
    return { path: made?.path, aside: fact.aside, salvaged };
  } finally {
    for (const ending of ["", "-wal", "-shm"]) rmSync(`${path}${ending}`, { force: true });
  }
}

function salvageInto(
  driver: Driver,
  path: string,
  draft: string,
  mark: HighWater | undefined,
  fact: RebuiltFact,
): Salvaged {
  const to = openWriting(driver, draft);
  try {
    const from = openReading(driver, path);
    try {
      const salvaged = salvage(from, to, mark);
      new SideStatements(to).keep(REBUILT, JSON.stringify(fact));
      // So that all of it is in the one file.
      to.pragma("wal_checkpoint(truncate)");
      return salvaged;
    } finally {
      from.close();
    }
  } finally {
    to.close();
  }
}

/** Gives the draft the name of a journal, and a mark. Under its lock, so that no start comes between. */
function takeNumber(
  driver: Driver,
  draft: string,
  folder: string,
  upstreamDigest16: string,
): JournalFiles {
  for (let number = 1 + (journalNumbers(folder, upstreamDigest16).at(-1) ?? 0); ; number++) {
    const files = journalFiles(folder, upstreamDigest16, number);
    const lock = tryLock(driver, files.lockPath);
    if (lock === undefined) continue;
    try {
      if (isUsed(files)) continue;
      // A link fails where the name is taken.
      linkSync(draft, files.path);
      const mark = new HighWaterFile(files.highWaterPath);
      const db = openReading(driver, files.path);
      try {
        mark.write(new SideStatements(db).head());
      } finally {
        db.close();
        mark.close();
      }
      return files;
    } finally {
      lock.release();
    }
  }
}

/** The database first: without its WAL it would pass for a journal that holds less. */
function moveAside(files: JournalFiles, aside: string): [from: string, to: string][] {
  const moves: [string, string][] = [
    [files.path, aside],
    [`${files.path}-wal`, `${aside}-wal`],
    [files.highWaterPath, `${aside}.hwm`],
  ];
  const due = moves.filter(([from, to]) => existsSync(from) && !existsSync(to));
  for (const [from, to] of due) renameSync(from, to);
  rmSync(`${files.path}-shm`, { force: true });
  syncFolder(dirname(aside));
  return due;
}

/** Not of a journal that had the number later. */
function isMarkOf({ dbId }: RebuiltFact, path: string): boolean {
  const mark = new HighWaterFile(path).read();
  return mark === undefined || dbId === null || mark.dbId === dbId;
}

/**
 * RP4. Moves what belongs to a damaged file that was moved aside already, and gives what was done in
 * words. Not where a process has the number again, or has begun a journal under it.
 */
export function finishMoves(driver: Driver, folder: string, upstreamDigest16: string): string[] {
  return journalNumbers(folder, upstreamDigest16).flatMap((number) => {
    const { path } = journalFiles(folder, upstreamDigest16, number);
    const fact = readFact(driver, path);
    if (fact === undefined) return [];
    const aside = join(dirname(path), fact.aside);
    const files = journalFiles(folder, upstreamDigest16, fact.number);
    const isDue = () =>
      !existsSync(files.path) && existsSync(aside) && isMarkOf(fact, files.highWaterPath);
    const lock = isDue() ? tryLock(driver, files.lockPath) : undefined;
    if (lock === undefined) return [];
    try {
      return isDue() ? moveAside(files, aside).map(([from, to]) => `moved ${from} to ${to}`) : [];
    } finally {
      lock.release();
    }
  });
}
