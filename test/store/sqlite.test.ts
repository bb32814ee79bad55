import { expect, it } from "vitest";
import { NOW, aCall, aFolder, aSqliteJournal } from "./builders.ts";
import { exerciseStore } from "./conformance.ts";

exerciseStore("sqlite", async () => (await aSqliteJournal(aFolder())).journal);

it("keeps a reply of megabytes as it is, one with other letters too, as text", async () => {
  const { journal } = await aSqliteJournal(aFolder());
  for (const reply of ["x".repeat(3_000_000), "ä€😀".repeat(300_000)]) {
    const call = aCall({ state: "sent" });
    await journal.admit(call);
    const done = { state: "done", executed: "yes", reply, at: NOW + 1 } as const;
    await journal.apply({ kind: "settle", id: call.id, attempt: 1, ...done }, true);
    const row = await journal.find(call.id);
    expect(row?.reply === reply).toBe(true);
  }
  await journal.close();
});
