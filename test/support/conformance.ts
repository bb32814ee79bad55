/**
 * The official conformance suite, run against a URL, with its report as data: per scenario the checks
 * that passed, failed, or were only remarked upon.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";

// The package exports nothing to resolve by name: its command is a file that is run.
const SUITE = fileURLToPath(
  new URL("../../node_modules/@modelcontextprotocol/conformance/dist/index.js", import.meta.url),
);
const SHIM = new URL("../fixtures/conformance/shim.mjs", import.meta.url).href;

/** The whole suite takes one to two seconds; a scenario gives up on an answer by itself after 60 s. */
const SUITE_MAX_MS = 100_000;

/** `active`: 30 scenarios; `all`: those and the two that the suite calls pending. */
export type Selection = "active" | "all";

export type CheckStatus = "SUCCESS" | "FAILURE" | "WARNING" | "INFO" | "SKIPPED";

/** One check of a scenario, as the suite reports it. */
export interface Check {
  readonly id: string;
  readonly status: CheckStatus;
  readonly errorMessage?: string;
}

/** Scenario → its checks. */
export type SuiteReport = ReadonlyMap<string, readonly Check[]>;

/** Runs the suite against the server at this URL. Rejects if the suite itself did not work. */
export async function runSuite(
  lab: Lab,
  url: string,
  selection: Selection = "active",
): Promise<SuiteReport> {
  const folder = mkdtempSync(lab.path("conformance-"));
  const { code, output } = await runToEnd(lab, [
    ...["--import", SHIM, SUITE],
    ...["server", "--url", url, "--suite", selection, "--output-dir", folder],
  ]);
  const report = readReport(folder);
  // Code 1 says that a check failed, and also that the command was wrong: then there is no report.
  if ((code !== 0 && code !== 1) || report.size === 0) {
    throw new Error(`the conformance suite ended with ${String(code)}:\n${output}`);
  }
  return report;
}

function runToEnd(
  lab: Lab,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      env: { ...lab.env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: SUITE_MAX_MS,
      killSignal: "SIGKILL",
    });
    if (child.pid !== undefined) lab.watch(child.pid);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    child.on("error", reject);
    child.on("close", (code) => {
      lab.log(output);
      resolve({ code, output });
    });
  });
}

/** One folder a scenario: `server-<scenario>-<time>`, with a list of checks unless it broke off. */
function readReport(folder: string): SuiteReport {
  const report = new Map<string, readonly Check[]>();
  for (const name of readdirSync(folder)) {
    const scenario = /^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/.exec(name)?.[1];
    if (scenario === undefined) throw new Error(`no folder of a scenario: ${name}`);
    const file = join(folder, name, "checks.json");
    const checks = existsSync(file)
      ? (JSON.parse(readFileSync(file, "utf8")) as Check[])
      : [{ id: scenario, status: "FAILURE" as const, errorMessage: "it broke off" }];
    report.set(scenario, checks);
  }
  return report;
}

const withStatus = (report: SuiteReport, status: CheckStatus) =>
  [...report].flatMap(([scenario, checks]) =>
    checks.filter((check) => check.status === status).map((check) => ({ scenario, ...check })),
  );

/** What the suite objects to, and why; sorted. */
const objections = (report: SuiteReport, status: CheckStatus): string[] =>
  withStatus(report, status)
    .map(({ scenario, id, errorMessage = "" }) => `${scenario}/${id}: ${errorMessage}`)
    .sort();

/** What is required and missing. */
export const failures = (report: SuiteReport): string[] => objections(report, "FAILURE");

/** What is advised and missing. */
export const warnings = (report: SuiteReport): string[] => objections(report, "WARNING");

/** `scenario/check` of every check that passed, sorted. */
export const passes = (report: SuiteReport): string[] =>
  withStatus(report, "SUCCESS")
    .map(({ scenario, id }) => `${scenario}/${id}`)
    .sort();

/**
 * The checks that pass directly but not through something. A check that turned into a mere note counts
 * as kept: so the suite says that what it looks for need not be there, such as a stream to resume where
 * none was cut. One that turned into a warning, or that was never reached, is lost.
 */
export function lostChecks(direct: SuiteReport, through: SuiteReport): string[] {
  const kept = new Set([
    ...passes(through),
    ...withStatus(through, "INFO").map(({ scenario, id }) => `${scenario}/${id}`),
  ]);
  return passes(direct).filter((check) => !kept.has(check));
}
