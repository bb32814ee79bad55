/** Looking at journals: each fault, made by hand, is found and named; what is sound yields nothing. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { aSession } from "../support/builders.ts";
import { aCall } from "./builders.ts";
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
  found,
  look,
  openOwn,
  overwrite,
  pathOf,
  sql,
} from "./state-folder.ts";

const children: Child[] = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
});

describe("a sound state folder", () => {
  it("yields nothing, with calls in every state", async () => {
    const { folder } = await aStateFolder();
    const seen = await look(folder);
    expect(allOf(seen)).toEqual([]);
    expect(seen.journals).toMatchObject([{ isRunning: false, rows: 4, waiting: 2 }]);
  });

  it("yields nothing after a kill, with live rows and a WAL", async () => {
    const folder = anEmptyFolder();
    const template = JSON.stringify(aCall({ fingerprint: undefined }));
    const child = startChild("admit-loop.mjs", folder, template);
    children.push(child);
    await child.untilLines(200);
    await child.kill();
    expect(existsSync(`${pathOf(folder)}-wal`)).toBe(true);
    const seen = await look(folder);
    expect(allOf(seen)).toEqual([]);
    expect(seen.journals[0]?.waiting).toBeGreaterThanOrEqual(200);
  });

  it("yields nothing beside the process that has it, and is read while that writes", async () => {
    const folder = anEmptyFolder();
    const template = JSON.stringify(aCall({ fingerprint: undefined }));
    // One that does not print: its output would not be taken while this process looks.
    const child = startChild("admit-quietly.mjs", folder, template);
    children.push(child);
    await child.untilLines(1);
    for (let time = 0; time < 3; time++) {
      const seen = await look(folder);
      expect(allOf(seen)).toEqual([]);
      expect(seen.journals).toMatchObject([{ isRunning: true }]);
    }
    expect(child.process.exitCode).toBeNull();
  });

  it("is one that is not there, or holds what a kill at the very first start left", async () => {
    expect((await look(join(anEmptyFolder(), "nowhere"))).journals).toEqual([]);
    const folder = anEmptyFolder();
    mkdirSync(join(folder, "journals", "a".repeat(16)), { recursive: true, mode: 0o700 });
    writeFileSync(pathOf(folder), "", { mode: 0o600 });
    writeFileSync(pathOf(folder, "1.hwm"), "", { mode: 0o600 });
    expect(allOf(await look(folder))).toEqual([]);
  });

  it("is not changed by the look", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "update head set seq = 1");
    const before = readFileSync(pathOf(folder));
    await look(folder);
    expect(readFileSync(pathOf(folder)).equals(before)).toBe(true);
  });
});

describe("the file", () => {
  it("that is no database is named, with what it means", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(pathOf(folder), "x".repeat(10_000));
    expect(await found(folder)).toMatchObject([
      { check: "integrity", weight: "fault", mend: { kind: "rebuild" } },
    ]);
  });

  it("with a damaged page is named", async () => {
    const { folder } = await aStateFolder();
    damage(folder, "call");
    expect(await found(folder)).toMatchObject([{ check: "integrity", mend: { kind: "rebuild" } }]);
  });

  it.each([
    ["lacks a row", A_FIFTH_ROW],
    // SQLite's own check passes over what is too much in a partial index.
    ["has a row too much", "delete from call where seq = 2"],
  ])("one index of which %s is named, and can be mended by itself", async (_what, change) => {
    const { folder } = await aStateFolder();
    rmSync(pathOf(folder, "1.hwm"));
    behindIndex(folder, `${change}; update head set seq = 5`);
    expect(await found(folder)).toContainEqual(
      expect.objectContaining({ check: "integrity", mend: { kind: "reindex" } }),
    );
  });

  it("of a newer version, or of something else, is left to a person", async () => {
    const newer = await aStateFolder();
    sql(newer.folder, "pragma user_version = 99");
    expect(await found(newer.folder)).toMatchObject([
      { check: "schema", mend: undefined, advice: expect.stringMatching(/update mcp-holdfast/) },
    ]);
    const other = await aStateFolder();
    sql(other.folder, "pragma application_id = 7");
    expect(await found(other.folder)).toMatchObject([{ check: "schema", mend: undefined }]);
  });

  it("of an older version is checked against the schema of that version", async () => {
    const { folder } = await aStateFolder();
    sql(
      folder,
      `drop index call_open; drop index origin_session; alter table fact drop column sum;
       create index call_open on call (seq) where delivered_at is null; pragma user_version = 2`,
    );
    expect(await found(folder)).toEqual([]);
  });

  it("that says of its tables that no migration made them is named", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "pragma user_version = 0");
    expect(await found(folder)).toMatchObject([{ check: "schema", mend: { kind: "rebuild" } }]);
  });

  it.each([
    ["drop index call_open", "the index call_open is missing", "makeObject"],
    ["drop table quarantine", "the table quarantine is missing", "makeObject"],
    ["drop table fact", "the table fact is missing", "rebuild"],
    [
      "alter table session add column x text",
      "the table session is not as Holdfast makes it",
      "rebuild",
    ],
    ["create table x (y)", "the table x is not Holdfast's", undefined],
    [
      "create trigger t after insert on call begin delete from call; end",
      "the trigger t is not Holdfast's",
      undefined,
    ],
  ])("after %s: %s", async (change, what, mend) => {
    const { folder } = await aStateFolder();
    sql(folder, change);
    const [finding] = await found(folder);
    expect(finding).toMatchObject({ check: "schema", what });
    expect(finding?.mend?.kind).toBe(mend);
  });

  it("without an index has its rows looked at all the same", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "drop index call_open; update call set cause = 'x' where seq = 1");
    const { journals } = await look(folder);
    expect(journals).toMatchObject([{ rows: 4, waiting: 2 }]);
    expect(journals[0]?.findings.map(({ check }) => check)).toEqual(["schema", "rows"]);
  });

  it("in another journal mode is named", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "pragma journal_mode = delete");
    expect(await found(folder)).toMatchObject([{ check: "pragmas", mend: { kind: "enterWal" } }]);
  });
});

describe("a call", () => {
  it.each([
    ["a column was changed", "update call set cause = 'x' where seq = 1", /its checksum is wrong/],
    ["the request was changed", "update call set request = '{}' where seq = 1", /of its request/],
    ["the reply was changed", "update call set reply = 'x' where seq = 3", /of its reply/],
    ["its state was changed", "update call set state = 'done' where seq = 1", /checksum is wrong/],
    ["its origin was changed", "update origin set tool = 'x'", /its checksum is wrong/],
    ["the codec is unknown", "update call set request_codec = 9 where seq = 1", /form unknown/],
  ])("is named with its id, tool and state where %s", async (_why, change, what) => {
    const { folder, ids } = await aStateFolder();
    sql(folder, change);
    const findings = await found(folder);
    const named = findings.filter(({ check }) => check === "rows");
    expect(named.length).toBeGreaterThan(0);
    for (const { what: says, calls, mend } of named) {
      expect(says).toMatch(what);
      expect(ids).toContain(calls[0]?.id);
      expect(calls[0]?.tool).toMatch(/^(write|x)$/);
      expect(mend).toMatchObject({ kind: "setAside", id: calls[0]?.id });
    }
  });

  it("that contradicts itself is named although its checksum is right", async () => {
    const { folder } = await aStateFolder();
    // Sound by its sum, yet settled without an end: written by a fault of ours, not of the disk.
    sql(folder, "update call set settled_at = 1 where seq = 1", { isSummed: true });
    expect(await found(folder)).toMatchObject([
      {
        check: "rows",
        what: "queued settled 1",
        means: /never run again/.source && expect.any(String),
      },
    ]);
  });

  it("without its origin is an orphan; an origin without calls is only a note", async () => {
    const lost = await aStateFolder();
    sql(lost.folder, "delete from origin");
    const orphans = await found(lost.folder);
    expect(orphans.map(({ check, weight }) => `${check} ${weight}`)).toEqual(
      Array.from({ length: 4 }, () => "orphans fault"),
    );
    const unused = await aStateFolder();
    sql(unused.folder, "insert into origin values (99, 's', 'u', 'c', 'm', null, 'read', null)");
    expect(await found(unused.folder)).toMatchObject([
      { check: "orphans", weight: "note", mend: { kind: "dropOrigins" } },
    ]);
  });

  it("of a session that can be resumed, and is not there, is named", async () => {
    const { folder } = await aStateFolder({ sessionId: `s_${"ab12".repeat(6)}` });
    expect(await found(folder)).toMatchObject([
      { check: "orphans", weight: "fault", callCount: 4, mend: undefined },
    ]);
  });

  it("whose upstream id another has is named with that one", async () => {
    const { folder, ids } = await aStateFolder();
    sql(folder, "update call set upstream_id = 'e1-1' where seq in (2, 3)", { isSummed: true });
    const [finding, ...others] = await found(folder);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ check: "duplicates", weight: "fault", callCount: 2 });
    expect(finding?.calls.map(({ id }) => id)).toEqual([ids[1], ids[2]]);
  });

  it("whose id another has is named", async () => {
    const { folder, ids } = await aStateFolder();
    behindUniqueIndex(folder, `update call set id = '${ids[0] ?? ""}' where seq = 2`);
    const findings = await found(folder);
    expect(findings.map(({ check }) => check)).toEqual(["integrity", "duplicates"]);
    expect(findings[1]).toMatchObject({ callCount: 2, mend: { kind: "rebuild" } });
  });

  it("that waits beside an equal one is a note", async () => {
    const { folder } = await aStateFolder();
    const own = await openOwn(folder);
    for (let time = 0; time < 2; time++) await own.admit(aCall({ fingerprint: "same" }));
    await own.close();
    expect(await found(folder)).toMatchObject([
      { check: "duplicates", weight: "note", callCount: 2, means: "each of them runs" },
    ]);
  });

  it("that was set aside waits no more", async () => {
    const { folder, ids } = await aStateFolder();
    sql(folder, `insert into quarantine values (1, '${ids[0] ?? ""}', 'why')`);
    expect((await look(folder)).journals).toMatchObject([{ rows: 4, waiting: 1 }]);
  });

  it("that was set aside is a note, with why", async () => {
    const { folder, ids } = await aStateFolder();
    sql(folder, `insert into quarantine values (1, '${ids[0] ?? ""}', 'its checksum is wrong')`);
    expect(await found(folder)).toMatchObject([
      {
        check: "quarantine",
        weight: "note",
        calls: [{ id: ids[0], tool: "write", state: "queued" }],
      },
    ]);
  });
});

describe("how far the journal has come", () => {
  it.each([
    ["update head set seq = 2", { kind: "raiseHead" }],
    ["update head set commits = 0", { kind: "raiseHead" }],
    ["delete from head", { kind: "makeHead" }],
  ])("is found wrong after %s", async (change, mend) => {
    const { folder } = await aStateFolder();
    rmSync(pathOf(folder, "1.hwm"));
    sql(folder, change);
    expect(await found(folder)).toMatchObject([{ check: "head", weight: "fault", mend }]);
  });

  it("is told by the mark: a backup in its place is named, with what waits in it", async () => {
    const { folder, ids } = await aStateFolder();
    copyFileSync(pathOf(folder), `${pathOf(folder)}.kept`);
    const own = await openOwn(folder);
    await own.admit(aCall());
    await own.close();
    copyFileSync(`${pathOf(folder)}.kept`, pathOf(folder));
    const [finding, ...others] = await found(folder);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({
      check: "high-water",
      mend: undefined,
      means: expect.stringMatching(/from seq 5 to 5 are missing/),
    });
    expect(finding?.calls.map(({ id }) => id)).toEqual([ids[0], ids[1]]);
  });

  it("is told by the mark where the WAL of a killed process lost its end, or all of it", async () => {
    const folder = anEmptyFolder();
    const template = JSON.stringify(aCall({ fingerprint: undefined }));
    const child = startChild("admit-loop.mjs", folder, template);
    children.push(child);
    await child.untilLines(200);
    await child.kill();
    const wal = `${pathOf(folder)}-wal`;
    const bytes = readFileSync(wal);
    for (const at of [Math.floor(bytes.length / 2), 32]) {
      overwrite(wal, at, 600);
      rmSync(`${pathOf(folder)}-shm`, { force: true });
      expect((await found(folder)).map(({ check, mend }) => [check, mend])).toEqual([
        ["high-water", undefined],
      ]);
    }
  });

  it("is told by the mark: another database, an empty one, and none are named", async () => {
    const other = await aStateFolder();
    sql(other.folder, "update head set db_id = 'x'");
    expect(await found(other.folder)).toMatchObject([
      { check: "high-water", what: "another database stands in its place" },
    ]);
    const empty = await aStateFolder();
    writeFileSync(pathOf(empty.folder), "");
    expect(await found(empty.folder)).toMatchObject([
      { check: "high-water", what: "it is empty, and once held calls up to seq 4" },
    ]);
    const none = await aStateFolder();
    rmSync(pathOf(none.folder));
    expect(allOf(await look(none.folder))).toMatchObject([{ check: "high-water" }]);
  });

  it("can't be told by a mark that is torn", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(pathOf(folder, "1.hwm"), "torn");
    expect(await found(folder)).toMatchObject([
      { check: "high-water", mend: { kind: "writeMark" } },
    ]);
  });

  it("is told by an earlier start that found it gone backwards, while that matters", async () => {
    const { folder } = await aStateFolder();
    const fact = '{"expectedSeq":9,"foundSeq":4}';
    sql(folder, `insert into fact (key, value) values ('journal.went_backwards', '${fact}')`);
    expect(await found(folder)).toMatchObject([{ check: "high-water", callCount: 2 }]);
    const over = await aStateFolder();
    const past = '{"expectedSeq":9,"foundSeq":0}';
    sql(over.folder, `insert into fact (key, value) values ('journal.went_backwards', '${past}')`);
    expect(await found(over.folder)).toEqual([]);
  });

  it("ended where its process gave it up: a fault while something waits, else a note", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(pathOf(folder, "1.abandoned"), "1\n", { mode: 0o600 });
    expect(await found(folder)).toMatchObject([
      { check: "abandoned", weight: "fault", callCount: 2, mend: undefined },
    ]);
    sql(folder, "delete from call where state in ('queued', 'sent')");
    expect((await found(folder)).filter(({ check }) => check === "abandoned")).toMatchObject([
      { weight: "note", mend: { kind: "clearAbandoned" } },
    ]);
  });
});

describe("facts and sessions", () => {
  it.each([
    ["child:77", "{", null],
    ["link:x", "[]", null],
    ["journal.went_backwards", "{}", '{"expectedSeq":4,"foundSeq":4}'],
  ])("the fact %s that can't be read is named", async (key, value, becomes) => {
    const { folder } = await aStateFolder();
    sql(folder, `insert into fact (key, value) values ('${key}', '${value}')`);
    expect(await found(folder)).toMatchObject([
      { check: "facts", mend: { kind: "keepFact", key, value: becomes } },
    ]);
  });

  it("a journal in the folder of another upstream is named", async () => {
    const { folder } = await aStateFolder();
    sql(folder, "update fact set value = 'bbbb', sum = null where key = 'upstream'");
    expect(await found(folder)).toMatchObject([{ check: "facts", mend: undefined, callCount: 2 }]);
  });

  it("a damaged session is named", async () => {
    const { folder } = await aStateFolder();
    const own = await openOwn(folder);
    await own.saveSession(aSession({ id: "s_1" }));
    await own.close();
    sql(folder, "update session set body = replace(body, 'local', 'other')");
    expect(await found(folder)).toMatchObject([
      { check: "sessions", callCount: 2, mend: { kind: "dropSession", id: "s_1" } },
    ]);
  });
});

describe("several journals", () => {
  it("that are copies of one are named: their calls would run twice", async () => {
    const { folder } = await aStateFolder();
    copyFileSync(pathOf(folder), pathOf(folder, "2.db"));
    const { files } = await look(folder);
    expect(files).toMatchObject([
      { check: "duplicates", callCount: 2, means: "they would run twice" },
    ]);
  });
});

describe("files beside the journals", () => {
  it.each(["journals", "journals/aaaaaaaaaaaaaaaa", ""])(
    "folder %j open to others",
    async (name) => {
      const { folder } = await aStateFolder();
      chmodSync(join(folder, name), 0o755);
      const path = join(folder, name);
      expect(allOf(await look(folder))).toMatchObject([
        { check: "permissions", weight: "fault", mend: { kind: "setMode", path, mode: 0o700 } },
      ]);
    },
  );

  it.each(["1.db", "1.lock.db", "1.hwm"])("%s open to others", async (name) => {
    const { folder } = await aStateFolder();
    chmodSync(pathOf(folder, name), 0o640);
    const mend = { kind: "setMode", path: pathOf(folder, name), mode: 0o600 };
    expect(allOf(await look(folder))).toContainEqual(
      expect.objectContaining({ check: "permissions", mend }),
    );
  });

  it("drafts that a kill left are notes, once they are older than somebody's work", async () => {
    const { folder } = await aStateFolder();
    mkdirSync(join(folder, "cache", "catalogues"), { recursive: true, mode: 0o700 });
    const drafts = [".doctor-p_01abc", ".key_01abc.tmp", "tokens.json.draft"]
      .map((name) => join(folder, name))
      .concat(join(folder, "cache", "catalogues", "a-b.json.tmp_01abc"));
    for (const path of drafts) writeFileSync(path, "x", { mode: 0o600 });
    expect(allOf(await look(folder))).toEqual([]);
    for (const path of drafts) utimesSync(path, 1, 1);
    const findings = allOf(await look(folder));
    expect(findings.map(({ mend }) => mend)).toEqual(
      drafts.map((path) => ({ kind: "remove", path })),
    );
    expect(findings.every(({ weight }) => weight === "note")).toBe(true);
  });

  it("a ballast that is not whole is a note", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(join(folder, "ballast"), "x", { mode: 0o600 });
    expect(allOf(await look(folder))).toMatchObject([{ check: "ballast", weight: "note" }]);
  });

  it("a token file that can't be read is left to a person", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(join(folder, "tokens.json"), "{", { mode: 0o600 });
    expect(allOf(await look(folder))).toMatchObject([
      { check: "tokens", weight: "fault", mend: undefined },
    ]);
  });

  it("a catalogue that is not JSON is a fault, one of another version a note", async () => {
    const { folder } = await aStateFolder();
    const catalogues = join(folder, "cache", "catalogues");
    mkdirSync(catalogues, { recursive: true, mode: 0o700 });
    writeFileSync(join(catalogues, "a-b.json"), "{", { mode: 0o600 });
    writeFileSync(join(catalogues, "c-d.json"), '{"format":9}', { mode: 0o600 });
    writeFileSync(join(catalogues, "e-f.json"), '{"format":1,"variants":[]}', { mode: 0o600 });
    expect(allOf(await look(folder))).toMatchObject([
      { check: "catalogues", weight: "fault", mend: { kind: "remove" } },
      { check: "catalogues", weight: "note", mend: undefined },
    ]);
  });

  it("a lock file that is no database is left to a person", async () => {
    const { folder } = await aStateFolder();
    writeFileSync(pathOf(folder, "1.lock.db"), "x".repeat(5000), { mode: 0o600 });
    expect(await found(folder)).toMatchObject([{ check: "lock", mend: undefined }]);
  });
});
