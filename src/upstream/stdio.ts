/**
 * The stdio connector: starts an upstream that is a child process, one JSON-RPC message a line.
 *
 * The child leads a process group of its own and is watched by a reaper from its first moment (see
 * `child-connection.ts` for its life, `reaper.ts` for what happens if we are killed).
 */
import type { ChildProcess } from "node:child_process";
import spawn from "cross-spawn";
import type { World } from "../base/world.ts";
import { failure } from "../core/failure.ts";
import type { ConnectionEvents, Connector, DialOutcome, Log } from "../ports.ts";
import { ChildConnection } from "./child-connection.ts";
import { shownCommand } from "./command-line.ts";
import { longestFirst, maskText } from "./environment.ts";
import { startedAtOf } from "./process-group.ts";
import { startReaper } from "./reaper.ts";
import { spawnFailure } from "./spawn-failure.ts";

/** What has to be remembered of a child so that a later process can recognise and end it. */
export interface ChildRecord {
  /** Also the id of its process group. */
  readonly pid: number;
  /** For `killLeftoverGroup`; empty where the platform does not tell. */
  readonly startedAt: string;
  /** For people; secrets masked. */
  readonly command: string;
}

export interface StdioOptions {
  readonly world: World;
  readonly log: Log;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** The child's whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** The largest message taken from the child. */
  readonly frameMaxBytes: number;
  /** Secret values that must not show in errors and logs. */
  readonly maskValues: readonly string[];
  /** A child was started. */
  readonly onChild?: (child: ChildRecord) => void;
  /** Nothing of this child's group is left. */
  readonly onChildGone?: (pid: number) => void;
}

/** Dials by starting the command. A connection is one child; there is nothing to resume. */
export function stdioConnector(options: StdioOptions): Connector {
  const maskValues = longestFirst(options.maskValues);
  const target = shownCommand(options.command, options.args, maskValues);
  return {
    kind: "stdio",
    target,
    dial: (events, _resume, signal) => dial({ ...options, maskValues }, target, events, signal),
  };
}

async function dial(
  options: StdioOptions,
  target: string,
  events: ConnectionEvents,
  signal: AbortSignal,
): Promise<DialOutcome> {
  if (isAborted(signal)) return aborted();
  // Before the child, so that there is no moment at which a child is unwatched.
  const reaper = startReaper(options.log);
  let child: ChildProcess;
  let error: unknown;
  try {
    child = start(options);
    if (child.pid !== undefined) reaper.watch(child.pid);
    error = await firstEvent(child);
  } catch (thrown) {
    reaper.dismiss();
    return failed(thrown, options);
  }
  if (error !== undefined || child.pid === undefined) {
    reaper.dismiss();
    return failed(error, options);
  }
  const { pid } = child;
  options.onChild?.({ pid, startedAt: startedAtOf(pid) ?? "", command: target });
  const adopt = (heard: ConnectionEvents): ChildConnection =>
    new ChildConnection({ ...options, child, pid, reaper, events: heard });
  if (!isAborted(signal)) return { kind: "connected", connection: adopt(events), isResumed: false };
  await adopt(SILENT).close(0);
  return aborted();
}

function start(options: StdioOptions): ChildProcess {
  return spawn(options.command, options.args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: options.env,
    stdio: ["pipe", "pipe", "pipe"],
    detached: process.platform !== "win32",
    windowsHide: true,
  });
}

/** Resolves to undefined once the child was started, or to the reason why it was not. */
function firstEvent(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve) => {
    child.once("spawn", () => {
      resolve(undefined);
    });
    child.once("error", resolve);
  });
}

function failed(error: unknown, options: StdioOptions): DialOutcome {
  const { command, cwd, env, maskValues } = options;
  // Windows spells it "Path".
  const path = Object.keys(env).find((name) => name.toUpperCase() === "PATH") ?? "PATH";
  const why = spawnFailure(error, { command, cwd, path: env[path] });
  return { kind: "failed", failure: { ...why, message: maskText(why.message, maskValues) } };
}

function aborted(): DialOutcome {
  return { kind: "failed", failure: failure("timeout", "the start was called off") };
}

/** Asked anew each time: it changes while we wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

const SILENT: ConnectionEvents = { onMessage() {}, onOutcome() {}, onDown() {}, onNoise() {} };
