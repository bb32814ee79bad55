/**
 * What imports, restores, backups and repairs write before it gets its name. Its maker has a lock as long
 * as it works; where that is free, what is there is nobody's, however young it is.
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { upstreamsWithJournals } from "../layout.ts";
import { defaultShelf, partialPath, shelfLockPath, stagingOf } from "../snapshot/shelf.ts";
import { sqliteCode } from "../sqlite/connection.ts";
import type { Driver } from "../sqlite/connection.ts";
import { tryLock } from "../sqlite/lock.ts";
import { filesIn, statOf } from "./files.ts";
import type { Places } from "./files.ts";
import { note } from "./finding.ts";
import type { Finding } from "./finding.ts";

interface Draft {
  readonly path: string;
  /** What writes such files, in words. */
  readonly maker: string;
  /** The lock of whoever makes it. */
  readonly lockPath: string;
}

const OF_JOURNAL = /^([1-9][0-9]*)\.db\.draft(-[0-9TZ]+)?(?:-wal|-shm)?$/;
const RESTORED_FILE = /^\..+\.draft$/;
/** What SQLite has beside a draft goes with it. */
export const DRAFT_ENDINGS: readonly string[] = ["", "-journal", "-wal", "-shm"];

export function lookForDrafts(driver: Driver, { folder, now }: Places): Finding[] {
  const journals = upstreamsWithJournals(folder).map((name) => join(folder, "journals", name));
  return [...journals.flatMap(ofJournals), ...onShelf(folder)].flatMap((draft) =>
    ofDraft(driver, draft, now),
  );
}

function ofJournals(folder: string): Draft[] {
  const drafts = new Map<string, Draft>();
  for (const file of filesIn(folder, OF_JOURNAL)) {
    const [, number = "", stamp = ""] = OF_JOURNAL.exec(basename(file)) ?? [];
    const path = join(folder, `${number}.db.draft${stamp}`);
    const maker = stamp === "" ? "an import" : "a repair";
    drafts.set(path, { path, maker, lockPath: join(folder, `${number}.lock.db`) });
  }
  return [...drafts.values()];
}

function onShelf(folder: string): Draft[] {
  const shelf = defaultShelf(folder);
  const { copyPath, restorePath } = stagingOf(folder);
  const makers: [path: string, maker: string][] = [
    [copyPath, "a backup"],
    [partialPath(folder, shelf), "a backup"],
    [restorePath, "a restore"],
  ];
  for (const path of filesIn(shelf, RESTORED_FILE)) makers.push([path, "a restore"]);
  return makers.map(([path, maker]) => ({ path, maker, lockPath: shelfLockPath(folder) }));
}

function ofDraft(driver: Driver, { path, maker, lockPath }: Draft, now: number): Finding[] {
  const times = DRAFT_ENDINGS.map((ending) => statOf(`${path}${ending}`)?.mtimeMs ?? 0);
  const writtenAt = Math.max(...times);
  if (writtenAt === 0) return [];
  const age = `last written ${ageText(now - writtenAt)} ago`;
  if (isTaken(driver, lockPath)) {
    return [
      note({
        check: "drafts",
        what: `${path} is not finished, ${age}; whoever has ${lockPath} may be at work on it`,
        means: "none",
      }),
    ];
  }
  return [
    note({
      check: "drafts",
      what: `${path} was left behind by ${maker} that was killed, ${age}`,
      means: "none: it never became a journal or a backup, and nobody is at work on it",
      mend: { kind: "removeDraft", path, lockPath },
    }),
  ];
}

/** Changes nothing: where there is no lock file, nobody has the lock. */
function isTaken(driver: Driver, lockPath: string): boolean {
  if (!existsSync(lockPath)) return false;
  try {
    const lock = tryLock(driver, lockPath);
    lock?.release();
    return lock === undefined;
  } catch (error) {
    // Of no use: then nobody can tell.
    if (sqliteCode(error) === undefined) throw error;
    return true;
  }
}

const UNITS: readonly [ms: number, name: string][] = [
  [86_400_000, "days"],
  [3_600_000, "h"],
  [60_000, "min"],
];

/** "5 min", in the largest unit of which there are two. */
function ageText(ms: number): string {
  const [unit, name] = UNITS.find(([one]) => ms >= 2 * one) ?? [1000, "s"];
  return `${Math.max(0, Math.floor(ms / unit))} ${name}`;
}
