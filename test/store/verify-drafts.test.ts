/** What killed processes left half written, and what others are at work on: told apart by the lock. */
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { journalFiles } from "../../src/store/layout.ts";
import {
  defaultShelf,
  partialPath,
  shelfLockPath,
  stagingOf,
} from "../../src/store/snapshot/shelf.ts";
import { loadDriver } from "../../src/store/sqlite/connection.ts";
import { tryLock } from "../../src/store/sqlite/lock.ts";
import { NOW } from "./builders.ts";
import { startChild } from "./children.ts";
import { aStateFolder, allOf, look, pathOf } from "./state-folder.ts";

describe("a draft", () => {
  it("of an import that is under way is told apart, and stays; killed, it goes", async () => {
    const { folder } = await aStateFolder();
    const child = startChild("import-stdin.mjs", folder);
    onTestFinished(() => child.kill());
    const upstream = "c".repeat(64);
    child.process.stdin.write(
      '{"format":"holdfast-journal","version":1,"createdAt":1,"holdfast":"1","states":[]}\n' +
        `{"kind":"journal","upstream":"${upstream}","name":"n"}\n`,
    );
    await child.untilLines(1);
    const { draftPath } = journalFiles(folder, upstream, 1);
    const drafts = ["", "-wal", "-shm"].map((ending) => `${draftPath}${ending}`);
    for (const path of drafts) utimesSync(path, new Date(NOW - 300_000), new Date(NOW - 300_000));
    const during = await look(folder, true, NOW);
    expect(during.files).toMatchObject([{ check: "drafts", weight: "note", mend: undefined }]);
    expect(during.files[0]?.what).toMatch(
      /1\.db\.draft is not finished, last written 5 min ago; who/,
    );
    expect(during.didFiles).toEqual([]);
    expect(drafts.map(existsSync)).toEqual([true, true, true]);
    await child.kill();
    expect((await look(folder, false, NOW)).files).toMatchObject([
      {
        what: `${draftPath} was left behind by an import that was killed, last written 5 min ago`,
        mend: { kind: "removeDraft" },
      },
    ]);
    expect((await look(folder, true)).didFiles).toEqual([`removed ${draftPath}`]);
    expect(drafts.map(existsSync)).toEqual([false, false, false]);
    expect(allOf(await look(folder))).toEqual([]);
  });

  it("of a restore, a backup or a repair is nobody's where its lock is free, however young", async () => {
    const { folder } = await aStateFolder();
    const { copyPath, restorePath } = stagingOf(folder);
    const shelf = defaultShelf(folder);
    mkdirSync(shelf, { mode: 0o700 });
    const drafts = [
      `${pathOf(folder)}.draft-20260101T000000000Z`,
      copyPath,
      partialPath(folder, shelf),
      restorePath,
      join(shelf, ".tokens.json.draft"),
    ];
    for (const path of drafts) writeFileSync(path, "x", { mode: 0o600 });
    writeFileSync(`${restorePath}-journal`, "x", { mode: 0o600 });
    const driver = await loadDriver();
    const lock = tryLock(driver, shelfLockPath(folder));
    const locked = (await look(folder)).files.map(({ mend }) => mend?.kind);
    expect(locked).toEqual(["removeDraft", undefined, undefined, undefined, undefined]);
    lock?.release();
    const { didFiles } = await look(folder, true, NOW);
    expect(didFiles).toEqual(drafts.map((path) => `removed ${path}`));
    expect(readdirSync(shelf)).toEqual(["lock.db"]);
  });
});
