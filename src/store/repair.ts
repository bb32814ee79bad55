/**
 * Mends in a journal what can be mended without a guess; the rest is left to a person.
 *
 * RP1. Nothing is changed before the journal as it was is kept beside it.
 * RP2. A repair says of no call that it did not run, and lets none run that may have run: damaged rows are
 *      set aside, and what waits in a journal that lost something is held for a person.
 * RP3. It runs under the journal's lock; one that a process has is never touched, nor is what another
 *      process is making.
 */
import { chmodSync, constants, copyFileSync, existsSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { JournalError, RefusedError, errorText } from "../base/errors.ts";
import type { JournalFiles } from "./layout.ts";
import { syncFile, syncFolder, upstreamsWithJournals } from "./layout.ts";
import { didText, isInFile, mendDatabase, mendFile } from "./repair/mend.ts";
import { finishMoves, rebuild } from "./repair/rebuild.ts";
import type { Salvaged } from "./repair/salvage.ts";
import { sqliteCode } from "./sqlite/connection.ts";
import type { Driver } from "./sqlite/connection.ts";
import { lookAtJournal } from "./verify.ts";
import type { Looked, Subject } from "./verify.ts";
import { isDamage } from "./verify/finding.ts";
import type { Finding, Mend } from "./verify/finding.ts";

export interface Repaired {
  /** Where the journal as it was is kept; undefined where nothing inside it was changed. */
  readonly kept: string | undefined;
  /** What was done, in words, in the past tense. */
  readonly did: readonly string[];
  /** Where its calls are from now on, if the file was damaged; undefined where none could be read. */
  readonly rebuilt: { readonly path: string; readonly salvaged: Salvaged } | undefined;
}

/** What a mend uncovers is mended, too: rows are looked at once the tables are in order. */
const PASSES_MAX = 4;

const mendsOf = (findings: readonly Finding[]): Mend[] =>
  findings.flatMap(({ mend }) => (mend === undefined ? [] : [mend]));

const isReindexing = ({ kind }: Mend): boolean => kind === "reindex";

/**
 * Mends one journal whose lock the caller holds. `stamp` goes into the names of what is kept. Throws
 * `RefusedError` where no copy can be made or something can't be written; nothing is lost then.
 */
export function repairJournal(
  driver: Driver,
  subject: Subject,
  found: Looked,
  folder: string,
  stamp: string,
): Repaired {
  const { files } = subject;
  const did: string[] = [];
  let kept: string | undefined;
  let now = found;
  let hasReindexed = false;
  for (let pass = 0; pass < PASSES_MAX; pass++) {
    const mends = mendsOf(now.findings);
    if (mends.length === 0) break;
    // Indices that are new and still wrong: the table is.
    if (mends.some(isReindexing) && hasReindexed) mends.push({ kind: "rebuild" });
    hasReindexed ||= mends.some(isReindexing);
    const inside = mends.filter((mend) => !isInFile(mend));
    if (inside.length > 0 && !inside.some(({ kind }) => kind === "rebuild")) {
      kept ??= refusing(files.path, () => copyBeside(files, `before-repair-${stamp}`));
    }
    if (!mendInPlace(driver, files, mends, did)) {
      const { path, salvaged, aside } = refusing(files.path, () =>
        rebuild(driver, subject, folder, stamp),
      );
      did.push(didText({ kind: "rebuild" }));
      return { kept: aside, did, rebuilt: path === undefined ? undefined : { path, salvaged } };
    }
    now = lookAtJournal(driver, subject, false);
  }
  return { kept, did, rebuilt: undefined };
}

/** False where the file is damaged beyond that. */
function mendInPlace(
  driver: Driver,
  files: JournalFiles,
  mends: readonly Mend[],
  did: string[],
): boolean {
  if (mends.some(({ kind }) => kind === "rebuild")) return false;
  const inside = mends.filter((mend) => !isInFile(mend)).filter((mend) => mend.kind !== "rebuild");
  try {
    if (inside.length > 0) mendDatabase(driver, files, inside);
  } catch (error) {
    // Two rows with one id can't be indexed; integrity_check is an assertion of every start.
    const isBeyond =
      isDamage(error) ||
      error instanceof JournalError ||
      sqliteCode(error)?.startsWith("SQLITE_CONSTRAINT") === true;
    if (isBeyond) return false;
    throw asRefusal(files.path, error);
  }
  did.push(...inside.map(didText));
  for (const mend of mends.filter(isInFile)) {
    if (refusing(files.path, () => mendFile(driver, files, mend))) did.push(didText(mend));
  }
  return true;
}

/** Mends of files that belong to no journal; gives what was done. Throws `RefusedError`. */
export function repairFiles(driver: Driver, findings: readonly Finding[]): string[] {
  return mendsOf(findings)
    .filter(isInFile)
    .filter((mend) =>
      refusing("a file of the state folder", () => mendFile(driver, undefined, mend)),
    )
    .map(didText);
}

/** Finishes what a killed repair left half moved (RP4); gives what was done. Throws `RefusedError`. */
export function finishRebuilds(driver: Driver, folder: string): string[] {
  return upstreamsWithJournals(folder).flatMap((upstreamDigest16) =>
    refusing("a file of the state folder", () => finishMoves(driver, folder, upstreamDigest16)),
  );
}

function refusing<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asRefusal(path, error);
  }
}

/** Bugs of ours go through as they are. */
function asRefusal(path: string, error: unknown): unknown {
  const isOutside = sqliteCode(error) !== undefined || (error instanceof Error && "code" in error);
  if (!isOutside) return error;
  const text = `${path} could not be repaired: ${errorText(error)}; what was there is still there`;
  return new RefusedError(text, { cause: error });
}

/**
 * Copies a journal byte for byte, WAL included, and syncs the copies. By plain copies, because one made
 * by SQLite would lose what is wrong with it. Nothing in this process has the journal open meanwhile.
 */
function copyBeside(files: JournalFiles, name: string): string {
  const to = `${files.path}.${name}`;
  const sizeOf = (path: string) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const endings = ["", "-wal"].filter((ending) => sizeOf(`${files.path}${ending}`) > 0);
  for (const ending of endings) {
    if (existsSync(`${to}${ending}`))
      throw new RefusedError(`${to}${ending} is in the way of a copy`);
  }
  try {
    for (const ending of endings) {
      copyFileSync(`${files.path}${ending}`, `${to}${ending}`, constants.COPYFILE_EXCL);
      chmodSync(`${to}${ending}`, 0o600);
      syncFile(`${to}${ending}`);
    }
  } catch (error) {
    // Half a copy would be taken for one.
    for (const ending of endings) rmSync(`${to}${ending}`, { force: true });
    throw error;
  }
  syncFolder(dirname(to));
  return to;
}
