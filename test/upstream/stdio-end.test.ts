import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  killLeftoverGroup,
  startedAtOf,
  type StartedChild,
} from "../../src/upstream/process-group.ts";
import { childrenOf, eventually, groupMembers, isAlive, until } from "../support/processes.ts";
import { dial, FIXTURE, type Observed } from "../support/stdio-upstream.ts";

const reapers = (): number[] => childrenOf(process.pid, "holdfast-reaper");

async function grandchildOf(upstream: Observed): Promise<number> {
  const message = await upstream.notification("grandchild");
  return message.kind === "notification" ? Number(message.params?.["pid"]) : 0;
}

/** Nothing runs that belonged to the child, and its reaper went with it. */
async function expectNothingLeft(upstream: Observed): Promise<void> {
  expect(groupMembers(upstream.pid)).toEqual([]);
  expect(upstream.gonePids).toEqual([upstream.pid]);
  expect(upstream.downs).toHaveLength(1);
  expect(upstream.late).toBe(0);
  await until("the reaper is gone", () => reapers().length === 0);
}

describe("close", () => {
  it("ends a child by the end of its input, and answers that still come are delivered", async () => {
    const upstream = await dial([]);
    upstream.call("1-1", "echo", { a: 1 });
    await upstream.connection.close(20_000);
    expect(upstream.downs[0]?.message).toBe("was asked to end: exited with code 0");
    expect(await upstream.replyTo("1-1")).toMatchObject({ result: { a: 1 } });
    await expectNothingLeft(upstream);
    expect(upstream.call("1-2", "echo", {})).toBe(false);
  });

  it("asks a child that ignores the end of its input by SIGTERM", async () => {
    const upstream = await dial(["ignoreEof", "notify=ready"]);
    await upstream.notification("ready");
    await upstream.connection.close(1000);
    expect(upstream.downs[0]?.message).toBe("was asked to end: was killed by SIGTERM");
    await expectNothingLeft(upstream);
  });

  it("kills a child that ignores everything, with its grandchildren", async () => {
    const upstream = await dial(["ignoreEof", "ignore=SIGTERM", "grandchild"]);
    const grandchild = await grandchildOf(upstream);
    expect(groupMembers(upstream.pid)).toContain(grandchild);
    await upstream.connection.close(500);
    expect(upstream.downs[0]?.message).toBe("was asked to end: was killed by SIGKILL");
    await expectNothingLeft(upstream);
  });

  it("ends the grandchildren of a child that goes by itself", async () => {
    const upstream = await dial(["grandchild"]);
    await grandchildOf(upstream);
    await upstream.connection.close(20_000);
    expect(upstream.downs[0]?.message).toBe("was asked to end: exited with code 0");
    await expectNothingLeft(upstream);
  });

  it("ends a stopped child, which does NOT run what waits in its pipe", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-stopped-"));
    const ledger = join(folder, "ledger");
    writeFileSync(ledger, "");
    const script = `echo '{"jsonrpc":"2.0","method":"ready"}'; while read -r l; do echo ran >> ${ledger}; done`;
    const upstream = await dial([], { command: "/bin/sh", args: ["-c", script] });
    await upstream.notification("ready");
    process.kill(upstream.pid, "SIGSTOP");
    upstream.call("1-1", "echo", {});
    await upstream.connection.close(600);
    expect(upstream.downs[0]?.message).toBe("was asked to end: was killed by SIGKILL");
    expect(readFileSync(ledger, "utf8")).toBe("");
    await expectNothingLeft(upstream);
    rmSync(folder, { recursive: true });
  });

  it("twice is once, and the shorter grace counts", async () => {
    const upstream = await dial(["ignoreEof", "ignore=SIGTERM", "notify=ready"]);
    await upstream.notification("ready");
    const first = upstream.connection.close(600_000);
    await Promise.all([first, upstream.connection.close(0), upstream.connection.close(900_000)]);
    await expectNothingLeft(upstream);
    await upstream.connection.close(0);
  });
});

describe("a child's end by itself", () => {
  it("takes its reaper along", async () => {
    const upstream = await dial(["exit=3"]);
    await upstream.down();
    await until("the group is reported gone", () => upstream.gonePids.length === 1);
    await expectNothingLeft(upstream);
  });
});

describe("the reaper", () => {
  it("is a small process in a session of its own without our pipes", async () => {
    await dial([]);
    const reaper = await eventually("a reaper", () => reapers()[0]);
    const status = readFileSync(`/proc/${String(reaper)}/status`, "latin1");
    expect(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1])).toBeLessThan(2048);
    expect(groupMembers(reaper)).toEqual([reaper]);
    const environ = readFileSync(`/proc/${String(reaper)}/environ`, "latin1");
    expect(environ.split("\0").filter((entry) => entry !== "")).toEqual(["PATH=/usr/bin:/bin"]);
  });
});

describe("a process that is killed with a child", () => {
  const root = resolve(fileURLToPath(new URL("../..", import.meta.url)));
  const built = mkdtempSync(join(tmpdir(), "holdfast-built-"));
  const started: ChildProcess[] = [];
  const children: StartedChild[] = [];

  beforeAll(() => {
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const args = [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", built];
    const compiled = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect(compiled.stdout).toBe("");
    // The built files find their packages and their module type here.
    symlinkSync(join(root, "node_modules"), join(built, "node_modules"));
    writeFileSync(join(built, "package.json"), '{"type":"module"}');
  });
  afterEach(() => {
    for (const proxy of started.splice(0)) proxy.kill("SIGKILL");
    for (const child of children.splice(0)) killLeftoverGroup(child);
  });
  afterAll(() => {
    rmSync(built, { recursive: true });
  });

  /** Starts a process that holds the fixture upstream; resolves once the upstream is `ready`. */
  async function startProxy(...actions: string[]): Promise<{
    readonly proxy: ChildProcess;
    readonly child: StartedChild;
  }> {
    const program = fileURLToPath(new URL("../fixtures/proxy-like.mjs", import.meta.url));
    const args = [program, built, process.execPath, FIXTURE, ...actions, "notify=ready"];
    const proxy = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] });
    started.push(proxy);
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: proxy.stdout }).on("line", (line) => {
      lines.push(JSON.parse(line) as Record<string, unknown>);
    });
    await until("the upstream is ready", () =>
      lines.some((line) => JSON.stringify(line).includes('"method":"ready"')),
    );
    const child = lines.find((line) => "child" in line)?.["child"] as StartedChild;
    children.push(child);
    return { proxy, child };
  }

  it("leaves nothing of it: a child that ignores all but SIGKILL is gone soon, with its group", async () => {
    const { proxy, child } = await startProxy("ignoreEof", "ignore=SIGTERM", "grandchild");
    expect(groupMembers(child.pid).length).toBeGreaterThan(1);
    const watching = childrenOf(proxy.pid ?? 0, "holdfast-reaper");
    expect(watching).toHaveLength(1);
    proxy.kill("SIGKILL");
    await until("the group is gone", () => groupMembers(child.pid).length === 0);
    await until("the reaper is gone", () => !watching.some(isAlive));
  });

  it("lets a child that heeds the end of its input go by itself", async () => {
    const { proxy, child } = await startProxy();
    proxy.kill("SIGKILL");
    await until("the group is gone", () => groupMembers(child.pid).length === 0);
  });

  it("has its left-over group killed by the next one, but no other process with that id", async () => {
    const { child } = await startProxy("ignoreEof", "ignore=SIGTERM", "grandchild");
    expect(child.startedAt).toBe(startedAtOf(child.pid));
    expect(killLeftoverGroup({ pid: child.pid, startedAt: `${child.startedAt}1` })).toBe(false);
    expect(killLeftoverGroup({ pid: child.pid, startedAt: "" })).toBe(false);
    expect(isAlive(child.pid)).toBe(true);
    expect(killLeftoverGroup(child)).toBe(true);
    await until("the group is gone", () => groupMembers(child.pid).length === 0);
    await until("the leader was reaped", () => !isAlive(child.pid));
  });
});

describe("a left-over group", () => {
  it("is never our own, nor that of a process that does not exist", () => {
    const startedAt = startedAtOf(process.pid) ?? "";
    expect(startedAt).not.toBe("");
    expect(killLeftoverGroup({ pid: process.pid, startedAt })).toBe(false);
    for (const pid of [0, 1, -1, 1.5, Number.NaN, 2 ** 40]) {
      expect(killLeftoverGroup({ pid, startedAt: "" })).toBe(false);
    }
    expect(startedAtOf(2 ** 30)).toBeUndefined();
  });
});
