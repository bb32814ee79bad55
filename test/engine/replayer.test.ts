import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import { Stage, TOOLS } from "../support/stage.ts";

const reset = failure("reset", "connection reset");

/** A connected stage whose upstream went away with one call waiting. */
async function waiting(tool = "write", settings = {}) {
  const stage = await new Stage({ settings }).start();
  const client = await stage.connected("stage", { roots: {} });
  await stage.world.advance(1_000);
  stage.upstream.kill(reset);
  const id = client.call(tool, "a");
  await stage.world.advance(100);
  stage.upstream.seen.length = 0;
  const back = async () => {
    stage.upstream.down = undefined;
    await stage.world.advance(10_000);
  };
  return { stage, client, id, back };
}

describe("after a reconnect", () => {
  it("the session is restored in order, and waiting calls come last", async () => {
    const stage = await new Stage().start();
    const client = await stage.connected("stage", { roots: {} });
    client.request("logging/setLevel", { level: "debug" });
    client.request("resources/subscribe", { uri: "file:///a" });
    client.request("resources/subscribe", { uri: "file:///b" });
    client.request("resources/unsubscribe", { uri: "file:///b" });
    await stage.world.advance(1_000);
    stage.upstream.kill(reset);
    client.call("write", "a");
    client.notify("notifications/roots/list_changed");
    await stage.world.advance(100);
    stage.upstream.seen.length = 0;
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    expect(stage.upstream.methods.slice(0, 7)).toEqual([
      "initialize",
      "notifications/initialized",
      "logging/setLevel",
      "resources/subscribe",
      "notifications/roots/list_changed",
      "tools/list",
      "tools/call",
    ]);
    expect(stage.upstream.seen[0]).toContain('"capabilities":{"roots":{}}');
    expect(stage.upstream.seen[3]).toContain("file:///a");
    const updated = client.notifications("notifications/resources/updated");
    expect(updated.map((n) => n["params"])).toEqual([{ uri: "file:///a" }]);
  });

  it("nothing is announced where nothing has changed", async () => {
    const { client, id, back } = await waiting();
    await back();
    expect(client.told(id)?.text).toBe("write a");
    expect(client.notifications("notifications/tools/list_changed")).toEqual([]);
  });

  it("a list that differs is announced once", async () => {
    const { stage, client, back } = await waiting();
    stage.upstream.tools = [...TOOLS, { name: "new", inputSchema: { type: "object" } }];
    await back();
    expect(client.notifications("notifications/tools/list_changed")).toHaveLength(1);
  });

  it("a call whose tool vanished ends with executed no", async () => {
    const { stage, client, id, back } = await waiting();
    stage.upstream.tools = TOOLS.filter((tool) => tool["name"] !== "write");
    await back();
    expect(client.told(id)?.meta).toMatchObject({ state: "dead", executed: "no" });
    expect(client.told(id)?.text).toContain("the tool 'write' is gone");
    expect(stage.upstream.ledger).toEqual([]);
  });

  it("a tool that comes into the list a moment later has NOT vanished", async () => {
    const { stage, client, id, back } = await waiting();
    stage.upstream.tools = [];
    stage.upstream.down = undefined;
    await stage.world.runUntil(() => stage.upstream.methods.includes("tools/list"), 10_000);
    await stage.world.advance(100);
    stage.upstream.tools = TOOLS;
    await back();
    expect(client.told(id)?.text).toBe("write a");
  });

  it("a call whose tool has another input schema or another class ends with executed no", async () => {
    for (const changed of [
      { name: "write", inputSchema: { type: "object", required: ["x"] } },
      { name: "write", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
    ]) {
      const { stage, client, id, back } = await waiting();
      stage.upstream.tools = [changed];
      await back();
      expect(client.told(id)?.meta).toMatchObject({ state: "dead", executed: "no" });
      expect(stage.upstream.ledger).toEqual([]);
    }
  });

  it("another description of its tool does NOT stop a call", async () => {
    const { stage, client, id, back } = await waiting();
    stage.upstream.tools = [{ ...TOOLS[0], description: "new words" }];
    await back();
    expect(client.told(id)?.text).toBe("write a");
  });

  it("waiting calls of a server that keeps state end with executed no", async () => {
    const { stage, client, id, back } = await waiting("write", { isStateful: true });
    await back();
    expect(client.told(id)?.meta).toMatchObject({ state: "expired", executed: "no" });
    expect(stage.upstream.ledger).toEqual([]);
    const next = client.call("write", "b");
    await stage.world.advance(1);
    expect(client.told(next)?.text).toBe("write b");
  });
});
