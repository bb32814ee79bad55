import { describe, expect, it } from "vitest";
import { CALL_STATES } from "../../src/core/call.ts";
import { freshLink } from "../../src/core/connection.ts";
import { failure } from "../../src/core/failure.ts";
import { wordsFor } from "../../src/engine/outbox.ts";
import { aRow } from "../support/builders.ts";
import { Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");

describe("what is kept", () => {
  it("of a list is whole: pages of a connection that went away change nothing", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(1_000);
    stage.upstream.kill(reset);
    await stage.world.advance(10);
    stage.upstream.keeps.add("tools/list");
    stage.upstream.down = undefined;
    await stage.world.runUntil(() => stage.upstream.kept.size > 0, 60_000);
    const id = [...stage.upstream.kept.keys()][0];
    const result = { tools: [{ name: "other" }], nextCursor: "2" };
    stage.upstream.say(JSON.stringify({ jsonrpc: "2.0", id, result }));
    await stage.world.advance(10);
    stage.upstream.kill(reset);
    await stage.world.advance(10);
    const list = client.request("tools/list");
    expect(client.answerTo(list)?.["result"]).toMatchObject({ tools: stage.upstream.tools });
  });

  it("of large waiting calls is on disk, and they run in order with what they were called with", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const nonces = ["a", "b", "c", "d", "e", "f"].map((letter) => letter.repeat(3_900_000));
    for (const nonce of nonces) client.call("write", nonce);
    await stage.world.advance(10);
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(stage.upstream.ledger.map((entry) => entry.nonce === nonces.shift())).toEqual(
      Array(6).fill(true),
    );
    expect(stage.fatal).toEqual([]);
  });

  it("for another process's calls is let go ten minutes after the last of them has ended", async () => {
    const before = await new Stage().start();
    const client = await before.connected();
    before.upstream.kill(reset);
    client.call("write", "a");
    await before.world.advance(10);
    const stage = await before.next();
    await stage.start({ isCaretaken: true });
    await stage.world.advance(30_000);
    stage.upstream.down = undefined;
    await stage.world.advance(300_000);
    expect(stage.upstream.ledger).toHaveLength(1);
    expect(stage.journal.isClosed).toBe(false);
    await stage.world.advance(400_000);
    expect(stage.journal.isClosed).toBe(true);
  });
});

describe("the log", () => {
  it("has one line for each change of the connection's state", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    client.call("write", "a");
    await stage.world.advance(40_000);
    const lines = stage.log.filter((line) => line.includes("upstream is "));
    expect(lines.map((line) => line.split(" ").slice(1, 4).join(" "))).toEqual([
      "upstream is dialling",
      "upstream is handshaking",
      "upstream is serving",
    ]);
  });
});

describe("our own words", () => {
  it("never command the reader, whatever happened to a call", () => {
    const link = { ...freshLink(0), failure: reset, failedAt: 0, troubleSince: 0 };
    const at = { upstreamName: "files", link, now: 21_000, nextAttemptAt: 25_000 };
    const rows = CALL_STATES.flatMap((state) =>
      (["no", "yes", "unknown"] as const).map((executed) => ({ ...aRow({ state }), executed })),
    );
    for (const row of rows) {
      const words = wordsFor(row, at);
      expect(words).not.toMatch(/\b(do not|don't|must|should|please|never|retry|try again)\b/i);
      expect(words.length).toBeGreaterThan(20);
    }
  });
});
