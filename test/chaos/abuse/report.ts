/** Runs a case in a lab of its own and says what came of it. */
import { makeLab } from "../../support/lab.ts";
import { mib, problemsOf, type AbuseCase, type Bounds, type Measured } from "./case.ts";

export interface Result {
  readonly name: string;
  readonly verdict: "holds" | "fails" | "not run";
  /** Why it fails, or was not run. */
  readonly problems: readonly string[];
  readonly measured?: Measured;
  readonly tookMs: number;
}

/** No case takes half as long on a machine that does other work, too. */
const CASE_MAX_MS = 180_000;

/** Rejects if the work is not done in time, which also ends the wait for what will never come. */
function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`not done within ${String(ms / 1000)} s`));
    }, ms);
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}

/** Never rejects. `bounds`: instead of those of the case. */
export async function runCase(one: AbuseCase, bounds: Partial<Bounds> = {}): Promise<Result> {
  const { name } = one;
  const startedAt = performance.now();
  const tookMs = () => performance.now() - startedAt;
  const why = one.unable?.();
  if (why !== undefined) return { name, verdict: "not run", problems: [why], tookMs: 0 };
  const { lab, close, report } = makeLab();
  const problems: string[] = [];
  let measured: Measured | undefined;
  try {
    measured = await inTime(one.run(lab), one.limitMs ?? CASE_MAX_MS);
    problems.push(...problemsOf(measured, { ...one.bounds, ...bounds }));
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    problems.push(text, report().slice(-3000));
  }
  await close().catch((error: unknown) => {
    problems.push(String(error));
  });
  const verdict = problems.length === 0 ? "holds" : "fails";
  return {
    name,
    verdict,
    problems,
    tookMs: tookMs(),
    ...(measured === undefined ? {} : { measured }),
  };
}

const HEAD = [
  "case",
  "idle MB",
  "peak MB",
  "+MB",
  "WAL MB",
  "lag p99",
  "neighbour p99",
  "verdict",
  "what",
];

/** Aligned plain text, problems below. */
export function tableOf(results: readonly Result[]): string {
  const rows = [HEAD, ...results.map(rowOf)];
  const widths = HEAD.map((_, n) => Math.max(...rows.map((row) => (row[n] ?? "").length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, n) => {
        const isText = n === 0 || n >= 7;
        return isText ? cell.padEnd(widths[n] ?? 0) : cell.padStart(widths[n] ?? 0);
      })
      .join("  ")
      .trimEnd();
  const problems = results.flatMap(({ name, problems: found }) =>
    found.map((problem) => `${name}: ${problem}`),
  );
  return `${[...rows.map(line), "", ...problems].join("\n").trimEnd()}\n`;
}

function rowOf({ name, verdict, measured, tookMs }: Result): string[] {
  const took = `${(tookMs / 1000).toFixed(1)} s`;
  if (measured === undefined) return [name, "", "", "", "", "", "", verdict, took];
  const { idleBytes, peakBytes, walPeakBytes, lagP99Ms, neighbour, said } = measured;
  return [
    name,
    mib(idleBytes),
    mib(peakBytes),
    mib(peakBytes - idleBytes),
    mib(walPeakBytes),
    `${lagP99Ms.toFixed(1)} ms`,
    neighbour === undefined ? "" : `${neighbour.p99Ms.toFixed(1)} ms of ${String(neighbour.calls)}`,
    verdict,
    `${said} (${took})`,
  ];
}
