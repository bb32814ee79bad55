/** `holdfast backup`, `snapshots` and `restore`, with proxies running, killed, and on another machine. */
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { describe, expect } from "vitest";
import type { ProxyStatus } from "../../src/core/status.ts";
import { configure, ledgerEntry, startDaemon, visit } from "../support/daemon.ts";
import {
  call,
  calls,
  command,
  connect,
  untilAway,
  untilWaiting,
} from "../support/holdfast-process.ts";
import type { ListedCall } from "../support/holdfast-process.ts";
import { labTest, until, type Lab } from "../support/lab.ts";
import { stdioUpstream } from "../support/upstream-process.ts";

interface Made {
  readonly made: readonly {
    readonly path: string;
    readonly header: { journal: { name: string } };
  }[];
  readonly empty: readonly string[];
  readonly failed: readonly unknown[];
}

async function backUp(lab: Lab, ...args: string[]): Promise<Made> {
  const { code, stdout } = await command(lab, ["backup", "--json", ...args]);
  expect(code).toBe(0);
  return JSON.parse(stdout) as Made;
}

/** A proxy that was killed with a write, an idempotent write and a read waiting, and its snapshot. */
async function killedWithBacklog(lab: Lab): Promise<{ path: string; args: string[] }> {
  const upstream = await stdioUpstream(lab);
  const args = ["--name", "books", "--hold", "10m", ...upstream.target];
  const { client, kill } = await connect(lab, { args });
  // Without the tools' annotations every call would be unsafe.
  await client.listTools();
  await call(client, "append", { nonce: "done" });
  await upstream.down();
  await untilAway(lab, client);
  const waiting = Promise.allSettled([
    call(client, "append", { nonce: "write" }),
    call(client, "set_value", { nonce: "set", value: "1" }),
    call(client, "read_value", { nonce: "read" }),
  ]);
  await untilWaiting(lab, 3);
  const { made, failed } = await backUp(lab, "--to", lab.path("backups"));
  expect(made.map(({ header }) => header.journal.name)).toEqual(["books"]);
  expect(failed).toEqual([]);
  await kill();
  await waiting;
  await upstream.up();
  return { path: made[0]?.path ?? "", args };
}

describe("a journal that is restored on another machine", () => {
  labTest(
    "runs its reads, holds what changes something, and runs that when a person says so",
    async (lab) => {
      const { path, args } = await killedWithBacklog(lab);
      const elsewhere = { HOLDFAST_STATE_DIR: lab.path("elsewhere") };
      const restored = await command(lab, ["restore", path], elsewhere);
      expect(restored.stdout).toMatch(/^Restored books \(.*as it was on .*: [45] calls, 1 session/);
      expect(restored.stdout).toMatch(/gap .*how much is not known/);
      expect(restored.stdout).toMatch(/open .*queued 3/);
      expect(restored.stdout).toMatch(/held .*2 calls/);
      expect(restored.stdout).toMatch(/added .*identity\.key/);
      expect(restored.code).toBe(0);
      const look = async (...words: string[]) => (await command(lab, words, elsewhere)).stdout;
      expect(await look("status")).toMatch(
        /books; queued 3; restored from a snapshot of .*wait for you/,
      );
      expect(await look("calls")).toMatch(
        /queued calls of books that change something may have run/,
      );
      // What a restore made has no fault but that it is the past.
      const verified = await look("verify");
      expect(verified).toMatch(/1\.db {2}books; [45] calls, 3 not ended/);
      expect(verified.match(/^ {2}(fault|note) .*$/gm)).toEqual([
        expect.stringContaining("high-water: it was restored from a snapshot"),
      ]);

      const proxy = await connect(lab, { args, env: elsewhere });
      await until("the read to have run", () => lab.nonces().includes("read"));
      expect(await call(proxy.client, "append", { nonce: "new" })).toMatchObject({
        isError: false,
      });
      const { proxies } = JSON.parse(await look("status", "--json")) as { proxies: ProxyStatus[] };
      expect(proxies[0]).toMatchObject({ health: "degraded", heldForPerson: 2 });
      expect(proxies[0]?.reasons.join()).toMatch(/restored from a snapshot of/);
      expect(await look("calls")).toMatch(/2 queued calls of books may have run since/);
      expect(lab.nonces().filter((nonce) => nonce === "write" || nonce === "set")).toEqual([]);

      const listed = JSON.parse(await look("calls", "list", "--json")) as { calls: ListedCall[] };
      // The journal that was restored is the running proxy's: its calls are told by nobody else.
      expect(new Set(listed.calls.map(({ id }) => id)).size).toBe(listed.calls.length);
      expect(await look("status")).not.toContain("Left by proxies that do not run");
      const held = listed.calls.find(({ tool, state }) => tool === "append" && state === "queued");
      const retried = await command(lab, ["calls", "retry", held?.id ?? ""], elsewhere);
      expect(retried.code).toBe(0);
      await until("the write to have run", () => lab.nonces().includes("write"));
      const shown = await look("calls", "show", held?.id ?? "", "--json");
      expect(JSON.parse(shown)).toMatchObject({
        call: { state: "cancelled", executed: "unknown" },
      });
      expect(lab.nonces().toSorted()).toEqual(["done", "new", "read", "write"]);
      await proxy.close();
    },
  );

  labTest(
    "that nobody runs can be worked with: a retry there runs with the next proxy",
    async (lab) => {
      const { path, args } = await killedWithBacklog(lab);
      const elsewhere = { HOLDFAST_STATE_DIR: lab.path("elsewhere") };
      expect((await command(lab, ["restore", path], elsewhere)).code).toBe(0);
      const { stdout } = await command(lab, ["calls", "list", "--json"], elsewhere);
      const held = (JSON.parse(stdout) as { calls: ListedCall[] }).calls.find(
        ({ tool, state }) => tool === "append" && state === "queued",
      );
      expect((await command(lab, ["calls", "retry", held?.id ?? ""], elsewhere)).code).toBe(0);
      await connect(lab, { args, env: elsewhere });
      await until("both to have run", () => lab.nonces().length >= 3);
      expect(lab.nonces().toSorted()).toEqual(["done", "read", "write"]);
    },
  );
});

describe("what is no snapshot, or no folder of them,", () => {
  labTest("is refused in words", async (lab) => {
    const file = lab.path("file");
    writeFileSync(file, "");
    const restored = await command(lab, ["restore", dirname(file)]);
    expect([restored.code, restored.stdout]).toEqual([1, ""]);
    expect(restored.stderr).toMatch(/^holdfast: the snapshot .* can't be read: EISDIR[^\n]*\n$/);
    const listed = await command(lab, ["snapshots", file]);
    expect([listed.code, listed.stdout]).toEqual([1, ""]);
    expect(listed.stderr).toMatch(/^holdfast: the snapshots in .* can't be listed: [^\n]*\n$/);
  });
});

describe("on the same machine", () => {
  labTest("a restore is refused while its calls live, with what to do", async (lab) => {
    const { path } = await killedWithBacklog(lab);
    const before = await calls(lab);
    const refused = await command(lab, ["restore", path]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /1\.db holds calls that have not ended \(3\).*holdfast calls cancel/,
    );
    expect(await calls(lab)).toEqual(before);
  });

  labTest("a lost disk is made good from the last snapshot, and the gap is named", async (lab) => {
    const upstream = await stdioUpstream(lab);
    const args = ["--name", "books", ...upstream.target];
    const first = await connect(lab, { args });
    await call(first.client, "append", { nonce: "a" });
    const { made } = await backUp(lab);
    expect((await command(lab, ["snapshots"])).stdout).toMatch(
      /^books {2}.* ago: 1 call, 1 session/,
    );
    await call(first.client, "append", { nonce: "b" });
    const refused = await command(lab, ["restore", made[0]?.path ?? ""]);
    expect(refused.stderr).toMatch(/a proxy runs on .*1\.db/);
    await first.kill();
    const [digest = ""] = readdirSync(lab.path("state/journals"));
    const folder = lab.path(`state/journals/${digest}`);
    for (const end of ["", "-wal", "-shm"])
      renameSync(`${folder}/1.db${end}`, lab.path(`lost${end}`));
    const restored = await command(lab, ["restore", made[0]?.path ?? ""]);
    expect(restored.stdout).toMatch(/gap .*is missing: [2-9] commits or more/);
    expect(await calls(lab)).toMatchObject([{ tool: "append", state: "done" }]);
    const second = await connect(lab, { args });
    expect(await call(second.client, "append", { nonce: "c" })).toMatchObject({ isError: false });
    expect(lab.nonces()).toEqual(["a", "b", "c"]);
  });

  labTest("wrong uses are told in words, and damaged files too", async (lab) => {
    expect((await command(lab, ["backup"])).stdout).toMatch(/^Nothing to back up/);
    expect((await command(lab, ["snapshots"])).stdout).toMatch(/^No snapshots in /);
    const upstream = await stdioUpstream(lab);
    const { client, close } = await connect(lab, { args: [...upstream.target] });
    await call(client, "append", { nonce: "a" });
    await close();
    const file = lab.path("one.hfsnap");
    await backUp(lab, "--to", file);
    const bytes = readFileSync(file);
    bytes[5000] = (bytes[5000] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    const into = lab.path("into");
    const damaged = await command(lab, ["restore", file, "--into", into]);
    expect(damaged.code).toBe(1);
    expect(damaged.stderr).toMatch(/the snapshot .*one\.hfsnap is damaged: .*Nothing was changed/);
    expect((await command(lab, ["restore", lab.path("none")])).stderr).toMatch(
      /can't be read: ENOENT/,
    );
    expect((await command(lab, ["restore"])).code).toBe(2);
    expect((await command(lab, ["backup", "--to"])).code).toBe(2);
  });
});

describe("a daemon's journal", () => {
  labTest(
    "is restored for the daemon of another machine, its sessions and tokens with it",
    async (lab) => {
      configure(lab, { books: ledgerEntry(lab) });
      const token = await command(lab, ["token", "create", "--name", "me", "--json"]);
      const { token: secret } = JSON.parse(token.stdout) as { token: string };
      const first = await startDaemon(lab);
      const { client, transport } = await visit(lab, first, "books", { token: secret });
      await call(client, "append", { nonce: "a" });
      const { made } = await backUp(lab, "--to", lab.path("backups"));
      expect(made.map(({ header }) => header.journal.name)).toEqual(["serve"]);
      first.signal("SIGKILL");
      await first.exited;

      mkdirSync(lab.path("there"));
      const config = lab.path("there/holdfast.json");
      renameSync(lab.path("holdfast.json"), config);
      const state = { HOLDFAST_STATE_DIR: lab.path("there/state") };
      const there = {
        ...lab,
        env: { ...lab.env, ...state },
        path: (name: string) => lab.path(`there/${name}`),
      };
      const words = ["restore", made[0]?.path ?? "", "--config", config];
      const restored = await command(there, words);
      expect(restored.stdout).toMatch(/added .*identity\.key, tokens\.json/);
      expect(restored.stdout).toMatch(/tokens revoked since then are good again/);
      const second = await startDaemon(there);
      const { sessionId } = transport;
      const again = await visit(there, second, "books", {
        token: secret,
        ...(sessionId === undefined ? {} : { sessionId }),
      });
      expect(await call(again.client, "append", { nonce: "b" })).toMatchObject({ isError: false });
      expect(lab.nonces()).toEqual(["a", "b"]);
    },
  );
});
