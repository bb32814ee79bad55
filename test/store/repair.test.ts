/** Mending journals: what is safe is mended, once; the rest is left, and nothing is said that is not so. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { openJournals } from "../../src/store/folder.ts";
import type { Journals } from "../../src/store/folder.ts";
import { readCalls, readJournals } from "../../src/store/reader.ts";
import { aSession } from "../support/builders.ts";
import { NOW, aCall, aLog, world } from "./builders.ts";
import { startChild } from "./children.ts";
import type { Child } from "./children.ts";
import {
  anEmptyFolder,
  A_FIFTH_ROW,
  aStateFolder,
  allOf,
  behindIndex,
  behindUniqueIndex,
  damage,
  look,
  openOwn,
  overwrite,
  pathOf,
  sql,
} from "./state-folder.ts";

const children: Child[] = [];
const opened: Journals[] = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
  for (const { own, leftovers } of opened.splice(0)) {
    await own.close();
    for (const { journal } of leftovers) await journal.close();
  }
});

/** What a proxy that starts now meets. */
async function start(folder: string): Promise<Journals> {
  const journals = await openJournals({
    world,
    log: aLog().log,
    folder,
    upstreamDigest: "a".repeat(64),
    credentialsDigest: "b".repeat(64),
    mode: "required",
    durability: "full",
  });
  opened.push(journals);
  return journals;
}

const AT = Date.UTC(2026, 0, 31, 23, 59, 59, 123);
const STAMP = "20260131T235959123Z";

const filesOf = (folder: string) => readdirSync(dirname(pathOf(folder))).sort();
const faultsOf = (seen: Awaited<ReturnType<typeof look>>) =>
  allOf(seen).filter(({ weight }) => weight === "fault");

describe("a fault that can be mended without a guess", () => {
  it.each<[string, (folder: string) => void, RegExp]>([
    [
      "a damaged row",
      (f) => sql(f, "update call set cause = 'x' where seq = 1"),
      /set call .* aside/,
    ],
    ["a row without its origin", (f) => sql(f, "delete from origin"), /set call .* aside/],
    ["an illegal row", illegalRow, /set call .* aside, where nothing runs it \(queued settled 1\)/],
    ["a head that is behind", (f) => sql(f, "update head set seq = 2"), /^raised the head/],
    ["an index that lacks a row", fifthRow, /^rebuilt the indices$/],
    [
      "an index with a row too much",
      (f) => behindIndex(f, "delete from call where seq = 2"),
      /^rebuilt/,
    ],
    ["a missing index", (f) => sql(f, "drop index call_open"), /^made call_open anew$/],
    [
      "a missing table of rows set aside",
      (f) => sql(f, "drop table quarantine"),
      /^made quarantine/,
    ],
    ["another journal mode", (f) => sql(f, "pragma journal_mode = delete"), /journal_mode to wal$/],
    [
      "a fact that can't be read",
      (f) => sql(f, "insert into fact (key, value) values ('child:1', '{')"),
      /forgot/,
    ],
    ["a damaged session", damagedSession, /^deleted the damaged session s_9$/],
    ["a torn mark", (f) => writeFileSync(pathOf(f, "1.hwm"), "torn"), /^set the mark anew/],
    [
      "a file open to others",
      (f) => chmodSync(pathOf(f), 0o644),
      /^set the mode of .*1\.db to 0600$/,
    ],
  ])("is mended, once: %s", async (_what, put, did) => {
    const { folder } = await aStateFolder();
    put(folder);
    expect(faultsOf(await look(folder))).not.toEqual([]);
    const repaired = await look(folder, true);
    const done = [...repaired.repairs.flatMap((repair) => repair.did), ...repaired.didFiles];
    expect(done.filter((text) => did.test(text))).not.toEqual([]);
    expect(faultsOf(repaired)).toEqual([]);
    expect(repaired.refused).toEqual([]);
    const files = filesOf(folder);
    const again = await look(folder, true);
    expect([again.repairs, again.didFiles]).toEqual([[], []]);
    expect(filesOf(folder)).toEqual(files);
    expect((await start(folder)).own.stats().path).toBe(pathOf(folder));
  });

  it("is mended with what hides behind it: rows are looked at once the tables are in order", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "drop table quarantine; update call set cause = 'x' where seq = 1");
    const { repairs } = await look(folder, true);
    expect(repairs[0]?.did).toEqual([
      "made quarantine anew",
      expect.stringMatching(
        /^set call c_\w+ aside, where nothing runs it \(its checksum is wrong\)$/,
      ),
    ]);
    expect(filesOf(folder).filter((name) => name.includes("before-repair"))).toHaveLength(1);
  });

  it("is mended only after the journal as it was is kept beside it, private", async () => {
    const folder = anEmptyFolder();
    const template = JSON.stringify(aCall({ fingerprint: undefined }));
    const child = startChild("admit-loop.mjs", folder, template);
    children.push(child);
    await child.untilLines(100);
    await child.kill();
    sqlBeside(folder, "insert into fact (key, value) values ('child:1', '{')");
    const [before, wal] = [pathOf(folder), `${pathOf(folder)}-wal`].map((path) =>
      readFileSync(path),
    );
    const { repairs } = await look(folder, true);
    const kept = repairs[0]?.kept ?? "";
    expect(kept).toMatch(/1\.db\.before-repair-\d{8}T\d{9}Z$/);
    expect(readFileSync(kept).equals(before ?? Buffer.of())).toBe(true);
    expect(readFileSync(`${kept}-wal`).equals(wal ?? Buffer.of())).toBe(true);
    expect(statSync(kept).mode & 0o777).toBe(0o600);
    // Without the cleaning up of the last repair: the copy is no journal of anybody.
    expect((await readJournals(folder)).map(({ path }) => path)).toEqual([pathOf(folder)]);
  });

  it("is not mended where no copy can be made; nothing is changed", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "update head set seq = 2");
    const kept = `${pathOf(folder)}.before-repair-${STAMP}`;
    writeFileSync(kept, "somebody's", { mode: 0o600 });
    const before = readFileSync(pathOf(folder));
    const { refused, repairs } = await look(folder, true, AT);
    expect(refused).toEqual([expect.stringMatching(/is in the way of a copy/)]);
    expect(repairs).toEqual([]);
    expect(readFileSync(pathOf(folder)).equals(before)).toBe(true);
    expect(readFileSync(kept, "utf8")).toBe("somebody's");
  });
});

describe("calls", () => {
  it("set aside are neither run nor said to have ended; sound ones stay as they were", async () => {
    const { folder, ids } = await aStateFolder();
    const before = await readCalls(pathOf(folder), {});
    sql(folder, "update call set cause = 'x' where seq = 1");
    await look(folder, true);
    expect(await readCalls(pathOf(folder), {})).toEqual(before.filter(({ id }) => id !== ids[0]));
    const { own } = await start(folder);
    const { live } = await own.recover(NOW);
    expect(live.map(({ id }) => id)).toEqual([ids[1]]);
    expect(await own.find(ids[0] ?? "")).toBeUndefined();
  });

  it.each([
    ["with", () => undefined],
    ["without", (folder: string) => rmSync(pathOf(folder, "1.hwm"))],
  ])("of a journal with a new head, %s a mark, wait for a person", async (_with, prepare) => {
    const { folder, ids } = await aStateFolder();
    prepare(folder);
    sql(folder, "delete from head");
    const repaired = await look(folder, true);
    expect(faultsOf(repaired)).toMatchObject([
      { check: "high-water", mend: undefined, calls: [{ id: ids[0] }, { id: ids[1] }] },
    ]);
    await expectHeld(folder, [ids[0], ids[1]]);
  });

  it.each([
    ["before a repair", () => Promise.resolve()],
    ["after it", (folder: string) => look(folder, true)],
  ])("under a suspicion that can't be read wait for a person, %s", async (_when, prepare) => {
    const { folder, ids } = await aStateFolder();
    sql(folder, "insert into fact (key, value) values ('journal.went_backwards', '{')");
    await prepare(folder);
    await expectHeld(folder, [ids[0], ids[1]]);
  });

  it("of a journal that went backwards are held, also after a repair of something else in it", async () => {
    const { folder, ids } = await aStateFolder();
    copyFileSync(pathOf(folder), `${pathOf(folder)}.kept`);
    const own = await openOwn(folder);
    await own.admit(aCall());
    await own.close();
    copyFileSync(`${pathOf(folder)}.kept`, pathOf(folder));
    sql(folder, "update call set cause = 'x' where seq = 2");
    // Several repairs, each with a commit of its own, must not make up for those that are missing.
    await look(folder, true);
    sql(folder, "insert into fact (key, value) values ('child:1', '{')");
    await look(folder, true);
    sql(folder, "insert into fact (key, value) values ('child:1', '{')");
    await look(folder, true);
    await expectHeld(folder, [ids[0]]);
  });

  it("get numbers of their own after a head that was behind", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "update head set seq = 2");
    await look(folder, true);
    const { own } = await start(folder);
    await own.recover(NOW);
    expect(await own.admit(aCall())).toBe(5);
  });
});

/** A start has these as calls of a journal that it only looks after. */
async function expectHeld(folder: string, ids: readonly (string | undefined)[]): Promise<void> {
  const { own, leftovers } = await start(folder);
  expect((await own.recover(NOW)).live).toEqual([]);
  expect(leftovers.map(({ heldBecause }) => heldBecause)).toEqual([
    expect.stringMatching(/holds less than it once did|rebuilt from a damaged file/),
  ]);
  expect(leftovers[0]?.recovery.live.map(({ id }) => id)).toEqual(ids);
}

describe("a file that is damaged", () => {
  it("at one page loses the calls on it only, and names them", async () => {
    const { folder, ids } = await withManyCalls(400);
    const path = pathOf(folder);
    damagePageOf(path, 200);
    const { repairs, journals } = await look(folder, true);
    const { kept = "", rebuilt } = repairs[0] ?? {};
    expect(existsSync(kept)).toBe(true);
    expect(kept).toMatch(/1\.db\.damaged-/);
    expect(rebuilt?.path).toBe(pathOf(folder, "2.db"));
    const rows = await readCalls(pathOf(folder, "2.db"), {});
    expect(rows.length).toBe(rebuilt?.salvaged.rows);
    expect(rows.length).toBeGreaterThan(300);
    // Each call is either there, or named as one that could not be read.
    const aside = rebuilt?.salvaged.setAside.map(({ id }) => id) ?? [];
    expect(aside.length).toBeGreaterThan(0);
    expect([...rows.map(({ id }) => id), ...aside].sort()).toEqual([...ids].sort());
    expect(rebuilt?.salvaged.held.callCount).toBe(rows.length);
    expect(journals.map((journal) => journal.path)).toEqual([pathOf(folder, "2.db")]);
    expect(journals[0]?.findings.filter(({ weight }) => weight === "fault")).toMatchObject([
      { check: "high-water", callCount: rows.length },
    ]);
  });

  it("has its sound calls held by the next start, which gives out no number twice", async () => {
    const { folder } = await withManyCalls(400);
    damagePageOf(pathOf(folder), 200);
    await look(folder, true);
    const { own, leftovers, troubles } = await start(folder);
    expect(own.stats().path).toBe(pathOf(folder));
    await own.recover(NOW);
    expect(await own.admit(aCall())).toBe(1);
    expect(leftovers.map(({ path }) => path)).toEqual([pathOf(folder, "2.db")]);
    expect(leftovers[0]?.heldBecause).toBeDefined();
    expect(troubles).toEqual([expect.stringMatching(/wait for a person: [1-9]\d*$/)]);
    expect(await leftovers[0]?.journal.admit(aCall())).toBe(401);
  });

  it("keeps its sessions and facts", async () => {
    const { folder } = await aStateFolder();
    const own = await openOwn(folder);
    await own.saveSession(aSession({ id: "s_1" }));
    await own.keep("link:x", '{"failures":3}');
    await own.close();
    damage(folder, "call_unknown");
    const { repairs } = await look(folder, true);
    expect(repairs[0]?.rebuilt?.salvaged).toMatchObject({ rows: 4, sessions: 1, setAside: [] });
    const [journal] = await readJournals(folder);
    expect(journal?.facts.get("link:x")).toBe('{"failures":3}');
    expect(journal?.facts.get("upstream")).toBe("a".repeat(64));
  });

  it("beyond reading is moved aside, with its WAL and mark; the next start begins anew", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(`${pathOf(folder)}-wal`, "w", { mode: 0o600 });
    overwrite(pathOf(folder), 0, 4096);
    const { repairs, journals, files } = await look(folder, true);
    const { kept = "", rebuilt } = repairs[0] ?? {};
    expect(rebuilt).toBeUndefined();
    expect([journals, files]).toEqual([[], []]);
    for (const ending of ["", "-wal", ".hwm"]) expect(existsSync(`${kept}${ending}`)).toBe(true);
    const { own, troubles } = await start(folder);
    expect([own.stats().path, troubles]).toEqual([pathOf(folder), []]);
  });

  it("is repaired once", async () => {
    const { folder } = await withManyCalls(50);
    damagePageOf(pathOf(folder), 20);
    await look(folder, true);
    const files = filesOf(folder);
    const again = await look(folder, true);
    expect(again.repairs).toEqual([]);
    expect(filesOf(folder)).toEqual(files);
    expect(files.filter((name) => name.includes("draft"))).toEqual([]);
  });

  it.each<[string, readonly string[]]>([
    ["anything", ["", "-wal", ".hwm"]],
    ["its WAL and mark", ["-wal", ".hwm"]],
    ["its mark", [".hwm"]],
  ])(
    "is put into one new journal, also by a repair that was killed before %s was moved aside",
    async (_what, unmoved) => {
      const { folder } = await withManyCalls(50);
      damagePageOf(pathOf(folder), 20);
      writeFileSync(pathOf(folder, "1.db-wal"), "w", { mode: 0o600 });
      const [whole] = (await look(folder, true)).repairs;
      const { kept = "", rebuilt } = whole ?? {};
      const rows = await readCalls(pathOf(folder, "2.db"), {});
      const files = filesOf(folder);
      for (const ending of unmoved)
        renameSync(
          `${kept}${ending}`,
          pathOf(folder, ending === ".hwm" ? "1.hwm" : `1.db${ending}`),
        );
      const again = await look(folder, true);
      expect(filesOf(folder)).toEqual(files);
      expect(await readCalls(pathOf(folder, "2.db"), {})).toEqual(rows);
      expect(again.journals.map(({ path }) => path)).toEqual([pathOf(folder, "2.db")]);
      expect(again.files).toEqual([]);
      if (unmoved.includes("")) expect(again.repairs).toMatchObject([{ kept, rebuilt }]);
      else expect(again.didFiles).toContain(`moved ${pathOf(folder, "1.hwm")} to ${kept}.hwm`);
      expect((await look(folder, true)).repairs).toEqual([]);
    },
  );

  it("is not put into a new one while it can't be told whether it was before", async () => {
    const { folder } = await withManyCalls(50);
    damagePageOf(pathOf(folder), 20);
    const { kept = "" } = (await look(folder, true)).repairs[0] ?? {};
    renameSync(kept, pathOf(folder));
    renameSync(`${kept}.hwm`, pathOf(folder, "1.hwm"));
    const other = new Database(pathOf(folder, "2.db"));
    other.pragma("locking_mode = exclusive");
    other.exec("begin exclusive");
    const { refused } = await look(folder, true);
    other.close();
    expect(refused).toContainEqual(expect.stringMatching(/1\.db could not be repaired: .*locked/));
    expect(existsSync(pathOf(folder, "3.db"))).toBe(false);
    expect((await look(folder, true)).repairs).toMatchObject([{ kept }]);
  });

  it("is not taken for the one that had its name before, nor for one whose place on the disk it has", async () => {
    const { folder } = await withManyCalls(50);
    damagePageOf(pathOf(folder), 20);
    const { kept = "" } = (await look(folder, true)).repairs[0] ?? {};
    renameSync(kept, pathOf(folder));
    rmSync(`${kept}.hwm`);
    const { folder: elsewhere } = await aStateFolder();
    // Written over: it is the same file to the file system.
    writeFileSync(pathOf(folder), readFileSync(pathOf(elsewhere)));
    damage(folder, "fact");
    const { repairs } = await look(folder, true);
    expect(repairs[0]?.rebuilt).toMatchObject({
      path: pathOf(folder, "3.db"),
      salvaged: { rows: 4 },
    });
  });

  it("with two calls of one id keeps both apart: one in the journal, one named", async () => {
    const { folder, ids } = await aStateFolder();
    behindUniqueIndex(folder, `update call set id = '${ids[0] ?? ""}' where seq = 2`);
    const { repairs } = await look(folder, true);
    expect(repairs[0]?.rebuilt?.salvaged).toMatchObject({
      rows: 3,
      setAside: [{ id: ids[0], why: expect.stringMatching(/another call has its id/) }],
    });
    await expectHeld(folder, [ids[0]]);
  });

  it("of which a damaged row can be read has it set aside, with what it said", async () => {
    const { folder, ids } = await aStateFolder();
    sql(folder, "update call set cause = 'x' where seq = 2");
    damage(folder, "call_unknown");
    const { repairs } = await look(folder, true);
    expect(repairs[0]?.rebuilt?.salvaged.setAside).toEqual([
      { id: ids[1], why: "its checksum is wrong (its record said: write, sent)" },
    ]);
  });
});

describe("what a repair leaves alone", () => {
  it("is the journal of a running proxy: it says to stop that first", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "update head set seq = 2");
    const child = startChild("take-journal.mjs", folder);
    children.push(child);
    await child.untilLines(1);
    const before = filesOf(folder).filter((name) => name.includes("repair"));
    const { refused, repairs } = await look(folder, true);
    expect(refused).toEqual([
      expect.stringMatching(/1\.db is in use by a running proxy; stop that/),
    ]);
    expect(repairs).toEqual([]);
    expect(filesOf(folder).filter((name) => name.includes("repair"))).toEqual(before);
  });

  it("is a journal of a newer version, byte for byte", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "pragma user_version = 99");
    const before = readFileSync(pathOf(folder));
    const { repairs } = await look(folder, true);
    expect(repairs).toEqual([]);
    expect(readFileSync(pathOf(folder)).equals(before)).toBe(true);
  });

  it("is a journal that was given up with calls in it; without, its mark goes", async () => {
    const { folder } = await aStateFolder();
    const mark = pathOf(folder, "1.abandoned");
    writeFileSync(mark, "1\n", { mode: 0o600 });
    await look(folder, true);
    expect(existsSync(mark)).toBe(true);
    sql(folder, "delete from call where state in ('queued', 'sent')");
    await look(folder, true);
    expect(existsSync(mark)).toBe(false);
  });
});

it("tidies what kills left behind", async () => {
  const { folder } = await aStateFolder();
  const catalogues = join(folder, "cache", "catalogues");
  mkdirSync(catalogues, { recursive: true, mode: 0o700 });
  const left = [join(folder, ".key_01abc.tmp"), join(catalogues, "a-b.json.tmp_01abc")];
  for (const path of left) {
    writeFileSync(path, "x", { mode: 0o600 });
    utimesSync(path, 1, 1);
  }
  sql(folder, "insert into origin values (99, 's', 'u', 'c', 'm', null, 'read', null)");
  const { didFiles, repairs } = await look(folder, true);
  expect(didFiles).toEqual(left.map((path) => `removed ${path}`));
  expect(repairs[0]?.did).toEqual(["deleted the origins that no call has"]);
  expect(allOf(await look(folder))).toEqual([]);
});

function illegalRow(folder: string): void {
  sql(folder, "update call set settled_at = 1 where seq = 1", { isSummed: true });
}

function fifthRow(folder: string): void {
  behindIndex(folder, `${A_FIFTH_ROW}; update head set seq = 5`);
}

function damagedSession(folder: string): void {
  sql(folder, "insert into session values ('s_9', 1, '{}', 7)");
}

/** As another process would change it, leaving the WAL as it is. */
function sqlBeside(folder: string, text: string): void {
  const holder = new Database(pathOf(folder), { readonly: true });
  holder.prepare("select count(*) from call").get();
  const db = new Database(pathOf(folder));
  db.exec(text);
  db.close();
  holder.close();
}

async function withManyCalls(count: number) {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  const calls = Array.from({ length: count }, (_, n) => aCall({ fingerprint: String(n) }));
  await Promise.all(calls.map((call) => own.admit(call)));
  await own.close();
  return { folder, ids: calls.map(({ id }) => id) };
}

/** Garbles the page of the table that holds this row, and no other. */
function damagePageOf(path: string, seq: number): void {
  const db = new Database(path, { readonly: true });
  const id = db.prepare("select id from call where seq = ?").pluck().get(seq) as string;
  db.close();
  const bytes = readFileSync(path);
  // The row's own page has its id and its request; that of the index has ids alone.
  for (let at = bytes.indexOf(id); at >= 0; at = bytes.indexOf(id, at + 1)) {
    const page = Math.floor(at / 4096);
    const text = bytes.subarray(page * 4096, (page + 1) * 4096).toString("latin1");
    if (text.includes("tools/call")) overwrite(path, page * 4096, 60);
  }
  rmSync(`${path}-shm`, { force: true });
}

it("takes no number for what it rebuilds that something is left of, such as a WAL", async () => {
  const { folder } = await aStateFolder();
  const elsewhere = anEmptyFolder();
  const other = await openOwn(elsewhere);
  await other.admit(aCall());
  // A journal was moved away without its WAL, which SQLite would take for the new one's.
  copyFileSync(pathOf(elsewhere, "1.db-wal"), pathOf(folder, "2.db-wal"));
  await other.close();
  damage(folder, "fact");
  const { repairs } = await look(folder, true);
  expect(repairs[0]?.rebuilt?.path).toBe(pathOf(folder, "3.db"));
  expect(await readCalls(pathOf(folder, "3.db"), {})).toHaveLength(4);
});
