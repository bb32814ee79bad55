/**
 * The proxy as it was built, in front of a server that behaves and one that does not, with a gauge in
 * it. `beside` lets a neighbour work while harm is done, and measures both.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TransportKind } from "../../../src/core/transport.ts";
import { configure, launchDaemon } from "../../support/daemon.ts";
import type { Answer } from "../../support/holdfast-process.ts";
import type { Lab } from "../../support/lab.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import { neighbourOf, type Caller, type Neighbour } from "../../support/neighbour.ts";
import { RawSession } from "../../support/raw-session.ts";
import type { ServerEntry } from "../../support/serve-process.ts";
import type { Measured } from "./case.ts";
import { Gauge, gaugeEnv } from "./gauge.ts";

export const ABUSIVE = fileURLToPath(new URL("../../fixtures/abusive-server.mjs", import.meta.url));

/** Names of the two servers. */
export const GOOD = "ledger";
export const BAD = "bad";

export interface Stage {
  readonly lab: Lab;
  readonly pid: number;
  readonly port: number;
  readonly gauge: Gauge;
  mcp(name: string): string;
  /** What the proxy said so far. */
  stderr(): string;
}

export interface Setting {
  /** Instead of the two. */
  readonly servers?: Readonly<Record<string, object>>;
  /** Of the configuration file's own part. */
  readonly holdfast?: object;
  readonly env?: Readonly<Record<string, string>>;
  /** Options of node. */
  readonly node?: readonly string[];
  /** As in `launchDaemon`. */
  readonly through?: readonly string[];
  /** Where the state folder is, seen from outside, once the process id is known. Default: the lab's. */
  readonly stateSeenAt?: (pid: number) => string;
}

/** `holdfast serve`, listening. */
export async function openServe(lab: Lab, setting: Setting = {}): Promise<Stage> {
  const { holdfast = {}, env = {}, node = [], through = [] } = setting;
  configure(
    lab,
    setting.servers ?? { [GOOD]: sharedLedger(lab), [BAD]: abusiveEntry(lab) },
    holdfast,
  );
  const file = lab.path("gauge");
  const own = { HOLDFAST_LOG_LEVEL: "info", ...gaugeEnv(file, ...node), ...env };
  const launched = launchDaemon(lab, "127.0.0.1:0", own, through);
  const address = await launched.listening;
  const { pid } = launched;
  const state = setting.stateSeenAt?.(pid) ?? lab.path("state");
  return {
    lab,
    pid,
    port: Number(new URL(address).port),
    gauge: new Gauge(pid, file, state),
    mcp: (name) => `${address}/mcp/${name}`,
    stderr: launched.stderr,
  };
}

/** The server without manners, behind stdio. */
export const abusiveEntry = (lab: Lab, env: Readonly<Record<string, string>> = {}) => ({
  command: process.execPath,
  args: [ABUSIVE, "stdio"],
  env: { PIDS: lab.env["PIDS"] ?? "", ...env },
});

/** The same behind another transport, as a process that ends with the lab. */
export async function startAbusive(
  lab: Lab,
  kind: Exclude<TransportKind, "stdio">,
): Promise<ServerEntry> {
  const child = spawn(process.execPath, [ABUSIVE, kind, "0"], {
    env: { ...lab.env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  lab.onClose(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const lines = createInterface({ input: child.stderr });
  const [line] = (await once(lines, "line")) as [string];
  const host = `127.0.0.1:${String((JSON.parse(line) as { listening: number }).listening)}`;
  const path = kind === "sse" ? "sse" : "mcp";
  return { type: kind, url: `${kind === "ws" ? "ws" : "http"}://${host}/${path}` };
}

/** A session that knows the tools: without their annotations every call would be unsafe. */
export async function sessionAt(stage: Stage, name: string): Promise<RawSession> {
  const session = await RawSession.open(stage.mcp(name));
  await session.request("tools/list");
  return session;
}

/**
 * Does harm while a neighbour calls without a pause, and measures what the proxy took and how the
 * neighbour fared. Both have worked before, so that nothing counts which only a first time takes.
 */
export async function beside(
  stage: Pick<Stage, "gauge">,
  caller: Caller,
  harm: (neighbour: Neighbour) => Promise<string>,
): Promise<Measured> {
  const { gauge } = stage;
  for (let n = 0; n < 20; n++) await caller.call(n % 2 === 0 ? "read_value" : "append", "warm");
  await gauge.ask();
  const idleBytes = gauge.begin();
  try {
    const neighbour = neighbourOf(caller);
    const said = await harm(neighbour).catch(async (error: unknown) => {
      await neighbour.leave().catch(() => undefined);
      throw error;
    });
    const experience = await neighbour.leave();
    const peakBytes = gauge.peak();
    const { lag } = await gauge.ask();
    const { walPeakBytes } = gauge;
    return { said, idleBytes, peakBytes, walPeakBytes, lagP99Ms: lag.p99, neighbour: experience };
  } finally {
    gauge.end();
  }
}

/** The neighbour at the good server. */
export async function besideGood(
  stage: Stage,
  harm: (neighbour: Neighbour) => Promise<string>,
): Promise<Measured> {
  return beside(stage, await sessionAt(stage, GOOD), harm);
}

/** A caller to whom a truthful refusal is an answer, too. Counts them. */
export function patient(session: Caller, refused: Set<string>): Caller {
  return {
    call: async (tool, nonce) => {
      const answer: Answer = await session.call(tool, nonce);
      if (!answer.isError) return answer;
      assert.equal(answer.told?.executed ?? "no", "no", JSON.stringify(answer));
      refused.add(nonce);
      return { text: nonce, isError: false, told: answer.told };
    },
  };
}
