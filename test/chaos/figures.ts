/** What a chaos run publishes: the checker's figures over all rounds, and what the run measured itself. */
import { addFigures, check } from "../proof/checker.ts";
import type { Figures, Finding, Verdict } from "../proof/evidence.ts";
import type { Round } from "./lane.ts";

export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface ChaosFigures extends Figures {
  readonly rounds: number;
  readonly proxyKills: number;
  readonly upstreamKills: number;
  readonly faults: Readonly<Record<string, number>>;
  /** What upstreams were ordered to do wrong. */
  readonly manners: Readonly<Record<string, number>>;
  /** Answers that a client was given again after a loss, byte for byte. */
  readonly repeatedAnswers: number;
  /** Answers that went with their connection, over transports without receipts (SSE, WebSocket). */
  readonly answersLostOnTheWay: number;
  readonly inDoubtPer1000Kills: number;
  /** From "the upstream can be reached again" to the first answer of a call that waited, by transport. */
  readonly recoveryMs: Readonly<Record<string, Percentiles>>;
  /** From a proxy's start to its first service. */
  readonly startMs: Percentiles;
  readonly quietMs: Percentiles;
  readonly peakRssMib: number;
  readonly leaked: Readonly<Record<string, number>>;
  readonly findings: number;
}

export function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.ceil(sorted.length * share) - 1] ?? 0);
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Sums what is added under the same name. */
function tally(all: readonly (readonly [string, number])[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const [name, count] of all) sums[name] = (sums[name] ?? 0) + count;
  return Object.fromEntries(Object.entries(sums).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export interface Judged {
  readonly round: Omit<Round, "evidence" | "discard">;
  readonly faults: readonly string[];
  readonly quietMs: number;
  readonly leaked: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  readonly figures: Figures;
}

/** What is kept of a round; its evidence is too large to keep. */
export function judged(round: Round, verdict: Verdict): Judged {
  const { evidence, discard: _discard, ...rest } = round;
  return {
    round: rest,
    faults: evidence.faults.map(({ kind }) => kind),
    quietMs: evidence.measures.quietMs ?? 0,
    leaked: evidence.measures.leaked ?? {},
    findings: [...verdict.findings, ...round.findings],
    figures: verdict.figures,
  };
}

const recoveriesOf = (all: readonly Judged[]) => all.flatMap(({ round }) => round.recoveryMs);

/** Of fewer a hundredth is nothing. */
const RECOVERIES_MIN = 100;

/** What only all rounds together show: how long upstreams' returns take (L2). */
export function findingsOfAll(all: readonly Judged[]): readonly Finding[] {
  const recoveryMs = recoveriesOf(all);
  if (recoveryMs.length < RECOVERIES_MIN) return [];
  const nothing = { asked: [], executions: [], views: [], faults: [], fatal: [] };
  return check({ run: "chaos, all rounds", ...nothing, measures: { recoveryMs } }).findings;
}

export function figuresOf(all: readonly Judged[]): ChaosFigures {
  const sum = (read: (one: Judged) => number) => all.reduce((total, one) => total + read(one), 0);
  const sums = addFigures(all.map(({ figures }) => figures));
  const proxyKills = sum(({ round }) => round.proxyKills);
  const recoveries = recoveriesOf(all);
  const transports = [...new Set(recoveries.map(({ transport }) => transport))].sort();
  return {
    ...sums,
    rounds: all.length,
    proxyKills,
    upstreamKills: sum(({ round }) => round.upstreamKills),
    faults: tally(all.flatMap(({ faults }) => faults.map((kind) => [kind, 1] as const))),
    manners: tally(
      all
        .flatMap(({ round }) => round.manners)
        .filter((manner) => manner !== "polite")
        .map((manner) => [manner, 1] as const),
    ),
    repeatedAnswers: sum(({ round }) => round.repeats),
    answersLostOnTheWay: sum(({ round }) => round.lostOnTheWay),
    inDoubtPer1000Kills: proxyKills === 0 ? 0 : Math.round((sums.inDoubt * 1000) / proxyKills),
    recoveryMs: Object.fromEntries(
      transports.map((name) => [
        name,
        percentiles(recoveries.filter(({ transport }) => transport === name).map(({ ms }) => ms)),
      ]),
    ),
    startMs: percentiles(all.flatMap(({ round }) => round.startsMs)),
    quietMs: percentiles(all.map(({ quietMs }) => quietMs)),
    peakRssMib: Math.round(
      all.reduce((most, { round }) => Math.max(most, round.peakRssBytes), 0) / (1024 * 1024),
    ),
    leaked: tally(all.flatMap(({ leaked }) => Object.entries(leaked))),
    findings: sum(({ findings }) => findings.length) + findingsOfAll(all).length,
  };
}

const spread = ({ count, p50, p99, max }: Percentiles): string =>
  `p50 ${String(p50)}, p99 ${String(p99)}, max ${String(max)} ms (${String(count)})`;

/** Aligned text for people. */
export function printed(figures: ChaosFigures): string {
  const { asked, answered, inDoubt, resolved } = figures;
  const doubted = inDoubt + resolved;
  const share = doubted === 0 ? "none" : `${String(Math.round((resolved * 100) / doubted))} %`;
  const rows: (readonly [string, string | number])[] = [
    ["rounds", figures.rounds],
    ["kills of the proxy survived", figures.proxyKills],
    ["kills of upstreams", figures.upstreamKills],
    ["calls asked / answered", `${String(asked)} / ${String(answered)}`],
    ["executions", figures.executions],
    ["acknowledged calls lost", figures.lost],
    ["unsafe duplicates", figures.unsafeDuplicates],
    ["ghosts", figures.ghosts],
    ["untrue executed", figures.untrueExecuted],
    ["calls that ended unknown", inDoubt],
    ["… per 1,000 kills of the proxy", figures.inDoubtPer1000Kills],
    ["in doubt, and resolved", `${String(resolved)} (${share})`],
    ["answers given twice after a loss", figures.repeatedAnswers],
    ["answers lost with a connection", figures.answersLostOnTheWay],
    ...Object.entries(figures.recoveryMs).map(
      ([name, values]) => [`upstream back → first answer, ${name}`, spread(values)] as const,
    ),
    ["proxy started → serving", spread(figures.startMs)],
    ["last fault → last answer", spread(figures.quietMs)],
    ["peak memory of a proxy", `${String(figures.peakRssMib)} MiB`],
    ...Object.entries(figures.leaked).map(([what, count]) => [`${what} left over`, count] as const),
    ...Object.entries(figures.faults).map(([kind, count]) => [`fault: ${kind}`, count] as const),
    ...Object.entries(figures.manners).map(
      ([kind, count]) => [`upstream: ${kind}`, count] as const,
    ),
    ["findings", figures.findings],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${String(value)}`).join("\n");
}
