/**
 * The state folder: finds a starting process its journal, and the journals that dead processes left.
 *
 * F1. One process, one journal, locked for life; nothing is ever copied between journals.
 * F2. A journal under suspicion with live calls (abandoned in mid-life, or gone backwards) is never a
 *     process's own: it is opened as caretaker, and its calls wait for a person.
 * F3. A journal that can't be opened stays as it is and is said so; the next number is taken.
 */
import { ConfigError, JournalError, errorText } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Journal, Log, Recovery } from "../ports.ts";
import { whyHeld } from "./held-mark.ts";
import { journalFiles, journalNumbers, makeFolders, networkFileSystem } from "./layout.ts";
import type { JournalFiles } from "./layout.ts";
import { clearAbandoned, isMarkedAbandoned } from "./marks.ts";
import { lockForLife } from "./looking.ts";
import { openMemoryJournal } from "./memory.ts";
import { resilientJournal } from "./resilient.ts";
import { clearDrafts } from "./drafts.ts";
import { loadDriver } from "./sqlite/connection.ts";
import type { Driver } from "./sqlite/connection.ts";
import type { Lock } from "./sqlite/lock.ts";
import { openSqliteJournal } from "./sqlite/open.ts";
import type { OpenedJournal } from "./sqlite/open.ts";
import type { Durability } from "./sqlite/protocol.ts";
import { countLiveIn } from "./reader.ts";

export interface FolderOptions {
  readonly world: World;
  readonly log: Log;
  /** The state folder; made with mode 0700. */
  readonly folder: string;
  readonly upstreamDigest: string;
  readonly credentialsDigest: string;
  /** `auto`: memory where the disk can't be used; `required`: refuse then; `memory`: never the disk. */
  readonly mode: "auto" | "required" | "memory";
  readonly durability: Durability;
  /** A delivered call loses its payloads at once (clients that can't resume). Default true. */
  readonly dropsDelivered?: boolean;
  /** Bound of one journal in pages of 4 KiB. Default: the disk. */
  readonly pagesMax?: number;
  /** What retention takes away is kept as lines of JSON. Default false. */
  readonly isArchiving?: boolean;
}

/** A journal of a dead process that holds live calls. It is locked until `journal.close()`. */
export interface Leftover {
  readonly journal: Journal;
  readonly recovery: Recovery;
  readonly path: string;
  /**
   * Set where its live calls may have run since, in words. Of an abandoned journal none may be run, of
   * another no call but a read.
   */
  readonly heldBecause: string | undefined;
  readonly isAbandoned: boolean;
}

export interface Journals {
  /** `recover` was not yet called on it. */
  readonly own: Journal;
  /** `recover` was called on each. Close one when nothing live is left in it. */
  readonly leftovers: readonly Leftover[];
  /** Journals that could not be opened, in words for `status`. */
  readonly troubles: readonly string[];
}

/** More journals than processes could be at work: something else is wrong. */
const NUMBER_MAX = 10_000;

/** Rejects with `ConfigError` in mode `required` only. */
export async function openJournals(options: FolderOptions): Promise<Journals> {
  const { world, log, mode, folder } = options;
  const dropsDelivered = options.dropsDelivered ?? true;
  if (mode === "memory") {
    return { own: openMemoryJournal(world, { dropsDelivered }), leftovers: [], troubles: [] };
  }
  try {
    return await new Opener(options, await loadDriver()).open();
  } catch (error) {
    const degraded = `no journal on disk, calls don't survive this process: ${errorText(error)}`;
    if (mode === "required") {
      throw error instanceof ConfigError
        ? error
        : new ConfigError(
            `the journal in state folder ${folder} can't be used: ${errorText(error)}. ` +
              'Make the folder writable, choose another, or set journal to "auto".',
          );
    }
    log("error", degraded);
    const own = openMemoryJournal(world, { dropsDelivered, degraded });
    return { own, leftovers: [], troubles: [degraded] };
  }
}

class Opener {
  readonly #options: FolderOptions;
  readonly #driver: Driver;
  readonly #leftovers: Leftover[] = [];
  readonly #troubles: string[] = [];

  constructor(options: FolderOptions, driver: Driver) {
    this.#options = options;
    this.#driver = driver;
  }

  async open(): Promise<Journals> {
    const { folder, upstreamDigest } = this.#options;
    makeFolders(folder, upstreamDigest);
    const network = networkFileSystem(folder, process.platform);
    if (network !== undefined)
      throw new JournalError("io", `${folder} is on a network file system (${network})`);
    clearDrafts(this.#driver, folder, upstreamDigest);
    const { own, number } = await this.#openOwn();
    const others = journalNumbers(folder, upstreamDigest).filter((other) => other !== number);
    for (const other of others) {
      if (!this.#leftovers.some(({ path }) => path === this.#files(other).path))
        await this.#adopt(this.#files(other));
    }
    return { own, leftovers: this.#leftovers, troubles: this.#troubles };
  }

  #files(number: number): JournalFiles {
    return journalFiles(this.#options.folder, this.#options.upstreamDigest, number);
  }

  #lock(files: JournalFiles): Lock | undefined {
    return lockForLife(this.#driver, this.#options.folder, files);
  }

  async #openOwn(): Promise<{ own: Journal; number: number }> {
    const existing = new Set(journalNumbers(this.#options.folder, this.#options.upstreamDigest));
    for (let number = 1; number <= NUMBER_MAX; number++) {
      const files = this.#files(number);
      let opened: OpenedJournal | undefined;
      try {
        const lock = this.#lock(files);
        if (lock === undefined) continue;
        opened = await this.#openUnder(lock, files, false);
      } catch (error) {
        // A number that nobody used before fails for reasons that the next one shares.
        if (!existing.has(number) || this.#options.mode === "required") throw error;
        this.#report(`the journal ${files.path} is left alone: ${errorText(error)}`);
        continue;
      }
      if (opened === undefined) continue;
      if (opened.liveRows > 0 && (opened.wentBackwards || isMarkedAbandoned(files.abandonedPath))) {
        await this.#careFor(files, opened);
        continue;
      }
      clearAbandoned(files.abandonedPath);
      await this.#describe(opened.journal);
      return { own: this.#resilient(files, opened.journal), number };
    }
    throw new JournalError("io", `${this.#options.folder} holds more than ${NUMBER_MAX} journals`);
  }

  /** Takes on a free journal for as long as it holds live calls. */
  async #adopt(files: JournalFiles): Promise<void> {
    try {
      const lock = this.#lock(files);
      if (lock === undefined) return;
      const opened = await this.#openUnder(lock, files, true);
      if (opened !== undefined) await this.#careFor(files, opened);
    } catch (error) {
      this.#report(`the journal ${files.path} is left alone: ${errorText(error)}`);
    }
  }

  async #careFor(files: JournalFiles, opened: OpenedJournal): Promise<void> {
    const isAbandoned = isMarkedAbandoned(files.abandonedPath);
    // Its loss in mid-life is no end of this process, either.
    const journal = this.#resilient(files, opened.journal);
    const recovery = await journal.recover(this.#options.world.now());
    const mark = recovery.report.wentBackwards;
    const heldBecause = isAbandoned
      ? `${files.path} was given up after a disk error while its process went on`
      : mark === undefined
        ? undefined
        : whyHeld(files.path, mark);
    const { path } = files;
    this.#leftovers.push({ journal, recovery, path, heldBecause, isAbandoned });
    if (heldBecause !== undefined)
      this.#report(
        `${heldBecause}; calls in it that wait for a person: ${heldIn(recovery, isAbandoned)}`,
      );
  }

  /**
   * The lock goes with the journal, or is released. With `onlyIfLive`, undefined where nothing live is
   * in it; it is looked at without a thread of its own.
   */
  async #openUnder(
    lock: Lock,
    files: JournalFiles,
    onlyIfLive: boolean,
  ): Promise<OpenedJournal | undefined> {
    const { world, log, durability, pagesMax, isArchiving } = this.#options;
    try {
      if (onlyIfLive && countLiveIn(this.#driver, files.path) === 0) {
        lock.release();
        return undefined;
      }
      return await openSqliteJournal({
        world,
        log,
        durability,
        dropsDelivered: this.#options.dropsDelivered ?? true,
        path: files.path,
        highWaterPath: files.highWaterPath,
        ballastPath: files.ballastPath,
        ...(pagesMax === undefined ? {} : { pagesMax }),
        ...(isArchiving === true ? { archiveBase: files.archiveBase } : {}),
        isAbandoned: isMarkedAbandoned(files.abandonedPath),
        onGone: lock.release,
      });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  async #describe(journal: Journal): Promise<void> {
    await journal.keep("upstream", this.#options.upstreamDigest);
    await journal.keep("credentials", this.#options.credentialsDigest);
  }

  #resilient(files: JournalFiles, journal: Journal): Journal {
    if (this.#options.mode === "required") return journal;
    return resilientJournal(journal, {
      world: this.#options.world,
      log: this.#options.log,
      abandonedPath: files.abandonedPath,
      dropsDelivered: this.#options.dropsDelivered ?? true,
    });
  }

  #report(text: string): void {
    this.#troubles.push(text);
    this.#options.log("error", text);
  }
}

/** Reads may run again, whatever became of them; of an abandoned journal nothing is known. */
function heldIn({ live }: Recovery, isAbandoned: boolean): number {
  return isAbandoned ? live.length : live.filter(({ safety }) => safety !== "read").length;
}
