/** What the demo plays on: its folder, the two processes, the words on the screen and the checks. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { CreateMessageRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import color from "picocolors";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const CLI = here("../../dist/app/cli.js");
const RECORDER = here("./recorder.mjs");
const EVERYTHING = createRequire(import.meta.url).resolve(
  "@modelcontextprotocol/server-everything/dist/index.js",
);

export const folder = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
const file = (name) => join(folder, name);
const env = {
  PATH: process.env.PATH ?? "",
  HOME: folder,
  DEMO_FOLDER: folder,
  HOLDFAST_STATE_DIR: file("state"),
};
const target = ["--name", "everything", "--", process.execPath, RECORDER];
target.push(process.execPath, EVERYTHING, "stdio");

// ── The screen ──────────────────────────────────────────────────────────────────────────────────

const startedAt = Date.now();
const PAINT = { client: color.cyan, server: color.yellow, proxy: color.magenta };

export function say(who, text) {
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1).padStart(5);
  console.log(`${color.dim(`${seconds} s`)}  ${PAINT[who](who.padEnd(6))}  ${text}`);
}

export const act = (title) => console.log(`\n${color.bold(title)}`);

const checks = [];

/** A promise of Holdfast, kept or broken; broken ones make the demo fail. */
export function check(promise, what, isKept, detail = "") {
  checks.push(isKept);
  const mark = isKept ? color.green("kept  ") : color.red("BROKEN");
  console.log(`         ${mark}  ${promise}: ${what}${isKept ? "" : color.red(`  ${detail}`)}`);
}

export function verdict() {
  const broken = checks.filter((isKept) => !isKept).length;
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  const line = `${checks.length} promises checked, ${broken} broken, in ${seconds} s`;
  console.log(`\n${broken === 0 ? color.green(line) : color.red(line)}`);
  return broken === 0 ? 0 : 1;
}

export async function until(what, read, deadlineMs = 20_000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await read();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(20);
  }
}

// ── The server ──────────────────────────────────────────────────────────────────────────────────

const lines = (name) =>
  existsSync(file(name)) ? readFileSync(file(name), "utf8").trimEnd().split("\n") : [];

/** What reached the server, in order: one label a call. */
export const executed = () =>
  lines("executed").map((line) => {
    const { name, given } = JSON.parse(line);
    return given.prompt ?? name;
  });

export const timesExecuted = (label) => executed().filter((one) => one === label).length;

/** Whatever still runs of the server is killed. */
export function killServer() {
  for (const pid of lines("pids").map(Number)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
  rmSync(file("pids"), { force: true });
}

export function keepDown() {
  writeFileSync(file("down"), "");
  killServer();
  say("server", color.red("killed with SIGKILL, and kept down"));
}

export function letUp() {
  rmSync(file("down"), { force: true });
  say("server", color.green("may start again"));
}

// ── The client behind Holdfast ──────────────────────────────────────────────────────────────────

/** Prompts that the client's model thinks about forever. */
const isEndless = (prompt) => prompt.includes("endless");

export async function startClient(...options) {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [CLI, ...options, ...target],
    env,
    stderr: "pipe",
  });
  let stderr = "";
  transport.stderr.on("data", (chunk) => (stderr += chunk));
  const client = new Client({ name: "demo", version: "1.0.0" }, { capabilities: { sampling: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => {
    const asked = params.messages.map((message) => message.content.text).join(" ");
    if (isEndless(asked)) return new Promise(() => undefined);
    return { model: "demo", role: "assistant", content: { type: "text", text: "a thought" } };
  });
  const gone = new Promise((resolve) => (client.onclose = resolve));
  try {
    await client.connect(transport);
  } catch (error) {
    throw new Error(`the proxy did not start: ${stderr}`, { cause: error });
  }
  const kill = async () => {
    process.kill(transport.pid, "SIGKILL");
    await gone;
  };
  return { client, kill, close: () => client.close() };
}

/** One call, with what its caller saw. */
export async function callTool(client, name, args) {
  const options = { timeout: 60_000 };
  const result = await client.callTool({ name, arguments: args }, undefined, options);
  return {
    text: result.content.map((block) => block.text ?? "").join(" "),
    isError: result.isError === true,
    told: result._meta?.["holdfast/call"],
  };
}

/** server-everything's tool with an effect: it asks the client's model. Unsafe to repeat. */
export const think = (client, prompt) =>
  callTool(client, "trigger-sampling-request", { prompt, maxTokens: 10 });

/** One of the other commands, as an operator types it. */
export function holdfast(...args) {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, stdout, stderr });
    });
  });
}

export async function waitingCalls() {
  const { stdout } = await holdfast("status", "--json");
  return JSON.parse(stdout).proxies[0]?.sessions[0]?.upstream.waiting;
}

export async function listCalls() {
  const { stdout } = await holdfast("calls", "list", "--json", "--limit", "500");
  return JSON.parse(stdout).calls;
}

export function cleanUp() {
  killServer();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
