/** What is read of a damaged journal, where the new one is what fails. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { IMPORTED } from "../../src/store/moving/known.ts";
import { salvage } from "../../src/store/repair/salvage.ts";
import { loadDriver, openReading, openWriting } from "../../src/store/sqlite/connection.ts";
import { SideStatements } from "../../src/store/sqlite/side-statements.ts";
import { aCall } from "./builders.ts";
import { anEmptyFolder, openOwn, pathOf } from "./state-folder.ts";

it("a salvage that does not fit on the disk stops at once, and says that the disk is full", async () => {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  const calls = Array.from({ length: 600 }, (_, n) => aCall({ fingerprint: String(n) }));
  await Promise.all(calls.map((call) => own.admit(call)));
  await own.close();
  const driver = await loadDriver();
  const from = openReading(driver, pathOf(folder));
  const to = openWriting(driver, join(folder, "new.db"));
  to.pragma("max_page_count = 40");
  expect(() => salvage(from, to, undefined)).toThrow(
    expect.objectContaining({ code: "SQLITE_FULL" }),
  );
  // Nothing was written on its own after the transaction was undone.
  expect(to.prepare("select count(*) from call").pluck().get()).toBe(0);
  from.close();
  to.close();
});

it("a salvaged journal does not say what file it came from, so that this can bring back what was lost", async () => {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  await own.admit(aCall());
  await own.keep(IMPORTED, "0".repeat(64));
  await own.keep("owner", '{"pid":1}');
  await own.close();
  const driver = await loadDriver();
  const from = openReading(driver, pathOf(folder));
  const to = openWriting(driver, join(folder, "new.db"));
  salvage(from, to, undefined);
  const keys = new SideStatements(to).kept("").map(([key]) => key);
  expect(keys).toContain("owner");
  expect(keys).not.toContain(IMPORTED);
  from.close();
  to.close();
});
