/**
 * One round of one lane: a private folder, four servers, their fault proxies, Holdfast before them, and
 * clients that call. Faults come by the schedule until the time is over; then they stop, everything has to
 * end, and what was written down is put together as evidence.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Asked, Evidence, Execution, Fault, Finding } from "../proof/evidence.ts";
import { randomFrom } from "../support/random.ts";
import { freePort } from "../support/upstream-process.ts";
import { Caller, type CallRecord, type CallerHost } from "./caller.ts";
import { daemonOf, Fleet, type Daemon, type Life } from "./fleet.ts";
import { Recoveries } from "./recoveries.ts";
import { Dice, nextCall, nextTrouble, type Trouble } from "./schedule.ts";
import { openPipe, openRemote, type UnderFire } from "./server-under-fire.ts";
import { openHttp } from "./ways/http.ts";
import { openOfficialHttp, openOfficialSse } from "./ways/official.ts";
import { openSocket } from "./ways/socket.ts";
import { openStdio } from "./ways/stdio.ts";

export type LaneKind = "daemon" | "wraps";

export interface RoundOptions {
  readonly kind: LaneKind;
  readonly seed: number;
  readonly name: string;
  readonly durationMs: number;
  readonly killEveryMs: readonly [number, number];
  readonly callsPerSecond: number;
}

/** What a round was, besides its evidence. */
export interface Round {
  readonly evidence: Evidence;
  readonly findings: readonly Finding[];
  readonly proxyKills: number;
  readonly upstreamKills: number;
  readonly repeats: number;
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
const OUTSTANDING_MAX = 12;
const STEPS_MAX = 60;

const FRONTS = ["http", "official http", "official sse", "ws", "ws that forgets"] as const;
type Front = (typeof FRONTS)[number];
const CALLERS = 7;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function runRound(options: RoundOptions): Promise<Round> {
  const lane = new Lane(options);
  try {
    await lane.open();
    await lane.rage();
    return await lane.settle();
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
  readonly #faults: Fault[] = [];
  readonly #findings: Finding[] = [];
  readonly #steps: string[] = [];
  readonly #recoveries = new Recoveries();
  #servers: readonly UnderFire[] = [];
  #callers: Caller[] = [];
  #daemon: Daemon | undefined;
  #wraps = new Map<Caller, Life>();
  #upstreamKills = 0;

  #nextNonce = 1;

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

  async open(): Promise<void> {
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
    const address = `127.0.0.1:${String(await freePort())}`;
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

  // ── The storm ───────────────────────────────────────────────────────────────────────────────────

  async rage(): Promise<void> {
    const endsAt = Date.now() + this.#options.durationMs;
    const isOver = () => Date.now() >= endsAt;
    const lanes = [this.#killProxies(isOver), this.#makeTrouble(isOver), this.#call(isOver)];
    await Promise.all(lanes);
  }

  #step(kind: string, detail = ""): void {
    this.#faults.push({ at: Date.now(), kind });
    const at = new Date().toISOString().slice(11, 23);
    this.#steps.push(`${at} ${kind}${detail === "" ? "" : ` ${detail}`}`);
    if (this.#steps.length > STEPS_MAX) this.#steps.shift();
    this.#fleet.said(`[chaos] ${kind} ${detail}`);
  }

  async #call(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await pause((1000 / this.#options.callsPerSecond) * this.#dice.between(0.2, 1.8));
      const caller = this.#dice.one(this.#callers);
      if (!caller.isReady || caller.pending().length >= OUTSTANDING_MAX) continue;
      const nonce = `${this.#options.name}-${String(this.#nextNonce++)}`;
      caller.ask({ nonce, ...nextCall(this.#dice) });
    }
  }

  async #killProxies(isOver: () => boolean): Promise<void> {
    const [min, max] = this.#options.killEveryMs;
    for (;;) {
      await pause(this.#dice.between(min, max));
      if (isOver()) return;
      if (this.#daemon === undefined) await this.#killWrap();
      else await this.#killDaemon(this.#daemon);
    }
  }

  async #killDaemon(daemon: Daemon): Promise<void> {
    this.#hitProxy("kill proxy");
    await daemon.kill();
    for (const caller of this.#callers) caller.cutOff();
    if (this.#dice.isLucky(0.2)) {
      const starting = daemon.start();
      await Promise.race([starting, pause(this.#dice.between(0, 300))]);
      this.#hitProxy("kill proxy", "while it starts");
      await daemon.kill();
      await starting;
    }
    if (this.#dice.isLucky(0.3)) await pause(this.#dice.between(0, 1_500));
    await daemon.start();
    this.#repeatSome();
  }

  async #killWrap(): Promise<void> {
    const caller = this.#dice.one(this.#callers);
    const life = this.#wraps.get(caller);
    if (life === undefined || !this.#fleet.alive().includes(life)) return;
    this.#hitProxy("kill proxy", caller.name);
    caller.cutOff();
    await this.#fleet.kill(life);
    this.#repeatSome();
  }

  #hitProxy(kind: string, detail = ""): void {
    this.#step(kind, detail);
    this.#recoveries.disturb();
  }

  /** Models repeat what got no answer, once they have a session again. */
  #repeatSome(): void {
    for (const caller of this.#callers) {
      for (const record of caller.calls.slice(-OUTSTANDING_MAX)) {
        const isUnanswered = record.isAbandoned && record.told.length === 0 && !record.wasRepeated;
        if (!isUnanswered || !caller.isReady || !this.#dice.isLucky(0.4)) continue;
        record.wasRepeated = true;
        caller.repeat(record);
      }
    }
  }

  async #makeTrouble(isOver: () => boolean): Promise<void> {
    const under = new Set<Promise<void>>();
    while (!isOver()) {
      await pause(this.#dice.between(100, 1_200));
      const one = this.#apply(nextTrouble(this.#dice)).finally(() => under.delete(one));
      under.add(one);
    }
    await Promise.all(under);
  }

  async #apply(trouble: Trouble): Promise<void> {
    switch (trouble.kind) {
      case "kill upstream":
        return this.#outage(this.#dice.one(this.#servers), trouble.kind, trouble.downMs);
      case "crash loop":
        return this.#outage(this.#dice.one(this.#servers), trouble.kind, trouble.forMs);
      case "stop upstream": {
        const server = this.#dice.one(this.#servers);
        this.#hit(server, trouble.kind, `${server.name} for ${String(trouble.forMs)} ms`);
        server.signal("SIGSTOP");
        await pause(trouble.forMs);
        server.signal("SIGCONT");
        return;
      }
      case "stop proxy": {
        const life = this.#dice.one(this.#fleet.alive().concat(this.#noLife()));
        this.#hitProxy(trouble.kind, `for ${String(trouble.forMs)} ms`);
        life.signal("SIGSTOP");
        await pause(trouble.forMs);
        life.signal("SIGCONT");
        return;
      }
      case "toxic":
      case "cut":
        return this.#onNetwork(trouble);
      default:
        this.#onClient(this.#dice.one(this.#callers), trouble);
    }
  }

  /** Between a death and the next start there may be none. */
  #noLife(): Life[] {
    return this.#fleet.alive().length > 0
      ? []
      : [{ pid: 0, exited: Promise.resolve(null), signal: () => false }];
  }

  #hit(server: UnderFire, kind: string, detail: string): void {
    this.#step(kind, detail);
    this.#recoveries.disturb(server.name);
  }

  async #outage(server: UnderFire, kind: string, downMs: number): Promise<void> {
    this.#hit(server, kind, `${server.name}, down for ${String(downMs)} ms`);
    this.#upstreamKills += 1;
    server.kill(downMs > 0);
    if (downMs === 0) return;
    await pause(downMs);
    await server.up();
    const waiting = this.#callers
      .filter(({ upstream }) => upstream === server.name)
      .flatMap((caller) => caller.pending());
    this.#recoveries.isBack(server.name, server.kind, waiting);
  }

  async #onNetwork(trouble: Extract<Trouble, { kind: "toxic" | "cut" }>): Promise<void> {
    const server = this.#dice.one(this.#servers.filter(({ faults }) => faults !== undefined));
    const { faults } = server;
    if (faults === undefined) return;
    if (trouble.kind === "cut") {
      this.#hit(server, "cut", server.name);
      faults.cut();
      return;
    }
    const { toxic, forMs } = trouble;
    this.#hit(server, toxic.kind, `${server.name} for ${String(forMs)} ms`);
    await faults.set(toxic);
    await pause(forMs);
    // Another one may have come meanwhile, and has its own end.
    if (faults.toxic === toxic) await faults.set({ kind: "pass" });
    this.#recoveries.disturb(server.name);
  }

  #onClient(
    caller: Caller,
    trouble: Extract<
      Trouble,
      { kind: "client drops" | "client reads nothing" | "client leaves" | "client cancels" }
    >,
  ): void {
    const { kind } = trouble;
    if (!caller.isReady) return;
    if (kind === "client drops" && !caller.drop()) return;
    if (kind === "client reads nothing" && !caller.pause(trouble.forMs)) return;
    if (kind === "client leaves") void caller.leave();
    if (kind === "client cancels") {
      const pending = caller.pending();
      if (pending.length === 0) return;
      caller.cancel(this.#dice.one(pending));
    }
    this.#step(kind, caller.name);
  }

  // ── The end ─────────────────────────────────────────────────────────────────────────────────────

  async settle(): Promise<Round> {
    for (const server of this.#servers) {
      server.signal("SIGCONT");
      await server.faults?.set({ kind: "pass" });
      await server.up();
    }
    for (const life of this.#fleet.alive()) life.signal("SIGCONT");
    const healedAt = Date.now();
    while (Date.now() - healedAt < QUIET_MAX_MS && !(await this.#isQuiet())) await pause(100);
    const quietMs = this.#lastEndAt() - healedAt;
    const idle = this.#callers.filter(({ isReady }) => !isReady);
    for (const { name } of idle) {
      const text = `${name} has no session ${String(QUIET_MAX_MS)} ms after the last fault`;
      this.#findings.push({ invariant: "P6", nonce: undefined, text });
    }
    this.#judgeUnanswered();
    const asked = this.#callers.flatMap((caller) => caller.calls.map(askedOf));
    await Promise.all(this.#callers.map((caller) => caller.close()));
    await this.#fleet.end();
    const leaked = await this.#leftovers();
    await Promise.all(this.#servers.map((server) => server.close()));
    const measures = {
      quietMs: Math.max(0, quietMs),
      recoveryMs: this.#recoveries.samples,
      leaked,
    };
    return this.#round({
      run: `chaos seed ${String(this.#options.seed)} (${this.#options.name})`,
      asked,
      executions: this.#executions(),
      views: this.#fleet.views,
      faults: this.#faults,
      measures,
      rules: { isShielded: true, slackMs: 100 },
      incarnations: this.#fleet.started,
      fatal: this.#fleet.fatal,
    });
  }

  #round(evidence: Evidence): Round {
    return {
      evidence,
      findings: this.#findings,
      proxyKills: this.#fleet.killed,
      upstreamKills: this.#upstreamKills,
      repeats: this.#callers.reduce((sum, { repeats }) => sum + repeats, 0),
      startsMs: this.#fleet.startsMs,
      peakRssBytes: this.#fleet.peakRssBytes,
      steps: this.#steps,
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

  /** Whoever could not come back for a call was not there to be told. */
  #judgeUnanswered(): void {
    for (const record of this.#callers.flatMap(({ calls }) => calls)) {
      if (record.told.length === 0 && isHopeless(record)) record.isAbandoned = true;
    }
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
        this.#servers.map(({ name, faults }) => [`connections to ${name}`, faults?.open() ?? 0]),
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
