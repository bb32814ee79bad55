/** Snapshots of journals: what is in one, what a kill, a full disk or damage leave, and retention. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import type { CallRow } from "../../src/core/call.ts";
import { journalFiles, makeFolders } from "../../src/store/layout.ts";
import { HEAD_BYTES, writeHead } from "../../src/store/snapshot/format.ts";
import { makeSnapshot } from "../../src/store/snapshot/make.ts";
import type { MadeSnapshot, SnapshotPlan } from "../../src/store/snapshot/make.ts";
import { clearShelf, startSnapshot } from "../../src/store/snapshot/maker.ts";
import { defaultShelf, retain, snapshotName, snapshotsOn } from "../../src/store/snapshot/shelf.ts";
import { readSnapshotHeader } from "../../src/store/snapshot/unpack.ts";
import { openSqliteJournal } from "../../src/store/sqlite/open.ts";
import { MIGRATIONS } from "../../src/store/sqlite/migrations.ts";
import { aCall, aFolder, aLog, world } from "./builders.ts";
import { startChild } from "./children.ts";
import type { Child } from "./children.ts";

const UPSTREAM = "a".repeat(64);
const children: Child[] = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
});

/** A state folder with one journal, which is open. */
async function aState(calls: readonly CallRow[] = []) {
  const folder = aFolder();
  makeFolders(folder, UPSTREAM);
  const files = journalFiles(folder, UPSTREAM, 1);
  const { log, lines } = aLog();
  const { journal } = await openSqliteJournal({
    world,
    log,
    path: files.path,
    highWaterPath: files.highWaterPath,
    ballastPath: files.ballastPath,
    durability: "full",
    dropsDelivered: false,
    onGone: () => undefined,
  });
  for (const call of calls) await journal.admit(call);
  return { folder, journal, lines, path: files.path };
}

const planFor = (stateFolder: string, over: Partial<SnapshotPlan> = {}): SnapshotPlan => ({
  version: "9.8.7",
  stateFolder,
  upstreamDigest16: UPSTREAM.slice(0, 16),
  number: 1,
  to: { shelf: defaultShelf(stateFolder) },
  files: [],
  ...over,
});

async function snap(folder: string, over: Partial<SnapshotPlan> = {}): Promise<MadeSnapshot> {
  const made = await makeSnapshot(world, planFor(folder, over));
  if (made === undefined) throw new Error("nothing was made");
  return made;
}

/** Names below a folder that are neither snapshots nor the lock. */
const litter = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.hfsnap$|^lock\.db$/.test(entry.name))
    .map(({ name }) => name);

describe("a snapshot", () => {
  it("is one private file that says what is in it, made beside the process at work", async () => {
    const { folder, journal } = await aState([aCall(), aCall({ tool: "other" })]);
    await journal.keep("upstream", UPSTREAM);
    await journal.keep(
      "owner",
      JSON.stringify({ pid: 1, control: "x", name: "books", target: "t" }),
    );
    writeFileSync(join(folder, "identity.key"), "key\n");
    const { path, header, bytes } = await snap(folder, { files: ["identity.key", "tokens.json"] });
    expect(path).toMatch(/snapshots\/a{16}\/1-\d{8}T\d{9}Z\.hfsnap$/);
    expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
    expect(statSync(path).size).toBe(bytes);
    expect(readSnapshotHeader(path)).toEqual(header);
    expect(header).toMatchObject({
      holdfast: "9.8.7",
      schema: MIGRATIONS.length,
      files: ["identity.key"],
      journal: { upstream: UPSTREAM, name: "books", number: 1, seq: 2, calls: { queued: 2 } },
    });
    expect(litter(defaultShelf(folder))).toEqual([]);
    // It goes on, and has no more to do than before.
    expect(await journal.admit(aCall())).toBe(3);
    await journal.close();
  });

  it("holds one instant, however much is written meanwhile, and no writer waits for it", async () => {
    const { folder, journal } = await aState();
    const padding = "x".repeat(2000);
    const end = new AbortController();
    let slowestMs = 0;
    const writing = (async () => {
      for (let i = 0; !end.signal.aborted; i++) {
        const before = world.monotonic();
        // Facts and calls of one batch: a torn snapshot would have one without the other.
        const call = aCall({ request: `{"n":${i},"p":"${padding}"}` });
        await Promise.all([journal.admit(call), journal.keep("count", String(i + 1))]);
        slowestMs = Math.max(slowestMs, world.monotonic() - before);
      }
    })();
    for (let i = 0; i < 5; i++) {
      const { path, header } = await snap(folder);
      const bytes = brotliDecompressSync(readFileSync(path).subarray(HEAD_BYTES));
      const copy = join(folder, `copy-${i}.db`);
      writeFileSync(copy, bytes.subarray(0, header.databaseBytes));
      const db = new Database(copy, { readonly: true });
      const calls = db.prepare("select count(*) from call").pluck().get();
      expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
      expect(calls).toBe(header.journal.seq);
      const count = db.prepare("select value from fact where key = 'count'").pluck().get();
      expect(Number(count ?? 0)).toBe(calls);
      db.close();
    }
    end.abort();
    await writing;
    expect(slowestMs).toBeLessThan(1000);
    await journal.close();
  });

  it("is not made where nothing was committed since the last one", async () => {
    const { folder, journal } = await aState([aCall()]);
    const { header } = await snap(folder);
    expect(await makeSnapshot(world, planFor(folder, { since: header.journal }))).toBeUndefined();
    await journal.admit(aCall());
    expect((await snap(folder, { since: header.journal })).header.journal.seq).toBe(2);
    await journal.close();
  });

  it("is made in a thread of its own, with the shelf kept within its bounds", async () => {
    const { folder, journal } = await aState();
    const shelf = defaultShelf(folder);
    const order = { plan: planFor(folder), shelf, keeping: { count: 2, maxBytes: 1e9 } };
    const paths: string[] = [];
    for (let i = 0; i < 4; i++) {
      await journal.admit(aCall());
      const answer = await startSnapshot(order).answer;
      if (answer.kind !== "made") throw new Error(JSON.stringify(answer));
      paths.push(answer.made.path);
      expect(answer.shelfBytes).toBe(snapshotsOn(shelf).reduce((sum, { bytes }) => sum + bytes, 0));
    }
    expect(snapshotsOn(shelf).map(({ path }) => path)).toEqual(paths.toReversed().slice(0, 2));
    await journal.close();
  });

  it("that is given up leaves nothing", async () => {
    const { folder, journal } = await aState([aCall()]);
    const shelf = defaultShelf(folder);
    const keeping = { count: 2, maxBytes: 1e9 };
    const { answer, stop } = startSnapshot({ plan: planFor(folder), shelf, keeping });
    await stop();
    expect((await answer).kind).toMatch(/made|failed/);
    if (existsSync(shelf)) expect(litter(shelf)).toEqual([]);
    await journal.close();
  });

  it("of a journal that is not there is refused in words", async () => {
    const { folder, journal } = await aState();
    await expect(makeSnapshot(world, planFor(folder, { number: 2 }))).rejects.toThrow(
      /there is no journal .*2\.db/,
    );
    await journal.close();
  });
});

describe("after a kill at any instant", () => {
  it("there is no snapshot or a whole one, and the next start removes what was left, 30 times", async () => {
    const { folder, journal } = await aState();
    for (let i = 0; i < 300; i++) await journal.admit(aCall({ request: "y".repeat(4000) + i }));
    const shelf = join(folder, "elsewhere");
    let whole = 0;
    let cutOff = 0;
    for (let round = 0; round < 30; round++) {
      const child = startChild("make-snapshots.mjs", folder, shelf, "1000", "0");
      children.push(child);
      // Killed at another moment of its work each time: after the first, some steps of the next.
      await child.untilLines(1);
      for (let turn = 0; turn < (round * 7) % 23; turn++) await journal.admit(aCall());
      await child.kill();
      for (const path of child.lines) expect(existsSync(path)).toBe(true);
      for (const { path } of snapshotsOn(shelf)) {
        const { contentBytes } = readSnapshotHeader(path);
        expect(statSync(path).size).toBe(HEAD_BYTES + contentBytes);
        whole++;
      }
      cutOff += litter(shelf).length + litter(defaultShelf(folder)).length;
      await clearShelf(folder, shelf);
      expect([...litter(shelf), ...litter(defaultShelf(folder))]).toEqual([]);
      retain(shelf, { count: 1, maxBytes: 0 });
    }
    expect(whole).toBeGreaterThanOrEqual(30);
    expect(cutOff).toBeGreaterThan(0);
    await journal.close();
  }, 60_000);
});

describe("without room", () => {
  it("is refused before anything is written, and says how much is needed", async () => {
    const { folder, journal } = await aState([aCall()]);
    await expect(makeSnapshot(world, planFor(folder, { reserveBytes: 1e15 }))).rejects.toThrow(
      /no room for a snapshot in .*MiB have to be free/,
    );
    expect(litter(defaultShelf(folder))).toEqual([]);
    await journal.close();
  });

  // A bound on what a process may write to one file fails in the middle, as a full disk does.
  it.each([64, 1100])(
    "in the middle (%i KiB) it is cleaned up and said, and the journal is as before",
    async (kib) => {
      const { folder, journal } = await aState();
      for (let i = 0; i < 300; i++) {
        const noise = Array.from({ length: 60 }, () => world.secret(60)).join("");
        await journal.admit(aCall({ request: noise }));
      }
      const script = fileURLToPath(
        new URL("../fixtures/store/make-snapshots.mjs", import.meta.url),
      );
      const command = `ulimit -f ${kib}; exec "$0" "$@"`;
      const args = [
        "-c",
        command,
        process.execPath,
        script,
        folder,
        defaultShelf(folder),
        "1",
        "0",
      ];
      const { status, stderr } = spawnSync("bash", args, { encoding: "utf8" });
      expect(status).not.toBe(0);
      expect(stderr).toMatch(/no snapshot of .*1\.db: /);
      expect(litter(defaultShelf(folder))).toEqual([]);
      expect(snapshotsOn(defaultShelf(folder))).toEqual([]);
      expect(await journal.admit(aCall())).toBe(301);
      await journal.close();
    },
  );
});

describe("a snapshot file", () => {
  it("that was changed in any byte, cut or lengthened is refused, and nothing is touched", async () => {
    const { folder, journal } = await aState([aCall(), aCall()]);
    const { path } = await snap(folder);
    await journal.close();
    const script = fileURLToPath(new URL("../fixtures/store/flip-snapshot.mjs", import.meta.url));
    const out = execFileSync(process.execPath, [script, path, aFolder()], { encoding: "utf8" });
    expect(JSON.parse(out)).toEqual({ tried: statSync(path).size + 3, taken: [], left: [] });
  }, 60_000);

  it("of a newer Holdfast is refused with words", async () => {
    const { folder, journal } = await aState([aCall()]);
    const { path, header } = await snap(folder);
    await journal.close();
    const bytes = readFileSync(path);
    writeHead({ ...header, schema: MIGRATIONS.length + 1 }).copy(bytes);
    writeFileSync(path, bytes);
    const { restoreSnapshot } = await import("../../src/store/snapshot/restore.ts");
    const into = join(aFolder(), "state");
    await expect(restoreSnapshot(world, { path, stateFolder: into, files: [] })).rejects.toThrow(
      /made by a newer Holdfast \(9\.8\.7, schema \d+.*Update mcp-holdfast/,
    );
    expect(existsSync(into)).toBe(false);
  });

  it.each([
    ["a database", "SQLite format 3"],
    ["nothing", ""],
  ])("that is %s is no snapshot", (_what, text) => {
    const path = join(aFolder(), "x.hfsnap");
    writeFileSync(path, text);
    expect(() => readSnapshotHeader(path)).toThrow(/is not a snapshot of Holdfast/);
  });
});

describe("the shelf", () => {
  const put = (shelf: string, upstream: string, number: number, at: number, bytes = 100) => {
    mkdirSync(join(shelf, upstream), { recursive: true });
    writeFileSync(join(shelf, upstream, snapshotName(number, at)), Buffer.alloc(bytes));
  };
  const a = "a".repeat(16);
  const b = "b".repeat(16);
  const kept = (shelf: string) =>
    snapshotsOn(shelf).map((one) => `${one.upstreamDigest16[0] ?? ""}${one.number}@${one.at}`);

  it("keeps so many of each journal, the newest", () => {
    const shelf = aFolder();
    for (let at = 1; at <= 4; at++) put(shelf, a, 1, at);
    put(shelf, a, 2, 1);
    put(shelf, b, 1, 2);
    expect(retain(shelf, { count: 2, maxBytes: 1e9 })).toBe(400);
    expect(kept(shelf)).toEqual(["a1@4", "a1@3", "b1@2", "a2@1"]);
  });

  it("keeps to its bound by taking the oldest, but NEVER the newest of an upstream", () => {
    const shelf = aFolder();
    put(shelf, b, 1, 1, 1000);
    for (let at = 2; at <= 5; at++) put(shelf, a, 1, at);
    expect(retain(shelf, { count: 10, maxBytes: 1200 })).toBe(1200);
    expect(kept(shelf)).toEqual(["a1@5", "a1@4", "b1@1"]);
    expect(retain(shelf, { count: 10, maxBytes: 0 })).toBe(1100);
    expect(kept(shelf)).toEqual(["a1@5", "b1@1"]);
  });

  it("leaves alone whatever has another name", () => {
    const shelf = aFolder();
    put(shelf, a, 1, 1);
    writeFileSync(join(shelf, a, "notes.txt"), "");
    writeFileSync(join(shelf, "mine.hfsnap"), "");
    expect(retain(shelf, { count: 1, maxBytes: 0 })).toBe(100);
    expect(existsSync(join(shelf, a, "notes.txt"))).toBe(true);
    expect(existsSync(join(shelf, "mine.hfsnap"))).toBe(true);
  });
});
