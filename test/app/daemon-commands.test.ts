/** `holdfast sessions`, `events` and `restart`, as a person types them, against proxies behind real sockets. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { RefusedError } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import type { ProxyEvent } from "../../src/core/event.ts";
import { runCommandLine } from "../../src/app/command-line.ts";
import type { Outside } from "../../src/app/commands/screen.ts";
import { journalReader } from "../../src/app/journals.ts";
import { openJournals } from "../../src/store/folder.ts";
import { aHandshake, aSession } from "../support/builders.ts";
import { aFeed, aProxy } from "./support/control.ts";
import { makeRow, surroundings, testFolder, testOutside } from "./support/outside.ts";
import {
  makeSession,
  makeStatus,
  makeUpstream,
  makeUpstreamSummary,
  SAMPLE_NOW,
} from "./support/samples.ts";

/** A clock that stands still where the samples are. */
const world = { ...realWorld(), now: () => SAMPLE_NOW };

async function run(folder: string, argv: string[], overrides: Partial<Outside> = {}) {
  const outside = testOutside(folder, {}, { world, ...overrides });
  const code = await runCommandLine(argv, outside);
  return { code, out: outside.stdout(), error: outside.stderr() };
}

const handshake = JSON.stringify(
  aHandshake({ clientInfo: { name: "claude-code", version: "2.1.0" } }),
);

const HOUR = 3_600_000;
const attached = aSession({
  id: "s_attached",
  handshake,
  createdAt: SAMPLE_NOW - 2 * HOUR,
  lastSeenAt: SAMPLE_NOW - HOUR,
  upstream: "ab".repeat(32),
});
const asleep = aSession({
  id: "s_asleep",
  keyDigest: "digest",
  principal: "t_ci",
  transport: "http",
  handshake,
  createdAt: SAMPLE_NOW - 2 * HOUR,
  lastSeenAt: SAMPLE_NOW - HOUR,
  timeoutMs: 2 * HOUR,
  upstream: "docs",
});
const expired = { ...asleep, id: "s_expired", timeoutMs: HOUR / 2 };
const left = { ...asleep, id: "s_left", transport: "stdio", keyDigest: undefined } as const;
const ended = { ...asleep, id: "s_ended", endedAt: SAMPLE_NOW - 5 };

describe("a command that looks at what runs", () => {
  test.each([
    ["is not JSON", '{"mcpServers": {"a" {}}}', /:1:21: this is not JSON/],
    ["has a wrong option", '{"holdfast": {"hold": "soon"}, "mcpServers": {}}', /hold: "soon"/],
  ])("does so also where the configuration %s, and says that", async (_what, text, words) => {
    const folder = testFolder();
    writeFileSync(join(folder, "holdfast.json"), text);
    // The usual folders of somebody who lives here.
    const around = { ...surroundings(folder), env: {} };
    const { code, out, error } = await run(folder, ["sessions"], { around });
    expect({ code, out }).toEqual({ code: 0, out: "No sessions.\n" });
    expect(error).toMatch(words);
    expect(error).toMatch(/so this is about .*holdfast\n$/);
    const named = ["sessions", "--state-dir", folder];
    expect(await run(folder, named, { around })).toMatchObject({ error: "" });
  });
});

describe("holdfast sessions", () => {
  const proxyWithSessions = (folder: string) =>
    aProxy(
      folder,
      {
        sessions: () => Promise.resolve([ended, left, expired, asleep, attached]),
        list: ({ isUndelivered }) =>
          Promise.resolve(
            isUndelivered === true
              ? [makeRow({ sessionId: "s_asleep" }), makeRow({ sessionId: "s_asleep" })]
              : [],
          ),
      },
      makeStatus({
        sessions: [
          makeSession({ id: "s_attached", upstream: makeUpstream({ waiting: 1 }) }),
          makeSession({ id: "s_new", client: "new\u001b[31m", lastSeenAt: SAMPLE_NOW }),
        ],
      }),
    );

  test("lists those that may still be used, the last seen first", async () => {
    const folder = testFolder();
    await proxyWithSessions(folder);
    const { code, out, error } = await run(folder, ["sessions"]);
    expect({ code, error }).toEqual({ code: 0, error: "" });
    const cells = out
      .split("\n")
      .filter((line) => line.includes("│"))
      .map((line) =>
        line
          .split("│")
          .map((cell) => cell.trim())
          .slice(1, -1)
          .join(" | "),
      );
    expect(cells).toEqual([
      "session | client | server | over | principal | state | waiting | age | seen",
      "s_new | new [31m | github | stdio | local | attached | 0 | 3 min 13 s | 0 s ago",
      "s_attached | claude-code 2.1.0 | github | stdio | local | attached | 1 | 2 h | 4 s ago",
      "s_asleep | claude-code 2.1.0 | docs | http | t_ci | detached | 2 | 2 h | 1 h ago",
    ]);
  });

  test("has pinned JSON keys and states, and says nothing of keys", async () => {
    const folder = testFolder();
    await proxyWithSessions(folder);
    const { out } = await run(folder, ["sessions", "list", "--all", "--json"]);
    const { sessions } = JSON.parse(out) as { sessions: Record<string, unknown>[] };
    expect(Object.keys(sessions[0] ?? {}).sort()).toEqual(
      "client createdAt id lastSeenAt principal protocolVersion state transport upstream waiting".split(
        " ",
      ),
    );
    expect(Object.fromEntries(sessions.map(({ id, state }) => [id, state]))).toEqual({
      s_new: "attached",
      s_attached: "attached",
      s_asleep: "detached",
      s_expired: "expired",
      s_left: "ended",
      s_ended: "ended",
    });
    expect(out).not.toContain("digest");
  });

  test("says how many more there are", async () => {
    const folder = testFolder();
    await proxyWithSessions(folder);
    const { out } = await run(folder, ["sessions", "list", "--limit", "1"]);
    expect(out).toContain("s_new");
    expect(out).not.toContain("s_attached");
    expect(out).toContain("\n… and 2 more sessions: --limit\n");
    expect((await run(folder, ["sessions", "list", "--limit", "x"])).code).toBe(2);
    expect((await run(testFolder(), ["sessions"])).out).toBe("No sessions.\n");
  });

  test("end goes to the proxy that has the session", async () => {
    const folder = testFolder();
    const over: string[] = [];
    await aProxy(folder, {
      sessions: () => Promise.resolve([asleep, ended]),
      endSession: (id) => {
        if (id === "s_ended") throw new RefusedError("session s_ended has ended already");
        over.push(id);
        return Promise.resolve();
      },
    });
    expect(await run(folder, ["sessions", "end", "s_asl"])).toEqual({
      code: 0,
      out: "Session s_asleep of claude-code 2.1.0 has ended.\n",
      error: "",
    });
    expect(over).toEqual(["s_asleep"]);
    expect(await run(folder, ["sessions", "end", "s_ended"])).toMatchObject({
      code: 1,
      error: "holdfast: session s_ended has ended already\n",
    });
    expect((await run(folder, ["sessions", "end", "s_nobody"])).error).toBe(
      "holdfast: there is no session s_nobody\n",
    );
    expect((await run(folder, ["sessions", "end"])).code).toBe(2);
    expect((await run(folder, ["sessions", "stop", "s_asleep"])).code).toBe(2);
  });
});

describe("holdfast sessions without a running proxy", () => {
  const waiting = makeRow({ id: "c_waiting", sessionId: "s_asleep", deadlineAt: SAMPLE_NOW * 2 });
  const promised = makeRow({ ...waiting, id: "c_promised", acknowledgedAt: SAMPLE_NOW });
  const other = makeRow({ ...waiting, id: "c_other", sessionId: "s_other" });

  /** A journal that nobody has, with a session that may come back and calls that wait. */
  async function leftFolder(): Promise<[string, Partial<Outside>]> {
    const folder = testFolder();
    const { own } = await openJournals({
      world,
      log: () => undefined,
      folder: join(folder, "state"),
      upstreamDigest: "ab".repeat(32),
      credentialsDigest: "cd".repeat(32),
      mode: "required",
      durability: "process",
      dropsDelivered: false,
    });
    await own.recover(SAMPLE_NOW);
    await own.saveSession(asleep);
    for (const row of [waiting, promised, other]) await own.admit(row);
    await own.close();
    const journals = (state: string) =>
      Promise.resolve(journalReader(state, world, () => undefined));
    return [folder, { journals }];
  }

  test("lists what the journal knows", async () => {
    const [folder, overrides] = await leftFolder();
    const { out } = await run(folder, ["sessions", "--json"], overrides);
    expect((JSON.parse(out) as { sessions: unknown[] }).sessions).toEqual([
      expect.objectContaining({ id: "s_asleep", state: "detached", upstream: "docs", waiting: 2 }),
    ]);
  });

  test("end closes it for good, withdraws what waits, and keeps what was promised", async () => {
    const [folder, overrides] = await leftFolder();
    const end = ["sessions", "end", "s_asleep"];
    expect(await run(folder, end, overrides)).toMatchObject({ code: 0, error: "" });
    expect(await run(folder, end, overrides)).toMatchObject({
      code: 1,
      error: "holdfast: session s_asleep has ended already\n",
    });
    const sessions = await run(folder, ["sessions", "list", "--all", "--json"], overrides);
    expect(JSON.parse(sessions.out)).toMatchObject({ sessions: [{ state: "ended" }] });
    const { out } = await run(folder, ["calls", "list", "--json"], overrides);
    const { calls } = JSON.parse(out) as { calls: { id: string }[] };
    expect(calls.find(({ id }) => id === "c_waiting")).toMatchObject({
      state: "cancelled",
      executed: "no",
      cause: "its session was ended by a person",
    });
    expect(calls.find(({ id }) => id === "c_promised")).toMatchObject({ state: "queued" });
    expect(calls.find(({ id }) => id === "c_other")).toMatchObject({ state: "queued" });
  });
});

const change = (upstream: string, text: string): ProxyEvent => ({
  kind: "configuration",
  at: SAMPLE_NOW,
  upstream,
  text,
});

/** `holdfast events` as it runs: each line that comes can be waited for. */
function following(folder: string, ...argv: string[]) {
  const lines: string[] = [];
  const errors: string[] = [];
  let look = (): void => undefined;
  let stop = (): void => undefined;
  const interrupted = new Promise<void>((resolve) => (stop = resolve));
  const note = (into: string[]) => (text: string) => {
    into.push(text);
    look();
  };
  const outside = testOutside(
    folder,
    {},
    { world, out: note(lines), error: note(errors), interrupted: () => interrupted },
  );
  return {
    lines,
    errors,
    stop,
    code: runCommandLine(["events", "--follow", ...argv], outside),
    untilLines: (count: number, of = lines) =>
      new Promise<void>((resolve) => {
        look = () => {
          if (of.length >= count) resolve();
        };
        look();
      }),
  };
}

describe("holdfast events", () => {
  test("--follow shows what happens in every proxy until Ctrl-C, which is no failure", async () => {
    const folder = testFolder();
    const [github, docs] = [aFeed(), aFeed()];
    await aProxy(folder, github);
    await aProxy(folder, docs, makeStatus({ pid: 4_250, upstreamName: "docs" }));
    const events = following(folder);
    await Promise.all([github.untilFollowers(1), docs.untilFollowers(1)]);
    github.tell(change("github", "one"));
    await events.untilLines(1);
    docs.tell(change("docs", "two"));
    await events.untilLines(2);
    expect(events.lines).toEqual([
      "2027-01-15T08:00:00.000Z github configuration: one\n",
      "2027-01-15T08:00:00.000Z docs configuration: two\n",
    ]);
    events.stop();
    expect(await events.code).toBe(0);
    await Promise.all([github.untilFollowers(0), docs.untilFollowers(0)]);
    expect(events.errors).toEqual([]);
  });

  test("--json prints the events themselves, --upstream leaves the others out", async () => {
    const folder = testFolder();
    const feed = aFeed();
    const upstreams = [makeUpstreamSummary(), makeUpstreamSummary({ name: "docs" })];
    await aProxy(folder, feed, makeStatus({ upstreams }));
    const events = following(folder, "--json", "--upstream", "docs");
    await feed.untilFollowers(1);
    feed.tell(change("github", "one"));
    feed.tell(change("docs", "two"));
    await events.untilLines(1);
    events.stop();
    await events.code;
    expect(events.lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      change("docs", "two"),
    ]);
  });

  test("ends with 1 and in words when the last proxy has ended, NOT with the first", async () => {
    const folder = testFolder();
    const [github, docs] = [aFeed(), aFeed()];
    const first = await aProxy(folder, github);
    const second = await aProxy(folder, docs, makeStatus({ pid: 4_250, upstreamName: "docs" }));
    const events = following(folder);
    await Promise.all([github.untilFollowers(1), docs.untilFollowers(1)]);
    await first.close();
    await events.untilLines(1, events.errors);
    docs.tell(change("docs", "still here"));
    await events.untilLines(1);
    await second.close();
    expect(await events.code).toBe(1);
    expect(events.errors).toEqual([
      'holdfast: no more events of "github" (pid 4242): the proxy closed its control socket\n',
      'holdfast: no more events of "docs" (pid 4250): the proxy closed its control socket\n',
    ]);
  });

  test("says what it would show without --follow, and what there is to follow", async () => {
    const folder = testFolder();
    const without = await run(folder, ["events"]);
    expect(without.code).toBe(2);
    expect(without.error).toContain("expected: holdfast events --follow, which shows");
    expect(await run(folder, ["events", "--follow"])).toEqual({
      code: 1,
      out: "",
      error: "holdfast: no proxy is running\n",
    });
    await aProxy(folder);
    expect(await run(folder, ["events", "--follow", "--upstream", "gitub"])).toEqual({
      code: 2,
      out: "",
      error: 'holdfast: no running proxy has a server "gitub"; did you mean "github"?\n',
    });
  });
});

describe("holdfast restart", () => {
  const daemon = makeStatus({
    pid: 4_250,
    upstreamName: "serve",
    upstreams: [makeUpstreamSummary({ name: "docs" }), makeUpstreamSummary()],
  });

  test("goes to every proxy that has the upstream, and says what was done", async () => {
    const folder = testFolder();
    const asked: string[] = [];
    const restartTo = (count: number) => (name: string) => {
      asked.push(name);
      return Promise.resolve(count);
    };
    await aProxy(folder, { restart: restartTo(0) });
    await aProxy(folder, { restart: restartTo(3) }, daemon);
    expect(await run(folder, ["restart", "docs"])).toEqual({
      code: 0,
      out: "Restarted docs (pid 4250): 3 connections renewed.\n",
      error: "",
    });
    expect(await run(folder, ["restart", "github"])).toEqual({
      code: 0,
      out:
        "Restarted github (pid 4242): there was no connection; the next call makes one.\n" +
        "Restarted github (pid 4250): 3 connections renewed.\n",
      error: "",
    });
    const { out } = await run(folder, ["restart", "docs", "--json"]);
    expect(JSON.parse(out)).toEqual({
      restarted: [{ pid: 4_250, upstream: "docs", connections: 3 }],
    });
    expect(asked).toEqual(["docs", "github", "github", "docs"]);
  });

  test("is 2 where no running proxy has it, and 1 with the reason where it is refused", async () => {
    const folder = testFolder();
    expect(await run(folder, ["restart", "docs"])).toEqual({
      code: 2,
      out: "",
      error: 'holdfast: no running proxy has a server "docs"; no proxy is running\n',
    });
    expect((await run(folder, ["restart"])).code).toBe(2);
    const restart = () => Promise.reject(new RefusedError("it is being taken away"));
    await aProxy(folder, { restart }, daemon);
    expect((await run(folder, ["restart", "files"])).error).toBe(
      'holdfast: no running proxy has a server "files"; those that run have docs, github\n',
    );
    expect(await run(folder, ["restart", "docs"])).toEqual({
      code: 1,
      out: "",
      error: 'holdfast: "docs" (pid 4250) was not restarted: it is being taken away\n',
    });
  });

  test("says what it waits for where calls in flight take their time", async () => {
    const folder = testFolder();
    let finish: (count: number) => void = () => undefined;
    const restart = () => new Promise<number>((resolve) => (finish = resolve));
    await aProxy(folder, { restart }, daemon);
    const hasty = {
      ...world,
      timer: (delayMs: number, fire: () => void) =>
        realWorld().timer(delayMs === 2_000 ? 1 : delayMs, fire),
    };
    const errors: string[] = [];
    const error = (text: string) => {
      errors.push(text);
      finish(1);
    };
    const { code, out } = await run(folder, ["restart", "docs"], { world: hasty, error });
    expect({ code, out }).toEqual({
      code: 0,
      out: "Restarted docs (pid 4250): 1 connection renewed.\n",
    });
    expect(errors).toEqual([
      'holdfast: "docs" (pid 4250) still has calls in flight; they may finish first. ' +
        "Ctrl-C ends the waiting, not the restart\n",
    ]);
  });
});
