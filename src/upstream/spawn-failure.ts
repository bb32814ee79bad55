/** Why a command could not be started, in words that name what to check. */
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { errorText } from "../base/errors.ts";
import { failure, type Failure } from "../core/failure.ts";

const PATH_CHARS_MAX = 300;

export interface SpawnAttempt {
  readonly command: string;
  readonly cwd: string | undefined;
  /** `PATH` of the child's environment. */
  readonly path: string | undefined;
}

/** The operating system says ENOENT for a missing command, folder and interpreter alike. */
export function spawnFailure(error: unknown, attempt: SpawnAttempt): Failure {
  const folder = folderTrouble(attempt.cwd);
  if (folder !== undefined) return failure("spawn_failed", folder);
  return failure("spawn_failed", commandTrouble(error, attempt));
}

function folderTrouble(cwd: string | undefined): string | undefined {
  if (cwd === undefined) return undefined;
  try {
    const stat = statSync(cwd, { throwIfNoEntry: false });
    if (stat === undefined) return `the working folder "${cwd}" does not exist`;
    return stat.isDirectory() ? undefined : `the working folder "${cwd}" is not a folder`;
  } catch (error) {
    // Such as a folder on the way to it that may not be entered.
    return `the working folder "${cwd}" can't be used: ${errorText(error)}`;
  }
}

function commandTrouble(error: unknown, { command, cwd, path }: SpawnAttempt): string {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  const isPath = command.includes("/") || command.includes("\\");
  const quoted = `the command "${command}"`;
  switch (code) {
    case "ENOENT":
      if (!isPath) {
        return `${quoted} was not found (ENOENT); is it installed, and is its folder in PATH? PATH is ${shownPath(path)}`;
      }
      return existsSync(resolve(cwd ?? ".", command))
        ? `${quoted} exists, but the interpreter that its first line names was not found (ENOENT)`
        : `${quoted} does not exist (ENOENT); is the path right?`;
    case "ENOTDIR":
      return `${quoted} was not found (ENOTDIR): a part of its path is not a folder`;
    case "EACCES":
      return `${quoted} may not be executed (EACCES); is it a program, and are its permissions right?`;
    default:
      return `${quoted} could not be started: ${errorText(error)}`;
  }
}

function shownPath(path: string | undefined): string {
  if (path === undefined || path === "") return "empty";
  return path.length > PATH_CHARS_MAX ? `${path.slice(0, PATH_CHARS_MAX)}…` : path;
}
