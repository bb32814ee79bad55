import { describe, expect, it } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import { Stage, type ScriptedClient } from "../support/stage.ts";

const MIB = 1024 * 1024;

/** A client over the network that notes when it is held. */
async function held(stage: Stage): Promise<{ client: ScriptedClient; holds: boolean[] }> {
  const holds: boolean[] = [];
  const client = stage.guest({ hold: (isHeld) => holds.push(isHeld) });
  client.initialize();
  await stage.world.advance(1);
  client.notify("notifications/initialized");
  await stage.world.advance(1);
  return { client, holds };
}

const large = (letter: string): string => letter.repeat(1.5 * MIB);

describe("a client whose calls come faster than the disk takes them", () => {
  it("is held until they are on disk, and then read from again", async () => {
    const stage = await new Stage().start();
    const { client, holds } = await held(stage);
    stage.journal.hold("admit");
    for (const letter of ["a", "b"]) client.call("write", large(letter));
    expect(holds).toEqual([]);
    client.call("write", large("c"));
    expect(holds).toEqual([true]);
    await stage.world.settle();
    stage.journal.release(1);
    await stage.world.settle();
    expect(holds).toEqual([true]);
    stage.journal.release();
    await stage.world.advance(10);
    expect(holds).toEqual([true, false]);
    expect(stage.upstream.ledger).toHaveLength(3);
  });

  it("does NOT hold another with little on its way, and is not held for one large call", async () => {
    const stage = await new Stage().start();
    const greedy = await held(stage);
    const modest = await held(stage);
    stage.journal.hold("admit");
    greedy.client.call("write", large("a"));
    modest.client.call("write", "small");
    expect([greedy.holds, modest.holds]).toEqual([[], []]);
    for (const letter of ["b", "c"]) greedy.client.call("write", large(letter));
    modest.client.call("write", "small, too");
    expect([greedy.holds, modest.holds]).toEqual([[true], []]);
    stage.journal.release();
    await stage.world.advance(10);
    expect(stage.upstream.ledger).toHaveLength(5);
  });

  it("is read from again where the journal refuses them, or it takes them back", async () => {
    const stage = await new Stage().start();
    const { client, holds } = await held(stage);
    stage.journal.hold("admit");
    const ids = ["a", "b", "c"].map((letter) => client.call("write", large(letter)));
    for (const id of ids) client.notify("notifications/cancelled", { requestId: id });
    await stage.world.settle();
    stage.journal.release();
    await stage.world.advance(10);
    expect(holds).toEqual([true, false]);
    stage.journal.refuses = new JournalError("full", "the disk is full");
    for (const letter of ["d", "e", "f"]) client.call("write", large(letter));
    await stage.world.advance(10);
    expect(holds).toEqual([true, false, true, false]);
    expect(stage.fatal).toEqual([]);
  });
});
