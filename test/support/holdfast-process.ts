/**
 * The built proxy as a process: driven by the official SDK client, as users drive it, or line by line
 * where the SDK would hide or refuse what a test wants to say. And its other commands.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import type { RequestOptions } from "@modelcontextprotocol/sdk/shared/protocol.js";
import type { ClientCapabilities } from "@modelcontextprotocol/sdk/types.js";
import type { ProxyStatus, UpstreamState } from "../../src/core/status.ts";
import { until, type Lab } from "./lab.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));

export interface Run {
  /** Options and target of the proxy, as on its command line. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly capabilities?: ClientCapabilities;
}

export interface Driven {
  readonly client: Client;
  readonly pid: number;
  /** What the proxy wrote to stderr so far. */
  stderr(): string;
  /** SIGKILL, and gone when this resolves. */
  kill(): Promise<void>;
  /** As a client does it: stdin is closed, the proxy ends by itself. */
  close(): Promise<void>;
}

/** Starts the proxy and connects the SDK client to it. Closed with the lab, if not before. */
export async function connect(lab: Lab, run: Run): Promise<Driven> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [CLI, ...run.args],
    env: { ...lab.env, ...run.env },
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    lab.log(chunk.toString());
  });
  const client = new Client(
    { name: "e2e", version: "1.0.0" },
    { capabilities: run.capabilities ?? {} },
  );
  const gone = new Promise<void>((resolve) => {
    client.onclose = resolve;
  });
  lab.onClose(() => client.close());
  await client.connect(transport, { timeout: 60_000 });
  const pid = transport.pid;
  if (pid === null) throw new Error("the proxy has no process id");
  lab.watch(pid);
  return {
    client,
    pid,
    stderr: () => stderr,
    kill: async () => {
      process.kill(pid, "SIGKILL");
      await gone;
    },
    close: () => client.close(),
  };
}

/** Our machine-readable word about a call. */
export interface CallData {
  readonly callId: string;
  readonly state: string;
  readonly executed: "no" | "yes" | "unknown" | "pending";
  readonly upstream: string;
}

export interface Answer {
  readonly text: string;
  readonly isError: boolean;
  /** `_meta["holdfast/call"]`; undefined on an answer that is the upstream's alone. */
  readonly told: CallData | undefined;
}

/** Calls a tool with a patience that no test exhausts. */
export async function call(
  client: Client,
  tool: string,
  args: Record<string, unknown>,
  options: RequestOptions = {},
): Promise<Answer> {
  const result = await client.callTool({ name: tool, arguments: args }, undefined, {
    timeout: 110_000,
    ...options,
  });
  const content = (result.content ?? []) as readonly { type: string; text?: string }[];
  return {
    text: content.map((block) => block.text ?? "").join("\n"),
    isError: result.isError === true,
    told: result._meta?.["holdfast/call"] as CallData | undefined,
  };
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the other commands to its end. */
export function command(
  lab: Lab,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { env: { ...lab.env, ...env }, timeout: 60_000, maxBuffer: 64 * 1024 * 1024 };
    const child = execFile(process.execPath, [CLI, ...args], options, (error, stdout, stderr) => {
      lab.log(`$ holdfast ${args.join(" ")}\n${stdout}${stderr}`);
      const code = typeof error?.code === "number" ? error.code : error === null ? 0 : -1;
      resolve({ code, stdout, stderr });
    });
    if (child.pid !== undefined) lab.watch(child.pid);
  });
}

export async function status(lab: Lab): Promise<readonly ProxyStatus[]> {
  const { stdout } = await command(lab, ["status", "--json"]);
  return (JSON.parse(stdout) as { proxies: readonly ProxyStatus[] }).proxies;
}

/** Waits until the only proxy of the lab says this of its only upstream. */
export function untilUpstream(lab: Lab, is: (state: UpstreamState, waiting: number) => boolean) {
  return until("the state of the upstream", async () => {
    const upstream = (await status(lab))[0]?.sessions[0]?.upstream;
    return upstream !== undefined && is(upstream.state, upstream.waiting);
  });
}

/** Waits until the proxy knows that its upstream is gone. A list makes an idle line show it. */
export async function untilAway(lab: Lab, client: Client): Promise<void> {
  // What it is answered with is the matter of another test.
  await client.listTools().catch(() => undefined);
  await untilUpstream(lab, (state) => state !== "serving");
}
export const untilWaiting = (lab: Lab, count: number) =>
  untilUpstream(lab, (_state, waiting) => waiting === count);

/** One row of `calls list --json`, as far as tests look at it. */
export interface ListedCall {
  readonly id: string;
  readonly state: string;
  readonly executed: string;
  readonly tool: string;
  readonly reason?: string;
  readonly note?: string;
}

export async function calls(lab: Lab, ...options: string[]): Promise<readonly ListedCall[]> {
  const { stdout } = await command(lab, ["calls", "list", "--json", ...options]);
  return (JSON.parse(stdout) as { calls: readonly ListedCall[] }).calls;
}

export interface Reply {
  readonly jsonrpc: "2.0";
  readonly id?: string | number | null;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { code: number; message: string; data?: unknown };
}

/** The proxy spoken to line by line. */
export interface RawProxy {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly messages: readonly Reply[];
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stderr(): string;
  write(bytes: string | Buffer): Promise<void>;
  send(message: object): Promise<void>;
  /** Waits for the message that fits; those before it stay in `messages`. */
  receive(what: string, fits: (message: Reply) => boolean): Promise<Reply>;
  request(id: string | number, method: string, params?: object): Promise<Reply>;
  /** initialize, with id "hello" unless given, and initialized. */
  handshake(version?: string, id?: string | number): Promise<Reply>;
  end(): void;
}

export function spawnRaw(lab: Lab, run: Run): RawProxy {
  const child = spawn(process.execPath, [CLI, ...run.args], {
    env: { ...lab.env, ...run.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("the proxy could not be started");
  lab.watch(pid);
  lab.onClose(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.stdin.end();
      await exited;
    }
  });
  const messages: Reply[] = [];
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    lab.log(chunk.toString());
  });
  child.stdin.on("error", (error) => {
    lab.log(`[stdin] ${error.message}\n`);
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    messages.push(JSON.parse(line) as Reply);
  });
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on("close", (code, signal) => {
      resolve({ code, signal });
    });
  });
  const write = (bytes: string | Buffer) =>
    new Promise<void>((resolve, reject) => {
      child.stdin.write(bytes, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  const send = (message: object) => write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  const receive = (what: string, fits: (message: Reply) => boolean) =>
    until(what, () => messages.find(fits));
  const request = async (id: string | number, method: string, params: object = {}) => {
    await send({ id, method, params });
    return receive(
      `the answer to ${method}`,
      (message) => message.id === id && message.method === undefined,
    );
  };
  return {
    process: child,
    pid,
    messages,
    exited,
    stderr: () => stderr,
    write,
    send,
    receive,
    request,
    handshake: async (protocolVersion = "2025-06-18", id = "hello") => {
      const clientInfo = { name: "raw", version: "1" };
      const params = { protocolVersion, capabilities: {}, clientInfo };
      const reply = await request(id, "initialize", params);
      await send({ method: "notifications/initialized" });
      return reply;
    },
    end: () => child.stdin.end(),
  };
}
