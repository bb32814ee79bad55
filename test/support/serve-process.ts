/** `holdfast serve` as a process of its own, on a free port of loopback, until the lab closes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));

/** An entry of `mcpServers`, as users write it. */
export type ServerEntry =
  | {
      readonly command: string;
      readonly args?: readonly string[];
      readonly env?: Readonly<Record<string, string>>;
    }
  | { readonly type: "http" | "sse" | "ws"; readonly url: string };

export interface Serving {
  readonly pid: number;
  /** Where clients reach this server over Streamable HTTP. */
  mcp(name: string): string;
  /** SIGKILL, and gone when this resolves. */
  kill(): Promise<void>;
}

/** Starts it in front of these servers, on a free port. */
export function throughHoldfast(
  lab: Lab,
  mcpServers: Readonly<Record<string, ServerEntry>>,
): Promise<Serving> {
  const file = lab.path("holdfast.json");
  writeFileSync(file, JSON.stringify({ mcpServers }));
  return serveOn(lab, file, "127.0.0.1:0");
}

/** Starts it on this address of loopback; resolves when it listens, rejects if it ends before. */
export async function serveOn(lab: Lab, file: string, listen: string): Promise<Serving> {
  const child = spawn(process.execPath, [CLI, "serve", "--config", file, "--listen", listen], {
    env: { ...lab.env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const { pid } = child;
  if (pid === undefined) throw new Error("holdfast serve could not be started");
  lab.watch(pid);
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  };
  lab.onClose(() => end("SIGTERM"));
  const port = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      lab.log(`${line}\n`);
      // Servers may be spoken of before it says where it listens itself.
      const said = LISTENS.exec(line)?.[1];
      if (said !== undefined) resolve(said);
    });
    child.on("exit", (code, signal) => {
      reject(new Error(`holdfast serve ended with ${String(code ?? signal)} before it listened`));
    });
  });
  return {
    pid,
    mcp: (name) => `http://127.0.0.1:${port}/mcp/${name}`,
    kill: () => end("SIGKILL"),
  };
}
