import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runCommandLine } from "../../src/app/command-line.ts";
import { openGatekeeper } from "../../src/store/tokens/gatekeeper.ts";
import { tokensPath } from "../../src/store/tokens/file.ts";
import { VirtualWorld } from "../support/virtual-world.ts";
import { testFolder, testOutside } from "./support/outside.ts";

const START = Date.UTC(2026, 0, 2, 3, 4, 5);

/** A state folder and a clock of its own; `token("create …")` runs `holdfast token create …`. */
function lab(folder = testFolder(), world = new VirtualWorld({ startAt: START })) {
  const run = async (words: string, env: NodeJS.ProcessEnv = {}) => {
    const outside = testOutside(folder, env, { world });
    const code = await runCommandLine(["token", ...words.split(" ").filter(Boolean)], outside);
    return { code, out: outside.stdout(), error: outside.stderr() };
  };
  return {
    folder,
    world,
    token: run,
    json: async (words: string) =>
      JSON.parse((await run(`${words} --json`)).out) as Record<string, unknown>,
    state: join(folder, "state"),
  };
}

const TEXT = /^hft_[0-9a-z]{26}_[0-9a-f]{64}$/;

describe("holdfast token create", () => {
  test("prints the token and nothing else on stdout, and the rest on stderr", async () => {
    const { token } = lab();
    const { code, out, error } = await token("create --name laptop");
    expect(code).toBe(0);
    expect(out).toMatch(/^hft_\S+\n$/);
    expect(out.trim()).toMatch(TEXT);
    const id = `t_${out.split("_")[1] ?? ""}`;
    expect(error).toBe(
      `Token "laptop" (${id}) for all servers; does not expire. It is shown this once and works at once, as\n` +
        "the header  Authorization: Bearer <token>\n",
    );
  });

  test("takes servers and a time, and says them", async () => {
    const { token, json } = lab();
    const { error } = await token("create --name ci --upstream github,docs,github --expires 30d");
    expect(error).toContain("for github, docs; expires at 2026-02-01T03:04:05.000Z.");
    expect(await json("list")).toMatchObject({
      tokens: [{ name: "ci", upstreams: ["github", "docs"], expiresAt: START + 30 * 86_400_000 }],
    });
  });

  test("with --json prints one object with pinned keys, and nothing on stderr", async () => {
    const { token } = lab();
    const { out, error } = await token("create --name laptop --expires 1h --json");
    expect(error).toBe("");
    const made = JSON.parse(out) as Record<string, unknown>;
    expect(Object.keys(made)).toEqual(
      "token id name upstreams state createdAt expiresAt".split(" "),
    );
    expect(made).toMatchObject({
      token: expect.stringMatching(TEXT) as string,
      name: "laptop",
      upstreams: "all",
      state: "valid",
      createdAt: START,
      expiresAt: START + 3_600_000,
    });
  });

  test("makes a token that opens the door of a listener that runs already", async () => {
    const { token, state, world } = lab();
    const gatekeeper = openGatekeeper({
      world,
      log: () => undefined,
      stateFolder: state,
      auth: "required",
      isBeyondLoopback: false,
    });
    const text = (await token("create --name laptop")).out.trim();
    expect(gatekeeper.admit(text, "github").kind).toBe("admitted");
    await token("revoke laptop");
    await world.advance(100);
    expect(gatekeeper.admit(text, "github")).toEqual({
      kind: "unknown",
      reason: "the token was revoked",
    });
    await gatekeeper.close();
  });

  test("makes the state folder and the file private", async () => {
    const { token, state } = lab();
    await token("create --name laptop");
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(tokensPath(state)).mode & 0o777).toBe(0o600);
  });

  test("notes a server that the configuration does not have, and makes the token all the same", async () => {
    const { token, folder } = lab();
    const path = join(folder, "holdfast.json");
    writeFileSync(path, '{"mcpServers": {"github": {"command": "x"}}}');
    const { code, error } = await token("create --name a --upstream github,githib");
    expect(code).toBe(0);
    expect(error).toContain(
      `holdfast: ${path} has no server "githib" yet; did you mean "github"?\n`,
    );
    writeFileSync(path, "{");
    const second = await token("create --name b --upstream github");
    expect(second.code).toBe(0);
    expect(second.error).toContain("holdfast: the names of the servers could not be checked: ");
    expect((await token("create --name c")).error).not.toContain("holdfast:");
  });

  test.each([
    ["create", "required option '--name <name>' not specified"],
    [
      "create --name t_1",
      '--name: "t_1" is not right; expected a name that does not look like an id',
    ],
    [
      `create --name ${"x".repeat(65)}`,
      `--name: "${"x".repeat(65)}" is not right; expected 1 to 64 visible characters`,
    ],
    [
      "create --name a\u001b[31m",
      '--name: "a\\u001b[31m" is not right; expected 1 to 64 visible characters',
    ],
    [
      "create --name a --upstream github,",
      '--upstream: "github," is not right; expected names of servers such as "github" or "github,docs"',
    ],
    [
      "create --name a --expires 30",
      '--expires: "30" is not right; expected a duration such as "30d", from 1s to 3650d',
    ],
    [
      "create --name a --expires 0s",
      '--expires: "0s" is not right; expected a duration such as "30d", from 1s to 3650d',
    ],
    ["revoke", "missing required argument 'token'"],
    ["remove x", "unknown command 'remove'"],
  ])("`token %s` is a wrong use, with exit code 2 and why", async (words, why) => {
    const { token, json } = lab();
    const result = await token(words);
    expect(result).toMatchObject({ code: 2, out: "" });
    expect(result.error.split("\n")[0]).toContain(`holdfast: ${why}`);
    expect(await json("list")).toEqual({ tokens: [] });
  });

  test("refuses a second valid token of a name, with exit code 1", async () => {
    const { token } = lab();
    await token("create --name laptop");
    expect(await token("create --name laptop")).toEqual({
      code: 1,
      out: "",
      error:
        'holdfast: there is a valid token "laptop"; choose another name, or revoke that one first: ' +
        'holdfast token revoke "laptop"\n',
    });
  });

  test("loses no token of command lines that run at once", async () => {
    const { folder, json } = lab();
    const cli = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));
    const codes = await Promise.all(
      ["a", "b", "c", "d"].map(async (name) => {
        const child = spawn(process.execPath, [cli, "token", "create", "--name", name], {
          stdio: "ignore",
          cwd: folder,
          env: { ...process.env, HOLDFAST_STATE_DIR: join(folder, "state") },
        });
        await once(child, "close");
        return child.exitCode;
      }),
    );
    expect(codes).toEqual([0, 0, 0, 0]);
    const { tokens } = (await json("list")) as { tokens: { name: string }[] };
    expect(tokens.map(({ name }) => name).sort()).toEqual(["a", "b", "c", "d"]);
  });
});

describe("holdfast token list", () => {
  test("says that there are none and how to make one; token alone lists, too", async () => {
    const { token } = lab();
    const none = {
      code: 0,
      out: "No tokens. To make one: holdfast token create --name NAME\n",
      error: "",
    };
    expect(await token("list")).toEqual(none);
    expect(await token("")).toEqual(none);
    expect(await token("--json")).toMatchObject({ out: '{"tokens":[]}\n' });
  });

  test("shows what each is worth, and no secret and no hash of one", async () => {
    const { token, world, state } = lab();
    const texts = [
      (await token("create --name old --expires 1h")).out,
      (await token("create --name lost --upstream github")).out,
      (await token("create --name laptop --expires 30d")).out,
    ];
    await world.advance(2 * 3_600_000);
    await token("revoke lost");
    const table = (await token("list")).out;
    const row = (name: string) =>
      table.split("\n").find((line) => line.includes(` ${name} `)) ?? "";
    expect(row("old")).toMatch(/│ all +│ expired │ 2 h ago +│ never +│ 2026-01-02T04:04:05.000Z │/);
    expect(row("lost")).toMatch(/│ github +│ revoked │ 2 h ago +│ never +│ never +│/);
    expect(row("laptop")).toMatch(
      /│ all +│ valid +│ 2 h ago +│ never +│ 2026-02-01T03:04:05.000Z │/,
    );
    expect(table).not.toContain("\u001b");
    const json = (await token("list --json")).out;
    const kept = readFileSync(tokensPath(state), "utf8");
    for (const text of texts) {
      const secret = text.trim().split("_")[2] ?? "no secret";
      for (const shown of [table, json, kept]) expect(shown).not.toContain(secret);
    }
    for (const [, hash] of kept.matchAll(/"hash": "(\w+)"/g)) {
      expect(table + json).not.toContain(hash);
    }
  });

  test("as JSON has pinned keys", async () => {
    const { token, json, state, world } = lab();
    const { out } = await token("create --name laptop --expires 1h");
    const gatekeeper = openGatekeeper({
      world,
      log: () => undefined,
      stateFolder: state,
      auth: "auto",
      isBeyondLoopback: false,
    });
    gatekeeper.admit(out.trim(), "github");
    await gatekeeper.close();
    await token("revoke laptop");
    const { tokens } = (await json("list")) as { tokens: Record<string, unknown>[] };
    expect(Object.keys(tokens[0] ?? {})).toEqual(
      "id name upstreams state createdAt expiresAt revokedAt lastUsedAt".split(" "),
    );
    expect(tokens[0]).toMatchObject({ state: "revoked", lastUsedAt: START, revokedAt: START });
  });

  test("of a file that can't be read says so with exit code 1, and does not call it empty", async () => {
    const { token, state } = lab();
    mkdirSync(state);
    writeFileSync(tokensPath(state), "{}");
    const why = `holdfast: ${tokensPath(state)} can't be used: it has version undefined`;
    for (const words of ["list", "create --name a", "revoke a"]) {
      const { code, out, error } = await token(words);
      expect([code, out]).toEqual([1, ""]);
      expect(error).toContain(why);
    }
  });
});

describe("holdfast token revoke", () => {
  test("takes a name, an id, or the token itself, which it does not repeat", async () => {
    const { token } = lab();
    const idOf = (text: string) => `t_${text.split("_")[1] ?? ""}`;
    const [a = "", b = "", c = ""] = await Promise.all(
      ["a", "b", "c"].map(async (name) => (await token(`create --name ${name}`)).out.trim()),
    );
    for (const [which, name, text] of [
      ["a", "a", a],
      [idOf(b), "b", b],
      [c, "c", c],
    ]) {
      expect(await token(`revoke ${which ?? ""}`)).toEqual({
        code: 0,
        out: `Revoked the token "${name ?? ""}" (${idOf(text ?? "")}); it is refused from now on.\n`,
        error: "",
      });
    }
    expect(await token(`revoke ${c}`)).toEqual({
      code: 1,
      out: "",
      error: `holdfast: the token ${idOf(c)} is revoked already\n`,
    });
  });

  test("of one that is not there says so, with exit code 1", async () => {
    const { token } = lab();
    expect(await token("revoke nobody")).toEqual({
      code: 1,
      out: "",
      error: 'holdfast: there is no token "nobody"; "holdfast token list" shows them\n',
    });
  });

  test("with --json prints what is left of it", async () => {
    const { token, json } = lab();
    await token("create --name a");
    expect(await json("revoke a")).toMatchObject({ name: "a", state: "revoked", revokedAt: START });
  });
});
