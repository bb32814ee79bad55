/** `holdfast serve` as a process of its own over ledger servers, and official clients that connect to it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Lab } from "./lab.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));
const LEDGER_SERVER = fileURLToPath(new URL("../fixtures/ledger-server.mjs", import.meta.url));

export interface Daemon {
  readonly pid: number;
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  stderr(): string;
  signal(name: NodeJS.Signals): void;
  /** Exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
}

/** An entry of the file: the ledger server behind stdio. `env` goes on top of what it needs. */
export function ledgerEntry(lab: Lab, env: Readonly<Record<string, string>> = {}) {
  const { LEDGER, PIDS, DOWN } = lab.env;
  return {
    command: process.execPath,
    args: [LEDGER_SERVER, "stdio"],
    env: { LEDGER, PIDS, DOWN, ...env },
  };
}

/** Writes the configuration of the lab's daemon. */
export function configure(lab: Lab, mcpServers: object, holdfast: object = {}): void {
  writeFileSync(lab.path("holdfast.json"), JSON.stringify({ holdfast, mcpServers }));
}

/** A daemon that may not listen yet. */
export interface Launched extends Omit<Daemon, "address"> {
  /** Resolves to the address once it listens; rejects if it ends before. */
  readonly listening: Promise<string>;
}

/**
 * Starts it with the lab's configuration, and does not wait. `through`: a command that becomes the
 * daemon, and before that takes something from it (descriptors, disk).
 */
export function launchDaemon(
  lab: Lab,
  listen = "127.0.0.1:0",
  env: Readonly<Record<string, string>> = {},
  through: readonly string[] = [],
): Launched {
  const args = [CLI, "serve", "--config", lab.path("holdfast.json"), "--listen", listen];
  const [command = "", ...words] = [...through, process.execPath, ...args];
  const child = spawn(command, words, {
    env: { ...lab.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("holdfast serve could not be started");
  lab.watch(pid);
  const exited = once(child, "exit").then(
    ([code, signal]) => (code ?? signal) as number | NodeJS.Signals | null,
  );
  const isGone = () => child.exitCode !== null || child.signalCode !== null;
  lab.onClose(async () => {
    if (!isGone()) child.kill("SIGTERM");
    await exited;
  });
  let stderr = "";
  const listening = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      stderr += `${line}\n`;
      lab.log(`${line}\n`);
      const said = /^holdfast: serving .* at (\S+)/.exec(line)?.[1];
      if (said !== undefined) resolve(said);
    });
    void exited.then((how) => {
      reject(new Error(`holdfast serve ended with ${String(how)} before it listened: ${stderr}`));
    });
  });
  // Nobody may be waiting for it when a test kills it.
  listening.catch(() => undefined);
  return { pid, listening, stderr: () => stderr, signal: (name) => child.kill(name), exited };
}

/** Starts it with the lab's configuration; resolves when it listens, rejects if it ends before. */
export async function startDaemon(lab: Lab, listen?: string): Promise<Daemon> {
  const launched = launchDaemon(lab, listen);
  return { ...launched, address: await launched.listening };
}

export interface Visitor {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
}

export interface Visit {
  /** Of a session that was begun before: then nothing is initialised. */
  readonly sessionId?: string;
  readonly token?: string;
}

/** The official client over Streamable HTTP. Closed with the lab. */
export async function visit(
  lab: Lab,
  daemon: Daemon,
  name: string,
  { sessionId, token }: Visit = {},
): Promise<Visitor> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(`/mcp/${name}`, daemon.address), {
    requestInit: { headers },
    ...(sessionId === undefined ? {} : { sessionId }),
  });
  const client = new Client({ name: "e2e", version: "1.0.0" });
  client.onerror = (error) => {
    lab.log(`[client] ${error.message}\n`);
  };
  lab.onClose(() => client.close());
  await client.connect(transport as unknown as Parameters<Client["connect"]>[0], {
    timeout: 60_000,
  });
  return { client, transport };
}
