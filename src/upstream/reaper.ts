/**
 * The reaper: a shell of about 1 MB that outlives us by a few seconds, so that a child does not.
 *
 * It holds one end of a pipe from us and reads two lines: the group to watch, then the word that all
 * is well. If the pipe ends before that word, we were killed: the group gets three seconds to follow
 * the end of its input, then it is killed. The reaper is started before the child, so that there is
 * no moment at which a child is unwatched.
 */
import { spawn, type ChildProcess } from "node:child_process";
import type { Log } from "../ports.ts";
import { errorText } from "../base/errors.ts";

const SCRIPT = `trap '' HUP INT TERM
read -r group || exit 0
read -r word && exit 0
for second in 1 2 3; do
  kill -s 0 -- "-$group" 2>/dev/null || exit 0
  sleep 1
done
kill -s KILL -- "-$group" 2>/dev/null`;

export interface Reaper {
  /** The group to kill if we end without a word. */
  watch(group: number): void;
  /** Keeps our event loop alive as long as the reaper lives. It does not by itself. */
  hold(): void;
  /** All is well: it may go. */
  dismiss(): void;
}

const NO_REAPER: Reaper = { watch() {}, hold() {}, dismiss() {} };

/** Starts one reaper. Never throws: without a shell, or on Windows, there is none, and `log` says so. */
export function startReaper(log: Log): Reaper {
  if (process.platform === "win32") return NO_REAPER;
  const lament = (error: unknown): void => {
    log("warn", "no reaper: a child may outlive a killed proxy", { cause: errorText(error) });
  };
  let shell: ChildProcess;
  try {
    shell = spawn("/bin/sh", ["-c", SCRIPT, "holdfast-reaper"], {
      // Neither our folder nor our secrets nor our pipes are its business.
      cwd: "/",
      env: { PATH: "/usr/bin:/bin" },
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
  } catch (error) {
    lament(error);
    return NO_REAPER;
  }
  const pipe = shell.stdin;
  shell.on("error", lament);
  // Somebody ended the reaper: nothing can be told to it, and nothing needs to be.
  pipe?.on("error", (error) => {
    log("debug", "the reaper is gone", { cause: error.message });
  });
  shell.unref();
  unref(pipe);
  return {
    watch: (group) => pipe?.write(`${String(group)}\n`),
    hold: () => {
      shell.ref();
    },
    dismiss: () => {
      shell.unref();
      pipe?.end("done\n");
    },
  };
}

/** A child's pipe is a socket, though its type does not say so. */
function unref(pipe: unknown): void {
  (pipe as { unref?: () => void } | null)?.unref?.();
}
