/** Restoring snapshots: what is refused, where a journal goes, and what it says of itself afterwards. */
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { CallRow } from "../../src/core/call.ts";
import type { RecoveryReport } from "../../src/core/status.ts";
import { openJournals } from "../../src/store/folder.ts";
import type { Journals } from "../../src/store/folder.ts";
import { openForCommand, readJournals } from "../../src/store/reader.ts";
import { writeHead } from "../../src/store/snapshot/format.ts";
import { makeSnapshot } from "../../src/store/snapshot/make.ts";
import { restoreSnapshot } from "../../src/store/snapshot/restore.ts";
import type { RestorePlan } from "../../src/store/snapshot/restore.ts";
import { defaultShelf } from "../../src/store/snapshot/shelf.ts";
import { readSnapshotHeader } from "../../src/store/snapshot/unpack.ts";
import { aSession } from "../support/builders.ts";
import { aCall, aFolder, aLog, world } from "./builders.ts";
import { startChild } from "./children.ts";
import type { Child } from "./children.ts";

const UPSTREAM = "a".repeat(64);
const opened: Journals[] = [];
const children: Child[] = [];

async function open(folder: string): Promise<Journals> {
  const journals = await openJournals({
    world,
    log: aLog().log,
    folder,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: "full",
    dropsDelivered: false,
  });
  opened.push(journals);
  return journals;
}

async function closeAll(): Promise<void> {
  for (const { own, leftovers } of opened.splice(0)) {
    await own.close();
    for (const { journal } of leftovers) await journal.close();
  }
}

afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
  await closeAll();
});

const lasting = (over: Partial<CallRow> = {}) =>
  aCall({ deadlineAt: world.now() + 3_600_000, ...over });

async function snap(stateFolder: string, files: readonly string[] = []): Promise<string> {
  const made = await makeSnapshot(world, {
    version: "1.2.3",
    stateFolder,
    upstreamDigest16: UPSTREAM.slice(0, 16),
    number: 1,
    to: { file: join(aFolder(), "one.hfsnap") },
    files,
  });
  return made?.path ?? "none";
}

/** A snapshot of a journal with these calls; its state folder, closed. */
async function snapshotOf(calls: readonly CallRow[]): Promise<{ path: string; folder: string }> {
  const folder = aFolder();
  const { own } = await open(folder);
  for (const call of calls) await own.admit(call);
  const path = await snap(folder);
  await closeAll();
  return { path, folder };
}

const restore = (path: string, stateFolder: string, over: Partial<RestorePlan> = {}) =>
  restoreSnapshot(world, { path, stateFolder, files: [], ...over });

const pathOf = (folder: string, name: string) => join(folder, "journals", "a".repeat(16), name);
const settle = (id: string) => ({ kind: "expire", id, cause: "over", at: world.now() }) as const;

describe("a snapshot that is restored", () => {
  it("becomes a journal on another machine, with its calls, sessions and files", async () => {
    const folder = aFolder();
    const call = lasting();
    const { own } = await open(folder);
    await own.admit(call);
    await own.saveSession(aSession({ id: "s_1" }));
    await own.keep("child:77", "{}");
    writeFileSync(join(folder, "identity.key"), "key\n", { mode: 0o600 });
    writeFileSync(join(folder, "tokens.json"), "[]");
    const path = await snap(folder, ["identity.key", "tokens.json"]);
    const there = join(aFolder(), "state");
    const restored = await restore(path, there, { files: ["identity.key"] });
    expect(restored).toMatchObject({
      path: pathOf(there, "1.db"),
      held: 1,
      filesAdded: ["identity.key"],
      filesKept: [],
      notes: [],
    });
    expect(restored.from.missingCommits).toBeUndefined();
    expect(readFileSync(join(there, "identity.key"), "utf8")).toBe("key\n");
    for (const name of [pathOf(there, "1.db"), join(there, "identity.key")])
      expect((statSync(name).mode & 0o777).toString(8)).toBe("600");
    // A name that was not asked for never becomes a file.
    expect(existsSync(join(there, "tokens.json"))).toBe(false);
    const { leftovers } = await open(there);
    expect(leftovers[0]?.recovery.live).toMatchObject([{ id: call.id, state: "queued" }]);
    expect(await leftovers[0]?.journal.findSession("s_1")).toMatchObject({ id: "s_1" });
    expect((await leftovers[0]?.journal.kept("child:"))?.size).toBe(0);
  });

  it("went backwards, and says so itself at every start until nothing of then is live", async () => {
    const { path } = await snapshotOf([lasting(), lasting({ safety: "read" })]);
    const there = aFolder();
    const { from } = await restore(path, there);
    for (let time = 0; time < 2; time++) {
      // Whatever marks say: one of these would, if there were any.
      for (const name of readdirSync(pathOf(there, "")))
        if (/\.hwm$|\.abandoned$/.test(name)) rmSync(pathOf(there, name));
      const { own, leftovers } = await open(there);
      expect(own.stats().path).toBe(pathOf(there, "2.db"));
      const report: RecoveryReport | undefined = leftovers[0]?.recovery.report;
      expect(report?.wentBackwards).toMatchObject({ expectedSeq: 2, foundSeq: 2, restored: from });
      expect(leftovers[0]).toMatchObject({ isAbandoned: false, path: pathOf(there, "1.db") });
      expect(leftovers[0]?.heldBecause).toMatch(/restored from a snapshot of \d{4}-/);
      if (time === 1)
        for (const { id } of leftovers[0]?.recovery.live ?? [])
          await leftovers[0]?.journal.apply(settle(id), true);
      await closeAll();
    }
    // The start that finds nothing live lifts the suspicion, the next one is like any other.
    expect((await (await open(there)).own.recover(world.now())).report.wentBackwards).toBeDefined();
    await closeAll();
    const { own } = await open(there);
    expect(own.stats().path).toBe(pathOf(there, "1.db"));
    expect((await own.recover(world.now())).report.wentBackwards).toBeUndefined();
  });

  it("names the gap where the old journal, or only its mark, tells how far it was", async () => {
    const { path, folder } = await snapshotOf([aCall({ safety: "read" })]);
    const { own, leftovers } = await open(folder);
    const live = [
      ...(await own.recover(world.now())).live,
      ...leftovers.flatMap((l) => l.recovery.live),
    ];
    for (const { id } of live) await own.apply(settle(id), true);
    for (let i = 0; i < 5; i++) {
      const call = aCall();
      await own.admit(call);
      await own.apply(settle(call.id), true);
    }
    await closeAll();
    // The disk lost the database; what is beside it was left.
    writeFileSync(pathOf(folder, "1.db"), "x".repeat(9000));
    for (const end of ["-wal", "-shm"]) rmSync(pathOf(folder, `1.db${end}`), { force: true });
    const restored = await restore(path, folder);
    expect(restored.path).toBe(pathOf(folder, "2.db"));
    expect(restored.from.missingCommits).toBeGreaterThanOrEqual(11);
    expect(restored.notes.join()).toMatch(/1\.db can't be read and stays as it is/);
    const [, journal] = await readJournals(folder);
    expect(journal?.facts.get("restored")).toContain('"missingCommits":');
  });

  it("covers nothing: it takes a number that nobody ever had", async () => {
    const { path, folder } = await snapshotOf([]);
    await open(folder);
    await open(folder);
    await closeAll();
    rmSync(pathOf(folder, "2.db"));
    const before = readFileSync(pathOf(folder, "1.db"));
    // 2 left its mark behind, which would be taken for the new one's.
    writeFileSync(pathOf(folder, "2.hwm"), "");
    expect((await restore(path, folder)).path).toBe(pathOf(folder, "3.db"));
    expect(readFileSync(pathOf(folder, "1.db")).equals(before)).toBe(true);
  });

  it("leaves the files of the state folder that are there, and says so", async () => {
    const folder = aFolder();
    await open(folder);
    writeFileSync(join(folder, "identity.key"), "old\n");
    const path = await snap(folder, ["identity.key"]);
    const there = aFolder();
    writeFileSync(join(there, "identity.key"), "own\n");
    const restored = await restore(path, there, { files: ["identity.key"] });
    expect(restored).toMatchObject({ filesAdded: [], filesKept: ["identity.key"] });
    expect(readFileSync(join(there, "identity.key"), "utf8")).toBe("own\n");
  });

  it("is one that a person can work with: what is ordered again is sound, what waits is not", async () => {
    const call = lasting();
    const { path } = await snapshotOf([call]);
    const there = aFolder();
    await restore(path, there);
    const journal = await openForCommand(world, aLog().log, there, {
      upstreamDigest16: UPSTREAM.slice(0, 16),
      number: 1,
    });
    const copy = lasting();
    await journal.admit(copy);
    await journal.close();
    const { leftovers } = await open(there);
    const { live, report } = leftovers[0]?.recovery ?? { live: [], report: undefined };
    const foundSeq = report?.wentBackwards?.foundSeq ?? -1;
    expect(live.map(({ id, seq }) => [id, seq <= foundSeq])).toEqual([
      [call.id, true],
      [copy.id, false],
    ]);
  });
});

describe("nothing is restored", () => {
  it("while a proxy runs on the journal of the snapshot", async () => {
    const { path, folder } = await snapshotOf([]);
    await open(folder);
    await expect(restore(path, folder)).rejects.toThrow(/a proxy runs on .*1\.db.*--into/s);
    expect(readdirSync(pathOf(folder, "")).filter((name) => /^\d+\.db$/.test(name))).toEqual([
      "1.db",
    ]);
  });

  it("while calls of the snapshot's journal have not ended", async () => {
    const { path, folder } = await snapshotOf([lasting()]);
    await expect(restore(path, folder)).rejects.toThrow(
      /1\.db holds calls that have not ended \(1\).*--into/s,
    );
    expect(existsSync(pathOf(folder, "2.db"))).toBe(false);
  });

  it("a second time beside the first", async () => {
    const { path } = await snapshotOf([]);
    const there = aFolder();
    await restore(path, there);
    await expect(restore(path, there)).rejects.toThrow(/restored already, as .*1\.db/);
  });

  it("without room for all that its head says is in it", async () => {
    const { path } = await snapshotOf([]);
    const bytes = readFileSync(path);
    writeHead({ ...readSnapshotHeader(path), databaseBytes: 1e15 }).copy(bytes);
    writeFileSync(path, bytes);
    const there = aFolder();
    await expect(restore(path, there)).rejects.toThrow(/no room to restore it in .*MiB have to be/);
    expect(readdirSync(defaultShelf(there))).toEqual(["lock.db"]);
  });

  it("by halves: killed at any instant there is no journal or a whole one, 20 times", async () => {
    const calls = Array.from({ length: 200 }, () => aCall({ request: "z".repeat(5000) }));
    const { path } = await snapshotOf(calls);
    let whole = 0;
    for (let round = 0; round < 20; round++) {
      const there = aFolder();
      const child = startChild("restore-snapshot.mjs", path, there);
      children.push(child);
      await child.untilLines(1);
      // Other work of other length each time, while it goes on.
      for (let turn = 0; turn < round; turn++) await snap(there).catch(() => "none");
      await child.kill();
      const [journal, ...others] = await readJournals(there);
      expect(others).toEqual([]);
      if (journal !== undefined) {
        expect(journal).toMatchObject({ problem: undefined, counts: { queued: 200 } });
        expect(journal.facts.has("journal.went_backwards")).toBe(true);
        whole++;
      }
      // The next restore finds its way, and clears what was left.
      if (journal === undefined) await restore(path, there);
      expect(readdirSync(defaultShelf(there))).toEqual(["lock.db"]);
    }
    expect(whole).toBeLessThan(20);
  }, 60_000);
});
