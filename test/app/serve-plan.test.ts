/** What a daemon is told: every entry of the file becomes an upstream, and what can't be is refused. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { OptionKey } from "../../src/app/options.ts";
import { makeServePlan, remakeServePlan, type ServeRequest } from "../../src/app/serve-plan.ts";
import { ConfigError } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import { surroundings, testFolder } from "./support/outside.ts";

const SRV = { command: "srv", args: ["--x"] };

interface Asked {
  readonly flags?: Readonly<Record<string, string>>;
  readonly env?: NodeJS.ProcessEnv;
  readonly file?: unknown;
  readonly folder?: string;
}

function asked({ flags = {}, env = {}, file, folder = testFolder() }: Asked): ServeRequest {
  if (file !== undefined) writeFileSync(join(folder, "holdfast.json"), JSON.stringify(file));
  return {
    flags: new Map(Object.entries(flags) as [OptionKey, string][]),
    around: surroundings(folder, env),
    world: realWorld(),
    version: "1.2.3",
  };
}

const planOf = (wanted: Asked) => makeServePlan(asked(wanted));
const one = (entry: object, more: Asked = {}) => {
  const plan = planOf({ file: { mcpServers: { gh: entry } }, ...more }).upstreams.get("gh");
  if (plan === undefined) throw new Error("no plan of gh");
  return plan;
};

describe("a daemon's plan", () => {
  test("has every entry of the file, in its order, with its own settings and what the process has", () => {
    const folder = testFolder();
    const plan = planOf({
      folder,
      flags: { shield: "off" },
      file: {
        holdfast: { hold: "5s", listen: "127.0.0.1:0", retention: "2h" },
        mcpServers: {
          gh: { ...SRV, holdfast: { hold: "6s", tools: { t: { safety: "read" } } } },
          docs: { url: "https://h/mcp", headers: { A: "1" } },
        },
        servers: { old: { url: "https://h/sse", type: "sse" }, ws: { url: "wss://h/ws" } },
      },
    });
    expect([...plan.upstreams.keys()]).toEqual(["gh", "docs", "old", "ws"]);
    expect(plan.configPath).toBe(join(folder, "holdfast.json"));
    const [gh, docs, old, ws] = [...plan.upstreams.values()];
    expect(gh?.settings).toMatchObject({ holdMs: 6_000, shield: "off", retentionMs: 7_200_000 });
    expect(gh?.tools.get("t")).toMatchObject({ safety: "read" });
    expect(docs).toMatchObject({
      name: "docs",
      target: { kind: "http", url: "https://h/mcp", headers: { A: "1" } },
      settings: { holdMs: 5_000 },
    });
    expect([old?.target.kind, ws?.target.kind]).toEqual(["sse", "ws"]);
  });

  test.each([
    ["a value with a line break", { "X-Token": "s3cret\n" }, /headers?.*"X-Token"/],
    ["a name that is none", { "X Token": "s3cret" }, /"X Token"/],
    ["one that the transport decides", { Host: "s3cret" }, /"Host"/],
  ])("does not start with a header that can't be sent: %s", (_what, headers, words) => {
    const plan = () => one({ url: "https://h/mcp", headers });
    expect(plan).toThrow(ConfigError);
    expect(plan).toThrow(/holdfast\.json: mcpServers\.gh: /);
    expect(plan).toThrow(words);
    expect(plan).not.toThrow(/s3cret/);
  });

  test("leaves disabled entries out", () => {
    const file = { mcpServers: { a: SRV, b: { disabled: true, command: 7 } } };
    expect([...planOf({ file }).upstreams.keys()]).toEqual(["a"]);
  });

  test("keeps a journal on disk or none, unless somebody says otherwise", () => {
    const file = { mcpServers: { a: SRV } };
    expect(planOf({ file }).settings.journal).toBe("required");
    expect(planOf({ file, flags: { journal: "auto" } }).settings.journal).toBe("auto");
    const inFile = { ...file, holdfast: { journal: "memory" } };
    expect(planOf({ file: inFile }).settings.journal).toBe("memory");
  });

  test("makes a snapshot each hour, unless somebody says otherwise", () => {
    const file = { mcpServers: { a: SRV } };
    expect(planOf({ file }).settings.snapshotsEveryMs).toBe(3_600_000);
    const inFile = { ...file, holdfast: { snapshots: { every: "none", keep: 3 } } };
    expect(planOf({ file: inFile }).settings).toMatchObject({
      snapshotsEveryMs: undefined,
      snapshotsKeep: 3,
    });
  });

  test("hands a command the minimal environment and what its entry names, nothing else", () => {
    const env = { PATH: "/bin", HOME: "/h", API_KEY: "of the daemon", HOLDFAST_SHIELD: "off" };
    const { target } = one({ ...SRV, env: { TOKEN: "${API_KEY}" } }, { env });
    expect(target).toMatchObject({ env: { PATH: "/bin", HOME: "/h", TOKEN: "of the daemon" } });
    expect(JSON.stringify(target)).not.toContain("API_KEY");
  });
});

describe("the identity of an upstream", () => {
  /** Under one key. */
  const both = (...entries: readonly object[]) => {
    const folder = testFolder();
    return entries.map((entry) => one(entry, { folder }).identity);
  };

  test("is its name: another command is the same upstream under the same credentials", () => {
    const [before, after] = both(SRV, { ...SRV, args: ["--y"] });
    expect(after).toEqual(before);
  });

  test("differs between two names", () => {
    const plan = planOf({ file: { mcpServers: { a: SRV, b: SRV } } });
    expect(plan.upstreams.get("a")?.identity.upstream).not.toBe(
      plan.upstreams.get("b")?.identity.upstream,
    );
  });

  test.each([
    ["another URL", { url: "https://h/a" }, { url: "https://h/b" }],
    ["another header", { url: "https://h/a", headers: { A: "1" } }, { url: "https://h/a" }],
    ["another key", { ...SRV, env: { API_KEY: "1" } }, { ...SRV, env: { API_KEY: "2" } }],
    ["a command in place of a URL", SRV, { url: "https://h/a" }],
  ])("has other credentials with %s, and is the same upstream", (_, was, is) => {
    const [before, after] = both(was, is);
    expect(after?.credentials).not.toBe(before?.credentials);
    expect(after?.upstream).toBe(before?.upstream);
  });

  test("does not depend on variables that tell nothing", () => {
    const [before, after] = both(SRV, { ...SRV, env: { LANG: "C" } });
    expect(after).toEqual(before);
  });
});

test("the journal is told by the path of the file", () => {
  const file = { mcpServers: { a: SRV } };
  const [first, second] = [testFolder(), testFolder()];
  const digest = (folder: string) => planOf({ folder, file }).journal.upstreamDigest;
  expect(digest(first)).toBe(digest(first));
  expect(digest(first)).not.toBe(digest(second));
});

describe("what a daemon can't be started with", () => {
  const refused = (wanted: Asked) => () => planOf(wanted);

  test("no file", () => {
    expect(refused({})).toThrow(
      /there is no configuration file: write .*holdfast.json.*mcpServers/,
    );
  });

  test.each([
    ["no servers", {}, /holdfast.json has no servers. It needs .*"command": "npx"/],
    ["only disabled ones", { mcpServers: { a: { disabled: true } } }, /has only disabled servers/],
  ])("%s, with an example", (_, file, words) => {
    expect(refused({ file })).toThrow(words);
  });

  test.each(["a/b", "a b", "..", ".", "ä", ""])("a name that is no part of a URL: %j", (name) => {
    const file = { mcpServers: { [name]: SRV } };
    expect(refused({ file })).toThrow(/mcpServers: the name .* is not right/);
  });

  test.each([
    ["name", "x", "--name"],
    ["cwd", "/x", "--cwd"],
    ["header", "A: 1", "--header"],
    ["transport", "ws", "--transport"],
  ])("%s, which says what one server is", (key, value, flag) => {
    const file = { mcpServers: { a: SRV } };
    expect(refused({ file, flags: { [key]: value } })).toThrow(
      `${flag} is for wrapping one server`,
    );
  });

  test("the same as a variable", () => {
    const env = { HOLDFAST_NAME: "x" };
    expect(refused({ file: { mcpServers: { a: SRV } }, env })).toThrow(
      "HOLDFAST_NAME is for wrapping one server",
    );
  });

  test("a variable that is not set, in whichever entry", () => {
    const file = { mcpServers: { a: SRV, b: { ...SRV, env: { K: "${NOT_SET}" } } } };
    expect(refused({ file })).toThrow("mcpServers.b.env.K: the variable NOT_SET is not set");
  });
});

describe("the plan after the file changed", () => {
  test("keeps what concerns the process, and says which options it did not heed", () => {
    const folder = testFolder();
    const before = planOf({ folder, file: { mcpServers: { a: SRV } } });
    const holdfast = { listen: "127.0.0.1:1", stateDir: "elsewhere", retention: "2h", hold: "1s" };
    const request = asked({ folder, file: { holdfast, mcpServers: { a: SRV } } });
    // A folder that a flag or variable gives is not the file's to change.
    const after = remakeServePlan(request, before);
    expect([...after.unheeded].sort()).toEqual(["listen", "retentionMs"]);
    expect(after.settings).toEqual(before.settings);
    expect(after.upstreams.get("a")?.settings).toMatchObject({
      holdMs: 1_000,
      retentionMs: before.settings.retentionMs,
    });
    expect(existsSync(join(folder, "elsewhere"))).toBe(false);
    expect(after.upstreams.get("a")?.identity).toEqual(before.upstreams.get("a")?.identity);
  });
});

test("a bound on messages beyond what the listener reads needs a restart", () => {
  const folder = testFolder();
  const file = (maxRequestBytes: string) => ({
    mcpServers: { a: { ...SRV, holdfast: { maxRequestBytes } }, b: SRV },
  });
  const before = planOf({ folder, file: file("8MiB") });
  expect(before.requestMaxBytes).toBe(8 * 1_048_576);
  const smaller = remakeServePlan(asked({ folder, file: file("1MiB") }), before);
  expect([smaller.requestMaxBytes, smaller.unheeded]).toEqual([8 * 1_048_576, []]);
  const larger = remakeServePlan(asked({ folder, file: file("9MiB") }), before);
  expect(larger.unheeded).toEqual(["requestMaxBytes"]);
});

test("the example for many servers is a plan", () => {
  const path = fileURLToPath(new URL("../../config/holdfast.serve.example.json", import.meta.url));
  expect(readFileSync(path, "utf8")).toContain("//");
  const env = { GITHUB_TOKEN: "x", DOCS_TOKEN: "y" };
  const plan = planOf({ flags: { config: path }, env });
  expect(plan.upstreams.size).toBeGreaterThan(2);
  expect(new Set([...plan.upstreams.values()].map(({ target }) => target.kind))).toEqual(
    new Set(["stdio", "http", "sse", "ws"]),
  );
});
