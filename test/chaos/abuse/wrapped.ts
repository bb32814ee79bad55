/**
 * The one client of a wrapping proxy, as cheap as can be: of half a million notifications it only
 * counts the lines. It can stop reading, and read on.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Answer, CallData, Reply } from "../../support/holdfast-process.ts";
import type { Lab } from "../../support/lab.ts";
import type { Caller } from "../../support/neighbour.ts";
import { Gauge, gaugeEnv } from "./gauge.ts";
import { ABUSIVE } from "./stage.ts";

const CLI = fileURLToPath(new URL("../../../dist/app/cli.js", import.meta.url));
const NEWLINE = 10;

export interface Wrapped extends Caller {
  readonly pid: number;
  readonly gauge: Gauge;
  /** Messages that are no answers, so far. */
  notifications(): number;
  request(method: string, params: object): Promise<Reply>;
  call(tool: string, nonce: string, more?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Sends a call and waits for nothing. Resolves once the proxy took the bytes. */
  cast(tool: string, more: Readonly<Record<string, string>>): Promise<void>;
  stopReading(): void;
  readOn(): void;
  stderr(): string;
}

interface ToolResult {
  readonly content?: readonly { readonly text?: string }[];
  readonly isError?: boolean;
  readonly _meta?: Readonly<Record<string, unknown>>;
}

function answerIn(reply: Reply): Answer {
  if (reply.error !== undefined) {
    return { text: reply.error.message, isError: true, told: reply.error.data as CallData };
  }
  const result = (reply.result ?? {}) as ToolResult;
  return {
    text: (result.content ?? []).map((block) => block.text ?? "").join("\n"),
    isError: result.isError === true,
    told: result._meta?.["holdfast/call"] as CallData | undefined,
  };
}

/** Lines of a stream, without a string for each. */
function eachLine(take: (line: Buffer) => void): (chunk: Buffer) => void {
  let held: Buffer[] = [];
  return (chunk) => {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      held.push(chunk.subarray(start, end));
      take(held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held));
      held = [];
      start = end + 1;
    }
    if (start < chunk.length) held.push(chunk.subarray(start));
  };
}

/** The proxy wrapped around the server without manners, greeted. Ends with the lab. */
export async function openWrapped(lab: Lab, options: readonly string[] = []): Promise<Wrapped> {
  const file = lab.path("gauge");
  const args = [CLI, ...options, "--", process.execPath, ABUSIVE, "stdio"];
  const child = spawn(process.execPath, args, {
    env: { ...lab.env, HOLDFAST_LOG_LEVEL: "info", ...gaugeEnv(file) },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const { pid, stdin, stdout } = child;
  if (pid === undefined) throw new Error("the proxy could not be started");
  lab.watch(pid);
  const exited = once(child, "exit");
  lab.onClose(async () => {
    stdout.resume();
    stdin.end();
    await exited;
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    lab.log(chunk.toString());
  });
  stdin.on("error", (error) => {
    lab.log(`[stdin] ${error.message}\n`);
  });

  const waiting = new Map<string, (reply: Reply) => void>();
  let notifications = 0;
  let nextId = 1;
  stdout.on(
    "data",
    eachLine((line) => {
      if (line.subarray(0, 64).includes('"method"')) {
        notifications++;
        return;
      }
      const reply = JSON.parse(line.toString()) as Reply;
      waiting.get(String(reply.id))?.(reply);
      waiting.delete(String(reply.id));
    }),
  );
  const send = (message: object) =>
    new Promise<void>((resolve) => {
      stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`, () => {
        resolve();
      });
    });
  const request = (method: string, params: object): Promise<Reply> => {
    const id = nextId++;
    return new Promise((resolve, reject) => {
      waiting.set(String(id), resolve);
      void exited.then(() => {
        reject(new Error(`the proxy ended: ${stderr.slice(-2000)}`));
      });
      void send({ id, method, params });
    });
  };
  const wrapped: Wrapped = {
    pid,
    gauge: new Gauge(pid, file, lab.path("state")),
    notifications: () => notifications,
    request,
    call: async (tool, nonce, more = {}) =>
      answerIn(await request("tools/call", { name: tool, arguments: { nonce, ...more } })),
    cast: (tool, more) => {
      const id = nextId++;
      return send({ id, method: "tools/call", params: { name: tool, arguments: more } });
    },
    stopReading: () => stdout.pause(),
    readOn: () => stdout.resume(),
    stderr: () => stderr,
  };
  await greet(wrapped, send);
  return wrapped;
}

async function greet(wrapped: Wrapped, send: (message: object) => Promise<void>): Promise<void> {
  const clientInfo = { name: "wrapped", version: "1" };
  await wrapped.request("initialize", {
    protocolVersion: "2025-11-25",
    capabilities: {},
    clientInfo,
  });
  await send({ method: "notifications/initialized" });
  await wrapped.request("tools/list", {});
}
