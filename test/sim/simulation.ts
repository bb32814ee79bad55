/**
 * Plays a plan: process after process on one world, until the faults end and everything has ended; then
 * gives the evidence.
 *
 * SM1. The same plan gives the same run, to the last byte of its ledgers.
 * SM2. After the last step all faults stop: the disk has room, servers answer, nobody is killed.
 */
import type { CallRow } from "../../src/core/call.ts";
import { failure } from "../../src/core/failure.ts";
import type { Catalogue } from "../../src/core/catalogue.ts";
import type { Evidence } from "../proof/evidence.ts";
import { randomFrom } from "../support/random.ts";
import { VirtualWorld } from "../support/virtual-world.ts";
import type { Client } from "./client.ts";
import { SimDisk } from "./disk.ts";
import { House, type Ground } from "./house.ts";
import { HttpClient } from "./http-client.ts";
import { Ledger } from "./ledger.ts";
import type { Plan, Step } from "./plan.ts";
import { Points } from "./points.ts";
import { secondRecovery } from "./recovery.ts";
import { rowsOf } from "./rows.ts";
import { SimServer } from "./server.ts";
import { CALLS_PER_SESSION } from "./settings.ts";
import { SocketClient, StdioClient } from "./socket-client.ts";

/** Long enough for the hold, the deferral and the retries of whatever is open when the faults end. */
const QUIET_MAX_MS = 1_200_000;
const QUIET_LOOK_MS = 2_000;
/** An orderly end takes its drain deadline and what closes after it. */
const END_MAX_MS = 60_000;

export interface Played {
  readonly evidence: Evidence;
  readonly points: Points;
  readonly kills: number;
  readonly world: VirtualWorld;
}

export interface PlayOptions {
  readonly name: string;
  /** Called when a process has died and before the next is started. */
  readonly onRestart?: (points: Points, kills: number) => void;
}

let playing: Simulation | undefined;

export async function play(plan: Plan, options: PlayOptions): Promise<Played> {
  playing = new Simulation(plan, options);
  return playing.run();
}

/** A promise was rejected and nobody heard of it: that ends a process, as in `app/process.ts`. */
export function onUnhandledRejection(error: unknown): void {
  playing?.fatal(error);
}

class Simulation {
  readonly #plan: Plan;
  #memories = 0;
  readonly #options: PlayOptions;
  readonly #world: VirtualWorld;
  readonly #ledger: Ledger;
  readonly #points = new Points();
  readonly #disk: SimDisk;
  readonly #servers: readonly SimServer[];
  readonly #clients: readonly Client[];
  readonly #random: () => number;
  readonly #ground: Ground;
  #house: House | undefined;
  #houses = 0;
  #kills = 0;
  #isOver = false;
  #hasLostPower = false;
  /** Journals whose disk failed while their process went on. */
  readonly #lost = new Set<number>();

  constructor(plan: Plan, options: PlayOptions) {
    const { knobs } = plan;
    this.#plan = plan;
    this.#options = options;
    this.#world = new VirtualWorld({ seed: knobs.seed });
    this.#ledger = new Ledger(options.name);
    this.#disk = new SimDisk(knobs.hasPowerLoss);
    this.#disk.trouble.syncMs = knobs.commitMs;
    // Each of those who draw has numbers of its own, so that a step less changes little for the others.
    this.#random = randomFrom(knobs.seed ^ 0x5f3759df);
    this.#servers = knobs.servers.map((server, at) => {
      const random = randomFrom(knobs.seed + 101 * (at + 1));
      return new SimServer(this.#world, `up${String(at)}`, server, this.#ledger, random);
    });
    this.#ground = {
      world: this.#world,
      knobs,
      disk: this.#disk,
      servers: this.#servers,
      ledger: this.#ledger,
      points: this.#points,
      catalogues: new Map<string, Catalogue>(),
      random: randomFrom(knobs.seed ^ 0x2545f491),
      onMemory: (house, rows) => {
        this.#viewMemory(house, rows);
      },
      onDeath: (_house, isKilled) => {
        this.#onDeath(isKilled);
      },
    };
    this.#clients = knobs.clients.map((client, at) => {
      const Kind =
        client.transport === "stdio"
          ? StdioClient
          : client.transport === "http"
            ? HttpClient
            : SocketClient;
      return new Kind({
        world: this.#world,
        ledger: this.#ledger,
        knobs: client,
        name: `client${String(at)}`,
        upstream: `up${String(client.server)}`,
        random: randomFrom(knobs.seed + 7_919 * (at + 1)),
        house: () => (this.#house?.isEnding === true ? undefined : this.#house),
      });
    });
  }

  async run(): Promise<Played> {
    this.#start();
    for (const client of this.#clients) client.connect();
    let lastAt = 0;
    for (const step of this.#plan.steps) {
      lastAt = Math.max(lastAt, step.at);
      this.#world.timer(step.at, () => {
        this.#take(step);
      });
    }
    // What the last steps began takes its course, kills included.
    await this.#world.advance(lastAt + this.#plan.knobs.holdMs);
    await this.#quieten();
    // Two instants of one clock say nothing of each other where it was stepped between them.
    if (this.#plan.steps.some((step) => step.do === "clock"))
      for (const ask of this.#ledger.asks) {
        delete ask.cancelledAtMs;
        delete ask.leftAtMs;
      }
    const evidence = this.#ledger.evidence({
      measures: {},
      rules: {
        isShielded: this.#plan.knobs.shield !== "off",
        callsPerSession: CALLS_PER_SESSION,
        slackMs: 0,
        setBackMs: setBackIn(this.#plan),
      },
      incarnations: this.#houses,
    });
    return { evidence, points: this.#points, kills: this.#kills, world: this.#world };
  }

  fatal(error: unknown): void {
    this.#house?.fatal(error);
  }

  // ── Processes ─────────────────────────────────────────────────────────────────────────────────

  #start(): void {
    const kill = this.#isOver ? undefined : this.#plan.kills?.[this.#kills];
    if (kill !== undefined) this.#points.arm(kill);
    this.#options.onRestart?.(this.#points, this.#kills);
    const house = new House(this.#ground, ++this.#houses);
    this.#house = house;
    house.start();
  }

  #onDeath(isKilled: boolean): void {
    for (const file of this.#disk.files) if (file.isLocked) file.close();
    this.#house = undefined;
    if (isKilled) this.#kills++;
    if (isKilled && this.#kills === 1) this.#recoverCopies();
    const label = isKilled ? `after kill ${String(this.#kills)}` : "after an orderly end";
    this.#afterDeath(label);
    if (this.#isOver) return;
    const awayMs = 1 + Math.floor(this.#random() * this.#plan.knobs.restartMs);
    this.#world.timer(awayMs, () => {
      if (this.#house === undefined) this.#start();
    });
  }

  /** Once in a run: it costs as much as some ten calls. */
  #recoverCopies(): void {
    for (const file of this.#disk.files) {
      const change = secondRecovery(file.look(), this.#world);
      if (change !== undefined) this.#ledger.fatal.push(`I9: a second recovery ${change}`);
    }
  }

  #afterDeath(label: string): void {
    const rows = this.#view(label);
    const requests = new Set(rows.map(({ request }) => request));
    for (const client of this.#clients) client.bereave(requests);
  }

  #losePower(): void {
    const house = this.#house;
    this.#hasLostPower = true;
    this.#ledger.mayLoseSessions = true;
    if (house !== undefined) {
      house.die("power loss");
    }
    for (const file of this.#disk.files) file.losePower(this.#random);
    this.#afterDeath("after a power loss");
  }

  /** Writes down what is on the disk now. */
  #view(label: string): readonly CallRow[] {
    const all: CallRow[] = [];
    for (const file of this.#disk.files) {
      if (file.isAbandoned) this.#lost.add(file.number);
      const rows = rowsOf(file.look()).map((row) => this.#withPayloads(row));
      const journal = `journal ${String(file.number)}`;
      const isAfterPowerLoss = this.#hasLostPower;
      this.#ledger.views.push({
        label,
        at: this.#ledger.tick(),
        atMs: this.#world.now(),
        journal,
        kind: this.#lost.has(file.number) ? "abandoned" : "disk",
        isAfterPowerLoss,
        rows,
      });
      all.push(...rows);
    }
    return all;
  }

  /** A row whose payload was dropped when it was delivered. */
  #withPayloads(row: CallRow): CallRow {
    if (row.request !== "") return row;
    const { requests, replies } = this.#ledger;
    return { ...row, request: requests.get(row.id) ?? "", reply: replies.get(row.id) };
  }

  // ── Steps ─────────────────────────────────────────────────────────────────────────────────────

  #take(step: Step): void {
    switch (step.do) {
      case "call":
        this.#clients[step.client]?.call(step.tool, step);
        return;
      case "flood":
        for (let i = 0; i < step.calls; i++)
          this.#clients[step.client]?.call(i % 3 === 0 ? "put" : "write");
        return;
      case "cancel":
        this.#clients[step.client]?.cancel(step.pick);
        return;
      case "reset":
        this.#clients[step.client]?.reset(step.awayMs);
        return;
      case "deaf":
        this.#clients[step.client]?.deafen(step.awayMs);
        return;
      case "leave":
        this.#clients[step.client]?.leave(step.awayMs);
        return;
      case "door":
      case "fate":
      case "freeze":
      case "tools":
        this.#takeAtServer(step);
        return;
      default:
        this.#takeAtMachine(step);
    }
  }

  #takeAtServer(step: Step & { do: "door" | "fate" | "freeze" | "tools" }): void {
    const server = this.#servers[step.server];
    if (server === undefined) return;
    switch (step.do) {
      case "door":
        server.door = step.state;
        if (!step.cuts) return;
        server.cut(
          server.knobs.transport === "stdio"
            ? failure("process_exit", "exited with code 7")
            : failure("reset", "connection reset by peer"),
        );
        return;
      case "fate":
        for (let i = 0; i < step.count; i++) server.fates.push(step.fate);
        return;
      case "freeze":
        server.isFrozen = true;
        this.#world.timer(step.forMs, () => {
          server.thaw();
        });
        return;
      case "tools":
        server.change(step.version);
    }
  }

  #takeAtMachine(
    step: Exclude<
      Step,
      {
        do:
          | "call"
          | "flood"
          | "cancel"
          | "reset"
          | "deaf"
          | "leave"
          | "door"
          | "fate"
          | "freeze"
          | "tools";
      }
    >,
  ): void {
    const house = this.#house;
    const { trouble } = this.#disk;
    switch (step.do) {
      case "crash":
        if (house?.isDegraded === false) house.die("a kill at any time");
        return;
      case "crash at":
        if (house?.isDegraded !== true) this.#points.arm(step.point);
        return;
      case "power loss":
        if (this.#plan.knobs.hasPowerLoss && house?.isDegraded !== true) this.#losePower();
        return;
      case "stop":
        this.#stop();
        return;
      case "clock":
        // Two hours by the clock end a session that nobody uses.
        if (step.ms > 0) this.#ledger.mayLoseSessions = true;
        this.#world.stepWallClock(step.ms);
        return;
      case "suspend":
        if (step.ms > 3_600_000) this.#ledger.mayLoseSessions = true;
        this.#ledger.fault("suspended", []);
        this.#world.suspend(step.ms);
        return;
      case "disk":
        if (step.state === "full" || step.state === "roomy")
          this.#disk.setFull(step.state === "full");
        else trouble.syncMs = step.state === "slow" ? 200 : this.#plan.knobs.commitMs;
        return;
      case "io error":
        trouble.ioError = { isWritten: step.isWritten };
    }
  }

  #stop(): void {
    const house = this.#house;
    if (house === undefined) return;
    this.#ledger.fault("stopped");
    house.end("stopped by SIGTERM");
    this.#world.timer(END_MAX_MS, () => {
      if (house.isDead) return;
      this.#ledger.fatal.push("an orderly end did not end");
      house.die("an end that does not end");
    });
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /** Faults stop; everything ends, or it is seen that something does not. */
  async #quieten(): Promise<void> {
    this.#points.disarm();
    this.#disk.setFull(false);
    this.#disk.trouble.ioError = undefined;
    this.#disk.trouble.syncMs = this.#plan.knobs.commitMs;
    for (const server of this.#servers) {
      server.door = "open";
      server.thaw();
      server.restart();
    }
    const isEnded = () => this.#house !== undefined && this.#isEnded();
    for (let quietMs = 0; quietMs < QUIET_MAX_MS && !isEnded(); quietMs += QUIET_LOOK_MS) {
      await this.#world.advance(QUIET_LOOK_MS);
      // What was asked of a server that ignored it before this instant.
      if (quietMs % 60_000 === 30_000) for (const server of this.#servers) server.restart();
    }
    await this.#lastEnd();
    // Calls in a journal that was given up, or could not be opened, are the next process's.
    if (!this.#isAllEnded()) {
      this.#isOver = false;
      this.#start();
      const { holdMs, deferTtlMs } = this.#plan.knobs;
      // A clock that was set back gives them so much more time.
      await this.#world.advance(holdMs + deferTtlMs + 10_000 + setBackIn(this.#plan));
      await this.#lastEnd();
    }
  }

  #isAllEnded(): boolean {
    return this.#disk.files.every((file) => file.countLive() === 0);
  }

  /** An orderly end, after which the disk is looked at for the last time. */
  async #lastEnd(): Promise<void> {
    this.#isOver = true;
    const house = this.#house;
    if (house === undefined) throw new Error("no process at the end");
    house.end("the end of the run");
    for (let ms = 0; ms < END_MAX_MS && !house.isDead; ms += 500) await this.#world.advance(500);
    if (!house.isDead) {
      this.#ledger.fatal.push("an orderly end did not end");
      house.die("an end that does not end");
    }
  }

  /** What a process held that went on without its disk. */
  #viewMemory(house: House, rows: readonly CallRow[]): void {
    // Its own journal may be lost, and those that it cares for.
    const journal = `memory ${String(++this.#memories)} of proxy ${String(house.incarnation)}`;
    this.#ledger.views.push({
      label: "at its end",
      at: this.#ledger.tick(),
      atMs: this.#world.now(),
      journal,
      kind: "memory",
      isAfterPowerLoss: false,
      rows: [...rows].sort((a, b) => a.seq - b.seq),
    });
  }

  #isEnded(): boolean {
    const isWaiting = this.#ledger.asks.some(
      ({ told, isCancelled, isAbandoned }) => told.length === 0 && !isCancelled && !isAbandoned,
    );
    if (isWaiting || !this.#clients.every(({ isReady }) => isReady)) return false;
    return this.#house?.isDegraded === true || this.#isAllEnded();
  }
}

/** By how much the plan sets the clock back in all, ms. */
const setBackIn = ({ steps }: Plan): number =>
  steps.reduce((sum, step) => sum + (step.do === "clock" && step.ms < 0 ? -step.ms : 0), 0);
