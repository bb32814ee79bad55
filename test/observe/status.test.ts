import { describe, expect, test } from "vitest";
import { renderStatus } from "../../src/observe/status.ts";
import { ageText, NO_PAINT, sizeText } from "../../src/observe/text.ts";
import {
  makeSession,
  makeStatus,
  makeUpstreamSummary,
  makeUpstream,
  SAMPLE_NOW,
} from "../app/support/samples.ts";

const lines = (...texts: string[]) => texts.join("\n");

test("a healthy proxy reads like this", () => {
  expect(renderStatus(makeStatus(), NO_PAINT)).toBe(
    lines(
      "github: healthy  holdfast 0.1.0, pid 4242, up 3 min 13 s",
      "  session  claude-code 2.1.0 (MCP 2025-11-25), attached, 3 min 13 s old",
      "    github serving for 3 min 12 s pid 4243  npx -y @modelcontextprotocol/server-github",
      "      last reply 4 s ago, 0 restarts, breaker closed",
      "      0 waiting, 1 in flight, p50 3.3 ms, p95 41 ms",
      "  calls    120 accepted, 119 answered, 0 expired, 0 with unknown outcome, 0 refused",
      "  journal  /state/journals/1.db, 64 KiB + WAL 4.0 KiB, fsync 0.3 ms, 120 rows, 240 commits",
    ),
  );
});

test("a degraded proxy says why first, and all that is known of its trouble", () => {
  const upstream = makeUpstream({
    state: "waiting",
    since: SAMPLE_NOW - 21_000,
    lastReplyAt: undefined,
    restarts: 1,
    breaker: "half_open",
    lastFailure: {
      kind: "process_exit",
      message: "exited with code 7;\nlast output: \u001b[31mboom",
      at: SAMPLE_NOW - 21_000,
    },
    nextAttemptAt: SAMPLE_NOW + 4_000,
    details: {},
    waiting: 2,
    oldestWaitingAt: SAMPLE_NOW - 20_000,
    inFlight: 0,
    latencyMs: undefined,
  });
  const status = makeStatus({
    health: "degraded",
    reasons: ["'github' is down: exited with code 7"],
    sessions: [makeSession({ upstream, isAttached: false })],
    heldForPerson: 1,
    journal: { ...makeStatus().journal, kind: "memory", degraded: "the disk refused", rows: 1 },
    recovery: {
      tookMs: 12.4,
      found: { queued: 3, sent: 1, done: 0 },
      expired: 1,
      putInDoubt: 1,
      wentBackwards: { expectedSeq: 90, foundSeq: 40 },
    },
    failures: { process_exit: 3 },
  });
  expect(renderStatus(status, NO_PAINT)).toBe(
    lines(
      "github: degraded  holdfast 0.1.0, pid 4242, up 3 min 13 s",
      "  ! 'github' is down: exited with code 7",
      "  session  claude-code 2.1.0 (MCP 2025-11-25), detached, 3 min 13 s old",
      "    github waiting for 21 s  npx -y @modelcontextprotocol/server-github",
      "      no reply yet, 1 restart, breaker half_open, next attempt in 4 s",
      "      2 waiting (oldest 20 s), 0 in flight",
      "      last error 21 s ago: exited with code 7; last output:  [31mboom (process_exit)",
      "  calls    120 accepted, 119 answered, 0 expired, 0 with unknown outcome, 0 refused",
      "  held     1 call of an earlier process wait for you: " +
        "holdfast calls list --state queued",
      "  failures process_exit 3",
      "  journal  in memory, 64 KiB + WAL 4.0 KiB, fsync 0.3 ms, 1 row, 240 commits",
      "  ! journal: the disk refused",
      "  recovery took 12 ms; found queued 3, sent 1; 1 expired, 1 put in doubt",
      "  recovery the journal went backwards: it ends at 40, and 90 was written once",
    ),
  );
});

test("a journal that came out of a file says so instead", () => {
  const wentBackwards = { expectedSeq: 4, foundSeq: 4, because: "imported from calls.jsonl" };
  const recovery = { tookMs: 1, found: {}, expired: 0, putInDoubt: 0, wentBackwards };
  const text = renderStatus(makeStatus({ recovery }), NO_PAINT);
  expect(text).toContain("recovery the journal was imported from calls.jsonl");
  expect(text).not.toContain("went backwards");
});

const serving = {
  address: "http://127.0.0.1:7411",
  configPath: "/home/u/holdfast.json",
  loadedAt: SAMPLE_NOW - 61_000,
  problem: undefined,
  doorTrouble: undefined,
};

test("a daemon says where it serves, its upstreams, and one line a session", () => {
  const away = makeUpstream({
    state: "waiting",
    waiting: 2,
    oldestWaitingAt: SAMPLE_NOW - 20_000,
    inFlight: 0,
    lastFailure: { kind: "process_exit", message: "exited with code 7", at: SAMPLE_NOW - 21_000 },
  });
  const status = makeStatus({
    upstreamName: "serve",
    serving: { ...serving, problem: "line 3: expected a comma" },
    upstreams: [
      makeUpstreamSummary({ sessions: 2, connections: { serving: 1, waiting: 1 }, waiting: 2 }),
      makeUpstreamSummary({
        name: "docs",
        target: "https://docs.example/mcp",
        transport: "http",
        isolation: "shared",
        sessions: 0,
        connections: {},
        inFlight: 0,
      }),
    ],
    sessions: [
      makeSession({ lastSeenAt: SAMPLE_NOW }),
      makeSession({
        id: "s_2",
        transport: "http",
        principal: "t_ci",
        isAttached: false,
        upstream: away,
      }),
    ],
  });
  expect(renderStatus(status, NO_PAINT)).toBe(
    lines(
      "serve: healthy  holdfast 0.1.0, pid 4242, up 3 min 13 s",
      "  serving  http://127.0.0.1:7411 with /home/u/holdfast.json, loaded 1 min 1 s ago",
      "  ! the file as it is now is not used: line 3: expected a comma",
      "  upstream github 1 serving, 1 waiting; 2 sessions (session), 2 waiting, 1 in flight  " +
        "npx -y @modelcontextprotocol/server-github",
      "  upstream docs no connection; 0 sessions (shared), 0 waiting, 0 in flight  " +
        "https://docs.example/mcp",
      "  session  s_2 claude-code 2.1.0 over http as t_ci, detached, 3 min 13 s old: " +
        "github waiting, 2 waiting (oldest 20 s), 0 in flight",
      "      last error 21 s ago: exited with code 7 (process_exit)",
      "  session  s_1 claude-code 2.1.0 over stdio as local, attached, 3 min 13 s old: " +
        "github serving, 0 waiting, 1 in flight",
      "  calls    120 accepted, 119 answered, 0 expired, 0 with unknown outcome, 0 refused",
      "  journal  /state/journals/1.db, 64 KiB + WAL 4.0 KiB, fsync 0.3 ms, 120 rows, 240 commits",
    ),
  );
});

test("of a thousand sessions the twenty that matter are shown, and how many there are besides", () => {
  const quiet = { inFlight: 0 };
  const sessions = Array.from({ length: 1_000 }, (_, i) =>
    makeSession({ id: `s_${String(i)}`, lastSeenAt: i, upstream: makeUpstream(quiet) }),
  );
  const special = [
    makeSession({ id: "s_busy", lastSeenAt: 1, upstream: makeUpstream({ inFlight: 3 }) }),
    makeSession({
      id: "s_away",
      lastSeenAt: 1,
      upstream: makeUpstream({ state: "open", ...quiet }),
    }),
    makeSession({ id: "s_waits", lastSeenAt: 1, upstream: makeUpstream({ waiting: 1 }) }),
    makeSession({
      id: "s_idle",
      lastSeenAt: 1,
      upstream: makeUpstream({ state: "idle", ...quiet }),
    }),
  ];
  const status = makeStatus({ serving, sessions: [...sessions, ...special] });
  const shown = [...renderStatus(status, NO_PAINT).matchAll(/^ {2}session {2}(\S+)/gm)].map(
    ([, id]) => id,
  );
  expect(shown).toHaveLength(20);
  expect(shown.slice(0, 5)).toEqual(["s_waits", "s_away", "s_busy", "s_999", "s_998"]);
  expect(shown).not.toContain("s_idle");
  expect(renderStatus(status, NO_PAINT)).toContain(
    "\n  … and 984 more sessions: holdfast sessions\n",
  );
});

test("colours change nothing but the colour", () => {
  const mark = (text: string) => `<${text}>`;
  const paint = { bold: mark, dim: mark, red: mark, green: mark, yellow: mark };
  const painted = renderStatus(makeStatus({ health: "degraded" }), paint);
  expect(painted).toContain("<degraded>");
  const plain = renderStatus(makeStatus({ health: "degraded" }), NO_PAINT);
  expect(painted.replace(/[<>]/g, "")).toBe(plain);
});

describe("ages and sizes", () => {
  test.each([
    [-5, "0 s"],
    [999, "0 s"],
    [61_000, "1 min 1 s"],
    [7_260_000, "2 h 1 min"],
    [90_000_000, "1 d 1 h"],
    [86_405_000, "1 d 5 s"],
  ])("%i ms is %s", (ms, text) => {
    expect(ageText(ms)).toBe(text);
  });

  test.each([
    [0, "0 B"],
    [1_023, "1023 B"],
    [1_536, "1.5 KiB"],
    [16_777_216, "16 MiB"],
  ])("%i bytes are %s", (bytes, text) => {
    expect(sizeText(bytes)).toBe(text);
  });
});

test("snapshots are told of: the last, the next, and why there is none", () => {
  const last = { path: "/s/1.hfsnap", at: SAMPLE_NOW - 120_000, bytes: 20_480 };
  const snapshots = { everyMs: 3_600_000, count: 3, bytes: 61_440, last, failure: undefined };
  const line = (over: object) =>
    renderStatus(
      makeStatus({ snapshots: { ...snapshots, nextAt: SAMPLE_NOW + 60_000, ...over } }),
      NO_PAINT,
    )
      .split("\n")
      .filter((one) => one.startsWith("  snapshot"));
  expect(line({})).toEqual(["  snapshot last 2 min ago (20 KiB), 3 kept, 60 KiB; next in 1 min"]);
  const failure = { message: "no room", at: SAMPLE_NOW - 5_000 };
  expect(line({ last: undefined, nextAt: undefined, failure })).toEqual([
    "  snapshot none yet; being made",
    "  snapshot failed 5 s ago: no room",
  ]);
});
