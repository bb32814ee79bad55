import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { realWorld } from "../../src/base/world.ts";
import {
  controlPath,
  controlPathsIn,
  ensureFolder,
  resolveFolders,
} from "../../src/app/folders.ts";
import { identify, tellingVariables, upstreamDigest } from "../../src/app/identity.ts";
import type { Target } from "../../src/app/options.ts";
import type { Wanted } from "../../src/app/plan.ts";
import { makePlan } from "../../src/app/plan.ts";
import { nameOf, secretsOf, targetText } from "../../src/app/target.ts";
import { surroundings, testFolder } from "./support/outside.ts";

const stdio = (words: string[], env: Record<string, string> = {}): Target => {
  const [command = "", ...args] = words;
  return { kind: "stdio", command, args, cwd: "/w", env };
};
const http = (url: string, headers: Record<string, string> = {}): Target => ({
  kind: "http",
  url,
  headers,
});

describe("the name of a server", () => {
  test.each([
    ["npx -y @modelcontextprotocol/server-github", "github"],
    ["npx -y @modelcontextprotocol/server-github@1.2.3", "github"],
    ["npx --yes some-mcp-server", "some"],
    ["uvx mcp-server-fetch", "fetch"],
    ["node /home/u/weather/dist/index.js --port 1", "weather"],
    ["node build/server.js", "server"],
    ["python -m my_tools", "my_tools"],
    ["docker run -i --rm -e TOKEN ghcr.io/github/github-mcp-server:latest", "github"],
    ["/usr/local/bin/my-mcp", "my"],
    ["C:\\tools\\search.exe", "search"],
    ["npx", "npx"],
    ["node -e console.log(1)", "node"],
  ])("%s → %s", (line, name) => {
    expect(nameOf(stdio(line.split(" ")))).toBe(name);
  });

  test("of a URL is its host", () => {
    expect(nameOf(http("https://api.example.com/mcp"))).toBe("api.example.com");
    expect(nameOf(http("http://localhost:3000/mcp"))).toBe("localhost:3000");
  });
});

describe("secrets", () => {
  test("of a command line, its environment and its URLs are masked", () => {
    const target = stdio(
      ["srv", "--api-key", "abcdef1", "--token=ghijkl2", "postgres://u:pw12345@h/d"],
      {
        GITHUB_TOKEN: "secret-value",
        DEBUG: "true-enough",
        DATABASE_URL: "postgres://u:hunter22@h/d",
        SHORT_KEY: "abc",
      },
    );
    const secrets = secretsOf(target);
    expect(new Set(secrets)).toEqual(
      new Set(["abcdef1", "ghijkl2", "pw12345", "secret-value", "hunter22"]),
    );
    expect(targetText(target, secrets)).toBe(
      'srv --api-key "***" --token="***" postgres://u:***@h/d'.replaceAll('"', ""),
    );
  });

  test("of headers and of a URL are masked, with and without their scheme", () => {
    const target = http("https://u:passw0rd@h/mcp?api_key=qwertz&x=1", {
      Authorization: "Bearer abcdefgh",
      Accept: "application/json",
    });
    const secrets = secretsOf(target);
    expect(secrets).toContain("abcdefgh");
    expect(secrets).toContain("Bearer abcdefgh");
    expect(secrets).not.toContain("application/json");
    expect(targetText(target, secrets)).toBe("https://***@h/mcp?api_key=***&x=1");
  });
});

describe("identity", () => {
  const around = (folder: string) => surroundings(folder);
  const world = realWorld();

  test("is the same for the same target and credentials, and after a restart", () => {
    const folder = testFolder();
    const target = stdio(["srv", "a"], { API_KEY: "1", LANG: "C" });
    const one = identify(target, folder, around(folder), world);
    const two = identify({ ...target }, folder, around(folder), realWorld());
    expect(two).toEqual(one);
    expect(one.upstream).toMatch(/^[0-9a-f]{64}$/);
    expect(one.credentials).toMatch(/^[0-9a-f]{64}$/);
    expect(one.degraded).toBeUndefined();
  });

  test("tells commands, arguments and folders apart, but not variables", () => {
    const digests = [
      stdio(["srv", "a b"]),
      stdio(["srv", "a", "b"]),
      stdio(["srv a", "b"]),
      { ...stdio(["srv", "a b"]), cwd: "/other" } as Target,
      http("https://h/a"),
      http("https://h/b"),
    ].map(upstreamDigest);
    expect(new Set(digests).size).toBe(digests.length);
    expect(upstreamDigest(stdio(["srv"], { A: "1" }))).toBe(upstreamDigest(stdio(["srv"])));
  });

  test("tells credentials apart, and not other variables or their order", () => {
    const folder = testFolder();
    const of = (env: Record<string, string>) =>
      identify(stdio(["srv"], env), folder, around(folder), world).credentials;
    expect(of({ API_KEY: "1" })).not.toBe(of({ API_KEY: "2" }));
    expect(of({ DB_HOST: "a" })).not.toBe(of({}));
    expect(of({ API_KEY: "1", LANG: "C" })).toBe(of({ API_KEY: "1", LANG: "D" }));
    expect(of({ A_KEY: "1", B_KEY: "2" })).toBe(of({ B_KEY: "2", A_KEY: "1" }));
    const header = (value: string) =>
      identify(http("https://h", { "X-Any": value }), folder, around(folder), world).credentials;
    expect(header("1")).not.toBe(header("2"));
  });

  test("looks at these variables and not at those", () => {
    const env = Object.fromEntries(
      "API_KEY my_token SECRET_X DB_PASSWORD SERVICE_URL PGHOST AWS_PROFILE ACCOUNT_ID HOLDFAST_KEY HOSTNAME GIT_ASKPASS VSCODE_GIT_IPC_AUTH_TOKEN LANG PATH"
        .split(" ")
        .map((name) => [name, "x"]),
    );
    expect(Object.keys(tellingVariables(env)).join(" ")).toBe(
      "API_KEY my_token SECRET_X DB_PASSWORD SERVICE_URL PGHOST AWS_PROFILE ACCOUNT_ID",
    );
  });

  test("keeps its key private, and leaves nothing else behind", () => {
    const folder = join(testFolder(), "state");
    identify(stdio(["srv"]), folder, around(folder), world);
    expect(readdirSync(folder)).toEqual(["identity.key"]);
    expect(statSync(join(folder, "identity.key")).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });

  test("without a usable key file is still there, and says so", () => {
    const folder = testFolder();
    writeFileSync(join(folder, "in-the-way"), "");
    const state = join(folder, "in-the-way", "state");
    const one = identify(stdio(["srv"]), state, around(folder), world);
    expect(one.degraded).toContain("identity.key cannot be used");
    expect(identify(stdio(["srv"]), state, around(folder), world)).toEqual(one);
    writeFileSync(join(folder, "identity.key"), "garbage");
    expect(identify(stdio(["srv"]), folder, around(folder), world).degraded).toContain("remove it");
    expect(readFileSync(join(folder, "identity.key"), "utf8")).toBe("garbage");
  });
});

describe("folders", () => {
  const of = (platform: NodeJS.Platform, env: NodeJS.ProcessEnv) =>
    resolveFolders(
      { stateDir: undefined, cacheDir: undefined },
      { ...surroundings("/w"), platform, env, home: "/h" },
    );

  test("are the platform's", () => {
    expect(of("linux", {})).toEqual({
      state: "/h/.local/state/holdfast",
      cache: "/h/.cache/holdfast",
      run: "/h/.local/state/holdfast/run",
    });
    expect(of("linux", { XDG_STATE_HOME: "/s", XDG_CACHE_HOME: "/c" })).toEqual({
      state: "/s/holdfast",
      cache: "/c/holdfast",
      run: "/s/holdfast/run",
    });
    expect(of("linux", { XDG_STATE_HOME: "relative" }).state).toBe("/h/.local/state/holdfast");
    expect(of("darwin", {}).state).toBe("/h/Library/Application Support/holdfast");
    expect(of("win32", { LOCALAPPDATA: "/l" }).cache).toBe("/l/holdfast/cache");
  });

  test("all follow a state folder that somebody gave, unless the cache is given too", () => {
    const around = surroundings("/w");
    expect(resolveFolders({ stateDir: "/s", cacheDir: undefined }, around)).toEqual({
      state: "/s",
      cache: "/s/cache",
      run: "/s/run",
    });
    expect(resolveFolders({ stateDir: "/s", cacheDir: "/c" }, around).cache).toBe("/c");
  });

  test("of sockets stay short: a socket's path may have only about 100 bytes", () => {
    const deep = `/${"long-".repeat(30)}`;
    const { run } = resolveFolders({ stateDir: deep, cacheDir: undefined }, surroundings("/w"));
    expect(Buffer.byteLength(controlPath(run, 4_194_304, "linux"))).toBeLessThan(100);
    const other = resolveFolders({ stateDir: `${deep}x`, cacheDir: undefined }, surroundings("/w"));
    expect(other.run).not.toBe(run);
  });

  test("list control paths and nothing else", () => {
    expect(controlPathsIn("/r", ["12.sock", "x.sock", "12.sock.tmp", "a"], "linux")).toEqual([
      "/r/12.sock",
    ]);
    const pipe = controlPath("C:\\r", 7, "win32");
    const name = pipe.slice("\\\\.\\pipe\\".length);
    expect(controlPathsIn("C:\\r", [name, "other"], "win32")).toEqual([pipe]);
  });

  test("are made private, and one that cannot be made is an error that says what to do", () => {
    const folder = testFolder();
    const made = join(folder, "a/b");
    ensureFolder(made, surroundings(folder));
    expect(statSync(made).mode & 0o777).toBe(0o700);
    mkdirSync(join(folder, "open"), { mode: 0o755 });
    ensureFolder(join(folder, "open"), surroundings(folder));
    expect(statSync(join(folder, "open")).mode & 0o777).toBe(0o700);
    writeFileSync(join(folder, "file"), "");
    expect(() => {
      ensureFolder(join(folder, "file/x"), surroundings(folder));
    }).toThrow(/file\/x cannot be used as a folder: ENOTDIR.*--state-dir or HOLDFAST_STATE_DIR/);
  });
});

describe("a plan", () => {
  const plan = (
    flags: Record<string, string | string[]>,
    wanted: Parameters<typeof makePlan>[1],
    folder: string,
    env: NodeJS.ProcessEnv = {},
  ) =>
    makePlan(
      new Map(Object.entries(flags)) as Parameters<typeof makePlan>[0],
      wanted,
      surroundings(folder, env),
      realWorld(),
      "1.2.3",
    );

  test("of a command has no gaps", async () => {
    const folder = testFolder();
    const words = ["npx", "-y", "server-x", "--help"];
    const env = { API_KEY: "s3cret-value", HOLDFAST_SHIELD: "block" };
    const made = await plan({ cwd: "sub" }, { kind: "command", words }, folder, env);
    expect(made).toMatchObject({
      version: "1.2.3",
      name: "x",
      target: { kind: "stdio", command: "npx", args: ["-y", "server-x", "--help"] },
      targetText: "npx -y server-x --help",
      maskValues: ["s3cret-value"],
      folders: { state: join(folder, "state"), run: join(folder, "state/run") },
      controlPath: join(folder, `state/run/${String(process.pid)}.sock`),
      settings: { shield: "block", holdMs: 45_000 },
    });
    expect(made.target).toMatchObject({
      cwd: join(folder, "sub"),
      env: { API_KEY: "s3cret-value" },
    });
    expect(JSON.stringify(made.target)).not.toContain("HOLDFAST_");
    expect([...made.given].sort()).toEqual(["cwd", "shield", "stateDir"]);
  });

  test("of an entry takes name, settings and target from the file", async () => {
    const folder = testFolder();
    const config = {
      holdfast: { hold: "5s", shield: "off" },
      mcpServers: { gh: { url: "https://h/mcp", headers: { A: "1" }, holdfast: { hold: "6s" } } },
    };
    writeFileSync(join(folder, "holdfast.json"), JSON.stringify(config));
    const made = await plan({ header: ["B: 2"] }, { kind: "entry", name: "gh" }, folder);
    expect(made).toMatchObject({
      name: "gh",
      target: { kind: "http", url: "https://h/mcp", headers: { A: "1", B: "2" } },
      settings: { holdMs: 6_000, shield: "off" },
    });
    const same = await plan({ header: ["A: 1"] }, { kind: "url", url: "https://h/mcp" }, folder);
    const entry = await plan({}, { kind: "entry", name: "gh" }, folder);
    expect(entry.identity).toEqual(same.identity);
  });

  test("of a command reads no file of the folder, only one that is named", async () => {
    const folder = testFolder();
    writeFileSync(join(folder, "holdfast.json"), "not JSON");
    writeFileSync(join(folder, "mine.json"), '{"holdfast": {"hold": "7s"}}');
    const wanted = { kind: "command", words: ["srv"] } as const;
    expect((await plan({}, wanted, folder)).settings.holdMs).toBe(45_000);
    expect((await plan({ config: "mine.json" }, wanted, folder)).settings.holdMs).toBe(7_000);
    const env = { HOLDFAST_CONFIG: "mine.json" };
    expect((await plan({}, wanted, folder, env)).settings.holdMs).toBe(7_000);
  });

  test("is refused where an option does not fit", async () => {
    const folder = testFolder();
    const url = { kind: "url", url: "https://h/mcp" } as const;
    await expect(plan({ cwd: "x" }, url, folder)).rejects.toThrow("--cwd is for a command");
    const command = { kind: "command", words: ["srv"] } as const;
    await expect(plan({ header: ["A: 1"] }, command, folder)).rejects.toThrow(
      "--header is for a URL",
    );
    await expect(plan({}, { kind: "command", words: [] }, folder)).rejects.toThrow(
      "there is no command after --",
    );
    await expect(plan({}, { kind: "entry", name: "x" }, folder)).rejects.toThrow(
      'there is no configuration file that could have a server "x"',
    );
    await expect(plan({ transport: "sse" }, command, folder)).rejects.toThrow(
      "--transport is for a URL",
    );
    await expect(plan({ transport: "ws" }, url, folder)).rejects.toThrow(
      '--transport "ws" wants a ws: or wss: URL',
    );
    await expect(plan({ transport: "stdio" }, url, folder)).rejects.toThrow(
      '--transport: "stdio" is not right; expected one of http, sse, ws',
    );
  });

  test("of a URL speaks as its scheme says, or as asked; also for an entry", async () => {
    const folder = testFolder();
    const config = { mcpServers: { old: { url: "https://h/sse" } } };
    writeFileSync(join(folder, "holdfast.json"), JSON.stringify(config));
    const kindOf = async (wanted: Wanted, transport?: string) =>
      (await plan(transport === undefined ? {} : { transport }, wanted, folder)).target.kind;
    expect(await kindOf({ kind: "url", url: "https://h/mcp" })).toBe("http");
    expect(await kindOf({ kind: "url", url: "wss://h/mcp" })).toBe("ws");
    expect(await kindOf({ kind: "url", url: "https://h/sse" }, "sse")).toBe("sse");
    expect(await kindOf({ kind: "entry", name: "old" })).toBe("http");
    expect(await kindOf({ kind: "entry", name: "old" }, "sse")).toBe("sse");
    const { settings } = await plan({}, { kind: "url", url: "wss://h/mcp" }, folder);
    expect(settings.backlogWindow).toBe(16);
  });
});
