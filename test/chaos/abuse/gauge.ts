/** What a proxy under abuse takes: its memory, its journal's WAL, its lag, its handles. Linux only. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "../../support/lab.ts";

const INSIDE = fileURLToPath(new URL("../../fixtures/gauge-inside.mjs", import.meta.url));
const WAL_EVERY_MS = 50;

/** What the process says of itself, since it was last asked. */
export interface InsideReport {
  readonly number: number;
  readonly lag: { readonly p99: number; readonly max: number; readonly count: number };
  /** After a collection of garbage, bytes. */
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
  /** What keeps its loop alive, by kind: Timeout, TCPSocketWrap, … */
  readonly resources: Readonly<Record<string, number>>;
}

/** Environment of a proxy that can be asked. `file`: where it writes. */
export const gaugeEnv = (file: string, ...options: string[]): Record<string, string> => ({
  GAUGE: file,
  NODE_OPTIONS: [...options, "--import", INSIDE].join(" "),
});

export class Gauge {
  readonly #pid: number;
  readonly #file: string;
  readonly #journals: string;
  #walPeak = 0;
  #watching: NodeJS.Timeout | undefined;

  /** `file` as in `gaugeEnv`; `stateFolder` as the proxy's process sees it. */
  constructor(pid: number, file: string, stateFolder: string) {
    this.#pid = pid;
    this.#file = file;
    this.#journals = join(stateFolder, "journals");
  }

  /** Resident memory now, bytes. */
  resident(): number {
    return this.#memory("VmRSS");
  }

  /** The most it ever had since `begin`, bytes: counted by the kernel, no moment is missed. */
  peak(): number {
    return this.#memory("VmHWM");
  }

  get walPeakBytes(): number {
    return this.#walPeak;
  }

  /** From here on peaks are measured. Returns what is resident now, bytes. */
  begin(): number {
    writeFileSync(`/proc/${String(this.#pid)}/clear_refs`, "5");
    this.#watching = setInterval(() => {
      this.#walPeak = Math.max(this.#walPeak, largestWal(this.#journals));
    }, WAL_EVERY_MS);
    return this.resident();
  }

  end(): void {
    clearInterval(this.#watching);
  }

  descriptors(): number {
    return readdirSync(`/proc/${String(this.#pid)}/fd`).length;
  }

  /** Processes whose parent it is. */
  children(): number {
    const tasks = `/proc/${String(this.#pid)}/task`;
    return readdirSync(tasks)
      .flatMap((task) => readFileSync(join(tasks, task, "children"), "utf8").split(" "))
      .filter((pid) => pid !== "").length;
  }

  /** Asks the process itself. */
  async ask(): Promise<InsideReport> {
    const before = this.#read()?.number ?? 0;
    process.kill(this.#pid, "SIGUSR2");
    return until("the word of the proxy about itself", () => {
      const report = this.#read();
      return report !== undefined && report.number > before ? report : undefined;
    });
  }

  #read(): InsideReport | undefined {
    if (!existsSync(this.#file)) return undefined;
    return JSON.parse(readFileSync(this.#file, "utf8")) as InsideReport;
  }

  #memory(name: string): number {
    const status = readFileSync(`/proc/${String(this.#pid)}/status`, "utf8");
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1];
    if (kib === undefined) throw new Error(`process ${String(this.#pid)} has no ${name}`);
    return Number(kib) * 1024;
  }
}

/** Sizes only: a live database is never opened past SQLite. */
function largestWal(journals: string): number {
  if (!existsSync(journals)) return 0;
  const sizes = readdirSync(journals, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.name.endsWith(".db-wal"))
    .map((entry) => statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size);
  return Math.max(0, ...sizes.map((size) => size ?? 0));
}
