/** What Linux says about a process. */
import { readFileSync } from "node:fs";

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, "utf8");
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`no memory figure of process ${String(pid)}`);
  return Number(kib) * 1024;
}

/** Ticks of the kernel's clock a second, as Linux counts for processes. */
const TICKS_PER_SECOND = 100;

/** Processor time that a process has used, user and system, ms. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${String(pid)}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}
