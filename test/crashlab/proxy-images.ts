/**
 * Power is lost at many instants of a run of the real proxy. Each time the journal is recovered and held
 * against what the client had been told and what had gone upstream by then, by the checker that judges all
 * runs; of some images a real proxy makes what it can, and is judged by everything until its end.
 */
import { mkdirSync, readFileSync, readdirSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "../../src/base/errors.ts";
import { apply, isTerminal } from "../../src/core/call.ts";
import type { CallRow, Executed } from "../../src/core/call.ts";
import { readCalls } from "../../src/store/reader.ts";
import type { Driver } from "../../src/store/sqlite/connection.ts";
import { check } from "../proof/checker.ts";
import type { Asked, Evidence, Execution, JournalView, Told } from "../proof/evidence.ts";
import { randomFrom } from "../support/random.ts";
import { Disk } from "./disk.ts";
import { instants } from "./images.ts";
import { SAFETY, handshake, startProxy } from "./proxy-run.ts";
import type { ClientCall, ProxyRun } from "./proxy-run.ts";
import { reopen } from "./reopen.ts";
import { isOfDisk } from "./trace.ts";

export interface ProxyFigures {
  readonly images: number;
  /** Images that a real proxy was started on. */
  readonly restarts: number;
  /** Findings of the checker, and images that could not be opened. */
  readonly findings: readonly string[];
  readonly lost: number;
  readonly ghosts: number;
}

export interface ProxyImageOptions {
  readonly driver: Driver;
  readonly images: number;
  /** Of these images, so many are given to a real proxy. */
  readonly restarts: number;
  readonly seed: number;
  /** An empty folder. */
  readonly place: string;
}

/** What is known of a run at the instant of the cut. */
interface Known {
  readonly name: string;
  readonly order: number;
  readonly run: ProxyRun;
}

export async function runProxyImages(
  run: ProxyRun,
  options: ProxyImageOptions,
): Promise<ProxyFigures> {
  const figures = { lost: 0, ghosts: 0, findings: [] as string[], restarts: 0 };
  const disk = new Disk(run.folder);
  const every = Math.ceil(options.images / Math.max(1, options.restarts));
  let done = 0;
  let number = 0;
  for (const instant of instants(run.records, options)) {
    for (; done < instant.at; done++) {
      const record = run.records[done];
      if (record !== undefined && isOfDisk(record)) disk.apply(record);
    }
    const place = join(options.place, "cut");
    rmSync(place, { recursive: true, force: true });
    mkdirSync(join(place, "disk"), { recursive: true });
    disk.writeImage(join(place, "disk"), { ...instant, random: randomFrom(instant.seed) });
    const order = run.records[instant.at]?.order ?? Infinity;
    const known = { name: `power cut ${JSON.stringify(instant)}`, order, run };
    const isRestarted = options.restarts > 0 && number++ % every === every - 1;
    try {
      const evidence = isRestarted
        ? await restarted(known, place, number, options.driver)
        : recovered(known, place, options.driver);
      const { findings, figures: counts } = check(evidence);
      figures.lost += counts.lost;
      figures.ghosts += counts.ghosts;
      figures.findings.push(...findings.map(({ text }) => `${known.name}: ${text}`));
    } catch (error) {
      figures.findings.push(`${known.name}: ${errorText(error)}`);
    }
    if (isRestarted) figures.restarts++;
  }
  return { images: options.images, ...figures };
}

/** The digest of the only upstream; undefined where its folder was lost or not made yet. */
function upstreamIn(place: string): string | undefined {
  const folder = join(place, "disk", "state", "journals");
  return existsSync(folder) ? readdirSync(folder)[0] : undefined;
}

function rowsIn(place: string, driver: Driver): readonly CallRow[] {
  const upstream = upstreamIn(place);
  if (upstream === undefined) return [];
  const folder = join(place, "disk", "state");
  const options = { driver, folder, upstream, now: Date.now(), dropsDelivered: true };
  const { recovered: found, again, warnings, wentBackwards, integrity, changes } = reopen(options);
  const problems = [...warnings];
  if (integrity !== "ok") problems.push(integrity);
  if (wentBackwards) problems.push("said to have gone backwards");
  if (changes[1] !== 0 || again.rows.length !== found.rows.length)
    problems.push("a second recovery found something to do");
  if (problems.length > 0) throw new Error(problems.join("; "));
  return found.rows;
}

/** The journal alone, and each call that is left ended as a person might: what it says then must be true. */
function recovered(known: Known, place: string, driver: Driver): Evidence {
  const rows = linked(rowsIn(place, driver), known.run);
  const { order } = known;
  const views: JournalView[] = [
    { label: "recovered", at: order, journal: "1", isAfterPowerLoss: true, rows },
    { label: "ended", at: order, journal: "1", isAfterPowerLoss: true, rows: rows.map(ended) },
  ];
  return evidenceOf(known, { views, executions: [], calls: known.run.calls, told: [] });
}

/** A queued call was never sent since it was queued; of any other one nothing is known. */
function ended(row: CallRow): CallRow {
  if (isTerminal(row.state)) return row;
  const at = Date.now();
  const end =
    row.state === "queued"
      ? ({ kind: "cancel", from: "queued", mayHaveRun: false, cause: "the lab" } as const)
      : ({ kind: "bury", reason: "outcome_unknown", cause: "the lab" } as const);
  return apply(row, { ...end, id: row.id, at }) ?? row;
}

/** A real proxy on the image: it takes over what is left, and runs a call more. */
async function restarted(
  known: Known,
  place: string,
  number: number,
  driver: Driver,
): Promise<Evidence> {
  const rows = linked(rowsIn(place, driver), known.run);
  const call: ClientCall = { tool: "append", nonce: `after${number}` };
  const proxy = startProxy(place);
  let answer: unknown;
  try {
    await handshake(proxy);
    answer = await proxy.call(call);
    await untilNothingLives(place);
  } finally {
    await proxy.end();
  }
  const { order } = known;
  const label = "after the restart";
  const last = linked(await rowsAt(place), known.run);
  const views: JournalView[] = [
    { label: "recovered", at: order, journal: "1", isAfterPowerLoss: true, rows },
    { label, at: order + 2, journal: "1", isAfterPowerLoss: false, rows: last },
  ];
  const executions = executionsAfter(place, order + 1);
  const told = [{ order: order + 1.5, text: JSON.stringify(answer), call }];
  const calls = [...known.run.calls, call];
  return evidenceOf(known, { views, executions, calls, told });
}

async function rowsAt(place: string): Promise<readonly CallRow[]> {
  const folder = join(place, "disk", "state", "journals", upstreamIn(place) ?? "");
  return readCalls(join(folder, "1.db"), {});
}

async function untilNothingLives(place: string): Promise<void> {
  const endsAt = performance.now() + 20_000;
  for (;;) {
    const live = (await rowsAt(place)).filter(({ state }) => !isTerminal(state));
    if (live.length === 0 || performance.now() > endsAt) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function executionsAfter(place: string, at: number): Execution[] {
  const ledger = join(place, "ledger");
  if (!existsSync(ledger)) return [];
  const lines = readFileSync(ledger, "utf8").split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { tool: string; nonce: string; pid: number })
    .map(({ tool, nonce, pid }) => ({
      at,
      nonce,
      upstream: "ledger",
      tool,
      requestId: undefined,
      link: `process ${pid}`,
    }));
}

/** A row whose payload was dropped is told by the id under which it went upstream. */
function linked(rows: readonly CallRow[], { sent }: ProxyRun): CallRow[] {
  const nonces = new Map(
    sent.map(({ message }) => [String(message.id), message.params?.arguments?.nonce]),
  );
  return rows.map((row) => {
    const nonce = row.upstreamId === undefined ? undefined : nonces.get(row.upstreamId);
    return row.request === "" && nonce !== undefined
      ? { ...row, request: JSON.stringify({ nonce }) }
      : row;
  });
}

interface Later {
  readonly views: readonly JournalView[];
  readonly executions: readonly Execution[];
  readonly calls: readonly ClientCall[];
  readonly told: readonly { order: number; text: string; call: ClientCall }[];
}

/** What the client and the server knew at the cut, and what came later. */
function evidenceOf({ name, order, run }: Known, later: Later): Evidence {
  const before = run.sent
    .filter((sent) => sent.order < order)
    .map(({ order: at, message }): Execution => {
      const { id, params } = message;
      return {
        at,
        nonce: params?.arguments?.nonce ?? "",
        upstream: "ledger",
        tool: params?.name ?? "",
        requestId: String(id),
        link: String(id).split("-")[0] ?? "",
      };
    });
  const told = new Map<string, Told[]>();
  for (const { order: at, text } of run.told) {
    const call = at < order ? callOf(text, run.calls) : undefined;
    if (call !== undefined) told.set(call.nonce, [toldOf(at, text, call)]);
  }
  for (const { order: at, text, call } of later.told)
    told.set(call.nonce, [toldOf(at, text, call)]);
  return {
    run: name,
    asked: later.calls.map((call, at) => askedOf(call, at, told.get(call.nonce) ?? [])),
    executions: [...before, ...later.executions],
    views: later.views,
    faults: [{ at: order, kind: "power cut" }],
    measures: {},
    fatal: [],
  };
}

/** Requests are numbered: the handshake is 1, the list 2, calls follow in the order of asking. */
function callOf(text: string, calls: readonly ClientCall[]): ClientCall | undefined {
  const { id } = JSON.parse(text) as { id?: number };
  return id === undefined ? undefined : calls[id - 3];
}

interface Answer {
  readonly result?: { readonly _meta?: Record<string, unknown> };
  readonly error?: { readonly data?: unknown };
}

function toldOf(at: number, text: string, { nonce }: ClientCall): Told {
  const { result, error } = JSON.parse(text) as Answer;
  const word = (result?._meta?.["holdfast/call"] ?? error?.data) as
    { executed?: Executed; callId?: string } | undefined;
  const isResult = word?.executed === undefined;
  return {
    at,
    text,
    nonce: isResult ? nonce : undefined,
    executed: word?.executed,
    callId: word?.callId,
  };
}

function askedOf({ nonce, tool }: ClientCall, order: number, told: readonly Told[]): Asked {
  return {
    nonce,
    client: "client",
    principal: "local",
    session: "one",
    upstream: "ledger",
    tool,
    safety: SAFETY[tool] ?? "unsafe",
    order,
    incarnation: 1,
    isCancelled: false,
    // The cut took the client, too.
    isAbandoned: true,
    isAcknowledged: told.some(({ executed }) => executed === "pending"),
    told,
  };
}
