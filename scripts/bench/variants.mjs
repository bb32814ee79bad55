/**
 * The things that are compared, each as a way to get a client that speaks through it: `direct` (nothing
 * between), `relay` (a bare Node relay), `holdfast`.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { httpClient, stdioClient } from "./client.mjs";
import { onLines } from "./lines.mjs";
import { exited, start, stop } from "./proc.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

const SERVER = here("./server.mjs");
const RELAY = here("./relay.mjs");
export const CLI = here("../../dist/app/cli.js");

export const isBuilt = () => existsSync(CLI);

/** A folder of our own for journals; on the disk whose fsync is measured. Removed at the end. */
export function makeFolder(parent = tmpdir()) {
  const folder = mkdtempSync(join(parent, "holdfast-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** Our own settings must not come from whoever runs the benchmark. */
const plainEnvironment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("HOLDFAST_")));

export const stdioServer = (...flags) => [process.execPath, SERVER, ...flags];

/** Starts the HTTP fixture. Resolves to its process and URL. */
export function startHttpServer(port = 0) {
  const child = start(process.execPath, [SERVER, "--http", "--port", String(port)]);
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the HTTP fixture ended (${code})`)));
    onLines(child.stdout, (line) => resolve({ child, url: `http://127.0.0.1:${line}/mcp` }));
  });
}

/** `target` is a URL or a command line, as the command line of Holdfast takes it. */
const spell = (target) => (typeof target === "string" ? [target] : ["--", ...target]);

export function direct(target) {
  if (typeof target === "string") return httpClient(target);
  const [command, ...args] = target;
  return stdioClient(command, args);
}

export const relay = (target) => stdioClient(process.execPath, [RELAY, ...spell(target)]);

export function holdfast(target, stateFolder, flags = [], nodeFlags = []) {
  const args = [...nodeFlags, CLI, "--state-dir", stateFolder, ...flags, ...spell(target)];
  return stdioClient(process.execPath, args, { env: plainEnvironment() });
}

/** The bare relay, listening on HTTP. */
export async function listeningRelay(target) {
  const child = start(process.execPath, [RELAY, "--listen", ...spell(target)]);
  const port = await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the listening relay ended (${code})`)));
    onLines(child.stdout, resolve);
  });
  return httpClient(`http://127.0.0.1:${port}/mcp`, { child, end: () => stop(child) });
}

const entryOf = (target) => {
  if (typeof target === "string") return { type: "http", url: target };
  const [command, ...args] = target;
  return { command, args };
};

/** `holdfast serve` in front of one server. Resolves to its process and URL, and how it is ended. */
export async function startDaemon(target, stateFolder, settings = {}) {
  mkdirSync(stateFolder, { recursive: true });
  const config = join(stateFolder, "holdfast.json");
  const bench = { ...entryOf(target), holdfast: settings };
  writeFileSync(config, JSON.stringify({ mcpServers: { bench } }));
  const args = ["serve", "--config", config, "--state-dir", stateFolder, "--listen", "127.0.0.1:0"];
  const child = start(process.execPath, [CLI, ...args], {
    env: plainEnvironment(),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const address = await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`holdfast serve ended (${code})`)));
    onLines(child.stderr, (line) => {
      const said = /^holdfast: serving .* at (\S+)/.exec(line)?.[1];
      if (said !== undefined) resolve(said);
    });
  });
  const end = async () => {
    child.kill("SIGTERM");
    await exited(child);
  };
  return { child, url: `${address}/mcp/bench`, end };
}

export async function listeningHoldfast(target, stateFolder) {
  const daemon = await startDaemon(target, stateFolder);
  return httpClient(daemon.url, daemon);
}

/** Runs one command of Holdfast to its end. Resolves to what it printed on stdout. */
export function holdfastCommand(stateFolder, ...args) {
  const child = start(process.execPath, [CLI, ...args], {
    env: { ...plainEnvironment(), HOLDFAST_STATE_DIR: stateFolder },
  });
  let text = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk) => (text += chunk));
  return new Promise((resolve) => child.once("close", () => resolve(text)));
}
