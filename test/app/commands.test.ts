import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RefusedError } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import type { CallRow } from "../../src/core/call.ts";
import type { ProxyStatus } from "../../src/core/status.ts";
import type { Control } from "../../src/ports.ts";
import { runCommandLine } from "../../src/app/command-line.ts";
import type { JournalReader, JournalSummary } from "../../src/app/commands/journal-reader.ts";
import type { Outside } from "../../src/app/commands/screen.ts";
import { journalReader } from "../../src/app/journals.ts";
import { openJournals } from "../../src/store/folder.ts";
import { aProxy } from "./support/control.ts";
import { makeStatus } from "./support/samples.ts";
import { makeRow, NO_JOURNALS, testFolder, testOutside } from "./support/outside.ts";

async function run(folder: string, argv: string[], overrides: Partial<Outside> = {}) {
  const outside = testOutside(folder, {}, overrides);
  const code = await runCommandLine(argv, outside);
  return { code, out: outside.stdout(), error: outside.stderr() };
}

/** A proxy as the commands see it, with these calls. */
async function proxy(folder: string, rows: CallRow[] = [], status: ProxyStatus = makeStatus()) {
  const find = (id: string) => {
    const row = rows.find((one) => one.id === id);
    if (row === undefined) throw new RefusedError(`there is no call ${id}`);
    return row;
  };
  const control: Partial<Control> = {
    list: ({ states, limit }) =>
      Promise.resolve(
        rows
          .filter((row) => states?.includes(row.state) ?? true)
          .sort((a, b) => b.acceptedAt - a.acceptedAt)
          .slice(0, limit ?? rows.length),
      ),
    show: (id) => Promise.resolve(find(id)),
    retry: () => Promise.resolve("c_copy"),
    cancel: (id) => Promise.resolve({ ...find(id), state: "cancelled", executed: "no" }),
    settle: (id, note) => Promise.resolve({ ...find(id), note }),
  };
  await aProxy(folder, control, status);
}

const journalsOf = (...summaries: JournalSummary[]): Partial<Outside> => {
  const reader: JournalReader = { ...NO_JOURNALS, list: () => Promise.resolve(summaries) };
  return { journals: () => Promise.resolve(reader) };
};

const makeSummary = (overrides: Partial<JournalSummary> = {}): JournalSummary => ({
  path: "/state/journals/ab/1.db",
  upstream: "github",
  ownerPid: undefined,
  counts: { done: 7 },
  isAbandoned: false,
  wentBackwards: undefined,
  damaged: 0,
  problem: undefined,
  ...overrides,
});

describe("holdfast status", () => {
  test("says that no proxy is running, which is healthy", async () => {
    expect(await run(testFolder(), ["status"])).toEqual({
      code: 0,
      out: "No proxy is running.\n",
      error: "",
    });
  });

  test("shows every proxy; exit 1 as soon as one is degraded", async () => {
    const folder = testFolder();
    await proxy(folder);
    const first = await run(folder, ["status"]);
    expect(first.code).toBe(0);
    expect(first.out).toContain("github: healthy");
    await proxy(folder, [], makeStatus({ pid: 4_250, upstreamName: "docs", health: "degraded" }));
    const second = await run(folder, ["status"]);
    expect(second.code).toBe(1);
    expect(second.out).toContain("github: healthy");
    expect(second.out).toContain("docs: degraded");
  });

  test("has pinned JSON keys", async () => {
    const folder = testFolder();
    await proxy(folder);
    const { code, out } = await run(folder, ["status", "--json"], journalsOf(makeSummary()));
    expect(code).toBe(0);
    const parsed = JSON.parse(out) as Record<string, Record<string, unknown>[]>;
    expect(Object.keys(parsed)).toEqual(["proxies", "journals"]);
    expect(Object.keys(parsed["proxies"]?.[0] ?? {})).toEqual(
      "version pid startedAt now upstreamName health reasons upstreams sessions heldForPerson journal takenOn calls failures".split(
        " ",
      ),
    );
    expect(Object.keys(parsed["journals"]?.[0] ?? {})).toEqual(
      "path upstream counts isAbandoned damaged".split(" "),
    );
  });

  test("shows what dead proxies left, and leaves out journals that somebody has", async () => {
    const folder = testFolder();
    await proxy(folder, [], makeStatus({ takenOn: ["/taken-on.db"] }));
    const { code, out } = await run(
      folder,
      ["status"],
      journalsOf(
        makeSummary({ path: "/dead.db", counts: { queued: 3, in_doubt: 1, done: 9 } }),
        makeSummary({ path: "/idle.db" }),
        makeSummary({ path: "/owned.db", ownerPid: 1, counts: { queued: 1 } }),
        makeSummary({ path: "/taken-on.db", counts: { queued: 1 } }),
        makeSummary({ path: makeStatus().journal.path ?? "", counts: { queued: 1 } }),
        makeSummary({ path: "/bad.db", counts: {}, problem: "file is not a database" }),
      ),
    );
    expect(code).toBe(1);
    expect(out).toContain("  github; queued 3, in_doubt 1  /dead.db\n");
    expect(out).toContain("  github; nothing; cannot be read: file is not a database  /bad.db\n");
    for (const other of ["/idle.db", "/owned.db", "/taken-on.db"]) expect(out).not.toContain(other);
    // The proxy's own journal stands in the proxy's block only.
    expect(out.split("/state/journals/1.db")).toHaveLength(2);
  });

  test("--watch looks again until it is interrupted", async () => {
    const folder = testFolder();
    await proxy(folder);
    let looks = 0;
    let stop: () => void = () => undefined;
    const world = { ...realWorld(), timer: fireAtOnce };
    const outside = testOutside(
      folder,
      {},
      {
        world,
        interrupted: () => new Promise((resolve) => (stop = resolve)),
        out: () => {
          looks++;
          if (looks === 3) stop();
        },
      },
    );
    expect(await runCommandLine(["status", "--watch"], outside)).toBe(0);
    expect(looks).toBeGreaterThanOrEqual(3);
  });
});

/** A clock in a hurry for the redraw; the longer time-outs of the socket still wait. */
function fireAtOnce(delayMs: number, fire: () => void) {
  return realWorld().timer(delayMs === 1_000 ? 1 : delayMs, fire);
}

const ROWS = [
  makeRow({ id: "c_01aaaa0000", acceptedAt: Date.now() - 61_000, cause: "github is\ndown" }),
  makeRow({
    id: "c_01bbbb0000",
    acceptedAt: Date.now() - 5_000,
    state: "dead",
    reason: "outcome_unknown",
    executed: "unknown",
  }),
];

describe("holdfast calls", () => {
  test("list shows a table, newest first", async () => {
    const folder = testFolder();
    await proxy(folder, ROWS);
    const { code, out } = await run(folder, ["calls", "list"]);
    expect(code).toBe(0);
    const lines = out.split("\n");
    const newer = lines.findIndex((line) => line.includes("c_01bbbb0000"));
    const older = lines.findIndex((line) => line.includes("c_01aaaa0000"));
    expect(newer).toBeGreaterThan(0);
    expect(older).toBeGreaterThan(newer);
    expect(lines[newer]).toContain("dead (outcome_unknown) │ unknown");
    expect(lines[older]).toContain("github is down");
    expect(out).not.toContain("\u001b");
  });

  test("list filters by state and limit, and prints one JSON object", async () => {
    const folder = testFolder();
    await proxy(folder, ROWS);
    const { out } = await run(folder, ["calls", "list", "--json", "--state", "queued, sent"]);
    const { calls } = JSON.parse(out) as { calls: Record<string, unknown>[] };
    expect(calls).toHaveLength(1);
    expect(calls[0]).toMatchObject({ id: "c_01aaaa0000", upstreamName: "github", request: "" });
    expect(
      JSON.parse((await run(folder, ["calls", "list", "--json", "--limit", "1"])).out),
    ).toMatchObject({ calls: [{ id: "c_01bbbb0000" }] });
  });

  test("takes a unique beginning or end of an id, and nothing that fits two calls", async () => {
    const folder = testFolder();
    await proxy(folder, [...ROWS, makeRow({ id: "c_01cccc1234" })]);
    expect((await run(folder, ["calls", "show", "c_01a"])).out).toContain("c_01aaaa0000");
    expect((await run(folder, ["calls", "show", "1234"])).out).toContain("c_01cccc1234");
    expect(await run(folder, ["calls", "show", "0000"])).toMatchObject({
      code: 1,
      error: 'holdfast: "0000" fits 2 calls: c_01bbbb0000, c_01aaaa0000 …\n',
    });
    expect(await run(folder, ["calls", "show", "c_01zz"])).toMatchObject({
      code: 1,
      out: "",
      error: "holdfast: there is no call c_01zz\n",
    });
    expect((await run(folder, ["calls", "show", "c"])).error).toContain("too short");
  });

  test("retry, cancel and settle go through the proxy that runs", async () => {
    const folder = testFolder();
    await proxy(folder, ROWS);
    expect((await run(folder, ["calls", "retry", "c_01b"])).out).toBe(
      "Repeats c_01bbbb0000 as c_copy; runs now.\n",
    );
    expect((await run(folder, ["calls", "cancel", "c_01a"])).out).toBe(
      "Call c_01aaaa0000 is cancelled; executed: no.\n",
    );
    const settled = await run(folder, ["calls", "settle", "c_01b", "--note", "it ran", "--json"]);
    expect(JSON.parse(settled.out)).toMatchObject({ call: { note: "it ran" } });
  });
});

describe("holdfast calls without a running proxy", () => {
  const OLD = makeRow({ id: "c_old1", state: "queued", acceptedAt: Date.now() - 1_000 });

  /** A state folder with one journal on disk that nobody has, holding these calls. */
  async function leftFolder(rows: CallRow[]): Promise<[string, Partial<Outside>]> {
    const folder = testFolder();
    const world = realWorld();
    const { own } = await openJournals({
      world,
      log: () => undefined,
      folder: join(folder, "state"),
      upstreamDigest: "ab".repeat(32),
      credentialsDigest: "cd".repeat(32),
      mode: "required",
      durability: "process",
      dropsDelivered: false,
    });
    await own.recover(world.now());
    for (const row of rows) await own.admit(row);
    const control = join(folder, "state/run/1.sock");
    await own.keep("owner", JSON.stringify({ pid: 1, control, name: "github" }));
    await own.close();
    const journals = (state: string) =>
      Promise.resolve(journalReader(state, world, () => undefined));
    return [folder, { journals }];
  }

  test("status says that calls wait, and by whom they were left", async () => {
    const [folder, overrides] = await leftFolder([OLD]);
    const { code, out } = await run(folder, ["status"], overrides);
    expect(code).toBe(1);
    expect(out).toContain("No proxy is running.");
    expect(out).toContain("github; queued 1");
  });

  test("cancel withdraws a waiting call on the journal itself", async () => {
    const [folder, overrides] = await leftFolder([OLD]);
    const cancelled = await run(folder, ["calls", "cancel", "c_old1"], overrides);
    expect(cancelled).toMatchObject({ code: 0, error: "" });
    expect(cancelled.out).toBe("Call c_old1 is cancelled; executed: no.\n");
    expect(await run(folder, ["calls", "cancel", "c_old1"], overrides)).toMatchObject({
      code: 1,
      error: "holdfast: call c_old1 does not wait: it is cancelled\n",
    });
    expect((await run(folder, ["status"], overrides)).code).toBe(0);
  });

  test("retry admits a new call that names the old one, which stays as it is", async () => {
    const [folder, overrides] = await leftFolder([OLD]);
    expect((await run(folder, ["calls", "retry", "c_old1"], overrides)).error).toContain(
      "only one that ended can be repeated",
    );
    await run(folder, ["calls", "cancel", "c_old1"], overrides);
    const retried = await run(folder, ["calls", "retry", "c_old1", "--json"], overrides);
    const { id } = JSON.parse(retried.out) as { id: string };
    const { out } = await run(folder, ["calls", "list", "--json"], overrides);
    const { calls } = JSON.parse(out) as { calls: CallRow[] };
    expect(calls.find((row) => row.id === id)).toMatchObject({
      state: "queued",
      redriveOf: "c_old1",
      executed: "pending",
    });
    expect(calls.find((row) => row.id === "c_old1")).toMatchObject({ state: "cancelled" });
  });

  test("settle notes what a person found out, and show tells it", async () => {
    const [folder, overrides] = await leftFolder([OLD]);
    await run(folder, ["calls", "cancel", "c_old1"], overrides);
    await run(folder, ["calls", "settle", "c_old1", "--note", "not needed"], overrides);
    const { out } = await run(folder, ["calls", "show", "c_old1"], overrides);
    expect(out).toMatch(/^note +not needed$/m);
    expect(out).toMatch(/^executed +no$/m);
  });
});
