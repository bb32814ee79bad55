/**
 * Doctor's look at an upstream: dials it without the engine, says `initialize` and `tools/list` in
 * plain JSON-RPC, and leaves nothing behind. Apart from the product's own connectors on purpose: a
 * fault of theirs must not hide in the doctor too.
 */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import spawn from "cross-spawn";
import { errorText } from "../../base/errors.ts";
import type { World } from "../../base/world.ts";
import { isObject } from "../../wire/message.ts";
import type { JsonObject } from "../../wire/message.ts";
import type { Target } from "../options.ts";
import { mask } from "../target.ts";
import { probeUrl } from "./probe-url.ts";
import type { Found } from "./probe-words.ts";
import {
  INITIALIZE,
  INITIALIZED,
  LIST,
  parseObject,
  resultOf,
  SHOWN_CHARS,
} from "./probe-words.ts";

export interface ProbeResult {
  readonly isReachable: boolean;
  /** "everything 1.0.0, MCP 2025-11-25, 12 tools, first answer after 230 ms", or what went wrong. */
  readonly text: string;
}

const KILL_AFTER_MS = 2_000;

/** Resolves, never rejects, within about `deadlineMs`. */
export async function probeUpstream(
  target: Target,
  secrets: readonly string[],
  world: World,
  deadlineMs: number,
): Promise<ProbeResult> {
  const startedAt = world.monotonic();
  const abort = new AbortController();
  const cancelTimer = world.timer(deadlineMs, () => {
    abort.abort(new Error(`no answer in ${String(Math.round(deadlineMs / 1_000))} s`));
  });
  try {
    const found = await (target.kind === "stdio"
      ? probeStdio(target, world, abort.signal)
      : probeUrl(target, world, abort.signal));
    const tookMs = Math.round(found.answeredAt - startedAt);
    const text = `${described(found)}, first answer after ${String(tookMs)} ms`;
    return { isReachable: true, text: mask(text, secrets) };
  } catch (error) {
    const reason: unknown = abort.signal.aborted ? abort.signal.reason : error;
    return { isReachable: false, text: mask(wholeReason(reason), secrets) };
  } finally {
    cancelTimer();
  }
}

/** `fetch` hides the cause ("fetch failed") one level down. */
function wholeReason(error: unknown): string {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? errorText(error) : `${errorText(error)}: ${errorText(cause)}`;
}

function described({ initialize, tools }: Found): string {
  const info = isObject(initialize["serverInfo"]) ? initialize["serverInfo"] : {};
  const list = tools?.["tools"];
  const count = Array.isArray(list) ? `${String(list.length)} tools` : "no tools";
  const more = typeof tools?.["nextCursor"] === "string" ? " on the first page" : "";
  const name = `${String(info["name"])} ${String(info["version"])}`;
  return `${name}, MCP ${String(initialize["protocolVersion"])}, ${count}${more}`;
}

async function probeStdio(
  target: Target & { kind: "stdio" },
  world: World,
  signal: AbortSignal,
): Promise<Found> {
  const isPosix = process.platform !== "win32";
  const child = spawn(target.command, [...target.args], {
    cwd: target.cwd,
    env: { ...target.env },
    stdio: ["pipe", "pipe", "pipe"],
    detached: isPosix,
    windowsHide: true,
  });
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-SHOWN_CHARS);
  });
  const exited = new Promise<void>((resolve) => {
    child.once("close", () => {
      resolve();
    });
  });
  try {
    return await talk(child, world, signal, () => stderr.trim());
  } finally {
    await endChild(child, exited, isPosix, world);
  }
}

function talk(
  child: ChildProcess,
  world: World,
  signal: AbortSignal,
  stderr: () => string,
): Promise<Found> {
  return new Promise((resolve, reject) => {
    const said = () => (stderr() === "" ? "" : `; last output: ${stderr()}`);
    const say = (message: object) => child.stdin?.write(`${JSON.stringify(message)}\n`);
    child.once("error", (error: NodeJS.ErrnoException) => {
      const isMissing = error.code === "ENOENT";
      reject(isMissing ? new Error(`the command was not found: ${child.spawnfile}`) : error);
    });
    child.once("close", (code, name) => {
      reject(new Error(`it exited with ${name ?? `code ${String(code)}`}${said()}`));
    });
    // A child that exits at once breaks the pipe; its exit tells more than EPIPE does.
    child.stdin?.on("error", () => undefined);
    signal.addEventListener("abort", () => {
      reject(new Error(`${errorText(signal.reason)}${said()}`));
    });
    let initialize: JsonObject | undefined;
    let answeredAt = 0;
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const message = parseObject(line);
      try {
        if (message?.["id"] === 1) {
          initialize = resultOf(message);
          answeredAt = world.monotonic();
          say(INITIALIZED);
          say(LIST);
        } else if (message?.["id"] === 2 && initialize !== undefined) {
          const { result } = message;
          resolve({ initialize, answeredAt, tools: isObject(result) ? result : undefined });
        }
      } catch (error) {
        reject(error instanceof Error ? error : new Error(errorText(error)));
      }
    });
    say(INITIALIZE);
  });
}

/** Closes its input, then asks it, then ends its whole group. */
async function endChild(
  child: ChildProcess,
  exited: Promise<void>,
  isPosix: boolean,
  world: World,
): Promise<void> {
  if (child.pid === undefined) return;
  const { pid } = child;
  const strike = (signal: NodeJS.Signals) => {
    try {
      if (isPosix) process.kill(-pid, signal);
      else child.kill(signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  child.stdin?.end();
  const cancelTerm = world.timer(KILL_AFTER_MS, () => {
    strike("SIGTERM");
  });
  const cancelKill = world.timer(2 * KILL_AFTER_MS, () => {
    strike("SIGKILL");
  });
  await exited;
  cancelTerm();
  cancelKill();
  // What it started itself may have outlived it.
  if (isPosix) strike("SIGKILL");
}
