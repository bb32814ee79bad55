import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { realWorld } from "../../src/base/world.ts";
import { stdioConnector } from "../../src/upstream/stdio.ts";
import { childrenOf, isAlive, until } from "../support/processes.ts";
import { dial } from "../support/stdio-upstream.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-start-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("a command that cannot be started", () => {
  it("is named when it is not in PATH", async () => {
    const upstream = await dial([], { command: "no-such-command-4711" });
    expect(upstream.failure.kind).toBe("spawn_failed");
    expect(upstream.failure.message).toMatch(/"no-such-command-4711" was not found.*PATH is \//);
    await until("its reaper is gone", () => childrenOf(process.pid, "reaper").length === 0);
  });

  it("is told apart from a missing working folder", async () => {
    const upstream = await dial([], { cwd: join(folder, "nowhere") });
    expect(upstream.failure.message).toMatch(/the working folder ".*nowhere" does not exist/);
    writeFileSync(join(folder, "file"), "");
    const other = await dial([], { cwd: join(folder, "file") });
    expect(other.failure).toMatchObject({ kind: "spawn_failed" });
    expect(other.failure.message).toMatch(/is not a folder/);
  });

  it.each(["inside/a/file", "with\0nothing", "x".repeat(300)])(
    "is told apart from a working folder that can't even be looked at: %j",
    async (name) => {
      writeFileSync(join(folder, "inside"), "");
      const upstream = await dial([], { cwd: join(folder, name) });
      expect(upstream.failure).toMatchObject({ kind: "spawn_failed" });
      expect(upstream.failure.message).toMatch(/the working folder ".*" /s);
    },
  );

  it("is named when it is no program, when its interpreter is missing, and by its path", async () => {
    writeFileSync(join(folder, "plain"), "echo", { mode: 0o644 });
    writeFileSync(join(folder, "script"), "#!/no/such/interpreter\n", { mode: 0o755 });
    const messageOf = async (command: string): Promise<string> =>
      (await dial([], { command })).failure.message;
    expect(await messageOf(join(folder, "plain"))).toMatch(/may not be executed \(EACCES\)/);
    expect(await messageOf(join(folder, "script"))).toMatch(/interpreter .* was not found/);
    expect(await messageOf(join(folder, "absent"))).toMatch(/does not exist \(ENOENT\)/);
    expect(await messageOf(join(folder, "plain", "x"))).toMatch(/ENOTDIR/);
  });

  it("fails the dial also for an argument that no program can be given", async () => {
    const upstream = await dial([], { args: ["a\0b"] });
    expect(upstream.failure.kind).toBe("spawn_failed");
  });

  it("is a failed start when a shell exits with 127 before it says anything", async () => {
    const upstream = await dial([], { command: "/bin/sh", args: ["-c", "no-such-command-4711"] });
    const failure = await upstream.down();
    expect(failure).toMatchObject({ kind: "spawn_failed", exitCode: 127 });
    expect(failure.message).toMatch(/^exited with code 127 \(.*\); last output: .*not found/);
  });

  it("is NOT a failed start when a server that had spoken exits with 127", async () => {
    const upstream = await dial(["notify=hello", "exit=127"]);
    expect(await upstream.down()).toMatchObject({ kind: "process_exit", exitCode: 127 });
  });

  it("leaves nothing behind when the dial is aborted", async () => {
    const controller = new AbortController();
    const dialling = dial([], {}, controller.signal);
    controller.abort();
    const upstream = await dialling;
    expect(upstream.failure.message).toBe("the start was called off");
    expect(upstream.children.every(({ pid }) => !isAlive(pid))).toBe(true);
    expect(upstream.downs).toEqual([]);
    expect((await dial([], {}, controller.signal)).children).toEqual([]);
  });
});

describe("the target", () => {
  const targetOf = (command: string, args: string[], maskValues: string[] = []): string =>
    stdioConnector({
      world: realWorld(),
      log: () => undefined,
      command,
      args,
      env: {},
      frameMaxBytes: 1,
      maskValues,
    }).target;

  it("is the command line, quoted where needed", () => {
    expect(targetOf("npx", ["-y", "a server", "--port=1"])).toBe('npx -y "a server" --port=1');
  });

  it("does not show secrets", () => {
    const args = ["--api-key", "abc", "--token=def", "x-hunter22", "postgres://u:pw@host/db", "z"];
    expect(targetOf("serve", args, ["hunter22"])).toBe(
      "serve --api-key *** --token=*** x-*** postgres://u:***@host/db z",
    );
  });
});
