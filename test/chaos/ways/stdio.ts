/** A client over stdio: it starts a proxy of its own, and the session ends with either of them. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Way } from "../caller.ts";
import type { Life } from "../fleet.ts";

export interface StdioOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  onStart(life: Life): void;
  /** Its client leaves: it ends by itself now. */
  onLeave(life: Life): void;
  onStderr(line: string): void;
}

export function openStdio({ command, env, onStart, onLeave, onStderr }: StdioOptions): Way {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { env: { ...env }, stdio: ["pipe", "pipe", "pipe"] });
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on("close", (code, signal) => {
      resolve(code ?? signal);
    });
  });
  let life: Life | undefined;
  return {
    open: (hear, lost) => {
      const { pid } = child;
      if (pid === undefined) return Promise.reject(new Error("the proxy could not be started"));
      life = { pid, exited, signal: (name) => child.kill(name) };
      onStart(life);
      child.stdin.on("error", () => undefined);
      createInterface({ input: child.stderr }).on("line", onStderr);
      createInterface({ input: child.stdout }).on("line", hear);
      void exited.then((how) => {
        lost(`the proxy ended: ${String(how)}`, false);
      });
      return Promise.resolve();
    },
    send: (message) =>
      new Promise((resolve, reject) => {
        child.stdin.write(`${JSON.stringify(message)}\n`, (error) => {
          if (error) reject(error);
          else resolve();
        });
      }),
    pause: (ms) => {
      child.stdout.pause();
      setTimeout(() => child.stdout.resume(), ms);
    },
    close: async () => {
      if (life !== undefined && child.exitCode === null && child.signalCode === null) onLeave(life);
      child.stdin.end();
      await exited;
      return child.exitCode === 0;
    },
    canReturnFor: () => false,
  };
}
