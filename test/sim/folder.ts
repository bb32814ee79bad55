/**
 * The state folder of the simulation: gives a starting process its journal and what dead ones left, by
 * the rules of `store/folder.ts` (F1–F3).
 */
import { JournalError } from "../../src/base/errors.ts";
import type { Journal, Recovery } from "../../src/ports.ts";
import { openMemoryJournal } from "../../src/store/memory.ts";
import { resilientJournal } from "../../src/store/resilient.ts";
import { SqliteJournal } from "../../src/store/sqlite/journal.ts";
import type { SimFile } from "./disk.ts";
import type { House } from "./house.ts";
import { SimThread } from "./thread.ts";

interface SimLeftover {
  readonly journal: Journal;
  readonly recovery: Recovery;
  readonly heldBecause: string | undefined;
}

interface Opened {
  readonly journal: SqliteJournal;
  readonly liveRows: number;
  readonly wentBackwards: boolean;
}

interface Journals {
  readonly own: Journal;
  readonly leftovers: readonly SimLeftover[];
}

/** Where the disk fails at once, a wrapped server is served without it. */
export async function openFolder(house: House): Promise<Journals> {
  const { knobs } = house.ground;
  try {
    return await openJournals(house);
  } catch (error) {
    if (!(error instanceof JournalError) || knobs.mode !== "wrap" || house.isDead) throw error;
    const own = openMemoryJournal(house.world, { dropsDelivered: false, degraded: error.message });
    return { own: watched(house, own), leftovers: [] };
  }
}

async function openJournals(house: House): Promise<Journals> {
  const { disk, knobs } = house.ground;
  const leftovers: SimLeftover[] = [];
  const careFor = async (file: SimFile, opened: Opened): Promise<void> => {
    const heldBecause = file.isAbandoned
      ? "it was given up after a disk error"
      : opened.wentBackwards
        ? "it holds less than it once did"
        : undefined;
    const journal =
      knobs.mode === "wrap"
        ? watched(house, resilient(house, file, opened.journal))
        : opened.journal;
    const recovery = await journal.recover(house.world.now());
    leftovers.push({ journal, recovery, heldBecause });
  };
  let own: Journal | undefined;
  let ownFile: SimFile | undefined;
  for (let number = 1; own === undefined; number++) {
    const file = disk.file(number);
    if (file.isLocked) continue;
    const opened = openFile(house, file);
    if (opened.liveRows > 0 && (opened.wentBackwards || file.isAbandoned)) {
      await careFor(file, opened);
      continue;
    }
    file.isAbandoned = false;
    await opened.journal.keep("upstream", "digest");
    ownFile = file;
    own = opened.journal;
    if (knobs.mode === "wrap") own = watched(house, resilient(house, file, own));
  }
  for (const file of disk.files) {
    if (file === ownFile || file.isLocked) continue;
    const opened = openFile(house, file);
    if (opened.liveRows > 0) await careFor(file, opened);
    else await opened.journal.close();
  }
  return { own, leftovers };
}

function resilient(house: House, file: SimFile, journal: Journal): Journal {
  return resilientJournal(journal, {
    world: house.world,
    log: () => undefined,
    abandonedPath: "",
    // Memory is looked at once, at its end.
    dropsDelivered: false,
    mark: () => {
      file.isAbandoned = true;
    },
  });
}

/** What a process holds in memory alone is looked at before it is let go. */
function watched(house: House, journal: Journal): Journal {
  const close = journal.close.bind(journal);
  journal.close = async () => {
    if (journal.stats().kind === "memory") house.onMemory(await journal.list({}));
    await close();
  };
  return journal;
}

function openFile(house: House, file: SimFile): Opened {
  const { ledger, knobs, disk, random } = house.ground;
  file.isLocked = true;
  const thread = new SimThread({
    world: house.world,
    file,
    dropsDelivered: knobs.mode === "wrap",
    durability: "full",
    effect: (names, act) => {
      house.effects(names, act);
    },
    commitMs: () => Math.floor(random() * (disk.trouble.syncMs + 1)),
    onRequest: (callId, request) => ledger.requests.set(callId, request),
    onReply: (callId, reply) => ledger.replies.set(callId, reply),
  });
  const { writer } = thread;
  const journal = new SqliteJournal(thread, {
    world: house.world,
    log: (level, message) => {
      house.log.push(`${level} ${message}`);
    },
    path: file.path,
    isAbandoned: file.isAbandoned,
    onGone: () => {
      file.close();
    },
  });
  return { journal, liveRows: writer.countLive(), wentBackwards: writer.wentBackwards };
}
