/**
 * `npm run chaos`: real clients over every transport, real proxies, real servers, and everything that can go
 * wrong between them, for a bounded time. Several lanes run side by side, each in rounds with a folder of
 * its own; the one checker judges each round. Exit code 1 where it found something.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { check } from "../proof/checker.ts";
import { figuresOf, findingsOfAll, judged, printed, type Judged } from "./figures.ts";
import { runRound, type Round } from "./lane.ts";
import type { LaneKind } from "./storm.ts";

const HELP = `npm run chaos -- [options]

Kills Holdfast, its servers and the network between them while clients call, and checks that nothing was
lost, doubled or told untruly. Loopback only; nothing is left behind unless something was found.

  --minutes M       how long faults come (default 3)
  --kills N         stop after so many kills of the proxy
  --seed S          of the schedule (default: drawn, and printed)
  --lanes N         rounds side by side (default 4)
  --round SECONDS   faults of one round, before everything has to end (default 40)
  --kill-every A-B  seconds between two kills of a lane's proxy (default 0.3-4)
  --rate N          calls a second over all lanes, at most 60 (default 45)
  --only KIND       only lanes with a "daemon", or with "wraps"
  --keep            keep the folders of all rounds
  --json FILE       write the figures there, too
`;

interface Run {
  readonly minutes: number;
  readonly kills: number;
  readonly seed: number;
  readonly lanes: number;
  readonly roundMs: number;
  readonly killEveryMs: readonly [number, number];
  readonly rate: number;
  readonly only: LaneKind | undefined;
  readonly keeps: boolean;
  readonly json: string | undefined;
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!(value >= min && value <= max)) {
    throw new Error(`--${name} must be from ${String(min)} to ${String(max)}, not ${text}`);
  }
  return value;
}

function read(): Run | undefined {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "3" },
      kills: { type: "string", default: "1000000" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      lanes: { type: "string", default: "4" },
      round: { type: "string", default: "40" },
      "kill-every": { type: "string", default: "0.3-4" },
      rate: { type: "string", default: "45" },
      only: { type: "string" },
      keep: { type: "boolean", default: false },
      json: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const { only, json } = values;
  if (only !== undefined && only !== "daemon" && only !== "wraps") {
    throw new Error(`--only must be daemon or wraps, not ${only}`);
  }
  const [least = "", most = ""] = values["kill-every"].split("-");
  return {
    minutes: number("minutes", values.minutes, 0.01, 24 * 60),
    kills: number("kills", values.kills, 1, 1e9),
    seed: number("seed", values.seed, 0, 2 ** 31),
    lanes: number("lanes", values.lanes, 1, 16),
    roundMs: number("round", values.round, 1, 600) * 1000,
    killEveryMs: [
      number("kill-every", least, 0.05, 3600) * 1000,
      number("kill-every", most, 0.05, 3600) * 1000,
    ],
    rate: number("rate", values.rate, 1, 60),
    ...{ only, json, keeps: values.keep },
  };
}

/** Far apart for neighbouring lanes and rounds. */
const seedOf = (seed: number, lane: number, round: number): number =>
  (Math.imul(seed, 0x9e3779b1) ^
    Math.imul(lane + 1, 0x85ebca6b) ^
    Math.imul(round + 1, 0xc2b2ae35)) >>>
  0;

function report(round: Round, one: Judged): void {
  console.log(
    `\n${round.evidence.run}: ${String(one.findings.length)} findings; kept: ${round.folder}`,
  );
  for (const { invariant, text } of one.findings.slice(0, 20))
    console.log(`  ${invariant}  ${text}`);
  console.log(`  the last steps:\n    ${round.steps.slice(-15).join("\n    ")}`);
  const told = JSON.stringify(round.evidence, null, 1);
  writeFileSync(`${round.folder}/evidence.json`, told);
}

class Progress {
  readonly all: Judged[] = [];
  readonly endsAt: number;
  isStopped = false;
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
    this.endsAt = Date.now() + run.minutes * 60_000;
  }

  get isOver(): boolean {
    const kills = this.all.reduce((sum, { round }) => sum + round.proxyKills, 0);
    return this.isStopped || Date.now() >= this.endsAt || kills >= this.#run.kills;
  }

  take(round: Round): void {
    if (this.isStopped) {
      round.discard();
      return;
    }
    const one = judged(round, check(round.evidence));
    this.all.push(one);
    const { asked, answered } = one.figures;
    const peakMib = Math.round(one.round.peakRssBytes / (1024 * 1024));
    const counts = `${String(one.round.proxyKills)} kills, ${String(answered)} of ${String(asked)} answered, peak ${String(peakMib)} MiB`;
    console.log(`${round.evidence.run}: ${counts}, ${String(one.findings.length)} findings`);
    if (one.findings.length > 0) report(round, one);
    else if (!this.#run.keeps) round.discard();
  }
}

async function runLane(run: Run, lane: number, progress: Progress): Promise<void> {
  for (let number = 0; !progress.isOver; number++) {
    const kind = run.only ?? ((lane + number) % 3 === 2 ? "wraps" : "daemon");
    const name = `${kind === "wraps" ? "w" : "d"}${String(lane)}r${String(number)}`;
    progress.take(
      await runRound({
        ...{ kind, name, killEveryMs: run.killEveryMs },
        seed: seedOf(run.seed, lane, number),
        durationMs: Math.max(1_000, Math.min(run.roundMs, progress.endsAt - Date.now())),
        callsPerSecond: run.rate / run.lanes,
        isStopped: () => progress.isStopped,
      }),
    );
  }
}

async function main(): Promise<number> {
  const run = read();
  if (run === undefined) {
    console.log(HELP);
    return 0;
  }
  console.log(
    `chaos, seed ${String(run.seed)}: ${String(run.lanes)} lanes for ${String(run.minutes)} min`,
  );
  const progress = new Progress(run);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      console.log(`${signal}: putting everything away`);
      progress.isStopped = true;
    });
  }
  await Promise.all(Array.from({ length: run.lanes }, (_, lane) => runLane(run, lane, progress)));
  const figures = figuresOf(progress.all);
  for (const { invariant, text } of findingsOfAll(progress.all))
    console.log(`${invariant}  ${text}`);
  console.log(`\n${printed(figures)}`);
  if (run.json !== undefined) {
    writeFileSync(run.json, `${JSON.stringify({ seed: run.seed, ...figures }, null, 2)}\n`);
  }
  return figures.findings > 0 || progress.isStopped ? 1 : 0;
}

// The official client's transports may still wait for their next attempt to come back.
process.exit(await main());
