import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { exited, Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");

describe("an upstream that is away", () => {
  it("is dialled at most a second after its last failure while a caller waits (stdio)", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(exited);
    client.call("note", "a");
    await stage.world.advance(20_000);
    const before = stage.upstream.dials;
    await stage.world.advance(10_000);
    expect(stage.upstream.dials - before).toBeGreaterThanOrEqual(9);
    stage.upstream.down = undefined;
    await stage.world.advance(1_001);
    expect(stage.upstream.ledger).toHaveLength(1);
  });

  it("is left alone for five minutes by a crash loop, once nobody waits", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    for (let i = 0; i < 5; i++) {
      stage.upstream.kill(exited);
      await stage.world.advance(2_000);
    }
    await stage.world.advance(30_000);
    const before = stage.upstream.dials;
    await stage.world.advance(200_000);
    expect(stage.upstream.dials).toBe(before);
    await stage.world.advance(200_000);
    expect(stage.upstream.dials).toBeGreaterThan(before);
  });

  it("is dialled when its cool-down ends, also where the cool-down was an earlier process's", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    for (let i = 0; i < 6; i++) {
      stage.upstream.kill(exited);
      await stage.world.advance(2_000);
    }
    await stage.world.advance(20_000);
    const after = await stage.next();
    const before = after.upstream.dials;
    after.upstream.down = undefined;
    await after.start();
    await after.connected();
    await after.world.advance(10_000);
    expect(after.upstream.dials).toBe(before);
    await after.world.advance(300_000);
    expect(after.upstream.dials).toBe(before + 1);
    expect(after.upstream.isConnected).toBe(true);
  });

  it("is dialled again for ever", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    stage.upstream.kill(reset);
    await stage.world.advance(24 * 3_600_000);
    const before = stage.upstream.dials;
    await stage.world.advance(600_000);
    expect(stage.upstream.dials).toBeGreaterThan(before);
  });

  it("is dialled soon after the machine woke, and not in a burst", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    for (let i = 0; i < 8; i++) {
      stage.upstream.kill(exited);
      await stage.world.advance(2_000);
    }
    const before = stage.upstream.dials;
    stage.world.suspend(8 * 3_600_000);
    await stage.world.advance(6_500);
    expect(stage.upstream.dials).toBe(before + 1);
  });

  it("that asked for a pause is not dialled before its end, whoever waits", async () => {
    const stage = await new Stage({ settings: { holdMs: 300_000 } }).start();
    const client = await stage.connected();
    stage.upstream.kill({ ...failure("rate_limited", "HTTP 429"), retryAfterMs: 120_000 });
    await stage.world.advance(10);
    const before = stage.upstream.dials;
    const id = client.call("write", "a");
    await stage.world.advance(100_000);
    client.call("write", "b");
    await stage.world.advance(10_000);
    expect(stage.upstream.dials).toBe(before);
    stage.upstream.down = undefined;
    await stage.world.advance(15_000);
    expect(client.told(id)?.text).toBe("write a");
  });

  it("whose state can't be read from the journal is dialled as if it were new", async () => {
    const stage = new Stage();
    await stage.journal.keep("link:up", "{not json");
    await stage.start();
    await stage.connected();
    expect(stage.upstream.isConnected).toBe(true);
    expect(stage.fatal).toEqual([]);
  });
});

describe("a connection that ends", () => {
  it("during its dial is dialled again", async () => {
    const stage = await new Stage().start();
    let isFirst = true;
    stage.upstream.duringDial = () => {
      if (isFirst) stage.upstream.drop(reset, undefined);
      isFirst = false;
    };
    const client = await stage.connected();
    await stage.world.advance(2_000);
    expect(stage.upstream.dials).toBe(2);
    const id = client.call("write", "a");
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("write a");
  });

  it("without an answer to initialize is given up after its time and dialled again", async () => {
    const stage = await new Stage().start();
    stage.upstream.isFrozen = true;
    await stage.connected();
    await stage.world.advance(299_000);
    expect(stage.upstream.dials).toBe(1);
    stage.upstream.isFrozen = false;
    await stage.world.advance(3_000);
    expect(stage.upstream.dials).toBe(2);
    expect((await stage.proxy.control.status()).sessions[0]?.upstream.state).toBe("serving");
  });
});

describe("a silent connection", () => {
  const pings = (stage: Stage) => stage.upstream.methods.filter((m) => m === "ping").length;

  it("that answered pings before and no longer does, nor tools/list, is taken down", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    await stage.world.advance(65_000);
    expect(pings(stage)).toBeGreaterThan(0);
    stage.upstream.isFrozen = true;
    await stage.world.advance(75_000);
    expect(stage.upstream.dials).toBe(2);
    expect(stage.log.join("\n")).toContain("stopped answering pings while idle");
  });

  it("that never answered a ping is NOT judged by pings", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    stage.upstream.keeps.add("ping");
    await stage.world.advance(600_000);
    expect(pings(stage)).toBeGreaterThan(3);
    expect(stage.upstream.dials).toBe(1);
  });

  it("that still answers tools/list is NOT taken down", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    await stage.world.advance(65_000);
    stage.upstream.keeps.add("ping");
    await stage.world.advance(600_000);
    expect(stage.upstream.dials).toBe(1);
  });

  it("with a call in flight is neither pinged nor taken down, however long it takes", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(65_000);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "slow");
    await stage.world.advance(1);
    const before = pings(stage);
    await stage.world.advance(7_200_000);
    expect(pings(stage)).toBe(before);
    expect(stage.upstream.dials).toBe(1);
    stage.upstream.answer("slow");
    await stage.world.advance(1);
    expect(client.told(id)?.text).toBe("done");
  });

  it("that gets a call while the last proof of its death is waited for is NOT taken down", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(65_000);
    stage.upstream.isFrozen = true;
    const lists = () => stage.upstream.methods.filter((m) => m === "tools/list").length;
    const before = lists();
    await stage.world.runUntil(() => lists() > before, 120_000);
    client.call("write", "slow");
    await stage.world.advance(600_000);
    expect(stage.upstream.dials).toBe(1);
  });

  it("is looked at at once when the machine woke", async () => {
    const stage = await new Stage().start();
    await stage.connected();
    await stage.world.advance(65_000);
    const before = pings(stage);
    stage.world.suspend(3_600_000);
    await stage.world.advance(5_001);
    expect(pings(stage)).toBe(before + 1);
  });

  it("in front of a server that hangs does not keep the lists of its client from being answered", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    await stage.world.advance(65_000);
    stage.upstream.isFrozen = true;
    const id = client.request("tools/list");
    await stage.world.advance(2_001);
    expect(client.answerTo(id)?.["result"]).toMatchObject({ tools: stage.upstream.tools });
    await stage.world.advance(120_000);
    expect(stage.upstream.dials).toBeGreaterThan(1);
  });
});

describe("a server that says 429", () => {
  it("gets nothing more until the time that it asked for is over, and then everything in order", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const first = client.call("write", 0);
    await stage.world.advance(1);
    const slowDown = { ...failure("rate_limited", "HTTP 429"), retryAfterMs: 20_000 };
    stage.upstream.fate(0, { kind: "refused", failure: slowDown });
    stage.upstream.keeps.clear();
    const rest = [client.call("write", 1), client.call("read", 2)];
    await stage.world.advance(19_000);
    expect(stage.upstream.ledger).toHaveLength(1);
    await stage.world.advance(2_000);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual([0, 0, 1, 2]);
    for (const id of [first, ...rest]) expect(client.told(id)?.isError).toBe(false);
  });
});

describe("a connection that can be resumed", () => {
  const ticketOf = (stage: Stage, ...nonces: string[]) => ({
    requestIds: nonces.map((nonce) => stage.upstream.idOf(nonce)),
    data: "ticket",
  });

  it("gives the answers of calls that were in flight, and nothing is sent again", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write").add("read");
    const ids = [client.call("write", "w"), client.call("read", "r")];
    await stage.world.advance(1);
    stage.upstream.resumes = true;
    stage.upstream.drop(reset, ticketOf(stage, "w", "r"));
    await stage.world.advance(2_000);
    stage.upstream.answer("w", "fetched");
    stage.upstream.answer("r", "fetched");
    await stage.world.advance(1);
    for (const id of ids) expect(client.told(id)?.text).toBe("fetched");
    expect(stage.upstream.ledger).toHaveLength(2);
    expect(stage.upstream.methods.filter((m) => m === "initialize")).toHaveLength(1);
  });

  it("and is not makes a write's outcome unknown and sends a read again", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write").add("read");
    const ids = [client.call("write", "w")];
    await stage.world.advance(1);
    ids.push(client.call("read", "r"));
    await stage.world.advance(1);
    const ticket = ticketOf(stage, "w", "r");
    stage.upstream.keeps.clear();
    stage.upstream.drop(reset, ticket);
    await stage.world.advance(2_000);
    expect(client.told(ids[0] ?? 0)?.meta).toMatchObject({ executed: "unknown" });
    expect(client.told(ids[1] ?? 0)?.text).toBe("read r");
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual(["w", "r", "r"]);
  });

  it("and never comes back tells its callers at the end of their hold", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(1);
    stage.upstream.down = reset;
    stage.upstream.drop(reset, ticketOf(stage, "w"));
    await stage.world.advance(44_000);
    expect(client.answerTo(id)).toBeUndefined();
    await stage.world.advance(2_000);
    expect(client.told(id)?.meta).toMatchObject({ executed: "unknown" });
  });

  it("loses at once what its ticket does not name", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "w");
    await stage.world.advance(1);
    stage.upstream.drop(reset, { requestIds: [], data: "ticket" });
    await stage.world.advance(1);
    expect(client.told(id)?.meta).toMatchObject({ executed: "unknown" });
  });
});

describe("a limit on calls in flight", () => {
  it("is kept, in order, and nothing waits once there is room", async () => {
    const stage = await new Stage({ settings: { concurrency: 2 } }).start();
    const client = await stage.connected();
    stage.upstream.keeps.add("read");
    const ids = [0, 1, 2, 3, 4].map((nonce) => client.call("read", nonce));
    await stage.world.advance(5_000);
    expect(stage.upstream.ledger.map((entry) => entry.nonce)).toEqual([0, 1]);
    for (let nonce = 0; nonce < 5; nonce++) {
      stage.upstream.answer(nonce);
      await stage.world.advance(1_000);
      const most = Math.min(5, nonce + 3);
      expect(stage.upstream.ledger).toHaveLength(most);
    }
    for (const id of ids) expect(client.told(id)?.isError).toBe(false);
  });
});
