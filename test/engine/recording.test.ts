/** Reads of clients that can come back: at once when they are quick, on disk when they take their time. */
import { describe, expect, it } from "vitest";
import { JournalError } from "../../src/base/errors.ts";
import { failure } from "../../src/core/failure.ts";
import { begun, HTTP } from "../support/guests.ts";
import type { Stage, ScriptedClient } from "../support/stage.ts";

/** A read that the server keeps; it has been in flight for as long as a record needs. */
async function slowRead(): Promise<[Stage, ScriptedClient, number]> {
  const [stage, client] = await begun(HTTP);
  stage.upstream.keeps.add("read");
  return [stage, client, client.call("read", "r")];
}

describe("a read of a client that can come back", () => {
  it("that is answered at once leaves no row and has no id", async () => {
    const [stage, client] = await begun(HTTP);
    const id = client.call("read", "r");
    await stage.world.advance(1_000);
    expect(client.told(id)?.text).toBe("read r");
    expect(client.accepted.size).toBe(0);
    expect(await stage.rows()).toEqual([]);
    expect((await stage.proxy.control.status()).sessions[0]?.upstream.inFlight).toBe(0);
  });

  it("that takes its time is on disk while it runs, and its client can come back for it", async () => {
    const [stage, client, id] = await slowRead();
    await stage.world.advance(19);
    expect(client.accepted.size).toBe(0);
    await stage.world.advance(2);
    const callId = client.accepted.get(String(id)) ?? "none";
    expect((await stage.row("r")).state).toBe("sent");
    const after = await stage.next();
    after.upstream.keeps.clear();
    await after.start();
    const back = await after.returning(HTTP);
    expect(await back?.handler.resume([callId], back.stream())).toEqual([]);
    await after.world.advance(5_000);
    expect(back?.told(id)?.text).toBe("read r");
    expect((await after.row("r")).state).toBe("done");
  });

  it("LR1: that is answered while its row is being written has its answer once, and a whole row", async () => {
    const [stage, client, id] = await slowRead();
    stage.journal.hold("admit");
    await stage.world.advance(60);
    stage.upstream.answer("r");
    await stage.world.advance(10);
    expect(client.answerTo(id)).toBeUndefined();
    stage.journal.release();
    await stage.world.advance(10);
    expect(client.told(id)?.text).toBe("done");
    expect(await stage.row("r")).toMatchObject({ state: "done", executed: "yes", attempt: 1 });
    expect(stage.fatal).toEqual([]);
  });

  it("LR1: whose connection breaks while its row is being written is sent again, and answered", async () => {
    const [stage, client, id] = await slowRead();
    stage.journal.hold("admit");
    await stage.world.advance(60);
    stage.upstream.keeps.clear();
    stage.upstream.kill();
    await stage.world.advance(10);
    stage.journal.release();
    await stage.world.advance(5_000);
    expect(client.told(id)?.text).toBe("read r");
    expect(await stage.row("r")).toMatchObject({ state: "done", attempt: 2 });
    expect(stage.fatal).toEqual([]);
  });

  it("LR2: goes on where the journal can't take it", async () => {
    const [stage, client, id] = await slowRead();
    stage.journal.refuses = new JournalError("full", "the disk is full");
    await stage.world.advance(60);
    expect(client.accepted.size).toBe(0);
    stage.upstream.answer("r");
    await stage.world.advance(10);
    expect(client.told(id)?.text).toBe("done");
    expect(stage.fatal).toEqual([]);
  });

  it("LR2: ends the process with a journal that is lost", async () => {
    const [stage] = await slowRead();
    const lost = new JournalError("io", "disk I/O error");
    stage.journal.refuses = lost;
    await stage.world.advance(60);
    expect(stage.fatal).toEqual([lost]);
  });

  it("that had to wait for an earlier call to leave is recorded all the same", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.keeps.add("read");
    stage.journal.hold("admit");
    client.call("write", "w");
    const id = client.call("read", "r");
    await stage.world.advance(100);
    stage.journal.release();
    await stage.world.advance(100);
    expect(client.accepted.has(String(id))).toBe(true);
    expect((await stage.row("r")).state).toBe("sent");
  });

  it("that was taken back is not recorded, and leaves no timer", async () => {
    const [stage, client, id] = await slowRead();
    const timers = stage.pendingTimers;
    await stage.world.advance(10);
    client.cancel(id);
    await stage.world.advance(11_000);
    expect(client.answerTo(id)).toBeUndefined();
    expect(await stage.rows()).toEqual([]);
    expect(stage.pendingTimers).toBeLessThan(timers);
  });

  it("that has to wait is on disk at once, like any other call", async () => {
    const [stage, client] = await begun(HTTP);
    stage.upstream.kill(failure("reset", "away"));
    const id = client.call("read", "r");
    await stage.world.advance(1);
    expect(client.accepted.has(String(id))).toBe(true);
    expect((await stage.row("r")).state).toBe("queued");
  });

  it("never waits for a commit, and one that writes always does", async () => {
    const [stage, client] = await begun(HTTP);
    stage.journal.hold("admit");
    const read = client.call("read", "r");
    await stage.world.advance(1);
    expect(client.told(read)?.text).toBe("read r");
    client.call("write", "w");
    await stage.world.advance(1);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["r"]);
    stage.journal.release();
    await stage.world.advance(1);
    expect(stage.upstream.ledger.map(({ nonce }) => nonce)).toEqual(["r", "w"]);
  });
});
