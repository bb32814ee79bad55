/** Looks at everything in a state folder, mends it if that is asked for, and looks again. */
import { RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { existsSync } from "node:fs";
import { finishRebuilds, repairFiles, repairJournal } from "./repair.ts";
import type { Repaired } from "./repair.ts";
import type { Lock } from "./sqlite/lock.ts";
import { lockLooking } from "./looking.ts";
import { loadDriver } from "./sqlite/connection.ts";
import type { Driver } from "./sqlite/connection.ts";
import { factsOf, holdOf, lookAcross, lookAtJournal, subjectsIn } from "./verify.ts";
import type { Hold, Looked, Subject } from "./verify.ts";
import { lookForDrafts } from "./verify/drafts.ts";
import { lookAtFiles } from "./verify/files.ts";
import { fault } from "./verify/finding.ts";
import type { Finding } from "./verify/finding.ts";

export interface ExamineOptions {
  readonly world: World;
  /** The state folder; none is no journals. */
  readonly folder: string;
  readonly cache: string;
  readonly isRepairing: boolean;
  /** Whether the process lives that noted itself so as the journal's owner. */
  isAlive(owner: string | undefined): Promise<boolean>;
}

export interface ExaminedJournal {
  readonly path: string;
  readonly upstreamDigest16: string;
  /** What it notes of itself; nothing where it can't be read. */
  readonly facts: ReadonlyMap<string, string>;
  /** A process has it: it was read beside that, and is not repaired. */
  readonly isRunning: boolean;
  readonly rows: number;
  /** Calls that are not terminal. */
  readonly waiting: number;
  readonly findings: readonly Finding[];
}

export interface Examined {
  /** As they are now. */
  readonly journals: readonly ExaminedJournal[];
  /** Of what is beside the journals, and of several at once. */
  readonly files: readonly Finding[];
  /** What was done, by journal. */
  readonly repairs: readonly (Repaired & { readonly path: string })[];
  /** What was done beside them. */
  readonly didFiles: readonly string[];
  /** Journals that could not be repaired, and why, in words. */
  readonly refused: readonly string[];
}

/**
 * Rejects with `JournalError` where the native module is missing, with `RefusedError` where another command
 * looks at the journals for long, and with what the file system says.
 */
export async function examine(options: ExamineOptions): Promise<Examined> {
  const driver = await loadDriver();
  const looking = looksAt(driver, options.folder);
  try {
    return await examineLocked(driver, options);
  } finally {
    looking?.release();
  }
}

/** None in a folder that is not there, and is not to be made, or that can't be written: nobody can look at it so. */
function looksAt(driver: Driver, folder: string): Lock | undefined {
  if (!existsSync(folder)) return undefined;
  try {
    return lockLooking(driver, folder);
  } catch (error) {
    // What the file system or SQLite says; each journal's own lock says why.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

async function examineLocked(driver: Driver, options: ExamineOptions): Promise<Examined> {
  const repairs: (Repaired & { path: string })[] = [];
  const refused: string[] = [];
  if (options.isRepairing) {
    for (const subject of subjectsIn(options.folder))
      await repairOne(driver, subject, options, repairs, refused);
    const moved = orRefused(refused, () => finishRebuilds(driver, options.folder)) ?? [];
    // Files last: a repair of a journal makes some.
    const { files, journals } = await lookAtAll(driver, options);
    const didFiles = [...moved, ...repairFiles(driver, files)];
    // Nothing was mended: what was found stands.
    if (repairs.length + didFiles.length === 0) {
      return { journals, files, repairs, didFiles, refused };
    }
    return { ...(await lookAtAll(driver, options)), repairs, didFiles, refused };
  }
  return { ...(await lookAtAll(driver, options)), repairs, didFiles: [], refused };
}

interface Seen {
  readonly facts: ReadonlyMap<string, string>;
  readonly isRunning: boolean;
  readonly looked: Looked;
  readonly hold: Hold;
}

/** Looks under the lock where nobody has it, and goes on with `work` under it. */
async function look<T>(
  driver: Driver,
  subject: Subject,
  { isAlive }: ExamineOptions,
  work: (seen: Seen) => T,
): Promise<T> {
  const facts = factsOf(driver, subject);
  const hold: Hold = (await isAlive(facts.get("owner")))
    ? { kind: "taken" }
    : holdOf(driver, subject);
  try {
    const isRunning = hold.kind === "taken";
    return work({ facts, isRunning, hold, looked: lookAtJournal(driver, subject, isRunning) });
  } finally {
    if (hold.kind === "mine") hold.lock.release();
  }
}

async function repairOne(
  driver: Driver,
  subject: Subject,
  options: ExamineOptions,
  repairs: (Repaired & { path: string })[],
  refused: string[],
): Promise<void> {
  const { path } = subject.files;
  await look(driver, subject, options, ({ looked, hold }) => {
    if (looked.findings.every(({ mend }) => mend === undefined)) return;
    if (hold.kind === "taken") {
      refused.push(`${path} is in use by a running proxy; stop that, then repair again`);
      return;
    }
    if (hold.kind === "broken") {
      refused.push(`${path} can't be locked (${hold.why})`);
      return;
    }
    orRefused(refused, () => {
      const stamp = stampOf(options.world);
      repairs.push({ path, ...repairJournal(driver, subject, looked, options.folder, stamp) });
    });
  });
}

/** Undefined where it was refused, which is noted. */
function orRefused<T>(refused: string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    refused.push(error.message);
    return undefined;
  }
}

/** For names of files: "20260131T235959123Z". */
function stampOf(world: World): string {
  return new Date(world.now()).toISOString().replace(/[-:.]/g, "");
}

async function lookAtAll(
  driver: Driver,
  options: ExamineOptions,
): Promise<Pick<Examined, "journals" | "files">> {
  const { folder, cache, world } = options;
  const journals: ExaminedJournal[] = [];
  const across: { path: string; looked: Looked }[] = [];
  for (const subject of subjectsIn(folder)) {
    const { upstreamDigest16, files } = subject;
    const { path } = files;
    // Somebody moved it away meanwhile.
    if (!existsSync(path)) continue;
    await look(driver, subject, options, ({ facts, isRunning, looked, hold }) => {
      const { rows, live } = looked;
      const findings = [...ofLock(hold, files.lockPath), ...looked.findings];
      const waiting = live.length;
      journals.push({ path, upstreamDigest16, facts, isRunning, rows, waiting, findings });
      across.push({ path, looked });
    });
  }
  const isAnyRunning = journals.some(({ isRunning }) => isRunning);
  const places = { folder, cache, now: world.now(), isAnyRunning };
  const files = [...lookAtFiles(places), ...lookForDrafts(driver, places)];
  return { journals, files: [...lookAcross(across), ...files] };
}

function ofLock(hold: Hold, path: string): Finding[] {
  if (hold.kind !== "broken") return [];
  return [
    fault({
      check: "lock",
      what: `its lock file ${path} is of no use: ${hold.why}`,
      means: "no start takes it up: calls in it wait, and new ones get another journal",
      advice: "look at its permissions; if it is damaged, stop every proxy and remove it",
    }),
  ];
}
