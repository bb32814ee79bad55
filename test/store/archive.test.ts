/** The archive: what retention takes away is on disk before it is gone, or stays. */
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CallRow } from "../../src/core/call.ts";
import { aCall, aFolder, aSqliteJournal, NOW } from "./builders.ts";

interface Line {
  readonly of: string;
  readonly archivedAt: number;
  readonly call: CallRow;
}

/** An open journal with an archive, and calls in it that ended at NOW + 5. */
async function archiving(count: number) {
  const folder = aFolder();
  const archive = join(folder, "archive");
  const { journal, lines } = await aSqliteJournal(folder, { archiveBase: join(archive, "1") });
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const call = aCall({ state: "sent" });
    await journal.admit(call);
    const how = {
      attempt: 1,
      state: "done",
      executed: "yes",
      reply: '"yes"',
      at: NOW + 5,
    } as const;
    await journal.apply({ kind: "settle", id: call.id, ...how }, false);
    ids.push(call.id);
  }
  const pathOf = () => join(archive, readdirSync(archive)[0] ?? "none");
  const archived = () =>
    readFileSync(pathOf(), "utf8")
      .split("\n")
      .flatMap((line) => (line.startsWith('{"archivedAt"') ? [JSON.parse(line) as Line] : []));
  return { journal, lines, ids, archive, archived, pathOf };
}

describe("with an archive", () => {
  it("a result goes there whole before it is dropped, and the record when that goes", async () => {
    const { journal, ids, archived, pathOf } = await archiving(2);
    await journal.admit(aCall());
    await journal.prune(NOW + 6, NOW);
    expect(archived().map(({ of, call }) => [of, call.id, call.reply])).toEqual(
      ids.map((id) => ["result", id, '"yes"']),
    );
    expect((await journal.find(ids[0] ?? ""))?.reply).toBeUndefined();
    expect(await journal.prune(NOW + 6, NOW + 6)).toBe(2);
    expect(
      archived()
        .slice(2)
        .map(({ of, call }) => [of, call.id, call.state]),
    ).toEqual(ids.map((id) => ["record", id, "done"]));
    expect(pathOf()).toMatch(/\/1-\d{4}-\d\d\.jsonl$/);
    expect((statSync(pathOf()).mode & 0o777).toString(8)).toBe("600");
    await journal.close();
  });

  it("what goes for want of room goes there, too", async () => {
    const { journal, archived } = await archiving(3);
    expect(await journal.prune(NOW, NOW, 0)).toBe(3);
    expect(archived().map(({ of }) => of)).toEqual(["record", "record", "record"]);
    await journal.close();
  });

  it("a line that a kill tore stays alone, and those after it can be read", async () => {
    const { journal, archive, archived, pathOf } = await archiving(1);
    await journal.prune(NOW + 6, NOW);
    appendFileSync(pathOf(), '{"archivedAt":1,"of":"resu');
    await journal.prune(NOW + 6, NOW + 6);
    expect(readdirSync(archive)).toHaveLength(1);
    const texts = readFileSync(pathOf(), "utf8").trimEnd().split("\n");
    expect(texts).toHaveLength(3);
    expect(JSON.parse(texts[2] ?? "")).toMatchObject({ of: "record" });
    expect(() => archived()).toThrow(SyntaxError);
    await journal.close();
  });

  it("that can't be written nothing is taken away, it is said, and calls go on", async () => {
    const { journal, lines, ids, archive } = await archiving(2);
    mkdirSync(join(archive, ".."), { recursive: true });
    writeFileSync(archive, "a file where the folder should be");
    expect(await journal.prune(NOW + 6, NOW + 6)).toBe(0);
    expect(lines.map(({ message }) => message).join()).toMatch(/could not be archived/);
    expect((await journal.find(ids[0] ?? ""))?.reply).toBe('"yes"');
    expect(await journal.admit(aCall())).toBe(3);
    await journal.close();
  });
});
