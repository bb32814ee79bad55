/** Rows for tests of the store; overrides fill in what a state implies. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { isTerminal } from "../../src/core/call.ts";
import type { CallRow, CallState } from "../../src/core/call.ts";
import { realWorld } from "../../src/base/world.ts";
import type { LogFields, LogLevel } from "../../src/ports.ts";
import { openSqliteJournal } from "../../src/store/sqlite/open.ts";
import type { ThreadOptions } from "../../src/store/sqlite/protocol.ts";

export const NOW = 1_800_000_000_000;
export const world = realWorld();

export function aCall(over: Partial<CallRow> = {}): CallRow {
  const state: CallState = over.state ?? "queued";
  const wasSent = state !== "queued" && state !== "expired" && state !== "cancelled";
  const attempt = over.attempt ?? (wasSent ? 1 : 0);
  return {
    id: world.newId("c"),
    seq: 0,
    sessionId: "s_1",
    upstream: "up",
    credentials: "cred",
    method: "tools/call",
    tool: "write",
    safety: "unsafe",
    fingerprint: "print",
    schema: undefined,
    request: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}',
    acceptedAt: NOW,
    deadlineAt: NOW + 45_000,
    acknowledgedAt: undefined,
    state,
    reason: state === "dead" ? "outcome_unknown" : undefined,
    executed: isTerminal(state) ? (over.isDoubted === true ? "unknown" : "no") : "pending",
    attempt,
    isDoubted: state === "in_doubt",
    upstreamId: attempt > 0 ? "1-1" : undefined,
    sentAt: attempt > 0 ? NOW + 1 : undefined,
    settledAt: isTerminal(state) ? NOW + 2 : undefined,
    deliveredAt: undefined,
    reply: undefined,
    cause: undefined,
    note: undefined,
    redriveOf: undefined,
    ...over,
  };
}

export interface Logged {
  readonly level: LogLevel;
  readonly message: string;
}

export function aLog() {
  const lines: Logged[] = [];
  const log = (level: LogLevel, message: string, _fields?: LogFields) => {
    lines.push({ level, message });
  };
  return { lines, log };
}

const folders: string[] = [];

/** A folder that is gone after the tests of the file. */
export function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-store-"));
  folders.push(folder);
  return folder;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

export function threadOptions(folder: string, over: Partial<ThreadOptions> = {}): ThreadOptions {
  return {
    path: join(folder, "1.db"),
    highWaterPath: join(folder, "1.hwm"),
    ballastPath: join(folder, "ballast"),
    durability: "full",
    dropsDelivered: false,
    ...over,
  };
}

export async function aSqliteJournal(folder: string, over: Partial<ThreadOptions> = {}) {
  const { lines, log } = aLog();
  const options = { world, log, onGone: () => undefined, ...threadOptions(folder, over) };
  return { ...(await openSqliteJournal(options)), lines, path: options.path };
}
