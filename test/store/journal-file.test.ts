/** What only a journal on disk has to do: pragmas, kills, damage, full disks, groups of commits. */
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { CallChange } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { CallFilter } from "../../src/ports.ts";
import { migrate } from "../../src/store/migrate.ts";
import { loadDriver, openWriting } from "../../src/store/sqlite/connection.ts";
import { MIGRATIONS } from "../../src/store/sqlite/migrations.ts";
import { CallStatements } from "../../src/store/sqlite/statements.ts";
import { aSession } from "../support/builders.ts";
import { NOW, aCall, aFolder, aSqliteJournal } from "./builders.ts";
import { startChild } from "./children.ts";
import type { Child } from "./children.ts";

const children: Child[] = [];
const start = (...args: Parameters<typeof startChild>) => {
  const child = startChild(...args);
  children.push(child);
  return child;
};
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.kill()));
});

const settle = (id: string): CallChange => ({
  kind: "settle",
  id,
  attempt: 1,
  state: "done",
  executed: "yes",
  reply: "{}",
  at: NOW + 5,
});

describe("a recovery of many open calls", () => {
  it("is done in steps, says the same as one step would, and lets a session be saved in between", async () => {
    const folder = aFolder();
    const before = await aSqliteJournal(folder);
    const states = ["queued", "sent", "sent"] as const;
    const ids: string[] = [];
    for (let n = 0; n < 30; n++) {
      // Every fifth waits past its time.
      const call = aCall({
        state: states[n % 3] ?? "queued",
        deadlineAt: n % 5 === 0 ? NOW + 1 : NOW + 45_000,
      });
      ids.push(call.id);
      await before.journal.admit(call);
    }
    await before.journal.close();
    const after = await aSqliteJournal(folder, { recoverStepRows: 4 });
    const order: string[] = [];
    const recovering = after.journal.recover(NOW + 1_000).then((recovery) => {
      order.push("recovered");
      return recovery;
    });
    const session = aSession({ id: "s_early" });
    await after.journal.saveSession(session);
    order.push("saved");
    const { report, live, remembered } = await recovering;
    expect(order).toEqual(["saved", "recovered"]);
    expect(await after.journal.findSession("s_early")).toEqual(session);
    expect(report).toMatchObject({ found: { queued: 10, sent: 20 }, expired: 2, putInDoubt: 20 });
    expect(live.map(({ id }) => id)).toEqual(ids.filter((_, n) => n !== 0 && n !== 15));
    expect(remembered).toHaveLength(2);
    const again = await after.journal.recover(NOW + 1_000);
    expect(again.report).toMatchObject({ expired: 0, putInDoubt: 0 });
    expect(again.report.found).toEqual({ expired: 2, in_doubt: 20, queued: 8 });
    expect(again.live).toEqual(live);
    await after.journal.close();
  });
});

describe("opening", () => {
  it("has wal and synchronous=full on every open, whatever the file was left with", async () => {
    const driver = await loadDriver();
    const path = join(aFolder(), "1.db");
    for (let time = 0; time < 2; time++) {
      const db = openWriting(driver, path);
      expect(db.pragma("journal_mode", { simple: true })).toBe("wal");
      expect(db.pragma("synchronous", { simple: true })).toBe(2);
      expect(db.pragma("secure_delete", { simple: true })).toBe(1);
      db.pragma("synchronous = off");
      db.close();
    }
  });

  it("refuses a newer schema with a message that says what to do, and changes nothing", async () => {
    const folder = aFolder();
    await (await aSqliteJournal(folder)).journal.close();
    const path = join(folder, "1.db");
    const db = new Database(path);
    db.pragma(`user_version = ${MIGRATIONS.length + 1}`);
    db.close();
    await expect(aSqliteJournal(folder)).rejects.toMatchObject({
      name: "ConfigError",
      message: expect.stringMatching(/1\.db was written by a newer Holdfast.*Update mcp-holdfast/),
    });
  });

  it("refuses a database of something else", () => {
    const path = join(aFolder(), "1.db");
    const db = new Database(path);
    db.exec("create table other (x)");
    expect(() => {
      migrate(db, path);
    }).toThrow(/not a journal of Holdfast/);
    db.close();
  });

  it("refuses a file that is no database", async () => {
    const folder = aFolder();
    writeFileSync(join(folder, "1.db"), "x".repeat(10_000));
    await expect(aSqliteJournal(folder)).rejects.toMatchObject({ trouble: "io" });
  });

  it("migrates once when several processes open at the same moment", async () => {
    const path = join(aFolder(), "1.db");
    const racers = Array.from({ length: 4 }, () => start("open-writing.mjs", path));
    await Promise.all(racers.map((racer) => racer.untilLines(1)));
    for (const racer of racers) expect(racer.lines).toEqual([String(MIGRATIONS.length)]);
    const db = new Database(path, { readonly: true });
    expect(db.prepare("select count(*) from head").pluck().get()).toBe(1);
    db.close();
  });
});

describe("what was acknowledged", () => {
  it("survives SIGKILL, each time, without exception", async () => {
    const folder = aFolder();
    const acked: string[] = [];
    for (let kill = 1; kill <= 4; kill++) {
      const child = start("admit-loop.mjs", folder, JSON.stringify(aCall({ deadlineAt: 9e15 })));
      await child.untilLines(100 * kill);
      await child.kill();
      acked.push(...child.lines);
    }
    const path = join(folder, "journals", "a".repeat(16), "1.db");
    const db = new Database(path, { readonly: true });
    const stored = new Set(db.prepare("select id from call").pluck().all());
    db.close();
    expect(acked.length).toBeGreaterThanOrEqual(1000);
    expect(acked.filter((id) => !stored.has(id))).toEqual([]);
  });

  it("includes sessions, in their last version", async () => {
    const folder = aFolder();
    const child = start("save-session-loop.mjs", folder, JSON.stringify(aSession()));
    await child.untilLines(200);
    await child.kill();
    const acked = Number(child.lines.at(-1));
    const { journal } = await aSqliteJournal(folder);
    const [saved, ...others] = await journal.sessions();
    expect(others).toEqual([]);
    expect(saved?.lastSeenAt).toBeGreaterThanOrEqual(acked);
    expect(saved).toEqual({ ...aSession(), lastSeenAt: saved?.lastSeenAt });
    await journal.close();
  });

  it("is there after closing and opening again", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    const call = aCall();
    await first.journal.admit(call);
    await first.journal.close();
    const second = await aSqliteJournal(folder);
    expect(await second.journal.find(call.id)).toEqual({ ...call, seq: 1 });
    expect(await second.journal.admit(aCall())).toBe(2);
    await second.journal.close();
  });
});

describe("group commit", () => {
  it("commits 1,000 calls admitted at once in far fewer commits", async () => {
    const { journal } = await aSqliteJournal(aFolder());
    await Promise.all(Array.from({ length: 1000 }, () => journal.admit(aCall())));
    const { commits, rows, fsyncMs } = journal.stats();
    expect(rows).toBe(1000);
    expect(commits).toBeLessThan(50);
    expect(fsyncMs).toBeGreaterThan(0);
    await journal.close();
  });

  it("gives a delivery mark no commit of its own while there is work", async () => {
    const { journal } = await aSqliteJournal(aFolder());
    const total = 50;
    for (let count = 0; count < total; count++) {
      const call = aCall({ state: "sent" });
      await journal.admit(call);
      await journal.apply(settle(call.id), true);
      journal.applyLater({ kind: "deliver", id: call.id, at: NOW + 6 });
    }
    await journal.list({ limit: 1 });
    // One more for the list, which took the last mark along.
    expect(journal.stats().commits).toBeLessThanOrEqual(2 * total + 1);
    expect((await journal.list({})).every((row) => row.deliveredAt === NOW + 6)).toBe(true);
    await journal.close();
  });

  it("waits for no fsync where nothing asks for it, and measures one where something does", async () => {
    const { journal } = await aSqliteJournal(aFolder());
    await journal.admit(aCall({ safety: "read" }));
    await journal.keep("a", "b");
    expect(journal.stats().fsyncMs).toBeUndefined();
    await journal.admit(aCall());
    expect(journal.stats().fsyncMs).toBeGreaterThan(0);
    await journal.close();
  });

  it("drops the payloads of a delivered call if told so, and keeps the row", async () => {
    const { journal } = await aSqliteJournal(aFolder(), { dropsDelivered: true });
    const call = aCall({ state: "sent" });
    await journal.admit(call);
    await journal.apply(settle(call.id), true);
    expect(await journal.find(call.id)).toMatchObject({ request: call.request, reply: "{}" });
    journal.applyLater({ kind: "deliver", id: call.id, at: NOW + 6 });
    expect(await journal.find(call.id)).toMatchObject({
      state: "done",
      request: "",
      reply: undefined,
      deliveredAt: NOW + 6,
    });
    await journal.close();
  });
});

describe("the open calls of a session", () => {
  it("are found by the index of open calls, however many have ended", async () => {
    const driver = await loadDriver();
    const db = openWriting(driver, join(aFolder(), "1.db"));
    const prepare = vi.spyOn(db, "prepare");
    const calls = new CallStatements(db, false);
    const planOf = (filter: CallFilter) => {
      calls.list(filter);
      const sql = prepare.mock.lastCall?.[0] ?? "";
      const values = [...sql.matchAll(/\?/g)].map(() => 1);
      const steps = db.prepare(`explain query plan ${sql}`).all(...values);
      return (steps as { detail: string }[]).map(({ detail }) => detail);
    };
    const filters = [
      { isUndelivered: true },
      { isUndelivered: true, sessionId: "s_1", limit: 10 },
      { isUndelivered: true, sessionId: "s_1", states: ["queued", "done"] },
    ];
    for (const filter of filters) {
      const plan = planOf(filter);
      expect(plan).toContain("SCAN call USING INDEX call_open");
      expect(plan.join()).not.toMatch(/SCAN (?!call USING INDEX)|TEMP B-TREE/);
    }
    // The rows of other sessions are not even read: the index knows whose they are.
    const columns = db.prepare("select name from pragma_index_info('call_open')").pluck().all();
    expect(columns).toEqual(["seq", "origin"]);
    expect(planOf({ sessionId: "s_1" })).not.toContain("SCAN call USING INDEX call_open");
    db.close();
  });
});

describe("a session of an earlier version", () => {
  it("opens to nobody, and is forgotten like before", async () => {
    const folder = aFolder();
    const {
      keyDigest,
      principal,
      transport,
      peer,
      protocolVersion: _,
      timeoutMs,
      ...older
    } = aSession({ id: "s_old", lastSeenAt: NOW });
    const first = await aSqliteJournal(folder);
    await first.journal.saveSession(older as SessionRow);
    await first.journal.close();
    const { journal } = await aSqliteJournal(folder);
    expect(await journal.sessions()).toEqual([
      { ...older, keyDigest, principal, transport, peer, protocolVersion: "", timeoutMs },
    ]);
    await journal.prune(NOW + 1, NOW + 1);
    expect(await journal.sessions()).toEqual([]);
    await journal.close();
  });
});

describe("a damaged session", () => {
  it("is reported and not used, and goes when its time is over", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    await first.journal.saveSession(aSession({ id: "s_bad", peer: "damaged here" }));
    await first.journal.saveSession(aSession({ id: "s_good" }));
    await first.journal.close();
    const db = new Database(join(folder, "1.db"));
    db.exec("update session set body = replace(body, 'damaged here', 'damaged')");
    db.close();
    const { journal, lines } = await aSqliteJournal(folder);
    expect((await journal.sessions()).map(({ id }) => id)).toEqual(["s_good"]);
    expect(await journal.findSession("s_bad")).toBeUndefined();
    expect(lines.map(({ message }) => message)).toEqual([
      expect.stringContaining("session s_bad"),
      expect.stringContaining("session s_bad"),
    ]);
    await journal.prune(NOW * 2, NOW * 2);
    expect(await journal.findSession("s_bad")).toBeUndefined();
    expect(lines).toHaveLength(2);
    await journal.close();
  });
});

/** Closes the journal, changes its file past it, and opens it again. */
async function damagedBy(
  open: Awaited<ReturnType<typeof aSqliteJournal>>,
  folder: string,
  damage: (bytes: Buffer) => void,
) {
  await open.journal.close();
  const bytes = readFileSync(open.path);
  damage(bytes);
  writeFileSync(open.path, bytes);
  return aSqliteJournal(folder);
}

/** Turns one text, where it stands first from `from` on, into another of the same length. */
function overwrite(bytes: Buffer, text: string, by: string, from = 0): number {
  const at = bytes.indexOf(text, from);
  expect(at).toBeGreaterThan(0);
  bytes.write(by, at);
  return at;
}

describe("a damaged file", () => {
  it("is refused where an index does not tell what its table holds", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    await first.journal.admit(aCall({ id: "c_indexed", request: "1" }));
    const again = damagedBy(first, folder, (bytes) => {
      const places = [...bytes.toString("latin1").matchAll(/c_indexed/g)].map(({ index }) => index);
      expect(places).toHaveLength(2);
      // The one in the index: before it stands the form of the row's number, which is 1.
      for (const place of places) if (bytes[place - 1] === 9) bytes.write("c_indexee", place);
      expect(bytes.includes("c_indexee")).toBe(true);
    });
    await expect(again).rejects.toMatchObject({ trouble: "io" });
  });

  it("does not let a live call vanish whose state is none any more", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    await first.journal.admit(aCall({ id: "c_hurt" }));
    const { journal, lines } = await damagedBy(first, folder, (bytes) => {
      overwrite(bytes, "queued", "qteued", overwrite(bytes, "c_hurt", "c_hurt"));
    });
    const { report, live } = await journal.recover(NOW);
    expect(live).toEqual([]);
    expect(report.found).toEqual({ quarantined: 1 });
    expect(lines[0]?.message).toContain("call c_hurt");
    await journal.close();
  });

  it("gives no damaged fact out, and says so", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    await first.journal.keep("breaker.a", "closed now");
    await first.journal.keep("breaker.b", "open");
    const { journal, lines } = await damagedBy(first, folder, (bytes) => {
      overwrite(bytes, "closed now", "closed not");
    });
    expect(await journal.kept("breaker.")).toEqual(new Map([["breaker.b", "open"]]));
    expect(lines[0]?.message).toContain("fact breaker.a");
    await journal.keep("breaker.a", "half-open");
    expect((await journal.kept("breaker.a")).get("breaker.a")).toBe("half-open");
    await journal.close();
  });

  it("takes a fact of an earlier version, which had no checksum", async () => {
    const folder = aFolder();
    const db = new Database(join(folder, "1.db"));
    migrate(db, "1.db", MIGRATIONS.slice(0, 3));
    db.exec("insert into fact (key, value) values ('old', 'value')");
    db.close();
    const { journal, lines } = await aSqliteJournal(folder);
    expect((await journal.kept("")).get("old")).toBe("value");
    expect(lines).toEqual([]);
    await journal.close();
  });
});

describe("a reader that takes its time", () => {
  it("keeps no writer waiting, however long the WAL gets meanwhile", async () => {
    const { journal, path } = await aSqliteJournal(aFolder());
    await journal.admit(aCall());
    const reader = new Database(path, { readonly: true });
    reader.exec("begin");
    reader.prepare("select count(*) from call").get();
    let slowestMs = 0;
    const request = "x".repeat(1_000_000);
    for (let i = 0; i < 80; i++) {
      const before = performance.now();
      await journal.admit(aCall({ request }));
      slowestMs = Math.max(slowestMs, performance.now() - before);
    }
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(70_000_000);
    expect(slowestMs).toBeLessThan(2_500);
    reader.close();
    for (let i = 0; i < 8; i++) await journal.admit(aCall({ request }));
    expect(statSync(`${path}-wal`).size).toBeLessThan(20_000_000);
    await journal.close();
  }, 30_000);
});

describe("trouble", () => {
  it("on a full disk refuses new calls, still records results, and accepts again later", async () => {
    const { journal, lines } = await aSqliteJournal(aFolder(), {
      pagesMax: 600,
      dropsDelivered: true,
    });
    const inFlight: string[] = [];
    let refusal: unknown;
    while (refusal === undefined && inFlight.length < 1000) {
      const call = aCall({ state: "sent", request: `"${"x".repeat(20_000)}"` });
      await journal.admit(call).then(
        () => inFlight.push(call.id),
        (error: unknown) => (refusal = error),
      );
    }
    expect(refusal).toMatchObject({ name: "JournalError", trouble: "full" });
    expect(inFlight.length).toBeGreaterThan(50);
    for (const id of inFlight) expect(await journal.apply(settle(id), true)).toBe(true);
    expect(lines.some(({ message }) => message.includes("full"))).toBe(true);
    for (const id of inFlight) {
      await journal.apply({ kind: "deliver", id, at: NOW + 6 }, false);
    }
    await expect(journal.admit(aCall())).resolves.toBeGreaterThan(0);
    await journal.close();
  });

  it("keeps the WAL small where small changes are made to calls with large requests", async () => {
    const { journal } = await aSqliteJournal(aFolder());
    const request = `"${"x".repeat(200_000)}"`;
    const calls = Array.from({ length: 100 }, () => aCall({ state: "sent", request }));
    for (const call of calls) await journal.admit(call);
    for (const { id } of calls) expect(await journal.apply(settle(id), true)).toBe(true);
    // 4 MiB, and what the two batches beside the checkpoint may write.
    expect(journal.stats().walBytes).toBeLessThan(6 * 1024 * 1024);
    await journal.close();
  });

  it("keeps large requests and replies as the texts that they are, under sums that hold", async () => {
    const folder = aFolder();
    const { journal } = await aSqliteJournal(folder);
    const calls = ["x", "日本 😀", 'é"\\'].map((part) => ({
      call: aCall({
        state: "sent",
        attempt: 1,
        request: JSON.stringify({ asked: part.repeat(150_000) }),
      }),
      reply: JSON.stringify({ text: part.repeat(200_000) }),
    }));
    for (const { call } of calls) await journal.admit(call);
    const settled = calls.map(({ call, reply }) =>
      journal.apply({ ...settle(call.id), reply } as CallChange, true),
    );
    expect(await Promise.all(settled)).toEqual([true, true, true]);
    for (const { call, reply } of calls) {
      const row = await journal.find(call.id);
      // A difference of megabytes is not for people.
      expect([row?.reply === reply, row?.request === call.request]).toEqual([true, true]);
    }
    await journal.close();
    const db = new Database(join(folder, "1.db"), { readonly: true });
    const types = db
      .prepare("select distinct typeof(request), typeof(reply) from call")
      .raw()
      .all();
    db.close();
    expect(types).toEqual([["text", "text"]]);
  });

  it("sets a damaged call aside: reported, not live, not found, not changed, not deleted", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    const [bad, good] = [aCall({ request: '"damaged here"' }), aCall()];
    await first.journal.admit(bad);
    await first.journal.admit(good);
    await first.journal.close();
    const path = join(folder, "1.db");
    const bytes = readFileSync(path);
    const at = bytes.indexOf("damaged here");
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const { journal, lines } = await aSqliteJournal(folder);
    const { report, live } = await journal.recover(NOW);
    expect(report.found).toEqual({ queued: 1, quarantined: 1 });
    expect(live.map(({ id }) => id)).toEqual([good.id]);
    expect(lines[0]?.message).toContain(`call ${bad.id}`);
    expect(await journal.find(bad.id)).toBeUndefined();
    const expire = { kind: "expire", id: bad.id, cause: "late", at: NOW } as const;
    expect(await journal.apply(expire, true)).toBe(false);
    await journal.prune(NOW * 2, NOW * 2);
    expect((await journal.recover(NOW)).report.found).toEqual({ queued: 1, quarantined: 1 });
    await journal.close();
  });

  it("sets a call aside whose state is no state, also where a change comes first", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    const [call, other] = [aCall(), aCall()];
    await first.journal.admit(call);
    await first.journal.admit(other);
    await first.journal.close();
    const db = new Database(join(folder, "1.db"));
    db.prepare("update call set state = 'pueued' where id = ?").run(call.id);
    db.close();
    const { journal, lines } = await aSqliteJournal(folder);
    const expire = { kind: "expire", id: call.id, cause: "late", at: NOW } as const;
    expect(await journal.apply(expire, true)).toBe(false);
    expect(lines[0]?.message).toContain("set aside: unknown state pueued");
    expect(await journal.apply({ ...expire, id: other.id }, true)).toBe(true);
    await journal.close();
  });

  it("notices a state that was changed behind its back", async () => {
    const folder = aFolder();
    const first = await aSqliteJournal(folder);
    const call = aCall({ state: "sent" });
    await first.journal.admit(call);
    await first.journal.close();
    const db = new Database(join(folder, "1.db"));
    db.exec("update call set state = 'queued', attempt = 0");
    db.close();
    const { journal } = await aSqliteJournal(folder);
    expect((await journal.recover(NOW)).live).toEqual([]);
    await journal.close();
  });

  it("says that a journal went backwards when an older copy was put back", async () => {
    const folder = aFolder();
    const path = join(folder, "1.db");
    const first = await aSqliteJournal(folder);
    const call = aCall();
    await first.journal.admit(call);
    await first.journal.close();
    copyFileSync(path, `${path}.backup`);
    const second = await aSqliteJournal(folder);
    expect(second.wentBackwards).toBe(false);
    const { id } = call;
    await second.journal.apply(
      { kind: "dispatch", id, attempt: 1, upstreamId: "1-1", at: 1 },
      true,
    );
    await second.journal.apply(settle(id), true);
    await second.journal.admit(aCall());
    await second.journal.close();
    copyFileSync(`${path}.backup`, path);
    // Not lifted by a restart while the call that may have run is live.
    for (let time = 0; time < 2; time++) {
      const { journal, wentBackwards } = await aSqliteJournal(folder);
      expect(wentBackwards).toBe(true);
      const { report } = await journal.recover(NOW);
      expect(report.wentBackwards).toEqual({ expectedSeq: 2, foundSeq: 1 });
      if (time === 1) await journal.apply({ kind: "expire", id, cause: "c", at: NOW }, true);
      await journal.recover(NOW);
      await journal.close();
    }
    const last = await aSqliteJournal(folder);
    expect(last.wentBackwards).toBe(false);
    await last.journal.close();
  });
});
