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

/** Connections to this TCP port over IPv4 that a process holds, whether or not its peer has ended them. */
export function heldConnectionsTo(port: number): number {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  return rows.filter((row) => {
    const [, , remote = "", , , , , , , inode] = row.trim().split(/\s+/);
    // Nobody has what the kernel still closes.
    return remote.endsWith(suffix) && inode !== "0";
  }).length;
}
