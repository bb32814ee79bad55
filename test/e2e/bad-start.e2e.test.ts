/** What is wrong before the first call: command, configuration, state folder, two clients at once. */
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect } from "vitest";
import {
  call,
  command,
  connect,
  spawnRaw,
  status,
  untilAway,
  untilWaiting,
  type Driven,
} from "../support/holdfast-process.ts";
import { labTest, touch, until, type Lab } from "../support/lab.ts";
import { stdioUpstream, UPSTREAMS, type Upstream } from "../support/upstream-process.ts";

describe("a command that is not there", () => {
  labTest("is named to the client, with what the system said", async (lab) => {
    const proxy = spawnRaw(lab, {
      args: ["--handshake-wait", "3s", "--", "no-such-command-at-all", "--flag"],
    });
    const reply = await proxy.handshake();
    const told =
      reply.error === undefined
        ? await proxy.request(1, "tools/call", { name: "x", arguments: {} })
        : reply;
    expect(JSON.stringify(told)).toContain("no-such-command-at-all");
    expect(JSON.stringify(told)).toMatch(/ENOENT|not found/);
  });

  labTest("is found once it is there, without a new start of the proxy", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const [, node = "", ...args] = upstream.target;
    const late = join(lab.folder, "late-command");
    const proxy = spawnRaw(lab, { args: ["--handshake-wait", "3s", "--", late, ...args] });
    const first = await proxy.handshake();
    writeFileSync(late, `#!/bin/sh\nexec "${node}" "$@"\n`, { mode: 0o755 });
    const greeting = first.error === undefined ? first : await proxy.handshake("2025-06-18", 2);
    expect(greeting.result).toBeDefined();
    const params = { name: "append", arguments: { nonce: "n" } };
    const reply = await proxy.request("call", "tools/call", params);
    expect(reply.result).toMatchObject({ content: [{ type: "text" }] });
    expect(lab.nonces()).toEqual(["n"]);
  });
});

describe("a wrong configuration", () => {
  const withConfig = (lab: Lab, config: unknown): string => {
    const file = lab.path("holdfast.json");
    writeFileSync(file, JSON.stringify(config));
    return file;
  };

  labTest("with a missing variable is refused, naming file, key and variable", async (lab) => {
    const server = { command: "node", args: ["x.js"], env: { SECRET: "${NOT_SET_ANYWHERE}" } };
    const file = withConfig(lab, { mcpServers: { mine: server } });
    const { code, stdout, stderr } = await command(lab, ["run", "mine", "--config", file]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    for (const part of ["NOT_SET_ANYWHERE", "SECRET", file]) expect(stderr).toContain(part);
  });

  labTest("with an unknown key of ours is refused, with the nearest right one", async (lab) => {
    const server = { command: "node", args: ["x.js"], holdfast: { hodl: "5s" } };
    const file = withConfig(lab, { mcpServers: { mine: server } });
    const { code, stdout, stderr } = await command(lab, ["run", "mine", "--config", file]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    for (const part of ["hodl", "hold", file]) expect(stderr).toContain(part);
  });

  labTest("with a wrong value in a flag is refused, with what was expected", async (lab) => {
    const { code, stdout, stderr } = await command(lab, ["--hold", "soon", "--", "node", "x.js"]);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("soon");
    expect(stderr).toContain("hold");
  });

  labTest("that is right runs the named server", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const [, executable = "", ...args] = upstream.target;
    const file = withConfig(lab, { mcpServers: { mine: { command: executable, args } } });
    const { client } = await connect(lab, { args: ["run", "mine", "--config", file] });
    expect(await call(client, "append", { nonce: "n" })).toMatchObject({ isError: false });
    expect((await status(lab))[0]?.upstreamName).toBe("mine");
  });
});

/** Starts a proxy with this credential, where this kind of upstream takes it from. */
function startAs(lab: Lab, upstream: Upstream, token: string): Promise<Driven> {
  if (upstream.kind === "stdio") {
    return connect(lab, { args: upstream.target, env: { API_TOKEN: token } });
  }
  return connect(lab, { args: ["--header", `X-Api-Token: ${token}`, ...upstream.target] });
}

describe.each(UPSTREAMS)("with a %s upstream", (_name, open) => {
  labTest("an unwritable state folder costs durability, loudly, and nothing else", async (lab) => {
    const upstream = await open(lab);
    // A folder below a file can't be made by anyone, not even by root.
    touch(lab.path("file"));
    const env = {
      HOLDFAST_STATE_DIR: join(lab.path("file"), "state"),
      XDG_RUNTIME_DIR: lab.folder,
    };
    const proxy = await connect(lab, { args: upstream.target, env });
    expect(await call(proxy.client, "append", { nonce: "n" })).toMatchObject({ isError: false });
    await upstream.restart();
    expect(await call(proxy.client, "append", { nonce: "m" })).toMatchObject({ isError: false });
    expect(lab.nonces()).toEqual(["n", "m"]);
    expect(proxy.stderr()).toMatch(/warn|WARN/);
    expect(proxy.stderr()).toContain(lab.path("file"));
    expect(proxy.stderr()).toContain("don't survive this process");
  });

  labTest(
    "with --journal required an unwritable state folder is a reason not to start",
    async (lab) => {
      const upstream = await open(lab);
      touch(lab.path("file"));
      const env = { HOLDFAST_STATE_DIR: join(lab.path("file"), "state") };
      const args = ["--journal", "required", ...upstream.target];
      const { code, stdout, stderr } = await command(lab, args, env);
      expect(code).toBe(2);
      expect(stdout).toBe("");
      expect(stderr).toContain(lab.path("file"));
      expect(lab.nonces()).toEqual([]);
    },
  );

  labTest(
    "two clients that start it at the same moment with different credentials both work",
    async (lab) => {
      const upstream = await open(lab);
      const start = (token: string) => startAs(lab, upstream, token);
      const [one, two] = await Promise.all([start("first"), start("second")]);
      await Promise.all([
        call(one.client, "append", { nonce: "one" }),
        call(two.client, "append", { nonce: "two" }),
      ]);
      expect([...lab.nonces()].sort()).toEqual(["one", "two"]);
      const paths = (await status(lab)).map((proxy) => proxy.journal.path);
      expect(paths).toHaveLength(2);
      expect(new Set(paths).size).toBe(2);
      for (const path of paths) expect(path).toBeDefined();
    },
  );

  labTest("calls left by a killed proxy are NOT run under other credentials", async (lab) => {
    const upstream = await open(lab);
    const start = (token: string) => startAs(lab, upstream, token);
    const first = await start("first");
    await call(first.client, "read_value", { nonce: "before" });
    await upstream.down();
    await untilAway(lab, first.client);
    const lost = expect(call(first.client, "append", { nonce: "of first" })).rejects.toThrow();
    await untilWaiting(lab, 1);
    await first.kill();
    await lost;
    await upstream.up();
    const second = await start("second");
    expect(await call(second.client, "append", { nonce: "of second" })).toMatchObject({
      isError: false,
    });
    expect(lab.nonces()).toEqual(["before", "of second"]);
    await second.close();
    const again = await start("first");
    await until("the call to run under its own", () => lab.nonces().includes("of first"));
    expect(await call(again.client, "append", { nonce: "end" })).toMatchObject({ isError: false });
    expect(lab.nonces()).toEqual(["before", "of second", "of first", "end"]);
  });

  labTest("a journal of a newer schema is left alone, said so, and calls go on", async (lab) => {
    const upstream = await open(lab);
    const first = await connect(lab, { args: upstream.target });
    await call(first.client, "append", { nonce: "before" });
    const path = (await status(lab))[0]?.journal.path;
    if (path === undefined) throw new Error("the journal has no path");
    await first.close();
    const db = new Database(path);
    db.pragma("user_version = 9999");
    db.close();
    const second = await connect(lab, { args: upstream.target });
    expect(await call(second.client, "append", { nonce: "after" })).toMatchObject({
      isError: false,
    });
    expect(second.stderr()).toMatch(/newer/);
    expect(second.stderr()).toContain("9999");
    await second.close();
    const kept = new Database(path);
    expect(kept.pragma("user_version", { simple: true })).toBe(9999);
    kept.close();
  });
});

describe("the state folder", () => {
  labTest("is readable by its owner alone", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const { client } = await connect(lab, { args: upstream.target });
    await call(client, "append", { nonce: "n" });
    const state = lab.path("state");
    const entries = readdirSync(state, { recursive: true, withFileTypes: true });
    expect(entries.length).toBeGreaterThan(0);
    expect(statSync(state).mode & 0o077).toBe(0);
    for (const entry of entries) {
      const file = join(entry.parentPath, entry.name);
      expect([file, statSync(file).mode & 0o077]).toEqual([file, 0]);
    }
  });
});
