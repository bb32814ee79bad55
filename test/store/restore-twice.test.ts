/** A call lives once: no restore beside a journal that has its calls, under whatever id. */
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { must } from "../../src/base/assert.ts";
import { deferred } from "../../src/base/async.ts";
import type { Journal } from "../../src/ports.ts";
import { exportLines } from "../../src/store/moving/export.ts";
import { openFileSource } from "../../src/store/moving/file-source.ts";
import { importExport } from "../../src/store/moving/import.ts";
import { readJournals } from "../../src/store/reader.ts";
import { makeSnapshot } from "../../src/store/snapshot/make.ts";
import { restoreSnapshot } from "../../src/store/snapshot/restore.ts";
import type { RestorePlan } from "../../src/store/snapshot/restore.ts";
import { loadDriver } from "../../src/store/sqlite/connection.ts";
import { aCall, aFolder, world } from "./builders.ts";
import { anEmptyFolder, damage, look, openOwn, pathOf } from "./state-folder.ts";

const UPSTREAM = "a".repeat(64);
const ANOTHER = "c".repeat(64);
const journals: Journal[] = [];
afterEach(() => Promise.all(journals.splice(0).map((journal) => journal.close())));

interface Snapped {
  readonly path: string;
  /** The state folder of its journal, where a process is at work on it. */
  readonly folder: string;
}

/** A snapshot of a journal with a write and a read that wait. */
async function snapped(): Promise<Snapped> {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  journals.push(own);
  const deadlineAt = world.now() + 3_600_000;
  await own.admit(aCall({ deadlineAt }));
  await own.admit(aCall({ deadlineAt, safety: "read" }));
  const made = await makeSnapshot(world, {
    version: "1.2.3",
    stateFolder: folder,
    upstreamDigest16: UPSTREAM.slice(0, 16),
    number: 1,
    to: { file: join(aFolder(), "one.hfsnap") },
    files: [],
  });
  return { path: must(made, "a snapshot").path, folder };
}

const restore = (path: string, stateFolder: string, over: Partial<RestorePlan> = {}) =>
  restoreSnapshot(world, { path, stateFolder, files: [], ...over });

/** The calls of its journal. */
async function exportOf({ folder }: Snapped): Promise<Buffer> {
  const driver = await loadDriver();
  const source = openFileSource(driver, {
    path: pathOf(folder),
    about: { upstream: UPSTREAM, credentials: undefined, name: "one" },
    states: [],
    upstream: undefined,
    onDamaged: () => undefined,
  });
  const header = { createdAt: world.now(), holdfast: "1.2.3", states: [] };
  const lines: Buffer[] = [];
  for await (const line of exportLines([must(source, "a source")], { header, withSessions: true }))
    lines.push(Buffer.from(line));
  source?.close();
  return Buffer.concat(lines);
}

/** The calls of a journal, as another machine has them after an import. */
async function imported(of: Snapped): Promise<string> {
  const there = aFolder();
  const input = Readable.from([await exportOf(of)]);
  const driver = await loadDriver();
  await importExport(input, { driver, folder: there, because: "imported" });
  return there;
}

/** The journal is damaged, and its calls are found again. */
async function rebuilt({ folder }: Snapped): Promise<string> {
  await journals.pop()?.close();
  damage(folder, "fact");
  const { repairs } = await look(folder, true);
  expect(repairs[0]?.rebuilt?.salvaged.rows).toBe(2);
  return folder;
}

async function restoredAsAnother({ path }: Snapped): Promise<string> {
  const there = aFolder();
  await restore(path, there, { upstreamDigest: ANOTHER });
  return there;
}

describe("nothing is restored", () => {
  it("while an import is under way, nor imported during a restore: neither would see the other's calls", async () => {
    const of = await snapped();
    const text = await exportOf(of);
    const there = aFolder();
    const driver = await loadDriver();
    const rest = deferred<undefined>();
    async function* slowly() {
      yield text.subarray(0, -1);
      await rest.promise;
      yield text.subarray(-1);
    }
    const options = { driver, folder: there, because: "imported" };
    const importing = importExport(slowly(), options);
    await expect(restore(of.path, there)).rejects.toThrow(
      /another import or restore is under way in .*twice.*when that one has ended/s,
    );
    expect(await readJournals(there)).toEqual([]);
    rest.resolve(undefined);
    expect(await importing).toMatchObject({ calls: 2 });
    const elsewhere = aFolder();
    const restoring = restore(of.path, elsewhere);
    // As the restore does before its first look; then it waits for what it unpacks.
    await loadDriver();
    await expect(
      importExport(Readable.from([text]), { ...options, folder: elsewhere }),
    ).rejects.toThrow(/another import or restore is under way/);
    await restoring;
    expect(await readJournals(elsewhere)).toHaveLength(1);
  });

  it.each<[string, (of: Snapped) => Promise<string>]>([
    ["that was imported", imported],
    ["that was rebuilt from the damaged one", rebuilt],
    ["of another upstream, as which it was restored before", restoredAsAnother],
  ])("while its calls live in a journal %s", async (_what, live) => {
    const of = await snapped();
    const there = await live(of);
    const before = await readJournals(there);
    await expect(restore(of.path, there)).rejects.toThrow(
      /calls of this snapshot live in .*\.db \(2\), and would exist twice.*--into/s,
    );
    expect(await readJournals(there)).toEqual(before);
  });

  it("as another upstream's while the journal of the snapshot is at work on its calls", async () => {
    const { path, folder } = await snapped();
    await expect(restore(path, folder, { upstreamDigest: ANOTHER })).rejects.toThrow(
      /calls of this snapshot live in .*1\.db \(2\)/,
    );
  });
});
