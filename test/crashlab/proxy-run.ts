/**
 * The real proxy before a real server, under the library, with a client that calls, waits through an
 * outage and a crash of the server, and is told what became of its calls. Everything that it was told
 * and everything that went upstream is in the trace, in one order with what went to the disk.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { preloaded } from "./native.ts";
import { linesOf, readTrace } from "./trace.ts";
import type { TraceRecord } from "./trace.ts";
import type { Safety } from "../../src/core/call.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const CLI = path("../../dist/app/cli.js");
const SERVER = path("../fixtures/ledger-server.mjs");
const PATIENCE_MS = 30_000;

export const SAFETY: Readonly<Record<string, Safety>> = {
  append: "unsafe",
  crash: "unsafe",
  note: "unsafe",
  set_value: "idempotent",
  read_value: "read",
};

/** A call as its client knows it. */
export interface ClientCall {
  readonly nonce: string;
  readonly tool: string;
}

/** A message of JSON-RPC, as far as the lab looks at it. */
export interface Spoken {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly arguments?: { readonly nonce?: string } };
}

export interface Proxy {
  request(method: string, params: object): Promise<unknown>;
  call(call: ClientCall): Promise<unknown>;
  /** Ends stdin and waits until the process is gone. */
  end(): Promise<void>;
  readonly stderr: () => string;
}

/** The environment of a proxy and its server: everything of theirs is under `place`. */
export const environment = (place: string): Record<string, string> => ({
  PATH: process.env["PATH"] ?? "",
  HOME: place,
  HOLDFAST_STATE_DIR: join(place, "disk", "state"),
  HOLDFAST_LOG_LEVEL: "error",
  LEDGER: join(place, "ledger"),
  DOWN: join(place, "down"),
});

/** Starts the proxy; `more` is added to its environment. Answers are matched by the number of the request. */
export function startProxy(place: string, more: Record<string, string> = {}): Proxy {
  const target = ["--hold", "800ms", "--", process.execPath, SERVER, "stdio"];
  const child = spawn(process.execPath, [CLI, ...target], {
    env: { ...environment(place), ...more },
    cwd: path("../.."),
    stdio: ["pipe", "pipe", "pipe"],
  });
  const closed = once(child, "close");
  const waiting = new Map<number, (answer: unknown) => void>();
  let errors = "";
  let count = 0;
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  child.stdin.on("error", () => undefined);
  createInterface({ input: child.stdout }).on("line", (line) => {
    const answer = JSON.parse(line) as { id?: number; method?: string };
    if (answer.id !== undefined && answer.method === undefined) waiting.get(answer.id)?.(answer);
  });
  const request = (method: string, params: object) => {
    const id = ++count;
    child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`no answer to ${method} ${JSON.stringify(params)}: ${errors}`));
      }, PATIENCE_MS);
      waiting.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
    });
  };
  return {
    request,
    call: ({ tool, nonce }) => {
      const args = tool === "set_value" ? { nonce, value: "v" } : { nonce };
      return request("tools/call", { name: tool, arguments: args });
    },
    end: async () => {
      child.stdin.end();
      await closed;
    },
    stderr: () => errors,
  };
}

export async function handshake(proxy: Proxy): Promise<void> {
  const clientInfo = { name: "crashlab", version: "1" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  await proxy.request("initialize", params);
}

const TOOLS = ["append", "set_value", "note", "read_value", "append"] as const;

/** All calls of a run; the order of asking is that of the list. */
async function drive(proxy: Proxy, place: string): Promise<ClientCall[]> {
  const calls: ClientCall[] = [];
  const ask = (tool: string) => {
    const call = { tool, nonce: `n${calls.length}` };
    calls.push(call);
    return proxy.call(call);
  };
  const several = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, i) => ask(TOOLS[i % TOOLS.length] ?? "append")));
  await handshake(proxy);
  await proxy.request("tools/list", {});
  for (let i = 0; i < 10; i++) await ask(TOOLS[i % TOOLS.length] ?? "append");
  await several(20);
  // In flight when the server dies: in doubt, or sent again.
  const lost = Promise.all([ask("crash"), ask("set_value"), ask("append")]);
  await lost;
  await ask("append");
  writeFileSync(join(place, "down"), "");
  await ask("crash");
  // Their holds end: told "no", or that they run late.
  await several(10);
  rmSync(join(place, "down"));
  await several(10);
  for (let i = 0; i < 10; i++) await ask(TOOLS[i % TOOLS.length] ?? "append");
  return calls;
}

export interface ProxyRun {
  readonly folder: string;
  readonly records: readonly TraceRecord[];
  readonly calls: readonly ClientCall[];
  /** What the client was told, by the order in which it was. */
  readonly told: readonly { readonly order: number; readonly text: string }[];
  /** Requests that went upstream. */
  readonly sent: readonly { readonly order: number; readonly message: Spoken }[];
}

/** `place`: an empty folder. */
export async function recordProxy(library: string, place: string): Promise<ProxyRun> {
  const folder = join(place, "disk");
  const trace = join(place, "trace");
  mkdirSync(folder);
  const proxy = startProxy(place, preloaded(library, { folder, trace }));
  let calls: ClientCall[];
  try {
    calls = await drive(proxy, place);
  } finally {
    await proxy.end();
  }
  const records = readTrace(trace);
  const sent = linesOf(records, "sent").flatMap(({ order, text }) => {
    // Other processes of ours are spoken to in other words.
    if (!text.startsWith("{")) return [];
    const message = JSON.parse(text) as Spoken;
    return message.method === "tools/call" ? [{ order, message }] : [];
  });
  return { folder, records, calls, told: linesOf(records, "told"), sent };
}
