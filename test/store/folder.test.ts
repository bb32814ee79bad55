/** The state folder: who gets which journal, what is adopted, and what happens without a disk. */
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { openJournals } from "../../src/store/folder.ts";
import type { FolderOptions, Journals } from "../../src/store/folder.ts";
import { HELD_MARK, broughtIn, heldMarkText } from "../../src/store/held-mark.ts";
import { openForCommand, readCall, readCalls, readJournals } from "../../src/store/reader.ts";
import { NOW, aCall, aFolder, aLog, world } from "./builders.ts";
import { startChild } from "./children.ts";
import type { Child } from "./children.ts";

const UPSTREAM = "a".repeat(64);
const children: Child[] = [];
const opened: Journals[] = [];
const start = (...args: Parameters<typeof startChild>) => {
  const child = startChild(...args);
  children.push(child);
  return child;
};

async function open(folder: string, over: Partial<FolderOptions> = {}): Promise<Journals> {
  const journals = await openJournals({
    world,
    log: aLog().log,
    folder,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: "full",
    ...over,
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

const pathOf = (folder: string, name: string) => join(folder, "journals", "a".repeat(16), name);
const lasting = () => aCall({ deadlineAt: world.now() + 3_600_000 });

interface Taken {
  readonly own: string;
  readonly leftovers: readonly string[];
}
async function taken(child: Child): Promise<Taken> {
  await child.untilLines(1);
  return JSON.parse(child.lines[0] ?? "") as Taken;
}

describe("who gets which journal", () => {
  it("gives different journals to processes that start at the same instant", async () => {
    const folder = aFolder();
    const racers = Array.from({ length: 4 }, () => start("take-journal.mjs", folder));
    const got = await Promise.all(racers.map(taken));
    expect(new Set(got.map(({ own }) => own)).size).toBe(4);
    for (const racer of racers) expect(await racer.end()).toBe(0);
  });

  it("keeps a journal from others while its process lives, and frees it with SIGKILL", async () => {
    const folder = aFolder();
    const child = start("take-journal.mjs", folder);
    expect((await taken(child)).own).toBe(pathOf(folder, "1.db"));
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "2.db"));
    await closeAll();
    await child.kill();
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "1.db"));
  });

  it("does not give one journal to two openers in one process", async () => {
    const folder = aFolder();
    const first = await open(folder);
    const second = await open(folder);
    expect(second.own.stats().path).not.toBe(first.own.stats().path);
    await first.own.close();
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "1.db"));
  });

  it("makes folders with 0700 and files with 0600", async () => {
    const folder = join(aFolder(), "state");
    const { own } = await open(folder);
    await own.admit(aCall());
    const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
    expect(mode(folder)).toBe("700");
    expect(mode(dirname(pathOf(folder, "1.db")))).toBe("700");
    const names = readdirSync(dirname(pathOf(folder, "1.db"))).sort();
    expect(names).toEqual(["1.db", "1.db-shm", "1.db-wal", "1.hwm", "1.lock.db"]);
    for (const name of names) expect(`${name} ${mode(pathOf(folder, name))}`).toBe(`${name} 600`);
  });
});

describe("what dead processes left", () => {
  it("opens a free journal with live calls as caretaker, until it is closed", async () => {
    const folder = aFolder();
    const [first, second] = [await open(folder), await open(folder)];
    await first.own.admit(lasting());
    const call = lasting();
    await second.own.admit({ ...call, state: "sent", attempt: 1, upstreamId: "1-1", sentAt: NOW });
    await closeAll();
    const { own, leftovers } = await open(folder);
    expect(own.stats().path).toBe(pathOf(folder, "1.db"));
    expect((await own.recover(world.now())).live).toHaveLength(1);
    expect(leftovers.map(({ path }) => path)).toEqual([pathOf(folder, "2.db")]);
    expect(leftovers[0]).toMatchObject({ heldBecause: undefined, isAbandoned: false });
    expect(leftovers[0]?.recovery.live).toMatchObject([{ id: call.id, state: "in_doubt" }]);
    // Locked while cared for, free afterwards.
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "3.db"));
    await leftovers[0]?.journal.close();
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "2.db"));
  });

  it("does not open a free journal in which nothing is live", async () => {
    const folder = aFolder();
    await open(folder);
    await open(folder);
    await closeAll();
    expect((await open(folder)).leftovers).toEqual([]);
  });

  it("never takes an abandoned journal with live calls as its own, and holds its calls", async () => {
    const folder = aFolder();
    const first = await open(folder);
    await first.own.admit(lasting());
    await closeAll();
    writeFileSync(pathOf(folder, "1.abandoned"), "1\n");
    const { own, leftovers } = await open(folder);
    expect(own.stats().path).toBe(pathOf(folder, "2.db"));
    expect(leftovers).toMatchObject([{ isAbandoned: true, path: pathOf(folder, "1.db") }]);
    expect(leftovers[0]?.heldBecause).toMatch(/given up after a disk error/);
    const [row] = leftovers[0]?.recovery.live ?? [];
    const bury = { kind: "bury", id: row?.id ?? "", reason: "blocked", cause: "c", at: 1 } as const;
    await leftovers[0]?.journal.apply(bury, true);
    await closeAll();
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "1.db"));
    expect(existsSync(pathOf(folder, "1.abandoned"))).toBe(false);
  });

  it("never takes a journal with the mark and live calls as its own, and says what was done", async () => {
    const folder = aFolder();
    const first = await open(folder);
    const [write, read] = [lasting(), { ...lasting(), safety: "read" as const }];
    for (const call of [write, read]) await first.own.admit(call);
    await first.own.keep(HELD_MARK, heldMarkText(broughtIn(2, "imported from calls.jsonl")));
    await closeAll();
    const { lines, log } = aLog();
    const { own, leftovers } = await open(folder, { log });
    expect(own.stats().path).toBe(pathOf(folder, "2.db"));
    expect(leftovers).toMatchObject([{ isAbandoned: false, path: pathOf(folder, "1.db") }]);
    expect(leftovers[0]?.heldBecause).toBe(
      `${pathOf(folder, "1.db")} was imported from calls.jsonl`,
    );
    expect(leftovers[0]?.recovery.report.wentBackwards).toMatchObject({ foundSeq: 2 });
    expect(lines.at(-1)?.message).toMatch(
      /imported from calls.jsonl; calls in it that wait for a person: 1$/,
    );
    const journal = leftovers[0]?.journal;
    for (const { id } of [write, read])
      await journal?.apply({ kind: "bury", id, reason: "blocked", cause: "c", at: 1 }, true);
    await journal?.recover(world.now());
    expect([...((await journal?.kept(HELD_MARK)) ?? [])]).toEqual([]);
    await closeAll();
    expect((await open(folder)).own.stats().path).toBe(pathOf(folder, "1.db"));
  });
});

describe("a call past its time in an abandoned journal", () => {
  it("is not said not to have run: the process that gave the journal up may have run it", async () => {
    const folder = aFolder();
    const first = await open(folder);
    await first.own.admit(aCall({ deadlineAt: world.now() - 1 }));
    await closeAll();
    writeFileSync(pathOf(folder, "1.abandoned"), "1\n");
    const { leftovers } = await open(folder);
    expect(leftovers[0]?.recovery.report.expired).toBe(0);
    expect(leftovers[0]?.recovery.live).toMatchObject([{ state: "queued", executed: "pending" }]);
  });
});

describe("trouble", () => {
  it("goes on in memory where the folder can't be used, and says why", async () => {
    const file = join(aFolder(), "a-file");
    writeFileSync(file, "");
    const { lines, log } = aLog();
    const { own, troubles } = await open(join(file, "state"), { mode: "auto", log });
    expect(own.stats()).toMatchObject({ kind: "memory" });
    expect(own.stats().degraded).toMatch(/a-file/);
    expect(troubles).toEqual([own.stats().degraded]);
    expect(lines).toMatchObject([{ level: "error" }]);
    expect(await own.admit(aCall())).toBe(1);
  });

  it("refuses instead where a journal is required, naming the folder", async () => {
    const file = join(aFolder(), "a-file");
    writeFileSync(file, "");
    await expect(open(join(file, "state"))).rejects.toMatchObject({
      name: "ConfigError",
      message: expect.stringContaining("a-file"),
    });
  });

  it("does not touch the disk in mode memory", async () => {
    const folder = join(aFolder(), "state");
    const { own } = await open(folder, { mode: "memory" });
    expect(own.stats()).toMatchObject({ kind: "memory", degraded: undefined });
    expect(existsSync(folder)).toBe(false);
  });

  it("leaves a broken journal alone, takes the next number, and says so", async () => {
    const folder = aFolder();
    mkdirSync(dirname(pathOf(folder, "1.db")), { recursive: true });
    writeFileSync(pathOf(folder, "1.db"), "x".repeat(8192));
    const { own, troubles } = await open(folder, { mode: "auto" });
    expect(own.stats().path).toBe(pathOf(folder, "2.db"));
    expect(troubles[0]).toContain(pathOf(folder, "1.db"));
  });

  it("leaves a journal of a newer schema to the newer Holdfast", async () => {
    const folder = aFolder();
    await open(folder);
    await closeAll();
    const db = new Database(pathOf(folder, "1.db"));
    db.pragma("user_version = 99");
    db.close();
    await expect(open(folder)).rejects.toThrow(/newer Holdfast/);
    const { own, troubles } = await open(folder, { mode: "auto" });
    expect(own.stats().path).toBe(pathOf(folder, "2.db"));
    expect(troubles[0]).toMatch(/newer Holdfast/);
  });
});

describe("a command that looks at a journal under its lock", () => {
  /** A journal with a call of a process that is dead, and a command that has its lock for a moment. */
  async function lookedAt(): Promise<{ folder: string; callId: string }> {
    const folder = aFolder();
    const { own } = await open(folder);
    const call = lasting();
    await own.admit(call);
    await closeAll();
    const looker = start("look-awhile.mjs", folder, "1");
    await looker.untilLines(1);
    expect(looker.lines).toEqual(["looking"]);
    return { folder, callId: call.id };
  }

  it("is waited for by a start, which takes the journal up (LK1)", async () => {
    const { folder, callId } = await lookedAt();
    const { own, leftovers } = await open(folder);
    expect([own.stats().path, leftovers]).toEqual([pathOf(folder, "1.db"), []]);
    expect((await own.recover(world.now())).live.map(({ id }) => id)).toEqual([callId]);
  });

  it("is waited for by another command, which changes it afterwards (LK2)", async () => {
    const { folder, callId } = await lookedAt();
    const [journal] = await readJournals(folder);
    const place = journal ?? { upstreamDigest16: "", number: 0 };
    const command = await openForCommand(world, aLog().log, folder, place);
    expect((await command.find(callId))?.id).toBe(callId);
    await command.close();
  });

  it("says of a journal that a process has that it is taken, and the process goes on", async () => {
    const folder = aFolder();
    const child = start("take-journal.mjs", folder);
    await taken(child);
    const looker = start("look-awhile.mjs", folder, "1");
    await looker.untilLines(1);
    expect(looker.lines).toEqual(["taken"]);
    expect(await child.end()).toBe(0);
  });
});

describe("reading for the command line", () => {
  it("reads beside the owner and after a clean close, and changes only without an owner", async () => {
    const folder = aFolder();
    const { own } = await open(folder);
    const call = lasting();
    await own.admit(call);
    await own.keep("owner", '{"pid":1}');
    const [beside] = await readJournals(folder);
    expect(beside).toMatchObject({ number: 1, counts: { queued: 1 }, problem: undefined });
    expect(beside?.facts.get("owner")).toBe('{"pid":1}');
    const journal = beside ?? { upstreamDigest16: "", number: 0, path: "" };
    expect(await readCalls(journal.path, { states: ["queued"] })).toMatchObject([{ id: call.id }]);
    expect(await readCall(journal.path, call.id)).toEqual({ ...call, seq: 1 });
    const { log } = aLog();
    await expect(openForCommand(world, log, folder, journal)).rejects.toMatchObject({
      name: "RefusedError",
    });
    await closeAll();
    expect(await readCalls(journal.path, {})).toHaveLength(1);
    const command = await openForCommand(world, log, folder, journal);
    const cancel = { kind: "cancel", id: call.id, from: "queued", mayHaveRun: false } as const;
    expect(await command.apply({ ...cancel, cause: "by hand", at: NOW }, true)).toBe(true);
    await command.close();
    expect(await readCalls(journal.path, {})).toMatchObject([{ state: "cancelled" }]);
  });

  it("finds no journals where there is no folder", async () => {
    expect(await readJournals(join(aFolder(), "nowhere"))).toEqual([]);
  });

  it("passes over a file that lies among the folders of journals", async () => {
    const folder = aFolder();
    await open(folder);
    writeFileSync(join(folder, "journals", ".DS_Store"), "x");
    expect(await readJournals(folder)).toHaveLength(1);
  });
});
