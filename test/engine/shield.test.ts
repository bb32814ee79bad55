import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { ShieldMode } from "../../src/core/settings.ts";
import type { JsonObject } from "../../src/wire/message.ts";
import { begun, WS } from "../support/guests.ts";
import { Stage } from "../support/stage.ts";

const reset = failure("reset", "connection reset");

/** A stage where the outcome of the write "a" is unknown. */
async function inDoubt(shield: ShieldMode) {
  const stage = await new Stage({ settings: { shield } }).start();
  const client = await stage.connected();
  stage.upstream.keeps.add("write");
  client.call("write", "a");
  await stage.world.advance(1);
  stage.upstream.keeps.clear();
  stage.upstream.kill();
  await stage.world.advance(5_000);
  const repeat = async () => {
    const id = client.call("write", "a");
    await stage.world.advance(10);
    return client.told(id)?.text ?? "";
  };
  return { stage, client, repeat };
}

describe("the repetition of a call with an unknown outcome", () => {
  it("is warned of once and sent the second time (warn)", async () => {
    const { repeat } = await inDoubt("warn");
    expect(await repeat()).toContain("Repeated once more, it will be sent");
    expect(await repeat()).toBe("write a");
  });

  it("is not sent for ten minutes (block)", async () => {
    const { stage, repeat } = await inDoubt("block");
    for (let i = 0; i < 3; i++) expect(await repeat()).toContain("blocked for 10 minutes");
    await stage.world.advance(600_000);
    expect(await repeat()).toBe("write a");
  });

  it("is warned of also where its client had to come back to be told of it", async () => {
    const [stage, client] = await begun(WS);
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(1);
    client.isAway = true;
    client.handler.detached("the socket was reset");
    stage.upstream.keeps.clear();
    stage.upstream.kill();
    await stage.world.advance(5_000);
    client.isAway = false;
    client.handler.attached();
    await stage.world.advance(10);
    expect(client.told(id)?.meta?.["executed"]).toBe("unknown");
    const again = client.call("write", "a");
    await stage.world.advance(10);
    expect(client.told(again)?.text).toContain("Repeated once more, it will be sent");
  });

  it("is warned of after a restart that ended the state of the server's session, too", async () => {
    const [stage, client] = await begun(WS, { settings: { isStateful: true } });
    stage.upstream.keeps.add("put");
    client.call("put", "a");
    await stage.world.advance(10);
    const after = await stage.next();
    after.upstream.keeps.clear();
    await after.start();
    const back = await after.returning(WS);
    back?.handler.attached();
    await after.world.advance(1_000);
    // Its ids go on where they were.
    back?.request("ping");
    back?.request("ping");
    const again = back?.call("put", "a") ?? 0;
    await after.world.advance(1_000);
    expect(back?.told(again)?.text).toContain("Repeated once more, it will be sent");
  });

  it("is sent at once (off)", async () => {
    const { repeat } = await inDoubt("off");
    expect(await repeat()).toBe("write a");
  });

  it("is sent at once when a person has found out what happened", async () => {
    const { stage, repeat } = await inDoubt("block");
    const { id } = await stage.row("a");
    const row = await stage.proxy.control.settle(id, "it did not run");
    expect(row).toMatchObject({ state: "dead", executed: "unknown", note: "it did not run" });
    expect(await repeat()).toBe("write a");
  });

  it("with other arguments is another call", async () => {
    const { stage, client } = await inDoubt("block");
    const id = client.call("write", "b");
    await stage.world.advance(10);
    expect(client.told(id)?.text).toBe("write b");
  });
});

describe("equal calls of a live client", () => {
  it("in flight in parallel stay separate", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    const ids = [client.call("write", "a"), client.call("write", "a"), client.call("write", "a")];
    await stage.world.advance(10);
    for (const id of ids) expect(client.told(id)?.text).toBe("write a");
    expect(stage.upstream.ledger).toHaveLength(3);
  });
});

describe("the operator", () => {
  it("repeats an ended call as a new one that names the old", async () => {
    const { stage } = await inDoubt("warn");
    const old = await stage.row("a");
    const id = await stage.proxy.control.retry(old.id);
    await stage.world.advance(1_000);
    expect(await stage.proxy.control.show(id)).toMatchObject({
      state: "done",
      executed: "yes",
      redriveOf: old.id,
    });
    expect(await stage.proxy.control.show(old.id)).toEqual(old);
  });

  it("cannot repeat a call that has not ended, end one that has, or touch one that is not there", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    const { control } = stage.proxy;
    client.call("write", "done");
    stage.upstream.kill(reset);
    client.call("write", "waits");
    await stage.world.advance(10);
    const waits = await stage.row("waits");
    await expect(control.retry(waits.id)).rejects.toThrow("only one that ended");
    await expect(control.settle(waits.id, "x")).rejects.toThrow("is still queued");
    await control.cancel(waits.id);
    await expect(control.cancel(waits.id)).rejects.toThrow("already ended");
    await expect(control.cancel("c_none")).rejects.toThrow("there is no call c_none");
    expect(await control.show("c_none")).toBeUndefined();
  });

  it("withdraws a waiting call, and its caller is told by whom", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.kill(reset);
    const id = client.call("write", "a");
    await stage.world.advance(10);
    const row = await stage.proxy.control.cancel((await stage.row("a")).id);
    expect(row).toMatchObject({ state: "cancelled", executed: "no" });
    expect(client.told(id)?.text).toContain("withdrawn by an operator");
  });

  it("gives up a call in flight, and its caller is told by whom", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected();
    stage.upstream.keeps.add("write");
    const id = client.call("write", "a");
    await stage.world.advance(10);
    await stage.proxy.control.cancel((await stage.row("a")).id);
    await stage.world.advance(11_000);
    expect(client.told(id)?.meta).toMatchObject({ state: "cancelled", executed: "unknown" });
    expect(client.told(id)?.text).toContain("withdrawn by an operator");
  });
});

describe("the control tool", () => {
  it("lists, shows and withdraws calls, and stands in the list of tools only where it is wanted", async () => {
    const stage = await new Stage({ settings: { hasControlTool: true } }).start();
    const client = await stage.connected();
    const list = client.request("tools/list");
    await stage.world.advance(10);
    const { tools } = client.answerTo(list)?.["result"] as { tools: JsonObject[] };
    expect(tools.map((tool) => tool["name"])).toContain("holdfast_files");
    stage.upstream.kill(reset);
    const away = client.request("tools/list");
    expect(JSON.stringify(client.answerTo(away))).toContain("holdfast_files");
    const waits = client.call("write", "a");
    await stage.world.advance(10);
    const row = await stage.row("a");
    const use = async (args: JsonObject) => {
      const id = client.request("tools/call", { name: "holdfast_files", arguments: args });
      await stage.world.advance(10);
      return client.told(id);
    };
    expect((await use({ action: "list" }))?.text).toContain(`${row.id} queued`);
    expect((await use({ action: "result", id: row.id }))?.text).toContain("executed: pending");
    expect((await use({ action: "cancel", id: row.id }))?.text).toContain("executed: no");
    expect(client.told(waits)?.meta).toMatchObject({ executed: "no" });
    expect(await use({ action: "cancel", id: row.id })).toMatchObject({ isError: true });
    expect(await use({ action: "jump" })).toMatchObject({ isError: true });
    expect(stage.upstream.ledger).toEqual([]);
  });
});
