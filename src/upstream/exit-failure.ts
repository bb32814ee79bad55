/** What the exit of a child means, in words: its code or signal, and its last output. */
import { failure, type Failure } from "../core/failure.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Exit codes by which a shell or wrapper says that it could not run, or not find, the command. */
const NOT_STARTED = new Map([
  [126, "a command could not be executed"],
  [127, "a command was not found"],
]);

/** `words`: the last lines of stderr, oldest first, masked. */
export function describeExit({ code, signal }: Exit, words: readonly string[]): string {
  const how =
    signal === null ? `exited with code ${String(code ?? "unknown")}` : `was killed by ${signal}`;
  return words.length === 0 ? how : `${how}; last output: ${words.join(" | ")}`;
}

/**
 * The failure of a child that ended by itself. Codes 126 and 127 mean a command that cannot be run,
 * unless the child had spoken: then it did run, and what it was sent may have been executed.
 */
export function exitFailure(exit: Exit, words: readonly string[], hasSpoken: boolean): Failure {
  const hint = NOT_STARTED.get(exit.code ?? 0);
  if (hint !== undefined && !hasSpoken) {
    const [how, ...rest] = describeExit(exit, words).split("; ");
    const message = [`${how ?? ""} (${hint})`, ...rest].join("; ");
    return { ...failure("spawn_failed", message), exitCode: exit.code ?? 0 };
  }
  const why = failure("process_exit", describeExit(exit, words));
  return exit.code === null ? why : { ...why, exitCode: exit.code };
}
