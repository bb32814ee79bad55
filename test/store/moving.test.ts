/** Exports and imports: what goes from one store into another, and what is refused. */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it, onTestFinished } from "vitest";
import { isTerminal } from "../../src/core/call.ts";
import type { CallRow } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { Journal } from "../../src/ports.ts";
import { openJournals } from "../../src/store/folder.ts";
import { journalFiles } from "../../src/store/layout.ts";
import { openMemoryJournal } from "../../src/store/memory.ts";
import { exportLines, journalSource } from "../../src/store/moving/export.ts";
import type { ExportSource } from "../../src/store/moving/export.ts";
import { openFileSource } from "../../src/store/moving/file-source.ts";
import { headerLine, recordLine, Tally } from "../../src/store/moving/format.ts";
import type { Header, MovedRecord } from "../../src/store/moving/format.ts";
import { importExport } from "../../src/store/moving/import.ts";
import { seedOf } from "../../src/store/moving/memory-target.ts";
import { readJournals } from "../../src/store/reader.ts";
import { anyCalls, anySession } from "./arbitrary.ts";
import { NOW, aCall, aFolder, aLog, aSqliteJournal, world } from "./builders.ts";
import { startChild } from "./children.ts";

const UPSTREAM = "a".repeat(64);
const ABOUT = { upstream: UPSTREAM, credentials: "b".repeat(64), name: "books" };
const HEADER: Header = { createdAt: NOW, holdfast: "0.0.1", states: [] };
const BECAUSE = "imported from a test";

const opened: Journal[] = [];
const hold = <T extends Journal>(journal: T) => {
  opened.push(journal);
  return journal;
};
const closeAll = () => Promise.all(opened.splice(0).map((journal) => journal.close()));
afterEach(closeAll);

function folder(): string {
  const path = aFolder();
  onTestFinished(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

const input = (text: string | Buffer) => Readable.from([Buffer.from(text)]);

async function exported(...sources: ExportSource[]): Promise<string> {
  let text = "";
  for await (const line of exportLines(sources, { header: HEADER, withSessions: true }))
    text += line;
  return text;
}

const put = (text: string | Buffer, state: string) =>
  importExport(input(text), { driver: Database, folder: state, because: BECAUSE });

/** A whole file with these records. */
function fileOf(...records: MovedRecord[]): string {
  const tally = new Tally();
  const lines = [headerLine(HEADER)];
  tally.add(headerLine(HEADER), undefined);
  for (const record of records) {
    lines.push(recordLine(record));
    tally.add(recordLine(record), record.kind);
  }
  return [...lines, tally.trailer().line, ""].join("\n");
}

const ofJournal = (over: Partial<typeof ABOUT> = {}): MovedRecord => ({
  kind: "journal",
  journal: { ...ABOUT, ...over },
});
const ofCall = (call: CallRow): MovedRecord => ({ kind: "call", call });

/** As a process that wraps the upstream does it. */
const startOn = (state: string) =>
  openJournals({
    world,
    log: aLog().log,
    folder: state,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b",
    mode: "required",
    durability: "full",
  });

const fileSource = (state: string, onDamaged: (what: string) => void) => {
  const path = pathIn(state);
  const of = { path, about: ABOUT, states: [], upstream: undefined, onDamaged };
  const source = openFileSource(Database, of);
  if (source === undefined) throw new Error(`${path} has no schema`);
  onTestFinished(() => {
    source.close();
  });
  return source;
};

const isFatal = (what: string) => {
  throw new Error(what);
};

function pathIn(state: string, number = 1): string {
  return journalFiles(state, UPSTREAM, number).path;
}

/** Names beside the journals of the upstream; locks stay for ever. */
function namesIn(state: string): string[] {
  const path = join(state, "journals", UPSTREAM.slice(0, 16));
  if (!existsSync(path)) return [];
  // Readers leave the files of an empty WAL.
  return readdirSync(path).filter((name) => !/\.lock\.db$|\.db-(wal|shm)$/.test(name));
}

const STORES = {
  async memory(text: string): Promise<ExportSource> {
    const seed = await seedOf(input(text), BECAUSE);
    return journalSource(openMemoryJournal(world, { seed }), ABOUT);
  },
  async sqlite(text: string): Promise<ExportSource> {
    const state = folder();
    const { journals } = await put(text, state);
    if (journals.length === 0) return journalSource(openMemoryJournal(world), ABOUT);
    const { journal } = await aSqliteJournal(state, { path: pathIn(state) });
    return journalSource(hold(journal), ABOUT);
  },
  async "sqlite's file"(text: string): Promise<ExportSource> {
    const state = folder();
    const { journals } = await put(text, state);
    if (journals.length === 0) return journalSource(openMemoryJournal(world), ABOUT);
    return fileSource(state, isFatal);
  },
};

interface Parsed {
  readonly kind: string;
  readonly [name: string]: unknown;
}

/** The records of a file; the order of their members says nothing. */
const parsed = (text: string): Parsed[] =>
  text
    .split("\n")
    .slice(1, -2)
    .map((line) => JSON.parse(line) as Parsed);

/** UTF-8, in which a disk keeps the texts of calls, has no halves of pairs; sessions are kept as JSON. */
function asOnDisk(record: Parsed): Parsed {
  if (record.kind !== "call") return record;
  const members = Object.entries(record).map(([name, value]) => [
    name,
    typeof value === "string" ? value.replace(/\p{Surrogate}/gu, "\ufffd") : value,
  ]);
  return Object.fromEntries(members) as Parsed;
}

const keptAs = (store: string, records: Parsed[]) =>
  store === "memory" ? records : records.map(asOnDisk);

describe.each(Object.entries(STORES))("what is exported from %s", (from, makeFrom) => {
  it.each(Object.entries(STORES))("comes into %s as it was", async (into, makeInto) => {
    await fc.assert(
      fc.asyncProperty(
        anyCalls(12),
        fc.uniqueArray(anySession, { selector: ({ id }) => id }),
        async (calls, sessions) => {
          const first = fileOf(
            ofJournal(),
            ...sessions.map((session): MovedRecord => ({ kind: "session", session })),
            ...calls.map(ofCall),
          );
          const second = await exported(await makeFrom(first));
          const third = await exported(await makeInto(second));
          // Where nothing is in it no journal is made, and so none is exported but the one that is read.
          if (calls.length + sessions.length === 0) return;
          expect(parsed(second)).toEqual(keptAs(from, parsed(first)));
          expect(parsed(third)).toEqual(keptAs(into, parsed(second)));
          await closeAll();
        },
      ),
      { numRuns: 10 },
    );
  });
});

describe("an export", () => {
  it("carries payloads of any size, a page at a time", async () => {
    const state = folder();
    const big = "x".repeat(5 * 1024 * 1024);
    const calls = Array.from({ length: 3 }, () =>
      aCall({ state: "done", executed: "yes", request: big, reply: big }),
    );
    await put(fileOf(ofJournal(), ...calls.map(ofCall)), state);
    const source = fileSource(state, isFatal);
    const sizes: number[] = [];
    for (let after = 0; ;) {
      const page = await source.page(after);
      if (page.length === 0) break;
      sizes.push(page.length);
      for (const call of page) expect(call.reply).toBe(big);
      after = page.at(-1)?.seq ?? 0;
    }
    expect(sizes).toEqual([1, 1, 1]);
  });

  it("leaves out calls that came after its sessions, so that no call lacks its session", async () => {
    const journal = openMemoryJournal(world);
    await journal.admit(aCall());
    const source = journalSource(journal, ABOUT);
    const late = {
      ...source,
      sessions: async () => {
        await journal.admit(aCall({ sessionId: "s_late" }));
        return [];
      },
    };
    expect((await exported(late)).match(/"kind":"call"/g)).toHaveLength(1);
  });

  it("lets its proxy empty the WAL between two pages", async () => {
    const state = folder();
    const big = "x".repeat(3 * 1024 * 1024);
    const calls = Array.from({ length: 4 }, () => aCall({ request: big }));
    await put(fileOf(ofJournal(), ...calls.map(ofCall)), state);
    const source = fileSource(state, isFatal);
    const proxy = new Database(pathIn(state), { timeout: 0 });
    onTestFinished(() => {
      proxy.close();
    });
    const write = (key: string) =>
      proxy.prepare("insert into fact (key, value) values (?, '')").run(key);
    const emptying = () => proxy.pragma("wal_checkpoint(truncate)") as { busy: number }[];
    write("one");
    expect(await source.page(0)).toHaveLength(2);
    write("two");
    expect(emptying()).toMatchObject([{ busy: 0 }]);
    expect(await source.page(2)).toHaveLength(2);
    // The check can fail: this is what a reader that stays does.
    const reader = new Database(pathIn(state), { readonly: true });
    reader.exec("begin; select * from fact");
    expect(reader.prepare("select count(*) from fact").pluck().get()).toBeGreaterThan(2);
    write("three");
    expect(emptying()).toMatchObject([{ busy: 1 }]);
    reader.close();
  });

  it("leaves out what is damaged, and says so", async () => {
    const state = folder();
    await put(fileOf(ofJournal(), ofCall(aCall()), ofCall(aCall())), state);
    const db = new Database(pathIn(state));
    db.prepare("update call set request = 'other' where seq = 1").run();
    db.close();
    const damaged: string[] = [];
    const text = await exported(fileSource(state, (what) => damaged.push(what)));
    expect(text.match(/"kind":"call"/g)).toHaveLength(1);
    expect(damaged).toHaveLength(1);
    expect(damaged[0]).toMatch(/damaged and left out: the checksum of its request is wrong/);
  });
});

describe("an import", () => {
  const whole = () =>
    fileOf(ofJournal(), ofCall(aCall()), ofCall(aCall({ state: "done", executed: "yes" })));

  /** Refused, and nothing is left of it. */
  async function isRefused(text: string | Buffer, why: RegExp): Promise<void> {
    const state = folder();
    await expect(put(text, state)).rejects.toMatchObject({
      name: "RefusedError",
      message: expect.stringMatching(why) as string,
    });
    expect(namesIn(state)).toEqual([]);
  }

  it("of a file that was cut anywhere is refused", async () => {
    const bytes = Buffer.from(whole());
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), (at) =>
        isRefused(bytes.subarray(0, at), /a part of it is missing|it is empty/),
      ),
      { numRuns: 40 },
    );
    const lines = whole().split("\n");
    for (let at = 1; at < lines.length - 1; at++)
      await isRefused(`${lines.slice(0, at).join("\n")}\n`, /a part of it is missing/);
  });

  it("of a file with a changed byte is refused, wherever it is", async () => {
    const bytes = Buffer.from(whole());
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, by) => {
          const changed = Buffer.from(bytes);
          changed[at] = (changed[at] ?? 0) ^ by;
          await isRefused(changed, /./);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("of a file without a line in its midst is refused", async () => {
    const lines = whole().split("\n");
    await isRefused(lines.toSpliced(2, 1).join("\n"), /line 4: .*something was changed/);
  });

  it.each<[string, (text: string) => string, RegExp]>([
    [
      "a newer version",
      (text) => text.replace('"version":1', '"version":2'),
      /Update mcp-holdfast/,
    ],
    ["something else", () => "hello\n", /line 1 is no header/],
    [
      "an upstream that is a path",
      () => fileOf(ofJournal({ upstream: "../../../etc" })),
      /line 2: "upstream"/,
    ],
    [
      "a call without a journal",
      () => fileOf(ofCall(aCall())),
      /line 2: stands before the journal/,
    ],
    ["more after its end", (text) => `${text}{}\n`, /line 6: stands after the end/],
    [
      "a member that is unknown",
      (text) => text.replace('"attempt"', '"x":1,"attempt"'),
      /line 3: unknown member "x"/,
    ],
    [
      "a member of another type",
      (text) => text.replace('"attempt":0', '"attempt":"0"'),
      /line 3: "attempt" is "0"/,
    ],
    [
      "a member that is missing",
      (text) => text.replace('"attempt":0,', ""),
      /line 3: "attempt" is missing/,
    ],
    [
      "a kind that is unknown",
      (text) => text.replace('"kind":"call"', '"kind":"note"'),
      /line 3: "kind" is "note"/,
    ],
    [
      "a row that can't be",
      (text) => text.replace('"executed":"pending"', '"executed":"no"'),
      /line 3: queued but no/,
    ],
  ])("of a file with %s is refused", async (_what, spoil, why) => {
    await isRefused(spoil(whole()), why);
  });

  it("of a session with a handshake that is no JSON is refused", async () => {
    const [session] = fc.sample(anySession, 1);
    const spoilt = { ...session, handshake: "{" } as SessionRow;
    await isRefused(fileOf(ofJournal(), { kind: "session", session: spoilt }), /"handshake"/);
  });

  it("of one call twice in a file is refused, also under two journals", async () => {
    const call = aCall();
    await isRefused(fileOf(ofJournal(), ofCall(call), ofCall(call)), /is in it twice/);
    const other = ofJournal({ upstream: "c".repeat(64) });
    await isRefused(fileOf(ofJournal(), ofCall(call), other, ofCall(call)), /is in it twice/);
  });

  it("finds nothing to do the second time, and brings of a longer file only what is new", async () => {
    const state = folder();
    const [one, two] = [aCall(), aCall()];
    expect(await put(fileOf(ofJournal(), ofCall(one)), state)).toMatchObject({ calls: 1 });
    const again = await put(fileOf(ofJournal(), ofCall(one)), state);
    expect(again).toMatchObject({ journals: [], calls: 0, callsThere: 1 });
    expect(namesIn(state)).toEqual(["1.db"]);
    const longer = await put(fileOf(ofJournal(), ofCall(one), ofCall(two)), state);
    expect(longer).toMatchObject({ calls: 1, callsThere: 1 });
    expect(longer.journals).toMatchObject([{ path: pathIn(state, 2), calls: 1 }]);
  });

  it("makes one journal of several of an upstream, and one for each upstream", async () => {
    const state = folder();
    const other = "c".repeat(64);
    const { journals } = await put(
      fileOf(
        ofJournal(),
        ofCall(aCall()),
        ofJournal({ upstream: other, name: "shelves" }),
        ofCall(aCall()),
        ofJournal(),
        ofCall(aCall()),
      ),
      state,
    );
    expect(journals).toEqual([
      { path: pathIn(state), name: "books", calls: 2 },
      { path: journalFiles(state, other, 1).path, name: "shelves", calls: 1 },
    ]);
    const read = await readJournals(state);
    expect(read.map(({ facts }) => facts.get("name")).sort()).toEqual(["books", "shelves"]);
  });

  it("beside a running proxy of the upstream is refused, and not for another one's", async () => {
    const state = folder();
    const { own } = await startOn(state);
    hold(own);
    await expect(put(whole(), state)).rejects.toThrow(/1\.db is in use by a running proxy/);
    const other = fileOf(ofJournal({ upstream: "c".repeat(64) }), ofCall(aCall()));
    expect(await put(other, state)).toMatchObject({ calls: 1 });
  });

  it("holds calls that were live for a person, keeps their deadlines, and frees the rest", async () => {
    const state = folder();
    const deadlineAt = world.now() + 3_600_000;
    const held = aCall({ deadlineAt });
    const rows = [
      held,
      aCall({ safety: "read" }),
      aCall({ state: "sent" }),
      aCall({ state: "done", executed: "yes" }),
    ];
    const imported = await put(fileOf(ofJournal(), ...rows.map(ofCall)), state);
    expect(imported).toMatchObject({ calls: 4, held: 2 });
    const { own, leftovers } = await startOn(state);
    hold(own);
    const [leftover] = leftovers.map(({ journal, ...rest }) => ({
      journal: hold(journal),
      ...rest,
    }));
    expect(own.stats().path).toBe(pathIn(state, 2));
    expect(leftover?.heldBecause).toBe(`${pathIn(state)} was ${BECAUSE}`);
    expect(leftover?.recovery.report.wentBackwards).toMatchObject({ foundSeq: 4 });
    // A queued call that is past its deadline may have run: nobody says that it did not.
    expect(leftover?.recovery.live.map(({ state }) => state)).toEqual([
      "queued",
      "queued",
      "in_doubt",
    ]);
    expect(leftover?.recovery.live[0]).toEqual({ ...held, seq: 1 });
  });

  it("of ended calls only is the next process's own journal, with its sessions", async () => {
    const state = folder();
    const [session] = fc.sample(anySession, 1) as [SessionRow];
    const call = aCall({ state: "done", executed: "yes", reply: "{}", sessionId: session.id });
    await put(fileOf(ofJournal(), { kind: "session", session }, ofCall(call)), state);
    const { own, leftovers } = await startOn(state);
    hold(own);
    expect(leftovers).toEqual([]);
    expect(own.stats().path).toBe(pathIn(state));
    const { report } = await own.recover(world.now());
    expect(report.wentBackwards).toBeUndefined();
    expect(await own.findSession(session.id)).toEqual(session);
    expect(await own.find(call.id)).toEqual({ ...call, seq: 1 });
    expect(await own.admit(aCall())).toBe(2);
  });

  it("takes no number that something is left of, such as a WAL", async () => {
    const state = folder();
    const path = pathIn(state);
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(`${path}-wal`, "x");
    const { journals } = await put(whole(), state);
    expect(journals).toMatchObject([{ path: pathIn(state, 2) }]);
  });

  it("that is killed leaves nothing that counts, and the next start clears the rest away", async () => {
    const state = folder();
    const child = startChild("import-stdin.mjs", state);
    const text = fileOf(ofJournal(), ...Array.from({ length: 50 }, () => ofCall(aCall())));
    child.process.stdin.write(text.slice(0, text.lastIndexOf('{"kind":"end"')));
    await child.untilLines(1);
    expect(namesIn(state).length).toBeGreaterThan(0);
    // What is being made is locked: it is not cleared away, and another import waits for its turn.
    await expect(put(whole(), state)).rejects.toThrow(/another import or restore is under way/);
    await child.kill();
    expect(await readJournals(state)).toEqual([]);
    const { own } = await startOn(state);
    expect(namesIn(state).sort()).toEqual(["1.db"]);
    expect(await own.list({})).toEqual([]);
    await own.close();
    expect(await put(text, state)).toMatchObject({ calls: 50, callsThere: 0 });
  });

  it("that is killed between two journals is completed by the same one, also beside a proxy on the first", async () => {
    const state = folder();
    const other = "c".repeat(64);
    const calls = [aCall(), aCall({ state: "done", executed: "yes" }), aCall()];
    const [session] = fc.sample(anySession, 1) as [SessionRow];
    const [first, second, third] = calls.map(ofCall) as [MovedRecord, MovedRecord, MovedRecord];
    const ofOther = ofJournal({ upstream: other, name: "shelves" });
    const text = fileOf(ofJournal(), { kind: "session", session }, first, second, ofOther, third);
    const child = startChild("import-halfway.mjs", state);
    child.process.stdin.end(text);
    await child.untilLines(1);
    await child.kill();
    expect(child.lines).toEqual([pathIn(state)]);
    expect((await readJournals(state)).map(({ path }) => path)).toEqual([pathIn(state)]);
    const { own, leftovers } = await startOn(state);
    for (const journal of [own, ...leftovers.map((leftover) => leftover.journal)]) hold(journal);
    const there = journalFiles(state, other, 1).path;
    expect(await put(text, state)).toMatchObject({
      journals: [{ path: there, calls: 1 }],
      callsThere: 2,
      sessions: 0,
    });
    expect(await put(text, state)).toMatchObject({ journals: [], callsThere: 3 });
    const counts = (await readJournals(state)).map(({ path, counts }) => [path, counts]);
    expect(counts).toEqual([
      [pathIn(state), { queued: 1, done: 1 }],
      [pathIn(state, 2), {}],
      [there, { queued: 1 }],
    ]);
    // What is not there yet is still refused beside it.
    const more = fileOf(ofJournal(), first, ofCall(aCall()));
    await expect(put(more, state)).rejects.toThrow(/1\.db is in use by a running proxy/);
  });

  it("that is killed between two journals is completed also after the proxy on the first let old calls go", async () => {
    const state = folder();
    const other = "c".repeat(64);
    const old = ofCall(aCall({ state: "done", executed: "yes", deliveredAt: NOW }));
    const ofOther = ofJournal({ upstream: other, name: "shelves" });
    const text = fileOf(ofJournal(), old, ofOther, ofCall(aCall()));
    const child = startChild("import-halfway.mjs", state);
    child.process.stdin.end(text);
    await child.untilLines(1);
    await child.kill();
    const { own } = await startOn(state);
    hold(own);
    await own.recover(NOW);
    expect(await own.prune(NOW + 9e9, NOW + 9e9)).toBe(1);
    const there = journalFiles(state, other, 1).path;
    expect(await put(text, state)).toMatchObject({ journals: [{ path: there, calls: 1 }] });
  });

  it("beside a journal with a damaged page is refused, naming it", async () => {
    const state = folder();
    await put(whole(), state);
    const db = new Database(pathIn(state));
    const page = db
      .prepare("select rootpage from sqlite_schema where name = 'sqlite_autoindex_call_1'")
      .pluck()
      .get() as number;
    db.close();
    const bytes = readFileSync(pathIn(state));
    bytes.fill(0xff, (page - 1) * 4096, page * 4096);
    writeFileSync(pathIn(state), bytes);
    await expect(put(whole(), state)).rejects.toMatchObject({
      name: "JournalError",
      message: expect.stringMatching(/1\.db can't be read: .*malformed.*import again/) as string,
    });
  });

  it("of which the disk fails between two journals says what is there, and how to get the rest", async () => {
    const state = folder();
    const other = "c".repeat(64);
    const text = fileOf(
      ofJournal(),
      ofCall(aCall()),
      ofJournal({ upstream: other }),
      ofCall(aCall()),
    );
    const { path } = journalFiles(state, other, 1);
    async function* inTheWay() {
      const at = text.lastIndexOf('{"kind":"end"');
      yield Buffer.from(text.slice(0, at));
      mkdirSync(path);
      yield Buffer.from(text.slice(at));
      await Promise.resolve();
    }
    const importing = importExport(inTheWay(), {
      driver: Database,
      folder: state,
      because: BECAUSE,
    });
    await expect(importing).rejects.toMatchObject({
      name: "JournalError",
      message: expect.stringMatching(/1 of 2 journals .*Import it again/) as string,
    });
    rmSync(path, { recursive: true });
    expect(await put(text, state)).toMatchObject({ journals: [{ path }], calls: 1, callsThere: 1 });
  });

  it("and an export of 100,000 calls take no more memory than those of a few", async () => {
    const child = startChild("move-many.mjs", folder());
    await child.untilLines(2);
    expect(await child.end()).toBe(0);
    const [few, many] = child.lines.map(
      (line) => JSON.parse(line) as { calls: number; rssMb: number },
    );
    expect(many?.calls).toBe(100_000);
    expect((many?.rssMb ?? 0) - (few?.rssMb ?? 0)).toBeLessThan(80);
  }, 60_000);
});

it("rows of all states are among those that are moved", () => {
  const rows = fc.sample(anyCalls(12), 100).flat();
  expect(new Set(rows.map(({ state }) => state)).size).toBe(9);
  expect(rows.some(({ state }) => !isTerminal(state))).toBe(true);
});
