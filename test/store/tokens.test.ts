import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { must } from "../../src/base/assert.ts";
import type { Admittance, LogLevel } from "../../src/ports.ts";
import { loadDriver } from "../../src/store/sqlite/connection.ts";
import { tryLock } from "../../src/store/sqlite/lock.ts";
import { changeTokens, loadTokens, tokensPath } from "../../src/store/tokens/file.ts";
import type { GatekeeperOptions } from "../../src/store/tokens/gatekeeper.ts";
import {
  LOOK_EVERY_MS,
  NOTE_AFTER_MS,
  NOTE_EVERY_MS,
  openGatekeeper,
} from "../../src/store/tokens/gatekeeper.ts";
import type { TokenWish } from "../../src/store/tokens/registry.ts";
import {
  createToken,
  listTokens,
  revokeToken,
  TOKENS_MAX,
} from "../../src/store/tokens/registry.ts";
import type { Token } from "../../src/store/tokens/token.ts";
import { hashOf, idOfText, isTextOf, newTokenText, stateOf } from "../../src/store/tokens/token.ts";
import { VirtualWorld } from "../support/virtual-world.ts";
import { startChild } from "./children.ts";

function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hf-tokens-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** A state folder with a world of its own, and what is done with its tokens. */
function lab(folder = testFolder(), world = new VirtualWorld()) {
  const path = tokensPath(folder);
  const lines: { level: LogLevel; message: string }[] = [];
  return {
    folder,
    world,
    path,
    lines,
    create: (wish: Partial<TokenWish> = {}) =>
      createToken(world, folder, {
        name: "laptop",
        upstreams: "all",
        expiresInMs: undefined,
        ...wish,
      }),
    revoke: (which: string) => revokeToken(world, folder, which),
    door(options: Partial<GatekeeperOptions> = {}) {
      const gatekeeper = openGatekeeper({
        world,
        log: (level, message) => lines.push({ level, message }),
        stateFolder: folder,
        auth: "auto",
        isBeyondLoopback: false,
        ...options,
      });
      onTestFinished(() => gatekeeper.close());
      return gatekeeper;
    },
  };
}

const LOCAL: Admittance = { kind: "admitted", principal: "local" };
const as = (token: Token): Admittance => ({ kind: "admitted", principal: token.id });
const unknown = (reason: string): Admittance => ({ kind: "unknown", reason });
const NEEDED = unknown("a bearer token is needed; holdfast token create makes one");
const CLOSED = unknown("the proxy can't read its tokens; its log says why");

describe("a token", () => {
  test("has a text of 256 random bits with its id, and is known by its hash alone", async () => {
    const { create, path, world } = lab();
    const { token, text } = await create();
    expect(text).toMatch(/^hft_[0-9a-z]{26}_[0-9a-f]{64}$/);
    expect(idOfText(text)).toBe(token.id);
    expect(isTextOf(text, token)).toBe(true);
    expect(
      isTextOf(
        text.replace(/.$/, (c) => (c === "0" ? "1" : "0")),
        token,
      ),
    ).toBe(false);
    expect(isTextOf(text, undefined)).toBe(false);
    const secret = must(text.split("_")[2], "a secret");
    expect(readFileSync(path, "utf8")).not.toContain(secret);
    expect(newTokenText(world).text).not.toContain(secret);
  });

  test("is revoked rather than expired, and expires at its instant, not after it", () => {
    const token = { revokedAt: undefined, expiresAt: 1_000 } as Token;
    expect(stateOf(token, 999)).toBe("valid");
    expect(stateOf(token, 1_000)).toBe("expired");
    expect(stateOf({ ...token, revokedAt: 1 }, 2_000)).toBe("revoked");
  });
});

describe("the token file", () => {
  test("is private, keeps everything, and leaves no draft beside it", async () => {
    const { create, revoke, folder, path, world } = lab();
    const one = (await create({ upstreams: ["a", "b"], expiresInMs: 5_000 })).token;
    const two = (await create({ name: "two" })).token;
    const revoked = await revoke("two");
    expect(listTokens(folder)).toEqual([one, { ...two, revokedAt: world.now() }]);
    expect(revoked).toEqual({ ...two, revokedAt: world.now() });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder).sort()).toEqual(["tokens.json", "tokens.lock.db"]);
    expect(statSync(join(folder, "tokens.lock.db")).mode & 0o777).toBe(0o600);
  });

  const GOOD = {
    id: `t_${"0".repeat(26)}`,
    name: "n",
    hash: "0".repeat(64),
    upstreams: "all",
    createdAt: 1,
  };
  const file = (...tokens: unknown[]) => JSON.stringify({ version: 1, tokens });

  test("of another make is read", () => {
    const { folder, path } = lab();
    writeFileSync(path, file({ ...GOOD, later: true }));
    expect(listTokens(folder)).toMatchObject([GOOD]);
  });

  test.each([
    ["", "it is not JSON"],
    [file(GOOD).slice(0, -1), "it is not JSON"],
    ["[]", "it holds no tokens"],
    ['{"version":2,"tokens":[]}', "it has version 2, this version of Holdfast reads 1"],
    ['{"version":1}', "it holds no tokens"],
    [file(null), "its token 1 has no right form"],
    [file({ ...GOOD, id: "x" }), "its token 1 has no right id"],
    [file({ ...GOOD, name: "" }), "its token 1 has no right name"],
    [file({ ...GOOD, hash: "abc" }), "its token 1 has no right hash"],
    [file({ ...GOOD, upstreams: ["a", 1] }), "its token 1 has no right upstreams"],
    [file({ ...GOOD, upstreams: undefined }), "its token 1 has no right upstreams"],
    [file({ ...GOOD, expiresAt: "soon" }), "its token 1 has no right expiresAt"],
    [file({ ...GOOD, revokedAt: null }), "its token 1 has no right revokedAt"],
    [file(GOOD, GOOD), "it holds a token twice"],
  ])("that is damaged (%j) is read by nobody, and NEVER overwritten", async (text, why) => {
    const { create, revoke, door, folder, path, lines } = lab();
    writeFileSync(path, text);
    const whole = `${path} can't be used: ${why}`;
    expect(() => listTokens(folder)).toThrow(whole);
    await expect(create()).rejects.toThrow(`${whole}. Restore it, or move it away`);
    await expect(revoke("n")).rejects.toThrow(whole);
    expect(readFileSync(path, "utf8")).toBe(text);
    const gatekeeper = door();
    expect(gatekeeper.admit(undefined, "a")).toEqual(NEEDED);
    expect(gatekeeper.admit("x", "a")).toEqual(CLOSED);
    expect(gatekeeper.trouble()).toBe(whole);
    expect(lines).toEqual([{ level: "error", message: `nobody is let in: ${whole}` }]);
  });

  test("says where it can't be written", async () => {
    const { create, path } = lab();
    mkdirSync(path);
    await expect(create()).rejects.toThrow(`${path} can't be used: EISDIR`);
    const nowhere = lab(join(testFolder(), "missing"));
    await expect(nowhere.create()).rejects.toThrow(`${nowhere.path} can't be locked: ENOENT`);
  });

  test("is not changed by a change that throws, and its lock is free afterwards", async () => {
    const { create, path } = lab();
    await create();
    const before = readFileSync(path, "utf8");
    const driver = await loadDriver();
    const fail = () => {
      throw new Error("no");
    };
    expect(() => {
      changeTokens(driver, path, 0, fail);
    }).toThrow("no");
    expect(readFileSync(path, "utf8")).toBe(before);
    await create({ name: "two" });
  });

  test("is locked while it is changed: another change waits, and then says that it could not", async () => {
    const { folder, path, create } = lab();
    await create();
    const driver = await loadDriver();
    const lock = must(tryLock(driver, join(folder, "tokens.lock.db")), "the lock");
    expect(() => {
      changeTokens(driver, path, 1, (tokens) => tokens);
    }).toThrow(`${path} is being changed by another process all the time; try again`);
    lock.release();
    changeTokens(driver, path, 1, (tokens) => tokens);
  });

  test("loses no token of several processes that make them at once, and is whole at every instant", async () => {
    const { folder, path } = lab();
    const makers = ["a", "b", "c", "d"].map((name) =>
      startChild("token-maker.mjs", folder, "15", name),
    );
    const ended = Promise.all(makers.map((maker) => maker.end()));
    const seen = new Set<string>();
    const makersLeft = new Set(makers);
    for (const maker of makers) maker.process.once("close", () => makersLeft.delete(maker));
    while (makersLeft.size > 0) {
      seen.add(loadTokens(path).kind);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await ended).toEqual([0, 0, 0, 0]);
    // Who reads meanwhile finds a whole file, or none yet.
    expect(seen).not.toContain("unreadable");
    const texts = makers.flatMap((maker) => maker.lines);
    const tokens = new Map(listTokens(folder).map((token) => [token.id, token]));
    expect(tokens.size).toBe(60);
    expect(texts.filter((text) => isTextOf(text, tokens.get(idOfText(text) ?? "")))).toHaveLength(
      60,
    );
  });

  test("keeps every token that was told of, whenever its maker is killed, and is free at once", async () => {
    const { folder, create, path } = lab();
    const told: string[] = [];
    for (const [round, count] of [1, 3, 7].entries()) {
      const maker = startChild("token-maker.mjs", folder, "Infinity", `round ${String(round)}`);
      await maker.untilLines(count);
      await maker.kill();
      told.push(...maker.lines);
    }
    expect(loadTokens(path).kind).toBe("read");
    const kept = new Set(listTokens(folder).map(({ hash }) => hash));
    expect(told.length).toBeGreaterThanOrEqual(11);
    expect(told.filter((text) => !kept.has(hashOf(text)))).toEqual([]);
    await create();
  });
});

describe("names of tokens", () => {
  test("are unique among the valid ones, and free again after that", async () => {
    const { create, revoke, world } = lab();
    await create({ expiresInMs: 1_000 });
    await expect(create()).rejects.toThrow(
      'there is a valid token "laptop"; choose another name, or revoke that one first: ' +
        'holdfast token revoke "laptop"',
    );
    await world.advance(1_000);
    const second = await create();
    // The valid one is meant, not the expired one of that name.
    expect((await revoke("laptop")).id).toBe(second.token.id);
    await create();
  });

  test("or ids, or texts, say which one to revoke; a text is never repeated", async () => {
    const { create, revoke } = lab();
    const one = await create({ name: "one" });
    const two = await create({ name: "two" });
    const three = await create({ name: "three" });
    expect((await revoke("one")).id).toBe(one.token.id);
    expect((await revoke(two.token.id)).id).toBe(two.token.id);
    expect((await revoke(three.text)).id).toBe(three.token.id);
    await expect(revoke("one")).rejects.toThrow('the token "one" is revoked already');
    await expect(revoke(three.text)).rejects.toThrow(
      `the token ${three.token.id} is revoked already`,
    );
    await expect(revoke("four")).rejects.toThrow(
      'there is no token "four"; "holdfast token list" shows them',
    );
  });

  test("that several expired tokens have say so, with the ids", async () => {
    const { create, revoke, world } = lab();
    const ids: string[] = [];
    for (let i = 0; i < 2; i++) {
      ids.push((await create({ expiresInMs: 1_000 })).token.id);
      await world.advance(1_000);
    }
    await expect(revoke("laptop")).rejects.toThrow(
      `several tokens are called "laptop"; say which by its id: ${ids.join(", ")}`,
    );
  });
});

test("there are at most so many tokens: the oldest ended ones make room, and no valid one ever does", async () => {
  const { create, revoke, folder, path } = lab();
  const first = (await create({ name: "first" })).token;
  const ended = (await create({ name: "ended" })).token;
  await revoke("ended");
  changeTokens(await loadDriver(), path, 0, (tokens) => [
    ...tokens,
    ...Array.from({ length: TOKENS_MAX - 2 }, (_, i) => ({
      ...first,
      id: `t_${String(i).padStart(26, "0")}`,
      name: String(i),
    })),
  ]);
  const { token } = await create({ name: "last" });
  const ids = listTokens(folder).map(({ id }) => id);
  expect(ids).toHaveLength(TOKENS_MAX);
  expect(ids).toContain(token.id);
  expect(ids).not.toContain(ended.id);
  await expect(create({ name: "more" })).rejects.toThrow("revoke some first");
});

describe("the gatekeeper", () => {
  test("lets in a valid token as its principal, and only for its upstreams", async () => {
    const { create, door } = lab();
    const all = await create({ name: "all" });
    const some = await create({ name: "some", upstreams: ["github", "docs"] });
    const gatekeeper = door();
    expect(gatekeeper.admit(all.text, "anything")).toEqual(as(all.token));
    expect(gatekeeper.admit(some.text, "docs")).toEqual(as(some.token));
    expect(gatekeeper.admit(some.text, "mail")).toEqual({
      kind: "forbidden",
      reason: 'the token is not for "mail"',
    });
    expect(gatekeeper.countValid()).toBe(2);
  });

  test("does NOT take an upstream called like a word of ours for all of them", async () => {
    const { create, door } = lab();
    const { text } = await create({ upstreams: ["all"] });
    expect(door().admit(text, "github").kind).toBe("forbidden");
  });

  test("refuses no token, a wrong one, one with another's id, and one that is ended", async () => {
    const { create, revoke, door, world } = lab();
    const good = await create({ name: "good" });
    const gone = await create({ name: "gone" });
    const brief = await create({ name: "brief", expiresInMs: 1_000 });
    await revoke("gone");
    await world.advance(999);
    const gatekeeper = door();
    expect(gatekeeper.admit(brief.text, "a")).toEqual(as(brief.token));
    await world.advance(1);
    expect(gatekeeper.admit(brief.text, "a")).toEqual(unknown("the token has expired"));
    expect(gatekeeper.admit(gone.text, "a")).toEqual(unknown("the token was revoked"));
    expect(gatekeeper.admit(undefined, "a")).toEqual(NEEDED);
    const [, id] = good.text.split("_");
    const forged = `hft_${must(id, "an id")}_${must(gone.text.split("_")[2], "a secret")}`;
    for (const wrong of ["", "x", forged, good.text.toUpperCase(), `${good.text} `, "__proto__"]) {
      expect(gatekeeper.admit(wrong, "a")).toEqual(unknown("the token is unknown"));
    }
    expect(gatekeeper.countValid()).toBe(1);
  });

  test("knows a new token at once, and a revoked one within a tenth of a second", async () => {
    const { create, revoke, door, world } = lab();
    await create({ name: "first" });
    const gatekeeper = door();
    const { token, text } = await create({ name: "second" });
    expect(gatekeeper.admit(text, "a")).toEqual(as(token));
    await revoke("second");
    await world.advance(LOOK_EVERY_MS);
    expect(gatekeeper.admit(text, "a")).toEqual(unknown("the token was revoked"));
  });

  test("says of one who is in whether he would be let in now", async () => {
    const { create, revoke, door, world } = lab();
    const open = door();
    expect([open.stillAdmits("local", "a"), open.stillAdmits("t_x", "a")]).toEqual([true, false]);
    const narrow = await create({ name: "narrow", upstreams: ["a"] });
    const brief = await create({ name: "brief", expiresInMs: 60_000 });
    const gatekeeper = door();
    const still = ({ id }: { readonly id: string }, upstream: string) =>
      gatekeeper.stillAdmits(id, upstream);
    expect([still(narrow.token, "a"), still(narrow.token, "b")]).toEqual([true, false]);
    expect(gatekeeper.stillAdmits("local", "a")).toBe(false);
    await revoke("narrow");
    await world.advance(100);
    expect([still(narrow.token, "a"), still(brief.token, "a")]).toEqual([false, true]);
    const isRevoked = (id: string) => gatekeeper.isRevoked(id, "a");
    expect([narrow.token.id, brief.token.id, "local", "t_x"].map(isRevoked)).toEqual([
      true,
      false,
      false,
      true,
    ]);
    await world.advance(60_000);
    expect(still(brief.token, "a")).toBe(false);
  });

  test("of another process sees what this one changes, and the other way round", async () => {
    const { folder, door, world } = lab();
    const gatekeeper = door({ auth: "required" });
    const maker = startChild("token-maker.mjs", folder, "1", "theirs");
    await maker.untilLines(1);
    const text = must(maker.lines[0], "a token");
    expect(gatekeeper.admit(text, "a").kind).toBe("admitted");
    await maker.end();
    await world.advance(LOOK_EVERY_MS);
    expect(gatekeeper.admit(text, "a").kind).toBe("admitted");
  });

  test("knows its tokens after a restart", async () => {
    const { create, door } = lab();
    const { token, text } = await create();
    await door().close();
    expect(door().admit(text, "a")).toEqual(as(token));
  });

  test("asks nobody on loopback until the first token is made, and everybody from then on", async () => {
    const { create, revoke, door, world } = lab();
    const gatekeeper = door();
    expect(gatekeeper.admit(undefined, "a")).toEqual(LOCAL);
    expect(gatekeeper.admit("whatever", "a")).toEqual(LOCAL);
    await create();
    await world.advance(LOOK_EVERY_MS);
    expect(gatekeeper.admit(undefined, "a")).toEqual(NEEDED);
    await revoke("laptop");
    await world.advance(LOOK_EVERY_MS);
    expect(gatekeeper.admit(undefined, "a")).toEqual(NEEDED);
    expect(door().admit(undefined, "a")).toEqual(NEEDED);
  });

  test("asks everybody beyond loopback or where tokens are required, and nobody with none", async () => {
    const { create, door } = lab();
    expect(door({ isBeyondLoopback: true }).admit(undefined, "a")).toEqual(NEEDED);
    expect(door({ auth: "required" }).admit(undefined, "a")).toEqual(NEEDED);
    await create();
    expect(door({ auth: "none" }).admit(undefined, "a")).toEqual(LOCAL);
    expect(door({ auth: "none", isBeyondLoopback: true }).admit("x", "a")).toEqual(LOCAL);
  });

  test("closes the door while the file can't be read or is gone, says so once, and opens it again", async () => {
    const { create, door, world, path, lines } = lab();
    const { token, text } = await create();
    const gatekeeper = door();
    const whole = readFileSync(path, "utf8");
    for (const spoil of [
      () => {
        writeFileSync(path, whole.slice(0, -20));
      },
      () => {
        renameSync(path, `${path}.away`);
      },
    ]) {
      spoil();
      lines.length = 0;
      for (let i = 0; i < 3; i++) {
        await world.advance(LOOK_EVERY_MS);
        expect(gatekeeper.admit(text, "a")).toEqual(CLOSED);
        expect(gatekeeper.admit(undefined, "a")).toEqual(NEEDED);
      }
      expect(lines.map(({ level }) => level)).toEqual(["error"]);
      expect(gatekeeper.trouble()).toContain(path);
      writeFileSync(path, whole);
      await world.advance(LOOK_EVERY_MS);
      expect(gatekeeper.admit(text, "a")).toEqual(as(token));
      expect(gatekeeper.trouble()).toBeUndefined();
    }
  });

  test("looks at the file at most every tenth of a second for a token that it knows", async () => {
    const { create, door, world, path } = lab();
    const { token, text } = await create();
    const gatekeeper = door();
    writeFileSync(path, "");
    await world.advance(LOOK_EVERY_MS - 1);
    expect(gatekeeper.admit(text, "a")).toEqual(as(token));
    await world.advance(1);
    expect(gatekeeper.admit(text, "a")).toEqual(CLOSED);
  });
});

describe("when a token was last used", () => {
  test("is noted soon after the first use, and once a minute at most", async () => {
    const { create, door, world, folder, path } = lab();
    const { text } = await create();
    const gatekeeper = door();
    const usedAt = world.now();
    for (let i = 0; i < 5; i++) gatekeeper.admit(text, "a");
    expect(listTokens(folder)[0]?.lastUsedAt).toBeUndefined();
    await world.advance(NOTE_AFTER_MS);
    await gatekeeper.close();
    expect(listTokens(folder)[0]?.lastUsedAt).toBe(usedAt);
    const written = statSync(path).mtimeMs;
    gatekeeper.admit(text, "a");
    await world.advance(NOTE_EVERY_MS - NOTE_AFTER_MS - 1);
    gatekeeper.admit(text, "a");
    await gatekeeper.close();
    expect(statSync(path).mtimeMs).toBe(written);
    await world.advance(1);
    gatekeeper.admit(text, "a");
    await gatekeeper.close();
    expect(listTokens(folder)[0]?.lastUsedAt).toBe(usedAt + NOTE_EVERY_MS);
    expect(world.pendingTimers).toBe(0);
  });

  test("is not noted for one that was refused", async () => {
    const { create, revoke, door, folder } = lab();
    const { text } = await create();
    await revoke("laptop");
    const gatekeeper = door();
    gatekeeper.admit(text, "a");
    await gatekeeper.close();
    expect(listTokens(folder)[0]?.lastUsedAt).toBeUndefined();
  });

  test("undoes no change of another process, and makes no file that was gone", async () => {
    const { create, revoke, door, folder, path } = lab();
    const { text } = await create();
    const gatekeeper = door();
    gatekeeper.admit(text, "a");
    await revoke("laptop");
    await gatekeeper.close();
    expect(listTokens(folder)[0]).toMatchObject({ revokedAt: expect.any(Number) as number });
    const other = await create({ name: "other" });
    gatekeeper.admit(other.text, "a");
    rmSync(path);
    await gatekeeper.close();
    expect(existsSync(path)).toBe(false);
  });

  test("is said not to be noted where it can't be, once, and nobody is kept out for it", async () => {
    const { create, door, world, path, lines, folder } = lab();
    const { token, text } = await create();
    const gatekeeper = door();
    const lock = must(tryLock(await loadDriver(), join(folder, "tokens.lock.db")), "the lock");
    for (let i = 0; i < 2; i++) {
      expect(gatekeeper.admit(text, "a")).toEqual(as(token));
      await gatekeeper.close();
      await world.advance(NOTE_EVERY_MS);
    }
    lock.release();
    expect(lines).toMatchObject([
      {
        level: "warn",
        message: `when tokens were last used is not noted: ${path} is being changed by another process all the time; try again`,
      },
      { level: "debug" },
    ]);
  });
});
