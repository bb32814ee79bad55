/**
 * Process groups: signalling one, and recognising one that an earlier process of ours left behind.
 *
 * G1. A group is killed at recovery only if its leader is the very process that was started: the same
 *     process id alone proves nothing, ids are used again.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import spawn from "cross-spawn";

export interface StartedChild {
  readonly pid: number;
  /** `startedAtOf(pid)` when it was started. Opaque; compare for equality only. */
  readonly startedAt: string;
}

const isWindows = process.platform === "win32";

/**
 * When the process with this id was started, as an opaque text that no later process with the same id
 * has too. Undefined if there is no such process or the platform does not tell.
 */
export function startedAtOf(pid: number): string | undefined {
  if (process.platform === "linux") return startedAtOnLinux(pid);
  if (isWindows) return undefined;
  const ps = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], {
    encoding: "utf8",
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" },
    timeout: 2000,
  });
  const text = ps.status === 0 ? ps.stdout.trim() : "";
  return text === "" ? undefined : text;
}

let bootId: string | undefined;

function startedAtOnLinux(pid: number): string | undefined {
  try {
    bootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    const stat = readFileSync(`/proc/${String(pid)}/stat`, "latin1");
    // The name (field 2) may contain spaces and brackets; the fields after its last bracket do not.
    const ticks = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    return ticks === undefined ? undefined : `${bootId}/${ticks}`;
  } catch {
    return undefined; // No such process, or no /proc: unknown either way.
  }
}

/**
 * Signals every process of the group that `pid` leads. False where nothing of it is left. On Windows
 * the tree below `pid` is ended, with force for `SIGKILL`; the answer is always true.
 */
export function signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL" | 0): boolean {
  if (isWindows) {
    if (signal !== 0) endTree(pid, signal === "SIGKILL");
    return true;
  }
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    // EPERM: what is left of the group is not ours any more (or, on macOS, only zombies).
    if (["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}

function endTree(pid: number, isForced: boolean): void {
  const args = ["/T", ...(isForced ? ["/F"] : []), "/PID", String(pid)];
  const ended = spawn("taskkill", args, { stdio: "ignore", windowsHide: true });
  // Without taskkill only the process itself can be ended.
  ended.on("error", () => {
    try {
      process.kill(pid);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  });
}

/**
 * Kills the group of a child that outlived an earlier process of ours. Returns whether there was
 * something to kill. Does nothing unless the leader is still the process that was started (G1).
 */
export function killLeftoverGroup(child: StartedChild): boolean {
  if (isWindows || !Number.isSafeInteger(child.pid) || child.pid <= 1) return false;
  if (child.pid === process.pid || startedAtOf(child.pid) !== child.startedAt) return false;
  return signalGroup(child.pid, "SIGKILL");
}
