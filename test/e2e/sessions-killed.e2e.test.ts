/**
 * The daemon is killed with SIGKILL while many sessions wait for many calls. What a client had, it
 * still has: its session, and one answer to each call, which is true.
 */
import { readFileSync, rmSync } from "node:fs";
import { describe, expect } from "vitest";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  daemonAt,
  lastingDaemon,
  sharedLedger,
  type LastingDaemon,
} from "../support/lasting-daemon.ts";
import { call, calls, type Answer } from "../support/holdfast-process.ts";
import { elapsed, isAlive, labTest, touch, until, type Lab } from "../support/lab.ts";
import { answerOf, RawSession, type Asked } from "../support/raw-session.ts";
import { httpUpstream } from "../support/upstream-process.ts";
import { randomFrom } from "../support/random.ts";

/** What a call may do, and which call it is. */
interface Plan {
  readonly tool: string;
  readonly nonce: string;
  readonly more: Readonly<Record<string, string>>;
}

/** A client with calls outstanding, whichever it is. */
interface Caller {
  readonly name: string;
  readonly upstream: string;
  begin(plan: Plan): void;
  /** Each of its calls can be come back for, or its client does that by itself. */
  isPrimed(): boolean;
  /** It has a stream open to the daemon. */
  isBack(): boolean;
  /** After the restart: every answer, by nonce. */
  answers(): Promise<ReadonlyMap<string, Answer>>;
  /** A call of the same session, which was not begun anew. */
  again(nonce: string): Promise<Answer>;
  /** After all answers: nothing more comes, whoever asks. */
  expectNoMore(): Promise<void>;
}

/** A raw session that knows, and has made Holdfast know, which tools do no harm. */
async function openSession(daemon: LastingDaemon, upstream: string): Promise<RawSession> {
  const session = await RawSession.open(daemon.mcp(upstream));
  await session.request("tools/list");
  return session;
}

async function rawCaller(daemon: LastingDaemon, upstream: string, name: string): Promise<Caller> {
  const session = await openSession(daemon, upstream);
  const asked: Asked[] = [];
  return {
    name,
    upstream,
    begin: ({ tool, nonce, more }) => asked.push(session.ask(tool, nonce, more)),
    isPrimed: () => asked.every((one) => one.lastEventId !== undefined),
    isBack: () => asked.some((one) => one.isOpen),
    answers: async () => {
      await Promise.all(asked.map((one) => session.untilAnswered(one)));
      return new Map(asked.map((one) => [one.nonce, answerOf(one)]));
    },
    again: (nonce) => session.call("append", nonce),
    expectNoMore: async () => {
      const statuses = await Promise.all(asked.map((one) => session.resume(one)));
      expect(new Set(statuses)).toEqual(new Set([204]));
      for (const one of asked) expect(one.answers).toHaveLength(1);
      const answers = session.strays.filter((message) => message.method === undefined);
      expect(answers).toEqual([]);
    },
  };
}

async function sdkCaller(
  lab: Lab,
  daemon: LastingDaemon,
  upstream: string,
  name: string,
): Promise<Caller> {
  const transport = new StreamableHTTPClientTransport(new URL(daemon.mcp(upstream)), {
    reconnectionOptions: {
      initialReconnectionDelay: 100,
      maxReconnectionDelay: 500,
      reconnectionDelayGrowFactor: 1,
      maxRetries: 200,
    },
  });
  const client = new Client({ name, version: "1.0.0" }, { capabilities: {} });
  const troubles: string[] = [];
  client.onerror = (error) => troubles.push(error.message);
  lab.onClose(() => client.close());
  await client.connect(transport);
  const key = transport.sessionId;
  await client.listTools();
  const pending = new Map<string, Promise<Answer>>();
  return {
    name,
    upstream,
    begin: ({ tool, nonce, more }) => {
      const answer = call(client, tool, { nonce, ...more });
      // Looked at when all are there.
      answer.catch(() => undefined);
      pending.set(nonce, answer);
    },
    isPrimed: () => true,
    isBack: () => false,
    answers: async () => {
      const entries = [...pending].map(async ([nonce, answer]) => [nonce, await answer] as const);
      return new Map(await Promise.all(entries));
    },
    again: async (nonce) => {
      const answer = await call(client, "append", { nonce });
      expect(transport.sessionId).toBe(key);
      return answer;
    },
    expectNoMore: () => {
      expect(troubles.filter((text) => text.includes("unknown message ID"))).toEqual([]);
      return Promise.resolve();
    },
  };
}

const SESSIONS = 20;
const CALLS = 10;
/** `web` and `pipe` hold their calls; `dark` is down, and its calls wait. */
const UPSTREAMS = ["web", "pipe", "dark"] as const;
const HELD = ["slow_append", "slow_set", "slow_read"] as const;
const WAITING = ["append", "set_value", "read_value"] as const;

/** Three upstreams, and a daemon in front of them that is not started yet. */
async function threeUpstreams(lab: Lab): Promise<LastingDaemon> {
  const web = await httpUpstream(lab);
  const patient = { hold: "90s" };
  return daemonAt(lab, {
    web: { type: "http", url: web.target[0], holdfast: patient },
    pipe: sharedLedger(lab, patient),
    dark: sharedLedger(lab, patient, lab.path("dark")),
  });
}

/** Every fifth is the official client. */
function twentySessions(lab: Lab, daemon: LastingDaemon): Promise<readonly Caller[]> {
  return Promise.all(
    Array.from({ length: SESSIONS }, (_, n) => {
      const upstream = UPSTREAMS[n % 3] ?? "web";
      const name = `s${String(n)}`;
      return n % 5 === 0
        ? sdkCaller(lab, daemon, upstream, name)
        : rawCaller(daemon, upstream, name);
    }),
  );
}

/** Ends the server of `dark`, and keeps it down. It is the one that asks the file `dark`. */
async function darken(lab: Lab): Promise<void> {
  touch(lab.path("dark"));
  const asks = (pid: number) =>
    readFileSync(`/proc/${String(pid)}/environ`, "utf8").includes(`DOWN=${lab.path("dark")}`);
  const pids = lab.serverPids().filter((pid) => isAlive(pid) && asks(pid));
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await until("the server to be gone", () => !pids.some(isAlive));
}

/** Ten calls of each session. Resolves when the upstreams hold theirs and the rest waits. */
async function askAll(
  lab: Lab,
  callers: readonly Caller[],
  gate: string,
): Promise<readonly Plan[]> {
  const plans: Plan[] = [];
  for (const caller of callers) {
    for (let n = 0; n < CALLS; n++) {
      const nonce = `${caller.name}-${String(n)}`;
      const isHeld = caller.upstream !== "dark";
      const tool = (isHeld ? HELD : WAITING)[n % 3] ?? "append";
      const more = isHeld ? { gate } : tool === "set_value" ? { value: nonce } : {};
      const plan: Plan = { tool, nonce, more };
      plans.push(plan);
      caller.begin(plan);
    }
  }
  const held = plans.filter((plan) => plan.tool.startsWith("slow_"));
  await until("the calls to be held by their servers", () => {
    const started = new Set(lab.nonces());
    return held.every((plan) => started.has(plan.nonce));
  });
  await until("the others to wait", async () => {
    const queued = await calls(lab, "--state", "queued", "--limit", "1000");
    return queued.length === plans.length - held.length;
  });
  await until("the clients to know how to come back", () => callers.every((one) => one.isPrimed()));
  return plans;
}

const times = (lab: Lab, nonce: string): number =>
  lab.nonces().filter((one) => one === nonce).length;

const isUnsafe = (tool: string): boolean => tool === "append" || tool === "slow_append";
/** Promise P2. */
const runsMax = (tool: string): number => (isUnsafe(tool) ? 1 : 3);

/** Whether what the caller was told is what happened, whatever that is. */
function expectTruth(lab: Lab, { tool, nonce }: Plan, answer: Answer): void {
  const ran = times(lab, nonce);
  const seen = JSON.stringify({ nonce, tool, ran, answer });
  expect(ran, seen).toBeLessThanOrEqual(runsMax(tool));
  if (answer.isError) {
    expect(["no", "unknown"], seen).toContain(answer.told?.executed);
    if (answer.told?.executed === "no") expect(ran, seen).toBe(0);
  } else {
    expect(answer.text, seen).toContain(nonce);
    expect(ran, seen).toBeGreaterThanOrEqual(1);
  }
}

/** After one death: what could be answered well was; of an unsafe call in flight nobody knows. */
function expectBest(plan: Plan, answer: Answer): void {
  const best =
    plan.tool === "slow_append"
      ? { isError: true, told: { executed: "unknown" } }
      : { isError: false };
  expect(answer, plan.nonce).toMatchObject(best);
}

type Answers = ReadonlyMap<string, Answer>;

async function answersOf(callers: readonly Caller[]): Promise<Answers> {
  const parts = await Promise.all(callers.map((caller) => caller.answers()));
  return new Map(parts.flatMap((part) => [...part]));
}

/** Every call has its one true answer, and every session works as if nothing had been. */
async function expectAllKept(
  lab: Lab,
  callers: readonly Caller[],
  plans: readonly Plan[],
  answers: Answers,
  check: (plan: Plan, answer: Answer) => void,
): Promise<void> {
  expect(answers.size).toBe(plans.length);
  for (const plan of plans) {
    const answer = answers.get(plan.nonce);
    if (answer === undefined) throw new Error(`no answer to ${plan.nonce}`);
    expectTruth(lab, plan, answer);
    check(plan, answer);
  }
  for (const caller of callers) await caller.expectNoMore();
  for (const caller of callers) {
    const nonce = `${caller.name}-again`;
    expect(await caller.again(nonce)).toMatchObject({ isError: false });
    expect(times(lab, nonce)).toBe(1);
  }
  for (const state of ["queued", "sent", "in_doubt"]) {
    expect(await calls(lab, "--state", state)).toEqual([]);
  }
}

describe("twenty sessions with 200 calls outstanding", () => {
  labTest("outlive the daemon's death, and each call is answered once and truly", async (lab) => {
    const daemon = await threeUpstreams(lab);
    await daemon.start();
    const callers = await twentySessions(lab, daemon);
    await darken(lab);
    const gate = lab.path("gate");
    const plans = await askAll(lab, callers, gate);
    expect(plans).toHaveLength(200);

    await daemon.kill();
    touch(gate);
    await untilChildrenGone(lab);
    await daemon.start();
    rmSync(lab.path("dark"));
    await expectAllKept(lab, callers, plans, await answersOf(callers), expectBest);
  });

  labTest("outlive two more deaths, while it starts and while they come back", async (lab) => {
    const daemon = await threeUpstreams(lab);
    await daemon.start();
    const callers = await twentySessions(lab, daemon);
    await darken(lab);
    const gate = lab.path("gate");
    const plans = await askAll(lab, callers, gate);

    await daemon.kill();
    const answers = answersOf(callers);
    // Looked at in the end.
    answers.catch(() => undefined);
    daemon.launch();
    // Long enough for the journal to be open, too short to serve for long.
    await elapsed(Date.now(), 250);
    await daemon.kill();
    await daemon.start();
    await until("somebody to be back", () => callers.some((caller) => caller.isBack()));
    await daemon.kill();
    touch(gate);
    await daemon.start();
    rmSync(lab.path("dark"));
    await expectAllKept(lab, callers, plans, await answers, (plan, answer) => {
      // What waited was never sent, so nothing is in doubt.
      if (!plan.tool.startsWith("slow_")) expectBest(plan, answer);
      else if (isUnsafe(plan.tool)) expectBest(plan, answer);
    });
  });
});

/** All but the server over HTTP, which is not the daemon's. */
const untilChildrenGone = (lab: Lab) =>
  until("what it started to be gone", () => lab.serverPids().filter(isAlive).length <= 1);

const ROUNDS = 10;
/** From before the calls are read to long after the quick ones were answered. */
const KILL_WITHIN_MS = 300;
const SEED = 20_251_125;
const MIXED = [
  "append",
  "slow_append",
  "read_value",
  "set_value",
  "slow_read",
  "slow_set",
] as const;

interface Tried {
  readonly session: RawSession;
  readonly asked: Asked;
  readonly plan: Plan;
}

describe("eight sessions", () => {
  labTest(`outlive ten deaths at any instant (seed ${String(SEED)})`, async (lab) => {
    const random = randomFrom(SEED);
    const upTo = (max: number): number => Math.floor(random() * max);
    const web = await httpUpstream(lab);
    const daemon = await lastingDaemon(lab, {
      web: { type: "http", url: web.target[0] },
      pipe: sharedLedger(lab),
    });
    const sessions = await Promise.all(
      Array.from({ length: 8 }, (_, n) => openSession(daemon, n % 2 === 0 ? "web" : "pipe")),
    );
    const all: Tried[] = [];
    let returned = 0;

    for (let round = 0; round < ROUNDS; round++) {
      const gate = lab.path(`gate${String(round)}`);
      const tried = sessions.flatMap((session, s) =>
        Array.from({ length: 5 }, (_, n): Tried => {
          const tool = MIXED[upTo(MIXED.length)] ?? "append";
          const nonce = `r${String(round)}-s${String(s)}-${String(n)}`;
          const more: Record<string, string> = tool.startsWith("slow_")
            ? { gate }
            : tool === "set_value"
              ? { value: nonce }
              : {};
          const asked = session.ask(tool, nonce, more);
          return { session, asked, plan: { tool, nonce, more } };
        }),
      );
      all.push(...tried);
      await elapsed(Date.now(), upTo(KILL_WITHIN_MS));
      await daemon.kill();
      touch(gate);
      await Promise.all(tried.map(({ asked }) => asked.ended));
      if (round % 3 === 2) {
        daemon.launch();
        await elapsed(Date.now(), upTo(500));
        await daemon.kill();
      }
      await daemon.start();
      // Whoever was told of no event can't come back; whether its call ran is found out below.
      const known = tried.filter(
        ({ asked }) => asked.answers.length > 0 || asked.lastEventId !== undefined,
      );
      returned += known.filter(({ asked }) => asked.answers.length === 0).length;
      await Promise.all(known.map(({ session, asked }) => session.untilAnswered(asked)));
    }

    // Each kind of ending was there, or this test says less than it seems to.
    expect(returned).toBeGreaterThan(ROUNDS);
    await until("nothing to be open", async () => {
      const open = await Promise.all(
        ["queued", "sent", "in_doubt"].map((state) => calls(lab, "--state", state)),
      );
      return open.flat().length === 0;
    });
    for (const { session, asked, plan } of all) {
      if (asked.answers.length === 0) {
        expect(times(lab, plan.nonce), plan.nonce).toBeLessThanOrEqual(runsMax(plan.tool));
        continue;
      }
      expectTruth(lab, plan, answerOf(asked));
      if (asked.lastEventId === undefined) continue;
      await session.resume(asked);
      expect(asked.answers, plan.nonce).toHaveLength(1);
    }
    for (const session of sessions) {
      expect((await session.call("append", "the end")).isError).toBe(false);
    }
  });
});
