import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { deferred } from "../../src/base/async.ts";
import { realWorld } from "../../src/base/world.ts";
import { RefusedError } from "../../src/base/errors.ts";
import type { ProxyEvent } from "../../src/core/event.ts";
import type { Control } from "../../src/ports.ts";
import { connectControl, findProxies } from "../../src/app/control-client.ts";
import { serveControl } from "../../src/observe/control.ts";
import { aFeed, fakeControl } from "../app/support/control.ts";
import { makeRow, testFolder } from "../app/support/outside.ts";
import { aSession } from "../support/builders.ts";

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

  test("waits until the proxy knows what its journal holds, and reaches nothing before", async () => {
    const path = join(testFolder(), "1.sock");
    const ready = deferred<undefined>();
    const asked: string[] = [];
    const restart: Control["restart"] = (name) => {
      asked.push(name);
      return Promise.resolve(1);
    };
    const control = fakeControl({ restart });
    const server = await serveControl({
      path,
      control,
      log: () => undefined,
      ready: ready.promise,
    });
    onTestFinished(() => server.close());
    const one = (await client(path)).restart("github");
    // Whatever the server read before this one was answered, it has read.
    expect(await say(path, "no JSON\n", 1)).toHaveLength(1);
    expect(asked).toEqual([]);
    ready.resolve(undefined);
    expect(await one).toBe(1);
    expect(asked).toEqual(["github"]);
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
    const filter = { states: ["queued"], sessionId: "s_1", isUndelivered: true, limit: 5 };
    const rows = await control.list(filter);
    expect(seen).toEqual([filter]);
    expect(rows[0]).toMatchObject({ tool: "create_issue", request: "" });
    expect(rows[0]?.reply).toBeUndefined();
  });

  test("names sessions, ends them, and restarts an upstream", async () => {
    const path = join(testFolder(), "1.sock");
    const ended: string[] = [];
    await serve(
      path,
      fakeControl({
        sessions: () => Promise.resolve([aSession({ id: "s_1", keyDigest: "digest" })]),
        endSession: (id) => {
          if (id !== "s_1") throw new RefusedError(`there is no session ${id}`);
          ended.push(id);
          return Promise.resolve();
        },
        restart: (name) => Promise.resolve(name === "github" ? 3 : 0),
      }),
    );
    const control = await client(path);
    expect(await control.sessions()).toEqual([
      expect.objectContaining({ id: "s_1", principal: "local", keyDigest: "digest" }),
    ]);
    expect(await control.endSession("s_1")).toBeUndefined();
    expect(ended).toEqual(["s_1"]);
    await expect(control.endSession("s_2")).rejects.toThrow("there is no session s_2");
    expect(await control.restart("github")).toBe(3);
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

const anEvent = (text: string): ProxyEvent => ({
  kind: "configuration",
  at: 1,
  upstream: "github",
  text,
});

describe("a follower", () => {
  test("is told of what happens from then on, in order, and can ask as well", async () => {
    const path = join(testFolder(), "1.sock");
    const feed = aFeed();
    await serve(path, fakeControl({ follow: feed.follow }));
    const control = await client(path);
    const told: unknown[] = [];
    feed.tell(anEvent("before"));
    const stop = control.follow((event) => told.push(event));
    await feed.untilFollowers(1);
    feed.tell(anEvent("first"));
    feed.tell(anEvent("second"));
    expect(await control.status()).toMatchObject({ pid: 4242 });
    expect(told).toEqual([anEvent("first"), anEvent("second")]);
    stop();
    feed.tell(anEvent("third"));
    await control.status();
    expect(told).toHaveLength(2);
  });

  test("that goes away is told of nothing any more", async () => {
    const path = join(testFolder(), "1.sock");
    const feed = aFeed();
    await serve(path, fakeControl({ follow: feed.follow }));
    const control = await client(path);
    control.follow(() => undefined);
    await feed.untilFollowers(1);
    control.close();
    await feed.untilFollowers(0);
  });

  test("hears from the end of the proxy", async () => {
    const path = join(testFolder(), "1.sock");
    const feed = aFeed();
    const server = await serve(path, fakeControl({ follow: feed.follow }));
    const control = await client(path);
    control.follow(() => undefined);
    await feed.untilFollowers(1);
    await server.close();
    expect(await control.ended).toBe("the proxy closed its control socket");
  });

  test("that does not read is dropped at a bound, finds out why, and disturbs nobody", async () => {
    const path = join(testFolder(), "1.sock");
    const feed = aFeed();
    const logged: string[] = [];
    await serve(path, fakeControl({ follow: feed.follow }), logged);
    const reader = await client(path);
    let readerTold = 0;
    reader.follow(() => readerTold++);
    const idler = connect(path);
    idler.pause();
    idler.write('{"id":1,"verb":"follow"}\n');
    await feed.untilFollowers(2);
    const dropped = feed.untilFollowers(1);
    const text = "x".repeat(100_000);
    let sent = 0;
    // Each round lets the one that reads catch up.
    while (logged.length === 0) {
      feed.tell(anEvent(text));
      sent++;
      await reader.status();
      expect(sent).toBeLessThan(1_000);
    }
    await dropped;
    expect(readerTold).toBe(sent);
    expect(logged).toEqual(["a follower of events did not read them and was dropped"]);
    const lines: string[] = [];
    for await (const line of createInterface({ input: idler })) lines.push(line);
    expect(lines.length).toBeLessThan(sent + 2);
    expect(JSON.parse(lines.at(-1) ?? "")).toEqual({
      end: "events were not read as fast as they came, so this follower was dropped",
    });
    for (const line of lines.slice(1, -1))
      expect(JSON.parse(line)).toEqual({ event: anEvent(text) });
  });

  test("cannot follow twice over one connection", async () => {
    const path = join(testFolder(), "1.sock");
    await serve(path);
    expect(await say(path, '{"id":1,"verb":"follow"}\n{"id":2,"verb":"follow"}\n', 2)).toEqual([
      { id: 1, ok: null },
      { id: 2, error: "this connection follows already" },
    ]);
  });

  test("of a proxy that cannot tell is told so", async () => {
    const path = join(testFolder(), "1.sock");
    const follow = () => {
      throw new RefusedError("nothing can be followed here");
    };
    await serve(path, fakeControl({ follow }));
    const control = await client(path);
    control.follow(() => undefined);
    expect(await control.ended).toBe("nothing can be followed here");
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
      {
        id: 1,
        error:
          "expected one of the verbs status, list, show, retry, cancel, settle, sessions, endSession, restart, follow",
      },
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
