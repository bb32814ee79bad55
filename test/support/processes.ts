/** Tools for tests with real processes. */
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

/** Far more than anything takes on a loaded machine; a wait that reaches it has failed. */
const DEADLINE_MS = 30_000;

/** Resolves to the first defined value of `look`, asked every few milliseconds. Rejects after 30 s. */
export async function eventually<T>(what: string, look: () => T | undefined): Promise<T> {
  const endsAt = performance.now() + DEADLINE_MS;
  for (;;) {
    const value = look();
    if (value !== undefined) return value;
    if (performance.now() > endsAt) throw new Error(`did not happen within 30 s: ${what}`);
    await pause(10);
  }
}

/** Resolves once `isSo` holds. */
export async function until(what: string, isSo: () => boolean): Promise<void> {
  await eventually(what, () => (isSo() ? true : undefined));
}

/** From /proc; undefined if there is no such process. */
function statOf(pid: number): { state: string; parent: number; group: number } | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${String(pid)}/stat`, "latin1");
  } catch {
    return undefined;
  }
  const [state = "", parent = "", group = ""] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state, parent: Number(parent), group: Number(group) };
}

/** Whether the process runs (a zombie does not). */
export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== undefined && stat.state !== "Z";
}

/** The running processes of a group. */
export function groupMembers(group: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = statOf(pid);
      return stat !== undefined && stat.group === group && stat.state !== "Z";
    });
}

/** The running processes whose parent is `parent` and whose command line contains `words`. */
export function childrenOf(parent: number, words: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.parent === parent && commandOf(pid).includes(words));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, "latin1");
  } catch {
    return "";
  }
}
