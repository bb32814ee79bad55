/** Whole MCP servers over HTTP, each a process of its own until the lab closes. */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";
import { ownPort } from "./port.ts";

/** The official server-everything; its first argument is `stdio`, `streamableHttp` or `sse`. */
export const EVERYTHING = createRequire(import.meta.url).resolve(
  "@modelcontextprotocol/server-everything/dist/index.js",
);

/** Our own server for the conformance suite; its first argument is `stdio` or `http`. */
export const CONFORMANCE_SERVER = fileURLToPath(
  new URL("../fixtures/conformance-server.mjs", import.meta.url),
);

/** Starts the program; gives the line, on stdout or stderr, that says that it listens. */
function start(
  lab: Lab,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  says: RegExp,
): Promise<string> {
  const child = spawn(process.execPath, args, {
    env: { ...lab.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  lab.onClose(() => {
    child.kill("SIGKILL");
    return Promise.resolve();
  });
  if (child.pid !== undefined) lab.watch(child.pid);
  return new Promise((resolve, reject) => {
    for (const input of [child.stdout, child.stderr]) {
      createInterface({ input }).on("line", (line) => {
        lab.log(`[server] ${line}\n`);
        if (says.test(line)) resolve(line);
      });
    }
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      reject(new Error(`the server ended with ${String(code ?? signal)} before it listened`));
    });
  });
}

async function everythingAt(lab: Lab, mode: "streamableHttp" | "sse"): Promise<string> {
  // It does not say which port it was given if it may choose.
  const port = String(await ownPort());
  await start(lab, [EVERYTHING, mode], { PORT: port }, /listening|is running/);
  return `http://127.0.0.1:${port}`;
}

export const everythingOverHttp = async (lab: Lab): Promise<string> =>
  `${await everythingAt(lab, "streamableHttp")}/mcp`;

export const everythingOverSse = async (lab: Lab): Promise<string> =>
  `${await everythingAt(lab, "sse")}/sse`;

export const conformanceServerOverHttp = (lab: Lab): Promise<string> =>
  start(lab, [CONFORMANCE_SERVER, "http"], {}, /^http:/);
