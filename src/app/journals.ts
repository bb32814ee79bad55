/** Journals on disk for the commands: the store's reader, with owners told alive from dead. */
import { errorText, JournalError, RefusedError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { WentBackwards } from "../core/status.ts";
import type { Log } from "../ports.ts";
import { examine } from "../store/examine.ts";
import type { ReadJournal } from "../store/reader.ts";
import {
  openForCommand,
  readCall,
  readCalls,
  readJournals,
  readSessions,
} from "../store/reader.ts";
import { RESTORED, readRestoredFact } from "../store/snapshot/prepare.ts";
import { HELD_MARK, readHeldMark } from "../store/held-mark.ts";
import { troubleOf } from "../store/sqlite/connection.ts";
import { isObject } from "../wire/message.ts";
import type { JournalReader, JournalSummary } from "./commands/journal-reader.ts";
import { connectControl, NobodyThere } from "./control-client.ts";

/** What a proxy keeps of itself under the fact `owner`. */
export interface Owner {
  readonly pid: number;
  readonly control: string;
  readonly name: string;
}

/** Undefined for a fact that is missing or of another shape: then nobody is known to have it. */
export function readOwner(fact: string | undefined): Owner | undefined {
  let value: unknown;
  try {
    value = JSON.parse(fact ?? "null");
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { pid, control, name } = value;
  return typeof pid === "number" && typeof control === "string" && typeof name === "string"
    ? { pid, control, name }
    : undefined;
}

/** Of its upstream, or of the daemon: as its process noted it, or what made the journal; else its digest. */
export function nameOfJournal({
  facts,
  upstreamDigest16,
}: Pick<ReadJournal, "facts" | "upstreamDigest16">): string {
  const noted = readOwner(facts.get("owner"))?.name ?? facts.get("name");
  return noted ?? readRestoredFact(facts.get(RESTORED))?.name ?? upstreamDigest16;
}

/** A fact that is torn is as good as one that is there: the journal is not sound. */
function readBackwards(fact: string | undefined): WentBackwards | undefined {
  if (fact === undefined) return undefined;
  try {
    return readHeldMark(fact);
  } catch {
    return { expectedSeq: 0, foundSeq: Number.MAX_SAFE_INTEGER };
  }
}

/**
 * Asked over its control socket: its lock must not be tried, and its number may be another
 * process's by now. A frozen proxy still has a socket that connects.
 */
async function isAlive(owner: Owner, world: World): Promise<boolean> {
  try {
    (await connectControl(owner.control, world)).close();
    return true;
  } catch (error) {
    return !(error instanceof NobodyThere);
  }
}

/** Nobody that is known to have it has it: its lock tells the rest. */
const isOwnerAlive = async (fact: string | undefined, world: World): Promise<boolean> => {
  const owner = readOwner(fact);
  return owner !== undefined && isAlive(owner, world);
};

async function summary(journal: ReadJournal, world: World): Promise<JournalSummary> {
  const owner = readOwner(journal.facts.get("owner"));
  return {
    path: journal.path,
    upstream: nameOfJournal(journal),
    ownerPid: owner !== undefined && (await isAlive(owner, world)) ? owner.pid : undefined,
    counts: journal.counts,
    isAbandoned: journal.isAbandoned,
    wentBackwards: readBackwards(journal.facts.get(HELD_MARK)),
    damaged: journal.damaged.length,
    problem: journal.problem,
  };
}

/** An error of SQLite (damaged, no permission, not a database any more) in words for a person. */
async function readable<T>(path: string, reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (troubleOf(error) === undefined || error instanceof JournalError) throw error;
    throw new JournalError(
      "io",
      `the journal ${path} can't be read: ${errorText(error)}. Look at its permissions and its ` +
        "disk; if it stays so, move the file away.",
      error,
    );
  }
}

export function journalReader(stateFolder: string, world: World, log: Log): JournalReader {
  return {
    list: async () =>
      Promise.all((await readJournals(stateFolder)).map((journal) => summary(journal, world))),
    calls: (path, filter) => readable(path, readCalls(path, filter)),
    find: (path, id) => readable(path, readCall(path, id)),
    sessions: (path) => readable(path, readSessions(path)),
    open: async (path) => {
      const journal = (await readJournals(stateFolder)).find((one) => one.path === path);
      if (journal === undefined) throw new RefusedError(`${path} is not there any more`);
      return openForCommand(world, log, stateFolder, journal);
    },
    examine: async (cache, isRepairing) => {
      const examined = await examine({
        world,
        folder: stateFolder,
        cache,
        isRepairing,
        isAlive: (owner) => isOwnerAlive(owner, world),
      });
      const journals = examined.journals.map((journal) => ({
        ...journal,
        upstream: nameOfJournal(journal),
      }));
      return { ...examined, journals };
    },
  };
}
