/** Snapshots of a journal at work, with its settings, on a real disk in virtual time. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { snapshotsOf } from "../../src/app/journal-snapshots.ts";
import { OPTION_KEYS } from "../../src/app/option-table.ts";
import type { Settings } from "../../src/app/option-table.ts";
import { resolveSettings } from "../../src/app/resolve.ts";
import type { Snapshotting } from "../../src/app/snapshotting.ts";
import type { Journal } from "../../src/ports.ts";
import { openJournals } from "../../src/store/folder.ts";
import { openMemoryJournal } from "../../src/store/memory.ts";
import { partialPath, stagingOf } from "../../src/store/snapshot/shelf.ts";
import { aCall, aFolder, aLog, world as realWorld } from "../store/builders.ts";
import { VirtualWorld } from "../support/virtual-world.ts";

const closing: Journal[] = [];
afterEach(async () => {
  for (const journal of closing.splice(0)) await journal.close();
});

async function rig(over: Partial<Settings>, journal?: Journal) {
  const stateFolder = aFolder();
  const { log, lines } = aLog();
  const options = { world: realWorld, log, folder: stateFolder, mode: "required" } as const;
  const digests = { upstreamDigest: "a".repeat(64), credentialsDigest: "b".repeat(64) };
  const own = journal ?? (await openJournals({ ...options, ...digests, durability: "full" })).own;
  closing.push(own);
  const { settings } = resolveSettings([], "stdio", "/home/u");
  expect(Object.keys(settings)).toHaveLength(OPTION_KEYS.length);
  const world = new VirtualWorld({ startAt: realWorld.now() });
  const make = () =>
    snapshotsOf({
      world,
      log,
      version: "0.0.0",
      settings: { ...settings, ...over },
      stateFolder,
      journal: own,
    });
  return { world, lines, stateFolder, own, make };
}

const untilMade = (snapshots: Snapshotting | undefined, count: number) =>
  vi.waitFor(
    () => {
      expect(snapshots?.status()).toMatchObject({ count, failure: undefined });
      expect(snapshots?.status().nextAt).toBeDefined();
    },
    { timeout: 20_000 },
  );

describe("a running journal", () => {
  it("is snapped at intervals into the folder that was chosen, unless nothing happened", async () => {
    const shelf = join(aFolder(), "shelf");
    const over = { snapshotsEveryMs: 60_000, snapshotsKeep: 2, snapshotsFolder: shelf };
    const { world, own, make } = await rig(over);
    const snapshots = await make();
    snapshots?.start();
    await own.admit(aCall());
    await world.advance(30_000);
    await untilMade(snapshots, 1);
    expect(snapshots?.status().last?.path).toMatch(new RegExp(`^${shelf}/a{16}/1-.*\\.hfsnap$`));
    await world.advance(60_000);
    await untilMade(snapshots, 1);
    for (let i = 0; i < 2; i++) {
      await own.admit(aCall());
      await world.advance(60_000);
      await untilMade(snapshots, 2);
    }
    await snapshots?.stop();
  });

  it("of which none can be made goes on, and the reason is told", async () => {
    const shelf = join(aFolder(), "taken");
    writeFileSync(shelf, "a file");
    const { world, own, lines, make } = await rig({
      snapshotsEveryMs: 60_000,
      snapshotsFolder: shelf,
    });
    const snapshots = await make();
    snapshots?.start();
    await world.advance(30_000);
    await vi.waitFor(() => {
      expect(snapshots?.status().failure?.message).toMatch(/no snapshot of .*1\.db: /);
    });
    expect(lines.map(({ message }) => message)).toContain("no snapshot of the journal was made");
    expect(await own.admit(aCall())).toBe(1);
    await snapshots?.stop();
  });

  it("starts by clearing what a killed process left of a snapshot, also where none are made", async () => {
    const { stateFolder, make } = await rig({ snapshotsEveryMs: undefined });
    const { copyPath, restorePath } = stagingOf(stateFolder);
    const shelf = join(stateFolder, "snapshots");
    mkdirSync(shelf);
    const left = [copyPath, `${copyPath}-journal`, restorePath, partialPath(stateFolder, shelf)];
    for (const path of [...left, join(shelf, "lock.db")]) writeFileSync(path, "");
    expect(await make()).toBeUndefined();
    expect(left.filter((path) => existsSync(path))).toEqual([]);
  });

  it("in memory is not snapped", async () => {
    const { make } = await rig({ snapshotsEveryMs: 60_000 }, openMemoryJournal(realWorld));
    expect(await make()).toBeUndefined();
  });
});
