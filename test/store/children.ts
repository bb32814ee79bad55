/** Real processes for tests of the store; each is ended by its test. */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Child {
  readonly process: ChildProcessWithoutNullStreams;
  /** Complete lines of its stdout so far. */
  readonly lines: string[];
  /** Resolves once there are so many lines; rejects with its stderr if it ends before. */
  untilLines(count: number): Promise<void>;
  /** Kills it with SIGKILL and waits until it is gone and its output read. */
  kill(): Promise<void>;
  /** Ends its stdin and waits until it is gone; resolves to its exit code. */
  end(): Promise<number | null>;
}

export function startChild(fixture: string, ...args: string[]): Child {
  const script = fileURLToPath(new URL(`../fixtures/store/${fixture}`, import.meta.url));
  const child = spawn(process.execPath, [script, ...args]);
  const closed = once(child, "close");
  const lines: string[] = [];
  let rest = "";
  let errors = "";
  let isClosed = false;
  let wake = (): void => undefined;
  child.stdout.on("data", (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    wake();
  });
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  child.on("close", () => {
    isClosed = true;
    wake();
  });
  return {
    process: child,
    lines,
    untilLines: (count) =>
      new Promise((resolve, reject) => {
        wake = () => {
          if (lines.length >= count) resolve();
          else if (isClosed) reject(new Error(`${fixture} ended early: ${errors}`));
        };
        wake();
      }),
    async kill() {
      child.kill("SIGKILL");
      await closed;
    },
    async end() {
      child.stdin.end();
      await closed;
      return child.exitCode;
    },
  };
}
