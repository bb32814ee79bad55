/** What the commands need of journals whose proxy does not run, over the store. */
import { basename, dirname, resolve } from "node:path";
import { realWorld } from "../base/world.ts";
import { isObject } from "../wire/message.ts";
import { openForCommand, readCalls, readJournals } from "../store/reader.ts";
import type { JournalReader, JournalSummary } from "./commands/journal-reader.ts";

/** The name that the last owner kept; undefined for a journal that never had one. */
function ownerName(text: string | undefined): string | undefined {
  const value: unknown = text === undefined ? undefined : JSON.parse(text);
  return isObject(value) && typeof value["name"] === "string" ? value["name"] : undefined;
}

export const journalReader: JournalReader = {
  async list(stateFolder) {
    const journals = await readJournals(stateFolder);
    return journals.map(({ path, facts, counts, upstreamDigest16 }): JournalSummary => {
      return { path, upstream: ownerName(facts.get("owner")) ?? upstreamDigest16, counts };
    });
  },
  calls: (path, filter) => readCalls(path, filter),
  open(path) {
    // `<state folder>/journals/<digest>/<n>.db`, as the listing gave it.
    const upstreamDigest16 = basename(dirname(path));
    const stateFolder = resolve(dirname(path), "..", "..");
    const number = Number.parseInt(basename(path), 10);
    return openForCommand(realWorld(), () => undefined, stateFolder, { upstreamDigest16, number });
  },
};
