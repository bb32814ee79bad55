/**
 * A transparent witness between Holdfast and an MCP server: passes every byte on, and writes down each
 * tools/call that reaches the server, before the server sees it. So the demo can say what was executed
 * without believing anyone. It refuses to start (exit code 7) while the file `down` exists.
 *
 *     DEMO_FOLDER=/somewhere node recorder.mjs command args…
 */
import { spawn } from "node:child_process";
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const folder = process.env.DEMO_FOLDER;
const [command, ...args] = process.argv.slice(2);
if (folder === undefined || command === undefined) {
  process.stderr.write("usage: DEMO_FOLDER=folder node recorder.mjs command args…\n");
  process.exit(2);
}
if (existsSync(join(folder, "down"))) {
  process.stderr.write("the machine is down for maintenance\n");
  process.exit(7);
}

const server = spawn(command, args, { stdio: ["pipe", "inherit", "inherit"] });
appendFileSync(join(folder, "pids"), `${process.pid}\n${server.pid}\n`);
server.on("exit", (code) => process.exit(code ?? 1));
server.on("error", (error) => {
  process.stderr.write(`${command}: ${error.message}\n`);
  process.exit(127);
});
server.stdin.on("error", () => process.exit(1));

function witness(line) {
  const message = JSON.parse(line);
  if (message.method !== "tools/call") return;
  const { name, arguments: given } = message.params;
  appendFileSync(join(folder, "executed"), `${JSON.stringify({ name, given })}\n`);
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    witness(line);
    server.stdin.write(`${line}\n`);
  })
  .on("close", () => server.stdin.end());
