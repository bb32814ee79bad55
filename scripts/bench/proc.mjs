/**
 * What the machine says about a process: processor time, memory; and the processes that we started.
 *
 * M1. Processor time is that of one process with all its threads (the journal's worker too), without
 *     its children. Linux only; elsewhere the figure is not available, and the table says so.
 * M2. Every process that the benchmark starts is ended by it, whatever happens.
 */
import { spawn } from "node:child_process";
import {
  closeSync,
  fdatasyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

const started = new Set();

export function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"], ...options });
  started.add(child);
  child.once("exit", () => started.delete(child));
  return child;
}

export function exited(child) {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", resolve));
}

/** Ends a process: by the end of its input, by force after `graceMs`. */
export async function stop(child, graceMs = 5_000) {
  child.stdin?.end();
  const timer = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await exited(child);
  clearTimeout(timer);
}

export async function kill(child) {
  child.kill("SIGKILL");
  await exited(child);
}

process.on("exit", () => {
  for (const child of started) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

/**
 * User plus system time of a process in ms. The scheduler's own count per thread (ns) where the kernel
 * gives it, else the ticks of 10 ms in `stat`. NaN where there is no /proc.
 */
export function cpuMs(pid) {
  try {
    let total = 0;
    for (const task of readdirSync(`/proc/${pid}/task`))
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]);
    return total / 1e6;
  } catch {
    return cpuMsFromTicks(pid);
  }
}

function cpuMsFromTicks(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command's name may hold spaces and parentheses; fields are counted from its end.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return NaN;
  }
}

/** Resident memory of a process in MB (10⁶ bytes); NaN where there is no /proc. */
export function residentMb(pid) {
  try {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return (Number(match[1]) * 1024) / 1e6;
  } catch {
    return NaN;
  }
}

/** Median ms of a small append followed by fdatasync in this folder: what a synced commit waits for. */
export function fsyncMs(folder, times = 200) {
  const path = join(folder, "fsync-probe");
  const fd = openSync(path, "w");
  const block = Buffer.alloc(4096, 1);
  const taken = [];
  for (let n = 0; n < times; n++) {
    const before = performance.now();
    writeSync(fd, block);
    fdatasyncSync(fd);
    taken.push(performance.now() - before);
  }
  closeSync(fd);
  rmSync(path);
  return median(taken);
}

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return NaN;
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

export const median = (values) => quantile(values, 0.5);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `check` gives something other than undefined or false; throws after `limitMs`. */
export async function until(what, check, limitMs = 60_000, everyMs = 20) {
  const end = performance.now() + limitMs;
  for (;;) {
    const found = await check();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`);
    await sleep(everyMs);
  }
}
