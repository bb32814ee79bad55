/** A client over stdio: it starts a proxy of its own, and the session ends with either of them. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Way } from "../caller.ts";

/** A proxy as its parent sees it. */
export interface Wrap {
  readonly pid: number;
  /** Gone, for whichever reason: exit code or signal. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  signal(name: NodeJS.Signals): boolean;
}

export interface StdioOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  onStart(wrap: Wrap): void;
  onStderr(line: string): void;
}

export function openStdio({ command, env, onStart, onStderr }: StdioOptions): Way {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { env: { ...env }, stdio: ["pipe", "pipe", "pipe"] });
  const exited = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on("close", (code, signal) => {
      resolve(code ?? signal);
    });
  });
  return {
    open: (hear, lost) => {
      const { pid } = child;
      if (pid === undefined) return Promise.reject(new Error("the proxy could not be started"));
      onStart({ pid, exited, signal: (name) => child.kill(name) });
      child.stdin.on("error", () => undefined);
      createInterface({ input: child.stderr }).on("line", onStderr);
      createInterface({ input: child.stdout }).on("line", hear);
      void exited.then((how) => {
        lost(`the proxy ended: ${String(how)}`);
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
      child.stdin.end();
      await exited;
    },
    canReturnFor: () => false,
  };
}
