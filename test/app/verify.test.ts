/** `holdfast verify` and `doctor` on real journals: what is printed, for people and programs, and the exit code. */
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { runCommandLine } from "../../src/app/command-line.ts";
import { journalReader } from "../../src/app/journals.ts";
import type { Check } from "../../src/app/commands/doctor.ts";
import { realWorld } from "../../src/base/world.ts";
import { openJournals } from "../../src/store/folder.ts";
import { aProxy } from "./support/control.ts";
import { makeStatus } from "./support/samples.ts";
import { makeRow, testFolder, testOutside } from "./support/outside.ts";

const world = realWorld();
const DIGEST = "ab".repeat(32);

async function run(folder: string, ...argv: string[]) {
  const outside = testOutside(
    folder,
    {},
    {
      journals: (state) => Promise.resolve(journalReader(state, world, () => undefined)),
    },
  );
  const code = await runCommandLine(argv, outside);
  return { code, out: outside.stdout(), error: outside.stderr() };
}

const stateOf = (folder: string) => join(folder, "state");
const pathOf = (folder: string) => join(stateOf(folder), "journals", DIGEST.slice(0, 16), "1.db");

/** One waiting call, and a proxy that noted itself as its journal's owner. */
async function aJournal(folder: string): Promise<string> {
  const { own } = await openJournals({
    world,
    log: () => undefined,
    folder: stateOf(folder),
    upstreamDigest: DIGEST,
    credentialsDigest: "cred",
    mode: "required",
    durability: "full",
  });
  const call = makeRow({ deadlineAt: world.now() + 3_600_000 });
  await own.admit(call);
  const { pid } = makeStatus();
  const control = join(stateOf(folder), "run", `${String(pid)}.sock`);
  await own.keep("owner", JSON.stringify({ pid, control, name: "github" }));
  await own.close();
  return call.id;
}

function sql(folder: string, text: string): void {
  const db = new Database(pathOf(folder));
  db.exec(text);
  db.close();
}

interface Told {
  readonly isFine: boolean;
  readonly journals: readonly Record<string, unknown>[];
  readonly repairs: readonly { readonly did: readonly string[] }[];
}

describe("holdfast verify", () => {
  test("says that all is fine, also where there is nothing; exit 0", async () => {
    const folder = testFolder();
    const none = await run(folder, "verify");
    expect(none).toMatchObject({ code: 0, error: "" });
    expect(none.out).toMatch(/^Fine: 0 journals with 0 calls in .*state\.\n$/);
    await aJournal(folder);
    const one = await run(folder, "verify");
    expect(one).toMatchObject({ code: 0, error: "" });
    expect(one.out).toMatch(/^Fine: 1 journal with 1 call in /);
  });

  test("names journal, fault, call, meaning and remedy; exit 1", async () => {
    const folder = testFolder();
    const id = await aJournal(folder);
    sql(folder, "update call set cause = 'x'");
    const { code, out } = await run(folder, "verify");
    expect(code).toBe(1);
    expect(out.split("\n").map((line) => line.trimEnd())).toEqual([
      `${pathOf(folder)}  github; 1 call, 1 not ended`,
      "  fault  rows: its checksum is wrong",
      `         calls    ${id} (create_issue, queued)`,
      "         means    it is never run again; whether it ran is not known",
      `         --repair sets call ${id} aside, where nothing runs it (its checksum is wrong)`,
      "1 fault found; --repair mends all of them. Looked at 1 journal with 1 call.",
      "",
    ]);
  });

  test("mends with --repair and says so; what was set aside stays a note; exit 0", async () => {
    const folder = testFolder();
    const id = await aJournal(folder);
    sql(folder, "update call set cause = 'x'");
    const { code, out, error } = await run(folder, "verify", "--repair");
    expect([code, error]).toEqual([0, ""]);
    expect(out).toContain(`${pathOf(folder)}  repaired\n`);
    expect(out).toContain(
      `  set call ${id} aside, where nothing runs it (its checksum is wrong)\n`,
    );
    expect(out).toMatch(/ {2}what was there is kept in .*1\.db\.before-repair-/);
    expect(out).toContain(
      "  note   quarantine: a damaged call was set aside: its checksum is wrong\n",
    );
    expect(out).toMatch(/\nFine: 1 journal with 1 call in .*; 1 note\.\n$/);
    expect((await run(folder, "verify")).code).toBe(0);
  });

  test("tells of a rebuilt journal where its calls are, and that they are held; exit 1", async () => {
    const folder = testFolder();
    const id = await aJournal(folder);
    sql(folder, "drop table fact");
    const { code, out } = await run(folder, "verify", "--repair");
    expect(code).toBe(1);
    expect(out).toMatch(/1 call and 0 sessions could be read, and are in .*2\.db\n/);
    expect(out).toContain("  1 call of them held for you\n");
    expect(out).toContain(`calls    ${id} (create_issue, queued)\n`);
    expect(out).toMatch(/1 fault left; what is left needs a person\./);
  });

  test("says of a file beyond reading that its last backup may help", async () => {
    const folder = testFolder();
    await aJournal(folder);
    writeFileSync(pathOf(folder), "x".repeat(5_000));
    const found = await run(folder, "verify");
    expect(found.code).toBe(1);
    const { code, out } = await run(folder, "verify", "--repair");
    expect(code).toBe(0);
    expect(out).toContain("none of its calls could be read; its last backup may have them");
    expect(out).toMatch(/what was there is kept in .*1\.db\.damaged-/);
  });

  test("reads a running proxy's journal beside it, and refuses to repair that one", async () => {
    const folder = testFolder();
    await aJournal(folder);
    sql(folder, "update head set seq = 0");
    // Only its socket tells that it lives: its lock is free here, and must not be tried.
    await aProxy(folder, {});
    const { code, out, error } = await run(folder, "verify", "--repair");
    expect(code).toBe(1);
    expect(out).toContain("a running proxy has it\n");
    expect(error).toBe(
      `holdfast: ${pathOf(folder)} is in use by a running proxy; stop that, then repair again\n`,
    );
    expect(readdirSync(join(pathOf(folder), "..")).filter((name) => /repair/.test(name))).toEqual(
      [],
    );
  });

  test("has pinned JSON keys", async () => {
    const folder = testFolder();
    await aJournal(folder);
    sql(folder, "update head set seq = 0");
    const found = await run(folder, "verify", "--json");
    expect(found.code).toBe(1);
    const told = JSON.parse(found.out) as Told;
    expect(Object.keys(told)).toEqual("isFine journals files repairs refused".split(" "));
    const [journal] = told.journals;
    expect(Object.keys(journal ?? {})).toEqual(
      "path upstreamDigest16 isRunning rows waiting upstream findings".split(" "),
    );
    const [finding] = journal?.["findings"] as Record<string, unknown>[];
    expect(Object.keys(finding ?? {}).sort()).toEqual(
      "advice callCount calls check means repair weight what".split(" "),
    );
    expect(finding).toMatchObject({ check: "head", repair: "raises the head to the last row" });
    const { out, code } = await run(folder, "verify", "--repair", "--json");
    expect(code).toBe(0);
    const done = JSON.parse(out) as Told;
    expect(done.isFine).toBe(true);
    expect(done.repairs).toMatchObject([{ did: ["raised the head to the last row"] }]);
  });

  test("makes control characters of tools harmless", async () => {
    const folder = testFolder();
    await aJournal(folder);
    sql(folder, "update origin set tool = 'a' || char(27) || '[31m'");
    const { out } = await run(folder, "verify");
    expect(out).toContain("(a [31m, queued)");
    expect(out).not.toContain("\u001b");
  });

  test("is refused with exit 2 where it is called wrongly", async () => {
    const { code, error } = await run(testFolder(), "verify", "--mend");
    expect(code).toBe(2);
    expect(error).toContain("--mend");
  });
});

describe("holdfast doctor", () => {
  test("mentions a journal with trouble, and what looks closer", async () => {
    const folder = testFolder();
    await aJournal(folder);
    const journals = async () => {
      const { out } = await run(folder, "doctor", "--json");
      return (JSON.parse(out) as { checks: Check[] }).checks.find(
        ({ name }) => name === "journals",
      );
    };
    expect(await journals()).toMatchObject({ verdict: "ok", text: "1 journal, no trouble seen" });
    writeFileSync(pathOf(folder), "x".repeat(5_000));
    expect(await journals()).toMatchObject({
      verdict: "warn",
      text: expect.stringMatching(/1\.db can't be read: file is not a database/),
      advice: expect.stringMatching(/holdfast verify/),
    });
  });
});
