/** An upstream in service takes on what its entry of the configuration says now. */
import { describe, expect, it } from "vitest";
import { failure } from "../../src/core/failure.ts";
import type { Settings } from "../../src/core/settings.ts";
import type { ClientLink } from "../../src/ports.ts";
import { type ScriptedClient, Stage } from "../support/stage.ts";

const CAUSE = "the configuration changed";
const HTTP = { transport: "http", canResume: true, key: "key-of-a-client" } as const;

async function begun(settings: Partial<Settings> = {}): Promise<[Stage, ScriptedClient]> {
  const stage = await new Stage({ settings }).start();
  return [stage, await begin(stage, HTTP)];
}

async function begin(stage: Stage, link: Partial<ClientLink>): Promise<ScriptedClient> {
  const client = stage.guest(link);
  client.initialize();
  await stage.world.advance(1);
  client.notify("notifications/initialized");
  await stage.world.advance(1);
  return client;
}

/** What the branch has, with some of it otherwise. */
function news(stage: Stage, settings: Partial<Settings> = {}, credentials = "cred") {
  const { context } = stage.branch;
  return {
    settings: { ...context.settings, ...settings },
    identity: { ...context.identity, credentials },
    catalogues: context.catalogues,
    newConnector: context.newConnector,
  };
}

const nonces = (stage: Stage) => stage.upstream.ledger.map(({ nonce }) => nonce);

describe("other settings", () => {
  it("hold for the next call, over the same connection", async () => {
    const [stage, client] = await begun();
    const { limits } = stage.branch.context.settings;
    await stage.branch.change(
      news(stage, { limits: { ...limits, callsPerSession: 1 } }),
      false,
      CAUSE,
    );
    stage.upstream.keeps.add("write");
    const first = client.call("write", "first");
    const second = client.call("write", "second");
    await stage.world.advance(10);
    expect(JSON.stringify(client.answerTo(second))).toContain("--max-calls-per-session");
    stage.upstream.answer("first", "ran");
    await stage.world.advance(10);
    expect(client.told(first)?.text).toBe("ran");
    expect(stage.upstream.dials).toBe(1);
  });

  it("for the pace hold for what waits already", async () => {
    const [stage, client] = await begun({ concurrency: 1 });
    stage.upstream.keeps.add("write");
    stage.upstream.keeps.add("read");
    client.call("read", "a");
    client.call("read", "b");
    await stage.world.advance(10);
    expect(nonces(stage)).toEqual(["a"]);
    await stage.branch.change(news(stage, { concurrency: undefined }), false, CAUSE);
    await stage.world.advance(10);
    expect(nonces(stage)).toEqual(["a", "b"]);
  });
});

describe("another target", () => {
  it("is connected to after what is in flight has ended, and calls wait across it", async () => {
    const [stage, client] = await begun();
    stage.upstream.keeps.add("write");
    const running = client.call("write", "running");
    await stage.world.advance(10);
    const changed = stage.branch.change(news(stage), true, CAUSE);
    const waiting = client.call("write", "waiting");
    await stage.world.advance(100);
    expect(nonces(stage)).toEqual(["running"]);
    stage.upstream.keeps.clear();
    stage.upstream.answer("running", "ran");
    await stage.world.advance(1_000);
    await changed;
    expect(stage.upstream.dials).toBe(2);
    expect(client.told(running)?.text).toBe("ran");
    expect(client.told(waiting)?.text).toBe("write waiting");
  });
});

describe("other credentials", () => {
  it("BC1: never get a call that waited under the ones before; it ends as not executed", async () => {
    const [stage, client] = await begun();
    stage.upstream.kill(failure("process_exit", "exited with code 7"));
    await stage.world.advance(10);
    const old = client.call("write", "old");
    await stage.world.advance(10);
    const changed = stage.branch.change(news(stage, {}, "others"), true, CAUSE);
    const fresh = client.call("write", "fresh");
    stage.upstream.down = undefined;
    await stage.world.advance(5_000);
    await changed;
    expect(client.told(old)?.meta).toMatchObject({ state: "expired", executed: "no" });
    expect(client.told(old)?.text).toContain("credentials");
    expect(client.told(fresh)?.text).toBe("write fresh");
    expect(nonces(stage)).toEqual(["fresh"]);
  });

  it("BC1: never get a call that has to be sent again, though it may be repeated", async () => {
    const [stage, client] = await begun();
    stage.upstream.keeps.add("read");
    const hanging = client.call("read", "hanging");
    await stage.world.advance(10);
    const changed = stage.branch.change(news(stage, {}, "others"), true, CAUSE);
    await stage.world.advance(15_000);
    await changed;
    expect(stage.upstream.dials).toBe(2);
    expect(nonces(stage)).toEqual(["hanging"]);
    expect(client.told(hanging)?.text).toContain("credentials");
  });
});

describe("the lists that were seen under other credentials", () => {
  it("are not shown any more, and clients that have them are told to ask again", async () => {
    const [stage, client] = await begun();
    const before = client.request("tools/list");
    await stage.world.advance(10);
    expect(client.answerTo(before)).toHaveProperty("result.tools");
    stage.upstream.kill(failure("process_exit", "exited with code 7"));
    await stage.world.advance(10);
    const others = {
      ...news(stage, {}, "others"),
      catalogues: { load: () => undefined, save: () => undefined },
    };
    const changed = stage.branch.change(others, true, CAUSE);
    const after = client.request("tools/list");
    await stage.world.advance(1_000);
    expect(client.answerTo(after)).toBeUndefined();
    expect(client.notifications("notifications/tools/list_changed")).toEqual([]);
    stage.upstream.down = undefined;
    await stage.world.advance(30_000);
    await changed;
    expect(client.answerTo(after)).toHaveProperty("result.tools");
    expect(client.notifications("notifications/tools/list_changed")).toHaveLength(1);
  });
});

describe("trust that is withdrawn", () => {
  it("makes a tool unsafe from the next call on", async () => {
    const [stage, client] = await begun();
    await stage.branch.change(news(stage, { trustAnnotations: false }), false, CAUSE);
    client.call("read", "unsafe now");
    await stage.world.advance(10);
    expect((await stage.row("unsafe now")).safety).toBe("unsafe");
  });
});

describe("another isolation", () => {
  it("leaves sessions to their rows, and they come back over connections of the other kind", async () => {
    const [stage, client] = await begun();
    stage.upstream.keeps.add("write");
    const running = client.call("write", "running");
    await stage.world.advance(10);
    const changed = stage.branch.change(news(stage, { isolation: "shared" }), false, CAUSE);
    const waiting = client.call("write", "waiting");
    await stage.world.advance(100);
    stage.upstream.keeps.clear();
    stage.upstream.answer("running", "ran");
    await stage.world.advance(5_000);
    await changed;
    expect(client.told(running)?.text).toBe("ran");
    expect(client.told(waiting)?.meta).toMatchObject({ state: "expired", executed: "no" });
    expect(client.endings).toHaveLength(1);
    const back = await stage.returning(HTTP);
    const id = back?.call("write", "back");
    await stage.world.advance(1_000);
    expect(back?.told(id ?? 0)?.text).toBe("write back");
    expect(stage.branch.summary()).toMatchObject({ isolation: "shared", sessions: 1 });
  });
});
