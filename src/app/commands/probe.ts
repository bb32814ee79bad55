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

export interface ProbeResult {
  readonly isReachable: boolean;
  /** "everything 1.0.0, MCP 2025-11-25, 12 tools, first answer after 230 ms", or what went wrong. */
  readonly text: string;
}

const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo: { name: "holdfast-doctor", version: "1" },
  },
};
const INITIALIZED = { jsonrpc: "2.0", method: "notifications/initialized" };
const LIST = { jsonrpc: "2.0", id: 2, method: "tools/list" };

const KILL_AFTER_MS = 2_000;
const SHOWN_STDERR = 300;

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
      : probeHttp(target, world, abort.signal));
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

interface Found {
  readonly initialize: JsonObject;
  readonly tools: JsonObject | undefined;
  readonly answeredAt: number;
}

function described({ initialize, tools }: Found): string {
  const info = isObject(initialize["serverInfo"]) ? initialize["serverInfo"] : {};
  const list = tools?.["tools"];
  const count = Array.isArray(list) ? `${String(list.length)} tools` : "no tools";
  const more = typeof tools?.["nextCursor"] === "string" ? " on the first page" : "";
  const name = `${String(info["name"])} ${String(info["version"])}`;
  return `${name}, MCP ${String(initialize["protocolVersion"])}, ${count}${more}`;
}

function resultOf(message: JsonObject): JsonObject {
  const { result, error } = message;
  if (isObject(result)) return result;
  throw new Error(`it answered with an error: ${JSON.stringify(error).slice(0, SHOWN_STDERR)}`);
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
    stderr = (stderr + text).slice(-SHOWN_STDERR);
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

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
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

async function probeHttp(
  target: Extract<Target, { url: string }>,
  world: World,
  signal: AbortSignal,
): Promise<Found> {
  const headers: Record<string, string> = {
    ...target.headers,
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  };
  const post = (body: object) =>
    fetch(target.url, { method: "POST", headers, body: JSON.stringify(body), signal });
  const first = await post(INITIALIZE);
  const initialize = resultOf(await readAnswer(first, 1));
  const answeredAt = world.monotonic();
  const session = first.headers.get("mcp-session-id");
  if (session !== null) headers["mcp-session-id"] = session;
  headers["mcp-protocol-version"] = String(initialize["protocolVersion"]);
  try {
    await (await post(INITIALIZED)).body?.cancel();
    const { result } = await readAnswer(await post(LIST), 2);
    return { initialize, answeredAt, tools: isObject(result) ? result : undefined };
  } finally {
    if (session !== null) {
      const ended = await fetch(target.url, { method: "DELETE", headers, signal });
      await ended.body?.cancel();
    }
  }
}

/** The JSON body, or the message with this id of an event stream. */
async function readAnswer(response: Response, id: number): Promise<JsonObject> {
  if (!response.ok) {
    const text = (await response.text()).slice(0, SHOWN_STDERR).replace(/\s+/g, " ");
    throw new Error(`HTTP ${String(response.status)} ${response.statusText} ${text}`.trim());
  }
  if (!(response.headers.get("content-type") ?? "").includes("text/event-stream")) {
    return parseObject(await response.text()) ?? {};
  }
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    const lines = text.split(/\r\n|\r|\n/);
    for (const line of lines) {
      const message = line.startsWith("data:") ? parseObject(line.slice(5)) : undefined;
      if (message?.["id"] === id) return message;
    }
  }
  throw new Error("its event stream ended without an answer");
}
