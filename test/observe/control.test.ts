import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { realWorld } from "../../src/base/world.ts";
import { RefusedError } from "../../src/base/errors.ts";
import type { Control } from "../../src/ports.ts";
import { connectControl, findProxies } from "../../src/app/control-client.ts";
import { serveControl } from "../../src/observe/control.ts";
import { makeRow, testFolder } from "../app/support/outside.ts";
import { makeStatus } from "../app/support/samples.ts";

const fakeControl = (overrides: Partial<Control> = {}): Control => ({
  status: () => Promise.resolve(makeStatus()),
  list: () => Promise.resolve([makeRow({ reply: "{}" })]),
  show: (id) => Promise.resolve(id === "c_known" ? makeRow({ id }) : undefined),
  retry: () => Promise.reject(new RefusedError("call c_1 is queued; only one that ended …")),
  cancel: (id) => Promise.resolve(makeRow({ id, state: "cancelled", executed: "no" })),
  settle: (id, note) => Promise.resolve(makeRow({ id, note })),
  ...overrides,
});

async function serve(path: string, control = fakeControl(), logged: string[] = []) {
  const server = await serveControl({ path, control, log: (_, text) => logged.push(text) });
  onTestFinished(() => server.close());
  return server;
}

async function client(path: string) {
  const made = await connectControl(path, realWorld());
  onTestFinished(() => {
    made.close();
  });
  return made;
}

/** Sends raw lines; resolves to the answers until the server ends, or so many came. */
async function say(path: string, text: string, count: number): Promise<unknown[]> {
  const socket = connect(path);
  socket.on("error", () => undefined);
  socket.write(text);
  const answers: unknown[] = [];
  for await (const line of createInterface({ input: socket })) {
    answers.push(JSON.parse(line));
    if (answers.length === count) break;
  }
  socket.destroy();
  return answers;
}

describe("a round trip", () => {
  test("answers every verb", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    const control = await client(path);
    expect(await control.status()).toMatchObject({ pid: 4242, health: "healthy" });
    expect(await control.show("c_known")).toMatchObject({ id: "c_known" });
    expect(await control.show("c_other")).toBeUndefined();
    expect(await control.cancel("c_1")).toMatchObject({ state: "cancelled", executed: "no" });
    expect(await control.settle("c_1", "it ran")).toMatchObject({ note: "it ran" });
    await expect(control.retry("c_1")).rejects.toThrow("only one that ended");
  });

  test("passes filters on, and lists without payloads", async () => {
    const path = join(testFolder(), "1.sock");
    const seen: unknown[] = [];
    const list: Control["list"] = (filter) => {
      seen.push(filter);
      return Promise.resolve([makeRow({ reply: "{}" })]);
    };
    await serve(path, fakeControl({ list }));
    const control = await client(path);
    const rows = await control.list({ states: ["queued"], limit: 5 });
    expect(seen).toEqual([{ states: ["queued"], limit: 5 }]);
    expect(rows[0]).toMatchObject({ tool: "create_issue", request: "" });
    expect(rows[0]?.reply).toBeUndefined();
  });

  test("answers requests at the same time, each with its own", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    const control = await client(path);
    const ids = Array.from({ length: 50 }, (_, i) => `c_${String(i)}`);
    const rows = await Promise.all(ids.map((id) => control.cancel(id)));
    expect(rows.map((row) => row.id)).toEqual(ids);
  });

  test("ends waiting requests when the proxy goes away", async () => {
    const path = join(testFolder(), "1.sock");
    const server = await serve(path, fakeControl({ status: () => new Promise(() => undefined) }));
    const control = await client(path);
    const asked = control.status();
    await control.cancel("c_1");
    await server.close();
    await expect(asked).rejects.toThrow("the proxy closed its control socket");
  });
});

describe("a bad request", () => {
  test("gets an error and harms nobody else", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    expect(await say(path, "not JSON\n", 1)).toEqual([
      { id: null, error: "expected one JSON object a line" },
    ]);
    expect(await say(path, '{"id":1,"verb":"explode"}\n{"id":2,"verb":"show"}\n', 2)).toEqual([
      { id: 1, error: "expected one of the verbs status, list, show, retry, cancel, settle" },
      { id: 2, error: 'expected a text "call"' },
    ]);
    expect(await (await client(path)).status()).toMatchObject({ pid: 4242 });
  });

  test("without an end is cut off at a bound", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    expect(await say(path, "x".repeat(200_000), 2)).toEqual([
      { id: null, error: "a line may have at most 65536 characters" },
    ]);
  });

  test("that makes the proxy throw is answered and logged", async () => {
    const path = join(testFolder(), "1.sock");
    const logged: string[] = [];
    await serve(path, fakeControl({ status: () => Promise.reject(new Error("oops")) }), logged);
    await expect((await client(path)).status()).rejects.toThrow("oops");
    expect(logged).toEqual(["a control request failed"]);
  });
});

describe("the socket", () => {
  test("is private, and gone after close", async () => {
    const path = join(testFolder(), "1.sock");
    const server = await serve(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  test("of a living proxy is NOT replaced", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    await expect(serve(path)).rejects.toThrow("EADDRINUSE");
    expect(await (await client(path)).status()).toMatchObject({ pid: 4242 });
  });

  test("file that a killed process left behind is replaced, and swept by those who look", async () => {
    const folder = testFolder();
    const script = `require("node:net").createServer().listen(process.argv[1] + "/" + process.pid + ".sock",
      () => console.log(process.pid))`;
    const start = () => spawn(process.execPath, ["-e", script, folder]);
    const child = start();
    const [pid] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    child.kill("SIGKILL");
    await once(child, "exit");
    const left = join(folder, `${pid}.sock`);
    expect(existsSync(left)).toBe(true);
    const server = await serve(left);
    expect(await (await client(left)).status()).toMatchObject({ pid: 4242 });
    await server.close();

    const again = start();
    await once(createInterface({ input: again.stdout }), "line");
    again.kill("SIGKILL");
    await once(again, "exit");
    expect(await findProxies(folder, process.platform, realWorld())).toEqual([]);
    expect(existsSync(join(folder, `${String(again.pid)}.sock`))).toBe(false);
  });

  test("file that is no socket is NOT replaced", async () => {
    const path = join(testFolder(), "1.sock");
    writeFileSync(path, "somebody's data");
    await expect(serve(path)).rejects.toThrow();
    expect(statSync(path).isFile()).toBe(true);
  });
});
