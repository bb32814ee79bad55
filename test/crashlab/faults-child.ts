/**
 * A process whose disk fails at the n-th call, for n = 1, 2, 3 … until the work is done without the n-th
 * being reached; once only, and from then on. After each run the disk is well again, and must hold all
 * that was acknowledged; where the caller is never to see an error, it must have seen none.
 *
 *     node --import tsx faults-child.ts '{"folder": …, "stride": 1, …}'
 */
import { openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, JournalError, errorText } from "../../src/base/errors.ts";
import { realWorld } from "../../src/base/world.ts";
import type { Journal } from "../../src/ports.ts";
import { openJournals } from "../../src/store/folder.ts";
import { isMarkedAbandoned } from "../../src/store/marks.ts";
import { loadDriver } from "../../src/store/sqlite/connection.ts";
import type { FaultFigures, FaultOptions } from "./faults.ts";
import { DirectJournal } from "./direct-journal.ts";
import { History, askedOf } from "./history.ts";
import { judge } from "./judge.ts";
import { Recorder } from "./operations.ts";
import type { Line, Worked } from "./operations.ts";
import { filesIn, reopen } from "./reopen.ts";
import { STARTED_AT, Worker } from "./work.ts";

const UPSTREAM = "a".repeat(64);
const NOW = STARTED_AT + 20_000;
const FOR_EVER = 1_000_000_000;

/** What fails, how, and how often in a row. */
const FAULTS = [
  ["write", "EIO", 1],
  ["write", "EIO", FOR_EVER],
  ["write", "ENOSPC", 1],
  ["write", "ENOSPC", FOR_EVER],
  ["write", "SHORT", 1],
  ["sync", "EIO", 1],
  ["sync", "EIO", FOR_EVER],
  ["open", "EIO", 1],
  ["open", "ENOSPC", FOR_EVER],
  ["truncate", "EIO", 1],
  ["truncate", "ENOSPC", FOR_EVER],
  ["unlink", "EIO", 1],
  ["any", "EIO", FOR_EVER],
] as const;
type Fault = (typeof FAULTS)[number];

const options = JSON.parse(process.argv[2] ?? "") as FaultOptions;
const driver = await loadDriver();

/** The library answers with an error that carries its word. */
function tell(command: string): string | undefined {
  try {
    openSync(`/@crashlab/${command}`, "r");
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
  throw new Error(`${command} was opened`);
}
if (tell("here") !== "EEXIST") throw new Error("the library of the crash lab is not there");

/** `thread`: what the journal thread does, in this process; else a journal as a process opens it. */
type How = "thread" | "required" | "auto";

interface Run {
  readonly fault: Fault;
  readonly at: number;
  readonly how: How;
}

/** What is wrong after one run; undefined once the fault is later than everything that was done. */
async function run({ fault: [kind, error, count], at, how }: Run): Promise<string[] | undefined> {
  const folder = join(options.folder, "state");
  rmSync(folder, { recursive: true, force: true });
  const lines: { order: number; line: Line }[] = [];
  const problems: string[] = [];
  tell(`fail/${kind}/${error}/${at}/${count}`);
  let wasOnDisk = false;
  let isOnDisk = false;
  try {
    const journal = await open(folder, how);
    const isKept = () => !("stats" in journal) || journal.stats().kind === "sqlite";
    wasOnDisk = isKept();
    await work(journal, lines);
    isOnDisk = isKept();
  } catch (failure) {
    const isRefusal =
      failure instanceof ConfigError || failure instanceof JournalError || isOfSystem(failure);
    if (how === "auto" || !isRefusal) problems.push(`it broke: ${errorText(failure)}`);
  }
  const hasFired = tell("fired") === "EEXIST";
  tell("fail/none");
  if (!hasFired) return undefined;
  const isLost = how === "auto" && wasOnDisk && !isOnDisk;
  if (isLost && count === 1 && !isMarked(folder))
    problems.push("a lost journal was not marked, though the disk was well again");
  return [...problems, ...verdict(folder, lines, how, isOnDisk)];
}

const isMarked = (folder: string): boolean =>
  isMarkedAbandoned(filesIn(folder, UPSTREAM).abandonedPath);

/** What SQLite or the file system refuse with while a journal is opened. */
const isOfSystem = (error: unknown): boolean => error instanceof Error && "code" in error;

async function open(folder: string, how: How): Promise<Worked | Journal> {
  if (how === "thread") return new DirectJournal(driver, folder, UPSTREAM);
  const { own } = await openJournals({
    world: realWorld(),
    folder,
    upstreamDigest: UPSTREAM,
    credentialsDigest: "b".repeat(64),
    mode: how,
    durability: "full",
    dropsDelivered: true,
    log: () => undefined,
  });
  return own;
}

async function work(journal: Worked, lines: { order: number; line: Line }[]): Promise<void> {
  const recorder = new Recorder(journal, (line) => lines.push({ order: lines.length, line }));
  const worker = new Worker(recorder, { ...options, actors: 3, payloadMax: 12_000 });
  try {
    await recorder.do({ kind: "recover", now: STARTED_AT });
    await worker.work(options.calls);
  } finally {
    await journal.close();
  }
}

function verdict(
  folder: string,
  lines: readonly { order: number; line: Line }[],
  how: How,
  isOnDisk: boolean,
): string[] {
  const asked = askedOf(lines);
  const problems: string[] = [];
  const isUnknown = asked.some(({ outcome }) => outcome?.kind === "unknown");
  if (how === "auto" && isUnknown) problems.push("the caller saw an error of the disk");
  const history = new History(asked, true);
  // What was acknowledged in memory, after the disk was lost or where it never was, is in memory.
  const isInMemory = how === "auto" && !isOnDisk;
  const span = history.spanAt(Infinity, "process");
  try {
    const reopened = reopen({
      driver,
      folder,
      upstream: UPSTREAM,
      now: NOW,
      dropsDelivered: true,
    });
    const at = isInMemory ? { least: 0, most: span.most } : span;
    const { lost, corrupt } = judge(history, at, reopened, NOW);
    problems.push(...lost.map((what) => `lost: ${what}`), ...corrupt);
  } catch (error) {
    problems.push(`could not be opened afterwards: ${errorText(error)}`);
  }
  return problems;
}

const figures: { points: Record<string, number>; findings: string[] } = {
  points: {},
  findings: [],
};
for (const fault of FAULTS) {
  for (const how of ["thread", "required", "auto"] as const) {
    const name = `${fault[0]} ${fault[1]}${fault[2] === 1 ? "" : " from then on"}`;
    // A journal with a thread of its own takes long to start.
    const stride = how === "thread" ? options.stride : options.threadStride;
    for (let at = 1; ; at += stride) {
      const problems = await run({ fault, at, how });
      if (problems === undefined) break;
      figures.points[name] = (figures.points[name] ?? 0) + 1;
      for (const problem of problems.slice(0, 5))
        figures.findings.push(`${name} at ${at}, ${how}: ${problem}`);
    }
  }
}
process.stdout.write(JSON.stringify(figures satisfies FaultFigures));
