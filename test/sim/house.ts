/**
 * One process of Holdfast in the simulation: the real engine over the real journal, on a world that dies
 * with it. It does what the composition roots do (`app/process.ts`, `store/folder.ts`), with the disk,
 * the servers and the clients of the simulation at its edges.
 *
 * HO1. After its death nothing of it has any effect; what it left is on the disk and in the ledgers.
 */
import { deferred } from "../../src/base/async.ts";
import type { CallRow } from "../../src/core/call.ts";
import { JournalError } from "../../src/base/errors.ts";
import type { Settings } from "../../src/core/settings.ts";
import { EMPTY_CATALOGUE, type Catalogue } from "../../src/core/catalogue.ts";
import { Bounds, ProcessBounds } from "../../src/engine/bounds.ts";
import type { EngineContext } from "../../src/engine/context.ts";
import { Feed } from "../../src/engine/feed.ts";
import { Gate } from "../../src/engine/gate.ts";
import { Proxy } from "../../src/engine/proxy.ts";
import { Tally } from "../../src/engine/tally.ts";
import type { Door, Journal, Log } from "../../src/ports.ts";
import { legacyDialect } from "../../src/wire/dialect/legacy.ts";
import type { VirtualWorld } from "../support/virtual-world.ts";
import type { SimDisk } from "./disk.ts";
import { openFolder } from "./folder.ts";
import type { Ledger } from "./ledger.ts";
import type { Knobs } from "./plan.ts";
import { pointOf, type Points } from "./points.ts";
import { ProcessWorld } from "./process-world.ts";
import type { Caller, SimServer } from "./server.ts";
import { settingsFor } from "./settings.ts";

/** What outlives a process. */
export interface Ground {
  readonly world: VirtualWorld;
  readonly knobs: Knobs;
  readonly disk: SimDisk;
  readonly servers: readonly SimServer[];
  readonly ledger: Ledger;
  readonly points: Points;
  readonly catalogues: Map<string, Catalogue>;
  /** For delays of the disk. */
  readonly random: () => number;
  /** What a process without its disk held at its end. */
  onMemory(house: House, rows: readonly CallRow[]): void;
  /** It died; `isKilled`: not by itself, in order. */
  onDeath(house: House, isKilled: boolean): void;
}

export class House implements Caller {
  readonly ground: Ground;
  readonly incarnation: number;
  readonly world: ProcessWorld;
  readonly proxy: Proxy;
  readonly log: string[] = [];
  readonly #opened = deferred<Journal>();
  readonly #journal = deferred<Journal>();
  /** The journal is open: a daemon listens. */
  #isListening = false;
  /** The journal is open and recovered. */
  #isOpen = false;
  #isEnding = false;
  #own: Journal | undefined;

  constructor(ground: Ground, incarnation: number) {
    this.ground = ground;
    this.incarnation = incarnation;
    this.world = new ProcessWorld(ground.world, (name, act) => {
      this.effect(name, act);
    });
    const { world, fatal } = this;
    const feed = new Feed();
    const settings = ground.servers.map((server) => settingsFor(ground.knobs, server));
    const [first] = settings;
    if (first === undefined) throw new Error("a plan without servers");
    const log: Log = (level, message, fields) => {
      this.log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
    };
    this.proxy = new Proxy(
      { world, log, feed, fatal, journal: () => this.#journal.promise },
      {
        version: "0",
        pid: incarnation,
        drainMs: first.drainMs,
        retention: first.retention,
        onEmpty: (cause) => {
          if (ground.knobs.mode === "wrap") this.end(cause);
        },
      },
    );
    const bounds = new ProcessBounds(first.limits);
    for (const [at, server] of ground.servers.entries()) {
      const of = settings[at];
      if (of !== undefined) this.proxy.add(this.#contextOf(server, of, log, feed, bounds));
    }
    this.proxy.start();
  }

  #contextOf(
    server: SimServer,
    settings: Settings,
    log: Log,
    feed: Feed,
    bounds: ProcessBounds,
  ): EngineContext {
    const { world, fatal, ground } = this;
    return {
      world,
      log,
      settings,
      identity: { upstream: server.name, credentials: "cred", key: "key" },
      dialect: legacyDialect,
      catalogues: {
        load: () => ground.catalogues.get(server.name) ?? EMPTY_CATALOGUE,
        save: (catalogue) => {
          this.effect("catalogue", () => ground.catalogues.set(server.name, catalogue));
        },
      },
      journal: () => this.#journal.promise,
      sessionJournal: () => this.#opened.promise,
      newConnector: () => server.connector(this),
      bounds: new Bounds(settings.limits, bounds),
      gate: new Gate({ world, settings, fatal }),
      tally: new Tally(),
      feed,
      isRevoked: () => false,
      fatal,
    };
  }

  get isDead(): boolean {
    return this.world.isDead;
  }

  /** The journal goes on in memory: what it holds dies with the process. */
  get isDegraded(): boolean {
    return this.#own?.stats().kind === "memory";
  }

  onMemory(rows: readonly CallRow[]): void {
    if (!this.isDead) this.ground.onMemory(this, rows);
  }

  /** Opens the journals and recovers what is in them. */
  start(): void {
    this.#open().catch(this.fatal);
  }

  async #open(): Promise<void> {
    const { own, leftovers } = await openFolder(this);
    this.#own = own;
    await own.keep("owner", JSON.stringify({ pid: this.incarnation }));
    this.#opened.resolve(own);
    this.#isListening = true;
    const recovery = await own.recover(this.world.now());
    await this.proxy.recover([
      { journal: own, recovery, isAbandoned: false, isCaretaken: false },
      ...leftovers.map(({ journal, recovery, heldBecause }) => {
        return { journal, recovery, isAbandoned: heldBecause !== undefined, isCaretaken: true };
      }),
    ]);
    this.#journal.resolve(own);
    this.#isOpen = true;
  }

  /** The way in; a daemon listens when its journal is open, a wrapped server's proxy from the first. */
  door(upstream: string): Door | undefined {
    const isIn = this.ground.knobs.mode === "wrap" || this.#isListening;
    return isIn && !this.isDead ? this.proxy.door(upstream) : undefined;
  }

  /** Does `act`, unless the process is dead or dies before it; it may die right after. */
  effect(name: string, act: () => void): void {
    this.effects([name], act);
  }

  effects(names: readonly string[], act: () => void): void {
    if (this.isDead) return;
    for (const name of names) if (this.#pass(`${name}:before`)) return;
    try {
      act();
    } catch (error) {
      this.fatal(error);
      return;
    }
    for (const name of names) if (this.#pass(`${name}:after`)) return;
  }

  #pass(name: string): boolean {
    if (this.isDead) return true;
    const point = pointOf(name, this.#isOpen);
    // What a process without its disk holds dies with it; nothing can be proved by that.
    if (this.ground.points.pass(point) && !this.isDegraded) this.die(`killed at ${point}`);
    return this.isDead;
  }

  /** SIGKILL. */
  die(how: string): void {
    if (this.isDead) return;
    this.ground.ledger.fault(`kill proxy: ${how}`);
    this.#vanish();
    this.ground.onDeath(this, true);
  }

  #vanish(): void {
    this.world.die();
    for (const server of this.ground.servers) server.forsake(this);
  }

  /** An orderly end. */
  end(cause: string): void {
    if (this.#isEnding || this.isDead) return;
    this.#isEnding = true;
    this.proxy.drain(cause).then(() => {
      if (this.isDead) return;
      this.#vanish();
      this.ground.onDeath(this, false);
    }, this.fatal);
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** A bug or a lost journal ends the process; the next one recovers. */
  readonly fatal = (error: unknown): void => {
    if (this.isDead) return;
    const isJournal = error instanceof JournalError;
    if (this.#isEnding && isJournal && error.trouble === "closed") return;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // `serve` ends by design when its disk fails.
    const isDesign = isJournal && error.trouble === "io" && this.ground.knobs.mode === "serve";
    if (!isDesign) this.ground.ledger.fatal.push(`proxy ${String(this.incarnation)}: ${text}`);
    this.die(isDesign ? "its journal was lost" : "a bug");
  };
}
