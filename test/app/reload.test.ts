/** What is different between two configurations of one daemon, and when it is looked at. */
import { mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { watchConfig } from "../../src/app/config-watch.ts";
import { difference, differenceText, unheededText } from "../../src/app/reload.ts";
import { makeServePlan, remakeServePlan } from "../../src/app/serve-plan.ts";
import { realWorld } from "../../src/base/world.ts";
import { until } from "../support/lab.ts";
import { surroundings, testFolder } from "./support/outside.ts";

const SRV = { command: "srv", args: ["--x"], env: { LANG: "C", API_KEY: "1" } };
const URL = { url: "https://h/mcp", headers: { A: "1", B: "2" } };

function between(before: object, after: object, top: object = {}) {
  const folder = testFolder();
  const write = (file: object) => {
    writeFileSync(join(folder, "holdfast.json"), JSON.stringify(file));
  };
  const around = surroundings(folder);
  const request = { flags: new Map(), around, world: realWorld(), version: "1" };
  write({ mcpServers: before });
  const plan = makeServePlan(request);
  write({ mcpServers: after, holdfast: top });
  return difference(plan, remakeServePlan(request, plan));
}

describe("between two configurations", () => {
  test.each([
    ["nothing, where nothing is", { a: SRV }, { a: SRV }, "no server changed"],
    [
      "nothing, where only the order is",
      { a: SRV, b: URL },
      { b: URL, a: SRV },
      "no server changed",
    ],
    [
      "nothing, where variables stand in another order",
      { a: SRV },
      { a: { ...SRV, env: { API_KEY: "1", LANG: "C" } } },
      "no server changed",
    ],
    [
      "nothing, where headers stand in another order",
      { a: URL },
      { a: { ...URL, headers: { B: "2", A: "1" } } },
      "no server changed",
    ],
    ["a server more", { a: SRV }, { a: SRV, b: URL }, "added 'b'"],
    ["a server less", { a: SRV, b: URL }, { b: URL }, "removed 'a'"],
    [
      "a server that is disabled",
      { a: SRV, b: URL },
      { a: SRV, b: { ...URL, disabled: true } },
      "removed 'b'",
    ],
    ["another name", { a: SRV }, { b: SRV }, "removed 'a', added 'b'"],
    ["a setting", { a: SRV }, { a: { ...SRV, holdfast: { hold: "1s" } } }, "changed 'a'"],
    [
      "a setting that says what is the default, but is chosen now",
      { a: SRV },
      { a: { ...SRV, holdfast: { hold: "45s" } } },
      "changed 'a'",
    ],
    [
      "a setting of a tool",
      { a: SRV },
      { a: { ...SRV, holdfast: { tools: { t: { safety: "read" } } } } },
      "changed 'a'",
    ],
    [
      "a setting for a client",
      { a: SRV },
      { a: { ...SRV, holdfast: { clients: { c: { hold: "1s" } } } } },
      "changed 'a'",
    ],
    [
      "an argument",
      { a: SRV },
      { a: { ...SRV, args: [] } },
      "changed 'a', which is connected to anew",
    ],
    [
      "a variable",
      { a: SRV },
      { a: { ...SRV, env: { LANG: "D", API_KEY: "1" } } },
      "changed 'a', which is connected to anew",
    ],
    ["a header", { a: URL }, { a: { url: URL.url } }, "changed 'a', which is connected to anew"],
    [
      "a URL",
      { a: URL },
      { a: { ...URL, url: "https://h/x" } },
      "changed 'a', which is connected to anew",
    ],
    [
      "a transport",
      { a: URL },
      { a: { ...URL, type: "sse" } },
      "changed 'a', which is connected to anew",
    ],
  ])("%s", (_, before, after, text) => {
    const found = between(before, after);
    expect(differenceText(found)).toBe(text);
    expect(unheededText(found)).toBeUndefined();
  });

  test("what concerns the process alone changes no server", () => {
    const found = between({ a: SRV }, { a: SRV }, { journal: "memory", maxSessions: 7 });
    expect(differenceText(found)).toBe(
      "no server changed; a change of maxSessions, journal needs a restart",
    );
  });

  test("a setting for all changes every server, and one of the process needs a restart", () => {
    const found = between(
      { a: SRV, b: URL },
      { a: SRV, b: URL },
      { hold: "1s", journal: "memory" },
    );
    expect(found.upstreams.map(({ kind }) => kind)).toEqual(["changed", "changed"]);
    expect(unheededText(found)).toBe("a change of journal needs a restart");
  });
});

describe("a watched file", () => {
  const watched = (path: string) => {
    const told: number[] = [];
    const log: string[] = [];
    const stop = watchConfig({
      world: realWorld(),
      log: (_, message) => log.push(message),
      path,
      onChange: () => told.push(told.length),
    });
    onTestFinished(stop);
    return { told, log };
  };

  test("is told of when it was written to, once", async () => {
    const path = join(testFolder(), "holdfast.json");
    writeFileSync(path, "1");
    const { told } = watched(path);
    writeFileSync(path, "2");
    await until("the change to be told", () => told.length > 0);
    writeFileSync(`${path}.other`, "not that file");
    writeFileSync(path, "3");
    await until("the next change to be told", () => told.length > 1);
    expect(told).toHaveLength(2);
  });

  test("is told of when another took its name, also more than once", async () => {
    const path = join(testFolder(), "holdfast.json");
    writeFileSync(path, "1");
    const { told } = watched(path);
    for (const count of [1, 2]) {
      writeFileSync(`${path}.tmp`, `content ${String(count)}`);
      renameSync(`${path}.tmp`, path);
      await until("the change to be told", () => told.length === count);
    }
  });

  test("is told of when it is gone, and when it is back", async () => {
    const path = join(testFolder(), "holdfast.json");
    writeFileSync(path, "1");
    const { told } = watched(path);
    unlinkSync(path);
    await until("its loss to be told", () => told.length === 1);
    writeFileSync(path, "2");
    await until("its return to be told", () => told.length === 2);
  });

  test("is told of when it is a link and what it points to was written to", async () => {
    const folder = testFolder();
    mkdirSync(join(folder, "real"));
    const real = join(folder, "real", "file.json");
    const path = join(folder, "holdfast.json");
    writeFileSync(real, "1");
    symlinkSync(real, path);
    const { told } = watched(path);
    writeFileSync(real, "22");
    await until("the change to be told", () => told.length === 1);
  });
});
