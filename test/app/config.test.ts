import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../src/base/errors.ts";
import { describe, expect, test } from "vitest";
import { loadConfig, parseConfig } from "../../src/app/config.ts";
import { expand, readServer } from "../../src/app/server-entry.ts";
import type { ServerEntry } from "../../src/app/server-entry.ts";
import { surroundings, testFolder } from "./support/outside.ts";

const parse = (value: unknown) => parseConfig(JSON.stringify(value), "/etc/h.json");
const ENV = { TOKEN: "t0ken", EMPTY: "", HOME: "/home/u", HOLDFAST_HOLD: "1s" };
const entryOf = (entry: unknown, env: NodeJS.ProcessEnv = ENV): ServerEntry =>
  readServer(parse({ mcpServers: { s: entry } }), "s", { ...surroundings("/w"), env });

describe("variables", () => {
  test.each([
    ["${TOKEN}", "t0ken"],
    ["a${TOKEN}b${TOKEN}", "at0kenbt0ken"],
    ["${env:TOKEN}", "t0ken"],
    ["${MISSING:-other}", "other"],
    ["${MISSING:-}", ""],
    ["${EMPTY:-other}", "other"],
    ["${EMPTY}", ""],
    ["${TOKEN:-other}", "t0ken"],
    ["$TOKEN $(x) ${x%y} ${", "$TOKEN $(x) ${x%y} ${"],
    ["$${TOKEN}", "${TOKEN}"],
  ])("%s becomes %j", (text, expected) => {
    expect(expand(text, ENV, "here")).toBe(expected);
  });

  test("that are missing are an error with the variable, the key and the file", () => {
    expect(() => entryOf({ command: "srv", env: { A: "x", KEY: "${MISSING}" } })).toThrow(
      "/etc/h.json: mcpServers.s.env.KEY: the variable MISSING is not set; " +
        "set it, or write ${MISSING:-default}",
    );
    expect(() => entryOf({ command: "srv", args: ["a", "${GONE}"] })).toThrow(
      "/etc/h.json: mcpServers.s.args[1]: the variable GONE is not set",
    );
  });

  test("of an editor are told apart from variables", () => {
    expect(() => entryOf({ command: "srv", args: ["${input:token}"] })).toThrow(
      "mcpServers.s.args[0]: ${input:token} means something only inside an editor",
    );
  });

  test("that another server misses do not matter", () => {
    const file = parse({ servers: { a: { command: "x" }, b: { command: "${MISSING}" } } });
    expect(readServer(file, "a", surroundings("/w")).target).toMatchObject({ command: "x" });
  });
});

describe("an entry", () => {
  test("of a command gets the whole inherited environment but ours, then its own", () => {
    const { target } = entryOf({
      command: "srv",
      args: ["--key", "${TOKEN}"],
      env: { DEBUG: 1, TOKEN: "other" },
      cwd: "sub",
    });
    expect(target).toEqual({
      kind: "stdio",
      command: "srv",
      args: ["--key", "t0ken"],
      cwd: "/etc/sub",
      env: { TOKEN: "other", EMPTY: "", HOME: "/home/u", DEBUG: "1" },
    });
  });

  test.each(["http", "streamable-http", undefined])("of a URL has type %s", (type) => {
    const { target } = entryOf({
      ...(type === undefined ? {} : { type }),
      url: "https://h/mcp",
      headers: { Authorization: "Bearer ${TOKEN}" },
    });
    expect(target).toEqual({
      kind: "http",
      url: "https://h/mcp",
      headers: { Authorization: "Bearer t0ken" },
    });
  });

  test.each([
    ["https://h/sse", "sse", "sse"],
    ["http://h/sse", "sse", "sse"],
    ["wss://h/mcp", "ws", "ws"],
    ["ws://h/mcp", undefined, "ws"],
  ])("of %s with type %s is spoken to over %s", (url, type, kind) => {
    const { target } = entryOf({ ...(type === undefined ? {} : { type }), url });
    expect(target).toEqual({ kind, url, headers: {} });
  });

  test("keeps settings of tools and clients", () => {
    const entry = entryOf({
      command: "srv",
      holdfast: {
        hold: "9s",
        tools: { put: { safety: "idempotent", hold: "2m", defer: true }, get: {} },
        clients: { cursor: { hold: "4s" } },
      },
    });
    expect(entry.tools.get("put")).toEqual({ safety: "idempotent", holdMs: 120_000, defer: true });
    expect(entry.tools.get("get")).toEqual({
      safety: undefined,
      holdMs: undefined,
      defer: undefined,
    });
    expect(entry.clients.get("cursor")).toEqual({ holdMs: 4_000 });
    expect(entry.layer.get("holdMs")?.raw).toBe("9s");
  });

  test("may have keys that other programs know", () => {
    const pasted = { command: "srv", disabled: false, autoApprove: ["x"], timeout: 60 };
    expect(entryOf(pasted).target).toMatchObject({ command: "srv" });
  });

  test.each([
    [{}, 'mcpServers.s: expected either "command" or "url"'],
    [{ command: "a", url: "https://h" }, 'expected either "command" or "url"'],
    [{ command: 5 }, "mcpServers.s.command: 5 is not right; expected a text"],
    [{ command: " " }, "mcpServers.s.command: is empty"],
    [{ command: "a", args: "b" }, "mcpServers.s.args: expected a list of texts"],
    [{ command: "a", args: [1] }, "mcpServers.s.args[0]: 1 is not right; expected a text"],
    [{ command: "a", env: ["A=1"] }, "mcpServers.s.env: expected an object of texts"],
    [{ command: "a", type: "http" }, 'mcpServers.s: type "http" wants "url"'],
    [{ url: "https://h", type: "stdio" }, 'mcpServers.s: type "stdio" wants "command"'],
    [{ url: "https://h", type: "grpc" }, 'mcpServers.s.type: "grpc" is not right; expected one of'],
    [{ url: "h/mcp" }, 'mcpServers.s.url: "h/mcp" is not a URL'],
    [{ url: "ftp://h" }, 'mcpServers.s.url: "ftp://h" is not right; expected an http:, https:'],
    [{ url: "wss://h", type: "sse" }, 'mcpServers.s: type "sse" wants an http: or https: URL'],
    [{ url: "https://h", type: "ws" }, 'mcpServers.s: type "ws" wants a ws: or wss: URL'],
    [{ command: "a", type: "sse" }, 'mcpServers.s: type "sse" wants "url"'],
    [{ url: "https://h", type: "toString" }, '"toString" is not right; expected one of'],
  ])("%j is refused", (entry, message) => {
    expect(() => entryOf(entry)).toThrow(message);
  });

  test("that does not exist is an error with the nearest name and all names", () => {
    const file = parse({ mcpServers: { github: { command: "a" }, docs: { command: "b" } } });
    expect(() => readServer(file, "githb", surroundings("/w"))).toThrow(
      '/etc/h.json: there is no server "githb"; did you mean "github"? (there are: github, docs)',
    );
  });
});

describe('keys below "holdfast"', () => {
  test.each([
    [{ holdd: "1s" }, '/etc/h.json: holdfast.holdd: no such setting; did you mean "hold"?'],
    [
      { offline: { tll: "1h" } },
      'holdfast.offline.tll: no such setting; did you mean "offline.ttl"',
    ],
    [{ xyzzy: 1 }, "holdfast.xyzzy: no such setting"],
    [{ config: "x" }, "holdfast.config: no such setting"],
    [{ tools: {} }, "holdfast.tools: no such setting here; it belongs to a server"],
    [
      { clients: { x: { hold: 4 } } },
      "holdfast.clients.x.hold: 4 is not right; expected a duration",
    ],
    [{ clients: { x: {} } }, 'holdfast.clients.x: expected "hold"'],
    ["loud", "/etc/h.json: holdfast: expected an object"],
  ])("at the top: %j is refused", (holdfast, message) => {
    expect(() => parse({ holdfast })).toThrow(message);
  });

  test.each([
    [{ journal: "memory" }, "mcpServers.s.holdfast.journal: concerns the whole process"],
    [
      { tools: { a: { saftey: "read" } } },
      'tools.a.saftey: no such setting; did you mean "safety"',
    ],
    [
      { tools: { a: { safety: "safe" } } },
      'tools.a.safety: "safe" is not right; expected one of read',
    ],
    [{ tools: { a: 1 } }, "mcpServers.s.holdfast.tools.a: expected an object"],
  ])("of a server: %j is refused", (holdfast, message) => {
    expect(() => entryOf({ command: "a", holdfast })).toThrow(message);
  });
});

describe("the file", () => {
  test("may have comments, trailing commas and a byte order mark", () => {
    const text = '\uFEFF{ // one\n "servers": { /* two */ "a": {"command": "x//y,}",}, },\n}';
    expect(parseConfig(text, "f").servers.get("a")).toEqual({ command: "x//y,}" });
  });

  test("that is not JSON is an error with line and column", () => {
    expect(() => parseConfig('{\n  "servers": {\n    oops\n  }\n}', "/f.json")).toThrow(
      /^\/f\.json:3:5: this is not JSON: /,
    );
    expect(() => parseConfig("", "/f.json")).toThrow(/^\/f\.json:1:1: this is not JSON/);
    expect(() => parseConfig("[]", "/f.json")).toThrow(
      '/f.json: expected an object with "mcpServers"',
    );
  });

  test("that has a mistake is never repeated in the error: it may hold a secret", () => {
    const text = '{"mcpServers": {\n "a": {"headers": {"Authorization": "Bearer s3cret"} "x": 1}}}';
    expect(() => parseConfig(text, "/f.json")).toThrow(
      new ConfigError("/f.json:2:54: this is not JSON: expected a comma"),
    );
  });

  test("may not have one name in both sections", () => {
    const both = { mcpServers: { a: { command: "x" } }, servers: { a: { command: "y" } } };
    expect(() => parse(both)).toThrow("servers.a: stands in mcpServers already");
  });

  test("is looked for in the folder, then in the user's, and is not needed", () => {
    const folder = testFolder();
    const around = surroundings(folder, { XDG_CONFIG_HOME: join(folder, "config") });
    expect(loadConfig(undefined, around)).toBeUndefined();
    mkdirSync(join(folder, "config/holdfast"), { recursive: true });
    const user = join(folder, "config/holdfast/holdfast.json");
    writeFileSync(user, "{}");
    expect(loadConfig(undefined, around)?.path).toBe(user);
    writeFileSync(join(folder, "holdfast.json"), "{}");
    expect(loadConfig(undefined, around)?.path).toBe(join(folder, "holdfast.json"));
  });

  test("has to be there when somebody names it", () => {
    const folder = testFolder();
    expect(() => loadConfig("gone.json", surroundings(folder))).toThrow(
      `${join(folder, "gone.json")}: the configuration cannot be read: ENOENT`,
    );
  });
});
