/**
 * Files with a few random bytes changed, as by a bad disk: a look never fails, nothing that it passes over
 * differs from what was written, and a repair hands out no call that is not exactly as it was.
 *
 * `HOLDFAST_MUTATIONS` and `HOLDFAST_SEED` run more, or others.
 */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { expect, it } from "vitest";
import type { CallRow } from "../../src/core/call.ts";
import { readCalls } from "../../src/store/reader.ts";
import { aSession } from "../support/builders.ts";
import { randomFrom } from "../support/random.ts";
import { aCall } from "./builders.ts";
import { anEmptyFolder, allOf, look, openOwn, pathOf } from "./state-folder.ts";

const COUNT = Number(process.env["HOLDFAST_MUTATIONS"] ?? 40);
const SEED = Number(process.env["HOLDFAST_SEED"] ?? 1);

async function aJournalOfManyPages(): Promise<string> {
  const folder = anEmptyFolder();
  const own = await openOwn(folder);
  const calls = Array.from({ length: 60 }, (_, n) =>
    aCall({
      fingerprint: String(n),
      sessionId: `s_${String(n % 3)}`,
      request: `{"n":"${"x".repeat(n * 20)}"}`,
    }),
  );
  await Promise.all(calls.map((call) => own.admit(call)));
  await own.saveSession(aSession({ id: "s_1" }));
  await own.close();
  return folder;
}

const text = (rows: readonly CallRow[]) =>
  new Map(rows.map((row) => [row.id, JSON.stringify(row)]));

it(`are noticed, and repaired without a call that is not as it was (seed ${String(SEED)})`, async () => {
  const origin = await aJournalOfManyPages();
  const whole = text(await readCalls(pathOf(origin), {}));
  const bytes = readFileSync(pathOf(origin));
  const random = randomFrom(SEED);
  let noticed = 0;
  for (let n = 0; n < COUNT; n++) {
    const folder = anEmptyFolder();
    mkdirSync(dirname(pathOf(folder)), { recursive: true, mode: 0o700 });
    const mutated = Buffer.from(bytes);
    // The first page holds what all others are read by.
    const at = Math.floor(random() * (random() < 0.25 ? 4096 : bytes.length));
    const length = 1 + Math.floor(random() * (random() < 0.5 ? 4 : 400));
    for (let i = at; i < Math.min(at + length, bytes.length); i++) {
      mutated[i] = Math.floor(random() * 256);
    }
    writeFileSync(pathOf(folder), mutated, { mode: 0o600 });
    copyFileSync(pathOf(origin, "1.hwm"), pathOf(folder, "1.hwm"));
    const knobs = `mutation ${String(n)}: ${String(length)} bytes at ${String(at)}`;
    const faults = allOf(await look(folder)).filter(({ weight }) => weight === "fault");
    if (faults.length === 0) {
      expect(text(await readCalls(pathOf(folder), {})), knobs).toEqual(whole);
    } else noticed++;
    const repaired = await look(folder, true);
    expect(repaired.refused, knobs).toEqual([]);
    expect(
      allOf(repaired).filter(({ mend }) => mend !== undefined),
      knobs,
    ).toEqual([]);
    for (const { path, findings } of repaired.journals) {
      if (findings.some(({ check, mend }) => check === "schema" && mend === undefined)) continue;
      for (const [id, row] of text(await readCalls(path, {})))
        expect(row, `${knobs}: ${id}`).toBe(whole.get(id));
    }
    rmSync(folder, { recursive: true });
  }
  expect(noticed).toBeGreaterThan(COUNT / 4);
});
