/** The configuration is read again in a process that serves: one reload at a time. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { EngineProcess } from "../../src/app/process.ts";
import { Reloader } from "../../src/app/reloader.ts";
import { makeServePlan } from "../../src/app/serve-plan.ts";
import { deferred } from "../../src/base/async.ts";
import { realWorld } from "../../src/base/world.ts";
import type { ProxyEvent } from "../../src/core/event.ts";
import { Feed } from "../../src/engine/feed.ts";
import { until } from "../support/lab.ts";
import { surroundings, testFolder } from "./support/outside.ts";

/** A process whose removals take as long as the test wants. */
function rig() {
  const folder = testFolder();
  const write = (...names: string[]) => {
    const servers = Object.fromEntries(names.map((name) => [name, { command: "srv" }]));
    writeFileSync(join(folder, "holdfast.json"), JSON.stringify({ mcpServers: servers }));
  };
  write("a", "b", "c");
  const world = realWorld();
  const around = surroundings(folder);
  const request = { flags: new Map(), around, world, version: "1" };
  const removals: { name: string; done: () => void }[] = [];
  const events: ProxyEvent[] = [];
  const fatal: unknown[] = [];
  const feed = new Feed();
  feed.follow((event) => events.push(event));
  const proxy = {
    remove: async (name: string) => {
      const gate = deferred<undefined>();
      removals.push({
        name,
        done: () => {
          gate.resolve(undefined);
        },
      });
      await gate.promise;
    },
  };
  const engine = { world, feed, proxy, log: () => undefined, fatal: (e: unknown) => fatal.push(e) };
  const reloader = new Reloader(
    request,
    engine as unknown as EngineProcess,
    makeServePlan(request),
  );
  const texts = () => events.map((event) => (event.kind === "configuration" ? event.text : ""));
  return { reloader, write, removals, texts, fatal };
}

describe("a reload", () => {
  test("waits until the daemon serves", async () => {
    const { reloader, write, removals, texts } = rig();
    write("a", "b");
    reloader.reload();
    await Promise.resolve();
    expect(texts()).toEqual([]);
    reloader.start();
    await until("the removal to begin", () => removals.length === 1);
    removals[0]?.done();
  });

  test("does what was asked for meanwhile once more, after the one under way", async () => {
    const { reloader, write, removals, texts, fatal } = rig();
    reloader.start();
    write("a", "b");
    reloader.reload();
    await until("the removal to begin", () => removals.length === 1);
    write("a");
    reloader.reload();
    reloader.reload();
    await Promise.resolve();
    expect(removals.map(({ name }) => name)).toEqual(["c"]);
    removals[0]?.done();
    await until("the next one to begin", () => removals.length === 2);
    removals[1]?.done();
    expect(texts()).toEqual([
      "the configuration was read again: removed 'c'",
      "the configuration was read again: removed 'b'",
    ]);
    expect(fatal).toEqual([]);
  });

  test("tells followers why a file is not used, and forgets it when it is right again", () => {
    const { reloader, write, texts } = rig();
    reloader.start();
    write("not a name");
    reloader.reload();
    expect(reloader.problem).toContain('the name "not a name" is not right');
    expect(texts()[0]).toMatch(/^the configuration stays as it was: .*not a name/);
  });

  test("does nothing any more when the daemon ends", async () => {
    const { reloader, write, texts } = rig();
    reloader.start();
    reloader.stop();
    write("a");
    reloader.reload();
    await Promise.resolve();
    expect(texts()).toEqual([]);
  });
});
