/** Lets a lane look at a mutant: the simulation, or one test of the project, in the mutant's own copy. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Lane, UnitLane } from "./mutant.ts";

/** What a lane saw. */
export interface Sight {
  /** Invariants or tests that it found broken; empty where it noticed nothing. */
  readonly found: readonly string[];
  /** Seeds that were played up to then; undefined where there are none. */
  readonly seeds: number | undefined;
  /** The end of what was printed, for a lane that did not work. */
  readonly tail: string;
}

/** A lane that takes longer than this has hung; the mutant may be why, but nobody noticed. */
const LANE_MAX_MS = 180_000;

export interface SimOptions {
  readonly seeds: number;
  readonly from: number;
}

export function look(folder: string, lane: Lane, sim: SimOptions): Promise<Sight> {
  return lane.caughtBy === "sim"
    ? simulate(folder, { ...sim, from: lane.from ?? sim.from })
    : test(folder, lane.unit);
}

/** What the simulation writes of itself (`--json`), as far as it matters here. */
interface SimReport {
  readonly runs: number;
  readonly findings: number;
}

/** How it prints a finding: one a line, its invariant first. */
const FINDING = /^ {2}(?:fatal: [^:\n]*: )?([A-Z]{1,2}\d+[a-z]?|fatal|run): /gm;

export async function simulate(folder: string, { seeds, from }: SimOptions): Promise<Sight> {
  const json = join(folder, "sim.json");
  const about = [
    "--seeds",
    String(seeds),
    "--from",
    String(from),
    "--bail",
    "--no-shrink",
    "--json",
    json,
  ];
  const tsx = join(folder, "node_modules", "tsx", "dist", "cli.mjs");
  const { tail, output } = await run(folder, [tsx, "test/sim/main.ts", ...about]);
  if (!existsSync(json)) return { found: [], seeds: undefined, tail };
  const report = JSON.parse(readFileSync(json, "utf8")) as SimReport;
  const found = new Set([...output.matchAll(FINDING)].map(([, invariant]) => invariant ?? ""));
  if (report.findings > 0 && found.size === 0)
    throw new Error(`the simulation prints its findings in another way:\n${tail}`);
  return { found: [...found], seeds: report.runs, tail };
}

interface TestReport {
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

/** The test counts only where it is the one that failed, and not a file that did not even load. */
async function test(folder: string, { file, test: name }: UnitLane): Promise<Sight> {
  const json = join(folder, "tests.json");
  const vitest = join(folder, "node_modules", "vitest", "vitest.mjs");
  const about = ["--reporter=json", `--outputFile=${json}`, "-t", pattern(name)];
  const { tail } = await run(folder, [vitest, "run", file, ...about]);
  if (!existsSync(json)) return { found: [], seeds: undefined, tail };
  const report = JSON.parse(readFileSync(json, "utf8")) as TestReport;
  const all = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = all.filter(
    ({ status, fullName }) => status === "failed" && fullName.includes(name),
  );
  return { found: failed.length > 0 ? [file] : [], seeds: undefined, tail };
}

const pattern = (name: string): string => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

interface Printed {
  /** As much as is kept of it: `OUTPUT_MAX` characters. */
  readonly output: string;
  /** Its end, for people. */
  readonly tail: string;
}

const OUTPUT_MAX = 200_000;
const TAIL_MAX = 4_000;

/** Runs Node in the copy, in a process group of its own, of which nothing is left. */
function run(folder: string, args: readonly string[]): Promise<Printed> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      cwd: folder,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const keep = (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-OUTPUT_MAX);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      killGroup(child);
    }, LANE_MAX_MS);
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      killGroup(child);
      resolve({ output, tail: output.slice(-TAIL_MAX) });
    });
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
