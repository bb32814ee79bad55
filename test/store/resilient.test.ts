/** A disk that is lost in mid-life: work goes on in memory, and the disk's calls never run again. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import type { CallChange } from "../../src/core/call.ts";
import type { Journal } from "../../src/ports.ts";
import { openMemoryJournal } from "../../src/store/memory.ts";
import { resilientJournal } from "../../src/store/resilient.ts";
import { SqliteJournal } from "../../src/store/sqlite/journal.ts";
import { aSession } from "../support/builders.ts";
import { NOW, aCall, aFolder, aLog, world } from "./builders.ts";

/** A disk journal of which each step fails once `lose` was called, after it was in flight. */
function aDisk(trouble: "io" | "full" = "io") {
  const memory = openMemoryJournal(world);
  let isLost = false;
  const lost = () => Promise.reject(new JournalError(trouble, "the disk is gone"));
  const disk = new Proxy(memory, {
    get(target, name) {
      const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      const isStep = [
        ...["admit", "apply", "find", "keep", "kept", "recover"],
        ...["findSession", "sessions", "saveSession"],
      ].includes(String(name));
      return (...args: unknown[]) => (isLost && isStep ? lost() : method.apply(target, args));
    },
  });
  return { disk, lose: () => (isLost = true) };
}

function aResilient(disk: Journal) {
  const abandonedPath = join(aFolder(), "1.abandoned");
  const { lines, log } = aLog();
  const journal = resilientJournal(disk, { world, log, abandonedPath, dropsDelivered: true });
  return { journal, abandonedPath, lines };
}

const dispatch = (id: string): CallChange => ({
  kind: "dispatch",
  id,
  attempt: 1,
  upstreamId: "1-1",
  at: NOW,
});

describe("a lost disk", () => {
  it("is replaced by memory with the live calls, facts and sessions, loudly and marked", async () => {
    const { disk, lose } = aDisk();
    const { journal, abandonedPath, lines } = aResilient(disk);
    const [known, ended] = [aCall(), aCall()];
    await journal.admit(known);
    await journal.admit(ended);
    const expire = { kind: "expire", id: ended.id, cause: "late", at: NOW } as const;
    await journal.apply(expire, true);
    await journal.keep("breaker", "open");
    lose();
    expect(await journal.apply(dispatch(known.id), true)).toBe(true);
    expect(await journal.find(known.id)).toMatchObject({ state: "sent", attempt: 1, seq: 1 });
    expect(await journal.apply({ kind: "annotate", id: ended.id, note: "n", at: 1 }, true)).toBe(
      false,
    );
    expect(await journal.admit(aCall())).toBe(3);
    expect((await journal.kept("")).get("breaker")).toBe("open");
    expect(journal.stats()).toMatchObject({ kind: "memory" });
    expect(journal.stats().degraded).toMatch(/the disk is gone/);
    expect(existsSync(abandonedPath)).toBe(true);
    expect(lines.filter(({ level }) => level === "error")).toHaveLength(1);
  });

  it("keeps the sessions that a client may return to, those of an earlier process too", async () => {
    const { disk, lose } = aDisk();
    const earlier = aSession({ id: "s_earlier" });
    await disk.saveSession(earlier);
    await disk.saveSession(aSession({ id: "s_over", endedAt: NOW }));
    const { journal } = aResilient(disk);
    await journal.recover(NOW);
    await journal.saveSession(aSession({ id: "s_new" }));
    await journal.saveSession(aSession({ id: "s_left" }));
    await journal.saveSession(aSession({ id: "s_left", endedAt: NOW }));
    lose();
    const lately = { ...earlier, lastSeenAt: NOW + 5 };
    await journal.saveSession(lately);
    expect(await journal.findSession("s_earlier")).toEqual(lately);
    expect((await journal.sessions()).map(({ id }) => id)).toEqual(["s_earlier", "s_new"]);
  });

  it("keeps sessions as they were saved last, also while it is being recovered", async () => {
    const { disk, lose } = aDisk();
    const [changed, over] = [aSession({ id: "s_changed" }), aSession({ id: "s_over" })];
    await disk.saveSession(changed);
    await disk.saveSession(over);
    const lately = { ...changed, lastSeenAt: NOW + 5 };
    const sessions = async () => {
      const known = await disk.sessions();
      await journal.saveSession(lately);
      await journal.saveSession({ ...over, endedAt: NOW });
      return known;
    };
    const { journal } = aResilient(
      new Proxy(disk, {
        get: (target, name) =>
          name === "sessions" ? sessions : (Reflect.get(target, name) as unknown),
      }),
    );
    await journal.recover(NOW);
    lose();
    await journal.keep("fact", "that finds the disk gone");
    expect(await journal.findSession("s_changed")).toEqual(lately);
    expect(await journal.findSession("s_over")).toBeUndefined();
  });

  it("does everything that was in flight again, in its order", async () => {
    const { disk, lose } = aDisk();
    const { journal } = aResilient(disk);
    const call = aCall();
    await journal.admit(call);
    lose();
    const { id } = call;
    const settle = { kind: "settle", state: "done", executed: "yes", reply: "{}" } as const;
    const results = await Promise.all([
      journal.apply(dispatch(id), true),
      journal.apply({ ...settle, id, attempt: 1, at: NOW }, true),
      journal.apply(dispatch(id), true),
    ]);
    expect(results).toEqual([true, true, false]);
    expect(await journal.find(id)).toMatchObject({ state: "done", reply: "{}" });
  });

  it("is NOT what a full disk is: the refusal is passed on and nothing is marked", async () => {
    const { disk, lose } = aDisk("full");
    const { journal, abandonedPath } = aResilient(disk);
    lose();
    await expect(journal.admit(aCall())).rejects.toMatchObject({ trouble: "full" });
    expect(journal.stats().degraded).toBeUndefined();
    expect(existsSync(abandonedPath)).toBe(false);
  });
});

describe("a lost journal thread", () => {
  it("rejects with io, and keeps its lock until it is closed", async () => {
    const worker = new Worker("setTimeout(() => process.exit(1), 50)", { eval: true });
    let isReleased = false;
    const journal = new SqliteJournal(worker, {
      world,
      log: aLog().log,
      path: join(aFolder(), "1.db"),
      onGone: () => (isReleased = true),
    });
    await expect(journal.admit(aCall())).rejects.toMatchObject({ trouble: "io" });
    await expect(journal.find("c_1")).rejects.toMatchObject({ trouble: "io" });
    expect(isReleased).toBe(false);
    await journal.close();
    expect(isReleased).toBe(true);
  });
});
