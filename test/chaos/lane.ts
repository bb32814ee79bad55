/**
 * One round of one lane: a private folder, four servers, their fault proxies, Holdfast before them, and
 * clients that call. Faults come by the schedule until the time is over; then they stop, everything has to
 * end, and what was written down is put together as evidence.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Asked, Evidence, Execution, Finding } from "../proof/evidence.ts";
import { randomFrom } from "../support/random.ts";
import { ownPort } from "../support/port.ts";
import { Caller, type CallRecord, type CallerHost } from "./caller.ts";
import { AT_THE_END, daemonOf, Fleet, type Daemon, type Life } from "./fleet.ts";
import { isLostOnTheWay } from "./lost.ts";
import { heldConnectionsTo } from "../support/proc.ts";
import { Recoveries } from "./recoveries.ts";
import { Dice } from "./schedule.ts";
import { openPipe, openRemote, type UnderFire } from "./server-under-fire.ts";
import { pause, Storm, type RoundOptions } from "./storm.ts";
import { openHttp } from "./ways/http.ts";
import { openOfficialHttp, openOfficialSse } from "./ways/official.ts";
import { openSocket } from "./ways/socket.ts";
import { openStdio } from "./ways/stdio.ts";

/** What a round was, besides its evidence. */
export interface Round {
  readonly evidence: Evidence;
  readonly findings: readonly Finding[];
  readonly proxyKills: number;
  readonly upstreamKills: number;
  readonly repeats: number;
  /** Answers that went with their connection, over transports without receipts (SSE, WebSocket). */
  readonly lostOnTheWay: number;
  /** What upstreams did wrong by order, as often as it was ordered. */
  readonly manners: readonly string[];
  readonly recoveryMs: readonly { readonly transport: string; readonly ms: number }[];
  readonly startsMs: readonly number[];
  readonly peakRssBytes: number;
  /** The last steps of the schedule, in words. */
  readonly steps: readonly string[];
  readonly folder: string;
  /** Removes the folder. */
  discard(): void;
}

const HOLD_MS = 8_000;
const DEFER_MS = 20_000;
/** After the last fault everything has ended (L1). */
const QUIET_MAX_MS = 30_000 + DEFER_MS;
/** Between two readings of one instant by processes that have to wait for a processor. */
const SLACK_MS = 100;

const FRONTS = ["http", "official http", "official sse", "ws", "ws that forgets"] as const;
type Front = (typeof FRONTS)[number];
const CALLERS = 7;

export async function runRound(options: RoundOptions): Promise<Round> {
  const lane = new Lane(options);
  try {
    const storm = await lane.open();
    await storm.rage();
    return await lane.settle(storm);
  } catch (error) {
    await lane.abort();
    throw new Error(`${options.name}, seed ${String(options.seed)}, folder ${lane.folder}`, {
      cause: error,
    });
  }
}

class Lane {
  readonly #options: RoundOptions;
  readonly #dice: Dice;
  readonly folder: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #fleet: Fleet;
  readonly #findings: Finding[] = [];
  readonly #recoveries = new Recoveries();
  #servers: readonly UnderFire[] = [];
  #callers: Caller[] = [];
  #daemon: Daemon | undefined;
  readonly #wraps = new Map<Caller, Life>();

  constructor(options: RoundOptions) {
    this.#options = options;
    this.#dice = new Dice(randomFrom(options.seed));
    this.folder = mkdtempSync(join(tmpdir(), "holdfast-chaos-"));
    mkdirSync(join(this.folder, "home"));
    this.#env = {
      PATH: process.env["PATH"] ?? "",
      HOME: join(this.folder, "home"),
      HOLDFAST_STATE_DIR: join(this.folder, "state"),
      HOLDFAST_LOG_LEVEL: "info",
    };
    this.#fleet = new Fleet({ folder: this.folder, env: this.#env });
  }

  // ── Beginning ───────────────────────────────────────────────────────────────────────────────────

  /** Resolves when every client has a session. */
  async open(): Promise<Storm> {
    const { folder } = this;
    const log = (line: string) => {
      this.#fleet.said(`[server] ${line}`);
    };
    const random = this.#dice.random;
    const remotes = (["http", "sse", "ws"] as const).map((kind) =>
      openRemote(kind, { kind, folder, random, log }),
    );
    const pipe = openPipe({ kind: "stdio", folder, random, log });
    this.#servers = await Promise.all([pipe, ...remotes]);
    this.#configure();
    if (this.#options.kind === "daemon") await this.#openDaemon();
    else this.#openWraps();
    await Promise.all(this.#callers.map((caller) => caller.begin()));
    return new Storm({
      options: this.#options,
      dice: this.#dice,
      fleet: this.#fleet,
      servers: this.#servers,
      callers: this.#callers,
      daemon: this.#daemon,
      wraps: this.#wraps,
      recoveries: this.#recoveries,
    });
  }

  #configure(): void {
    const isolation = () =>
      this.#options.kind === "daemon" && this.#dice.isLucky(0.4) ? "shared" : "session";
    const mcpServers = Object.fromEntries(
      this.#servers.map(({ name, entry }) => [
        name,
        { ...entry, holdfast: { isolation: isolation() } },
      ]),
    );
    const holdfast = { hold: `${String(HOLD_MS)}ms`, offline: { ttl: `${String(DEFER_MS)}ms` } };
    writeFileSync(this.#fleet.configPath, JSON.stringify({ holdfast, mcpServers }, null, 2));
  }

  async #openDaemon(): Promise<void> {
    const address = `127.0.0.1:${String(await ownPort())}`;
    this.#daemon = daemonOf(this.#fleet, address, this.#env);
    await this.#daemon.start();
    const fronts = FRONTS.concat(this.#dice.one(FRONTS), this.#dice.one(FRONTS)).slice(0, CALLERS);
    const offset = this.#dice.whole(0, 4);
    this.#callers = fronts.map((front, i) => {
      const upstream = this.#servers[(i + offset) % this.#servers.length]?.name ?? "";
      const name = `${this.#options.name}.${front.replaceAll(" ", "-")}-${String(i)}`;
      const isInOrder = front.startsWith("ws");
      // Nobody can leave a session over SSE for good, so each has a name of its own.
      let sessions = 0;
      const openWay = () => wayOf(front, address, upstream, `${name}.${String(++sessions)}`);
      return new Caller({ name, upstream, front, openWay, isInOrder, host: this.#host() });
    });
  }

  #openWraps(): void {
    this.#callers = Array.from({ length: CALLERS - 1 }, (_, i) => {
      const upstream = this.#servers[i % this.#servers.length]?.name ?? "";
      const name = `${this.#options.name}.stdio-${String(i)}`;
      const command = this.#fleet.command("run", upstream, "--config", this.#fleet.configPath);
      const openWay = async () => {
        await this.#fleet.whenFree();
        return openStdio({
          command,
          env: this.#env,
          onStart: (life) => {
            this.#fleet.born(life);
            this.#wraps.set(caller, life);
          },
          onLeave: (life) => {
            this.#fleet.mayEnd(life);
          },
          onStderr: (line) => {
            this.#fleet.said(`${name}: ${line}`);
          },
        });
      };
      const front = "stdio";
      const options = { name, upstream, front, openWay, isInOrder: true, host: this.#host() };
      const caller: Caller = new Caller(options);
      return caller;
    });
  }

  #host(): CallerHost {
    return {
      incarnation: () => this.#fleet.started,
      onTold: (record, told) => {
        this.#recoveries.told(record, told);
      },
      onReady: (ms) => {
        if (this.#options.kind === "wraps") this.#fleet.startsMs.push(ms);
      },
      onTrouble: (invariant, text, nonce) => {
        this.#findings.push({ invariant, nonce, text: `${this.#options.name}: ${text}` });
      },
      log: (line) => {
        this.#fleet.said(`[client] ${line}`);
      },
    };
  }

  // ── The end ─────────────────────────────────────────────────────────────────────────────────────

  /** Faults are over: waits until everything has ended, puts all away, and reads what was written down. */
  async settle(storm: Storm): Promise<Round> {
    await this.#heal();
    const healedAt = Date.now();
    const isTooLong = () => Date.now() - healedAt > QUIET_MAX_MS || this.#options.isStopped();
    while (!isTooLong() && !(await this.#isQuiet())) await pause(100);
    const quietMs = Math.max(0, this.#lastEndAt() - healedAt);
    for (const { name } of this.#callers.filter(({ isReady }) => !isReady)) {
      const text = `${name} has no session ${String(QUIET_MAX_MS)} ms after the last fault`;
      this.#findings.push({ invariant: "P6", nonce: undefined, text });
    }
    const owed = this.#callers.flatMap((caller) =>
      caller.pending().map((record) => ({ caller, record })),
    );
    await Promise.all(this.#callers.map((caller) => caller.close()));
    await this.#fleet.end();
    const lostOnTheWay = this.#judgeUnanswered(owed);
    const leaked = await this.#leftovers();
    await Promise.all(this.#servers.map((server) => server.close()));
    const evidence = {
      run: `chaos seed ${String(this.#options.seed)} (${this.#options.name})`,
      asked: this.#callers.flatMap((caller) => caller.calls.map(askedOf)),
      executions: this.#executions(),
      views: this.#fleet.views,
      faults: storm.faults,
      // Recoveries are judged over all rounds: of a few no percentile can be told.
      measures: { quietMs, leaked },
      rules: { isShielded: true, slackMs: SLACK_MS },
      incarnations: this.#fleet.started,
      fatal: this.#fleet.fatal,
    };
    return this.#round(storm, evidence, lostOnTheWay);
  }

  async #heal(): Promise<void> {
    for (const server of this.#servers) {
      server.signal("SIGCONT");
      await server.faults?.set({ kind: "pass" });
      // A call may take as long as it likes: nobody but its caller would end one that is never answered.
      server.faults?.forgetSilent();
      await server.up();
    }
    for (const life of this.#fleet.alive()) life.signal("SIGCONT");
  }

  #round(storm: Storm, evidence: Evidence, lostOnTheWay: number): Round {
    return {
      evidence,
      findings: this.#findings,
      proxyKills: this.#fleet.killed,
      upstreamKills: storm.upstreamKills,
      repeats: this.#callers.reduce((sum, { repeats }) => sum + repeats, 0),
      lostOnTheWay,
      manners: this.#callers.flatMap(({ calls }) =>
        calls.map(({ args }) => String(args["manner"])),
      ),
      recoveryMs: this.#recoveries.samples,
      startsMs: this.#fleet.startsMs,
      peakRssBytes: this.#fleet.peakRssBytes,
      steps: storm.steps,
      folder: this.folder,
      discard: () => {
        rmSync(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
      },
    };
  }

  async #isQuiet(): Promise<boolean> {
    const isReady = this.#callers.every((caller) => caller.isReady);
    const owed = this.#callers
      .flatMap((caller) => caller.pending())
      .filter((one) => !isHopeless(one));
    return isReady && owed.length === 0 && (await this.#fleet.live()) === 0;
  }

  #lastEndAt(): number {
    const times = this.#callers.flatMap(({ calls }) =>
      calls.flatMap(({ told }) => told.map(({ at }) => at)),
    );
    return times.reduce((latest, at) => Math.max(latest, at), 0);
  }

  /**
   * Whoever could not come back for a call was not there to be told. Nor was whoever had its answer written
   * to a connection that was being lost, over a transport that has no receipts: resolves to how many.
   */
  #judgeUnanswered(
    owed: readonly { readonly caller: Caller; readonly record: CallRecord }[],
  ): number {
    const last = this.#fleet.views.filter(({ label }) => label === AT_THE_END);
    const rows = last.flatMap((view) => view.rows);
    let lostOnTheWay = 0;
    for (const { caller, record } of owed) {
      const isLost = isLostOnTheWay(record, caller.front, rows);
      if (isLost) lostOnTheWay += 1;
      record.isAbandoned = isHopeless(record) || isLost;
    }
    return lostOnTheWay;
  }

  #executions(): Execution[] {
    return this.#servers.flatMap(({ name, kind }) => {
      const file = join(this.folder, `${name}.ledger`);
      if (!existsSync(file)) return [];
      const lines = readFileSync(file, "utf8").split("\n");
      const isOrdered = kind === "stdio" || kind === "ws";
      return lines
        .filter((line) => line !== "")
        .map((line) => ({ ...(JSON.parse(line) as Execution), isOrdered }));
    });
  }

  /** What is left when every proxy has ended by itself: connections it had, children it started. */
  async #leftovers(): Promise<Record<string, number>> {
    const children = () => this.#servers.find(({ kind }) => kind === "stdio")?.pids().length ?? 0;
    const left = () => ({
      "children of proxies": children(),
      ...Object.fromEntries(
        // As the kernel says: the relay may not have noticed an end, where its other side does not read.
        this.#servers.map(({ name, faults }) => [
          `connections to ${name}`,
          faults === undefined ? 0 : heldConnectionsTo(faults.port),
        ]),
      ),
    });
    const isSome = (counts: Record<string, number>) => Object.values(counts).some((n) => n > 0);
    for (let tries = 0; tries < 60 && isSome(left()); tries++) await pause(100);
    return left();
  }

  /** After an error of the run's own. */
  async abort(): Promise<void> {
    for (const life of this.#fleet.alive()) {
      this.#fleet.mayEnd(life);
      life.signal("SIGKILL");
    }
    await Promise.allSettled(this.#callers.map((caller) => caller.close()));
    await this.#fleet.end().catch(() => undefined);
    for (const server of this.#servers) {
      server.signal("SIGKILL");
      await server.close().catch(() => undefined);
    }
  }
}

const isHopeless = (record: CallRecord): boolean =>
  record.wasCutOff && !record.way.canReturnFor(record.id);

/** Without what only the run needs. */
function askedOf(record: CallRecord): Asked {
  const {
    args: _args,
    way: _way,
    id: _id,
    wasCutOff: _cut,
    wasRepeated: _again,
    ...asked
  } = record;
  return asked;
}

function wayOf(front: Front, address: string, upstream: string, name: string) {
  const http = `http://${address}`;
  switch (front) {
    case "http":
      return openHttp(`${http}/mcp/${upstream}`);
    case "official http":
      return openOfficialHttp(`${http}/mcp/${upstream}`);
    case "official sse":
      return openOfficialSse(`${http}/sse/${upstream}?client=${name}`);
    case "ws":
      return openSocket(`ws://${address}/ws/${upstream}`, true);
    case "ws that forgets":
      return openSocket(`ws://${address}/ws/${upstream}`, false);
    default:
      return front satisfies never;
  }
}
