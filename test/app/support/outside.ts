/** An outside for command lines in tests: a folder of their own, captured output, no proxy started. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { onTestFinished } from "vitest";
import { realWorld } from "../../../src/base/world.ts";
import type { CallRow } from "../../../src/core/call.ts";
import type { JournalReader } from "../../../src/app/commands/journal-reader.ts";
import type { Outside } from "../../../src/app/commands/screen.ts";
import type { Surroundings } from "../../../src/app/folders.ts";
import type { RunPlan } from "../../../src/app/options.ts";

/** A folder that is gone after the test. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "hf-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

export function surroundings(folder: string, env: NodeJS.ProcessEnv = {}): Surroundings {
  return {
    platform: "linux",
    env: { HOLDFAST_STATE_DIR: join(folder, "state"), ...env },
    cwd: folder,
    home: join(folder, "home"),
    tmpdir: tmpdir(),
    uid: process.getuid?.(),
    pid: process.pid,
  };
}

export const NO_JOURNALS: JournalReader = {
  list: () => Promise.resolve([]),
  calls: () => Promise.resolve([]),
  sessions: () => Promise.resolve([]),
  find: () => Promise.resolve(undefined),
  open: () => Promise.reject(new Error("no journal here")),
  examine: () =>
    Promise.resolve({ journals: [], files: [], repairs: [], didFiles: [], refused: [] }),
};

export interface TestOutside extends Outside {
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly plans: RunPlan[];
}

export function testOutside(
  folder: string,
  env: NodeJS.ProcessEnv = {},
  overrides: Partial<Outside> = {},
): TestOutside {
  let stdout = "";
  let stderr = "";
  const plans: RunPlan[] = [];
  return {
    around: surroundings(folder, env),
    world: realWorld(),
    isTerminal: false,
    out: (text) => {
      stdout += text;
    },
    error: (text) => {
      stderr += text;
    },
    outTaken: () => Promise.resolve(),
    input: () => Readable.from([]),
    interrupted: () => new Promise(() => undefined),
    serve: () => Promise.reject(new Error("a test did not say what serves")),
    runProxy: (plan) => {
      plans.push(plan);
      return Promise.resolve(0);
    },
    journals: () => Promise.resolve(NO_JOURNALS),
    stdout: () => stdout,
    stderr: () => stderr,
    plans,
    ...overrides,
  };
}

export function makeRow(overrides: Partial<CallRow> = {}): CallRow {
  return {
    id: "c_01k0000000000000aaaaaaaaaa",
    seq: 1,
    sessionId: "s_1",
    upstream: "ab".repeat(32),
    credentials: "cred",
    method: "tools/call",
    tool: "create_issue",
    safety: "unsafe",
    fingerprint: undefined,
    schema: undefined,
    request: '{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    acceptedAt: 1_000,
    deadlineAt: 46_000,
    acknowledgedAt: undefined,
    state: "queued",
    reason: undefined,
    executed: "pending",
    attempt: 0,
    isDoubted: false,
    upstreamId: undefined,
    sentAt: undefined,
    settledAt: undefined,
    deliveredAt: undefined,
    reply: undefined,
    cause: undefined,
    note: undefined,
    redriveOf: undefined,
    ...overrides,
  };
}
