/**
 * Puts what was exported into new journals of a state folder, one for each upstream.
 *
 * MV6. Of each upstream all or nothing, and nothing of any before the whole file was read and found
 *      right, and is on the platter. Then the journals appear one after another: where that is cut short,
 *      the same file brings the rest, also while a proxy has the journals that are there.
 * MV7. A call that any journal of the folder has is never there a second time: the same file twice
 *      brings nothing new, also of what retention has taken since. A journal notes what file it came from.
 * MV8. Live calls are marked before they are seen: only reads run, the others wait for a person.
 */
import { JournalError, RefusedError, errorText } from "../../base/errors.ts";
import { isTerminal } from "../../core/call.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { claimPlace, lockArrivals } from "../drafts.ts";
import type { Place } from "../drafts.ts";
import type { Driver } from "../sqlite/connection.ts";
import { Draft } from "../sqlite/draft.ts";
import type { MovedRecord } from "./format.ts";
import { IMPORTED, Known } from "./known.ts";
import { readExport } from "./read.ts";
import type { ReadExport } from "./read.ts";
import type { JournalRecord } from "./shapes.ts";

export interface ImportedJournal {
  readonly path: string;
  readonly name: string;
  readonly calls: number;
}

export interface Imported extends Omit<ReadExport, "sha256"> {
  /** None where there was nothing to do. */
  readonly journals: readonly ImportedJournal[];
  /** Calls that are new here. */
  readonly calls: number;
  /** Those of them that wait for a person. */
  readonly held: number;
  /** Calls that were here already, and stay as they are. */
  readonly callsThere: number;
  /** Sessions that are new here. */
  readonly sessions: number;
}

export interface ImportOptions {
  readonly driver: Driver;
  /** The state folder. */
  readonly folder: string;
  /** What is done, in words for `status`: "imported from …". */
  readonly because: string;
}

/**
 * Rejects with `RefusedError` for a file that is not right, while a proxy has journals of an upstream of
 * which it brings something new, or while others bring calls into the folder; nothing was changed then.
 * With `JournalError` where the disk fails, which says so if some of the journals are there (MV6).
 */
export async function importExport(
  input: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<Imported> {
  // Two at once would not see each other's calls (MV7).
  const lock = lockArrivals(options.driver, options.folder);
  try {
    return await importUnderLock(input, options);
  } finally {
    lock.release();
  }
}

async function importUnderLock(
  input: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<Imported> {
  const target = new FolderTarget(options);
  try {
    const { sha256, ...read } = await readExport(input, (record) => {
      target.take(record);
    });
    return { ...read, ...target.finish(sha256) };
  } finally {
    target.close();
  }
}

interface Making extends Place {
  readonly draft: Draft;
  readonly digest16: string;
  readonly name: string;
  newSessions: number;
  /** Calls that will wait for a person. */
  held: number;
  /** The first that is new, in words. */
  firstNew: string | undefined;
}

/** What is there already is no reason to refuse (MV6). */
function refuseIfInUse({ inUse, firstNew }: Making): void {
  if (inUse === undefined || firstNew === undefined) return;
  throw new RefusedError(
    `${inUse} is in use by a running proxy, and ${firstNew} is new there; end that one first`,
  );
}

/** MV6. Throws what the file system says of the first, for then there is nothing yet. */
function publishAll(makings: readonly Making[]): void {
  for (const [published, { draft, files }] of makings.entries()) {
    try {
      draft.publish();
    } catch (error) {
      if (published === 0) throw error;
      throw new JournalError(
        "io",
        `${published} of ${makings.length} journals are there, and the next, ${files.path}, could not ` +
          `be put in place: ${errorText(error)}. Import it again for the rest; nothing comes twice.`,
        error,
      );
    }
  }
}

class FolderTarget {
  readonly #options: ImportOptions;
  readonly #known: Known;
  /** By folder: several journals of one upstream become one. */
  readonly #makings = new Map<string, Making>();
  #current: Making | undefined;
  #callsThere = 0;

  constructor(options: ImportOptions) {
    this.#options = options;
    this.#known = new Known(options.driver, options.folder);
  }

  take(record: MovedRecord): void {
    if (record.kind === "journal") this.#current = this.#begin(record.journal);
    else if (record.kind === "session") this.#takeSession(record.session);
    else this.#takeCall(record.call);
  }

  #begin({ upstream, credentials, name }: JournalRecord): Making {
    const digest16 = upstream.slice(0, 16);
    const known = this.#makings.get(digest16);
    if (known !== undefined) return known;
    const { driver, folder } = this.#options;
    const place = claimPlace(driver, folder, upstream);
    try {
      const draft = new Draft(driver, place.files);
      const making = {
        ...place,
        draft,
        digest16,
        name,
        newSessions: 0,
        held: 0,
        firstNew: undefined,
      };
      this.#makings.set(digest16, making);
      draft.keep("name", name);
      draft.keep("upstream", upstream);
      if (credentials !== undefined) draft.keep("credentials", credentials);
      return making;
    } catch (error) {
      place.lock.release();
      throw error;
    }
  }

  #takeSession(session: SessionRow): void {
    const making = this.#now();
    if (!this.#known.hasSession(session.id)) {
      making.firstNew ??= `session ${session.id}`;
      making.newSessions++;
    }
    // Also one that is known: its calls look for it in their own journal.
    making.draft.addSession(session);
  }

  #takeCall(call: CallRow): void {
    for (const { draft } of this.#makings.values())
      if (draft.has(call.id)) throw new RefusedError(`call ${call.id} is in it twice`);
    if (this.#known.hasCall(call.id)) {
      this.#callsThere++;
      return;
    }
    const making = this.#now();
    making.firstNew ??= `call ${call.id}`;
    making.draft.addCall(call);
    if (!isTerminal(call.state) && call.safety !== "read") making.held++;
  }

  #now(): Making {
    if (this.#current === undefined) throw new RefusedError("it belongs to no journal");
    return this.#current;
  }

  /** Makes visible what is new. Nothing is, before all of it is on the platter. */
  finish(sha256: string): Omit<Imported, keyof ReadExport> {
    const makings = this.#new(sha256);
    for (const making of makings) refuseIfInUse(making);
    for (const { draft } of makings) {
      draft.keep(IMPORTED, sha256);
      draft.seal(this.#options.because);
    }
    publishAll(makings);
    const journals = makings.map(({ draft, files, name }) => {
      return { path: files.path, name, calls: draft.calls };
    });
    return {
      journals,
      calls: journals.reduce((sum, { calls }) => sum + calls, 0),
      held: makings.reduce((sum, { held }) => sum + held, 0),
      callsThere: this.#callsThere,
      sessions: makings.reduce((sum, { newSessions }) => sum + newSessions, 0),
    };
  }

  /** Without those that this file brought before, whatever retention has left of them (MV7). */
  #new(sha256: string): Making[] {
    return [...this.#makings.values()].filter((making) => {
      const { draft, digest16, newSessions } = making;
      if (draft.calls === 0 && newSessions === 0) return false;
      if (!this.#known.wasImported(digest16, sha256)) return true;
      this.#callsThere += draft.calls;
      return false;
    });
  }

  /** Leaves nothing of what was not published. */
  close(): void {
    this.#known.close();
    for (const { draft, lock } of this.#makings.values()) {
      draft.discard();
      lock.release();
    }
  }
}
