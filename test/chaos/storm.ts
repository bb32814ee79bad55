/** What is done to a lane while it rages: calls, kills of proxies, and one trouble after another. */
import type { Fault } from "../proof/evidence.ts";
import type { Caller } from "./caller.ts";
import type { Daemon, Fleet, Life } from "./fleet.ts";
import type { Recoveries } from "./recoveries.ts";
import { nextCall, nextTrouble, type Dice, type Trouble } from "./schedule.ts";
import type { UnderFire } from "./server-under-fire.ts";

export type LaneKind = "daemon" | "wraps";

export interface RoundOptions {
  readonly kind: LaneKind;
  readonly seed: number;
  readonly name: string;
  readonly durationMs: number;
  readonly killEveryMs: readonly [number, number];
  readonly callsPerSecond: number;
  /** Somebody ended the run: everything is to be put away, and nothing to be judged. */
  isStopped(): boolean;
}

/** All that there is in a lane. */
export interface Stage {
  readonly options: RoundOptions;
  readonly dice: Dice;
  readonly fleet: Fleet;
  readonly servers: readonly UnderFire[];
  readonly callers: readonly Caller[];
  /** Undefined where each client has a proxy of its own: then `wraps` has those. */
  readonly daemon: Daemon | undefined;
  readonly wraps: ReadonlyMap<Caller, Life>;
  readonly recoveries: Recoveries;
}

const OUTSTANDING_MAX = 12;
const STEPS_MAX = 60;
/** Whom nobody listens to can ask but seldom learns something. */
const ASKS_NOBODY = 0.2;

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export class Storm {
  readonly faults: Fault[] = [];
  /** The last ones, in words. */
  readonly steps: string[] = [];
  readonly #stage: Stage;
  upstreamKills = 0;
  #nextNonce = 1;

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  /** Until the time is over, or the run is stopped. What was begun has its end. */
  async rage(): Promise<void> {
    const endsAt = Date.now() + this.#stage.options.durationMs;
    const isOver = () => Date.now() >= endsAt || this.#stage.options.isStopped();
    const lanes = [this.#killProxies(isOver), this.#makeTrouble(isOver), this.#call(isOver)];
    await Promise.all(lanes);
  }

  #step(kind: string, detail = ""): void {
    this.faults.push({ at: Date.now(), kind });
    const at = new Date().toISOString().slice(11, 23);
    this.steps.push(`${at} ${kind}${detail === "" ? "" : ` ${detail}`}`);
    if (this.steps.length > STEPS_MAX) this.steps.shift();
    this.#stage.fleet.said(`[chaos] ${kind} ${detail}`);
  }

  async #call(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await pause((1000 / this.#stage.options.callsPerSecond) * this.#stage.dice.between(0.2, 1.8));
      const caller = this.#stage.dice.one(this.#stage.callers);
      if (this.#stage.daemon?.isServing() === false && !this.#stage.dice.isLucky(ASKS_NOBODY))
        continue;
      if (!caller.isReady || caller.pending().length >= OUTSTANDING_MAX) continue;
      const nonce = `${this.#stage.options.name}-${String(this.#nextNonce++)}`;
      caller.ask({ nonce, ...nextCall(this.#stage.dice) });
    }
  }

  async #killProxies(isOver: () => boolean): Promise<void> {
    const [min, max] = this.#stage.options.killEveryMs;
    for (;;) {
      await pause(this.#stage.dice.between(min, max));
      if (isOver()) return;
      if (this.#stage.daemon === undefined) await this.#killWrap();
      else await this.#killDaemon(this.#stage.daemon);
    }
  }

  async #killDaemon(daemon: Daemon): Promise<void> {
    this.#hitProxy("kill proxy");
    await daemon.kill();
    for (const caller of this.#stage.callers) caller.cutOff();
    if (this.#stage.dice.isLucky(0.2)) {
      const starting = daemon.start();
      await Promise.race([starting, pause(this.#stage.dice.between(0, 300))]);
      this.#hitProxy("kill proxy", "while it starts");
      await daemon.kill();
      await starting;
    }
    if (this.#stage.dice.isLucky(0.3)) await pause(this.#stage.dice.between(0, 1_500));
    await daemon.start();
    this.#repeatSome();
  }

  async #killWrap(): Promise<void> {
    const caller = this.#stage.dice.one(this.#stage.callers);
    const life = this.#stage.wraps.get(caller);
    if (life === undefined || !this.#stage.fleet.alive().includes(life)) return;
    this.#hitProxy("kill proxy", caller.name);
    caller.cutOff();
    await this.#stage.fleet.kill(life);
    this.#repeatSome();
  }

  #hitProxy(kind: string, detail = ""): void {
    this.#step(kind, detail);
    this.#stage.recoveries.disturb();
  }

  /** Models repeat what got no answer, once they have a session again. */
  #repeatSome(): void {
    for (const caller of this.#stage.callers) {
      for (const record of caller.calls.slice(-OUTSTANDING_MAX)) {
        const isUnanswered = record.isAbandoned && record.told.length === 0 && !record.wasRepeated;
        if (!isUnanswered || !caller.isReady || !this.#stage.dice.isLucky(0.4)) continue;
        record.wasRepeated = true;
        caller.repeat(record);
      }
    }
  }

  async #makeTrouble(isOver: () => boolean): Promise<void> {
    const under = new Set<Promise<void>>();
    while (!isOver()) {
      await pause(this.#stage.dice.between(100, 1_200));
      const one = this.#apply(nextTrouble(this.#stage.dice)).finally(() => under.delete(one));
      under.add(one);
    }
    await Promise.all(under);
  }

  async #apply(trouble: Trouble): Promise<void> {
    switch (trouble.kind) {
      case "kill upstream":
        return this.#outage(
          this.#stage.dice.one(this.#stage.servers),
          trouble.kind,
          trouble.downMs,
        );
      case "crash loop":
        return this.#outage(this.#stage.dice.one(this.#stage.servers), trouble.kind, trouble.forMs);
      case "stop upstream": {
        const server = this.#stage.dice.one(this.#stage.servers);
        this.#hit(server, trouble.kind, `${server.name} for ${String(trouble.forMs)} ms`);
        server.signal("SIGSTOP");
        await pause(trouble.forMs);
        server.signal("SIGCONT");
        return;
      }
      case "stop proxy": {
        const life = this.#stage.dice.one(this.#stage.fleet.alive().concat(this.#noLife()));
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
        this.#onClient(this.#stage.dice.one(this.#stage.callers), trouble);
    }
  }

  /** Between a death and the next start there may be none. */
  #noLife(): Life[] {
    return this.#stage.fleet.alive().length > 0
      ? []
      : [{ pid: 0, exited: Promise.resolve(null), signal: () => false }];
  }

  #hit(server: UnderFire, kind: string, detail: string): void {
    this.#step(kind, detail);
    this.#stage.recoveries.disturb(server.name);
  }

  async #outage(server: UnderFire, kind: string, downMs: number): Promise<void> {
    this.#hit(server, kind, `${server.name}, down for ${String(downMs)} ms`);
    this.upstreamKills += 1;
    server.kill(downMs > 0);
    if (downMs === 0) return;
    await pause(downMs);
    await server.up();
    const waiting = this.#stage.callers
      .filter(({ upstream }) => upstream === server.name)
      .flatMap((caller) => caller.pending());
    this.#stage.recoveries.isBack(server.name, server.kind, waiting);
  }

  async #onNetwork(trouble: Extract<Trouble, { kind: "toxic" | "cut" }>): Promise<void> {
    const server = this.#stage.dice.one(
      this.#stage.servers.filter(({ faults }) => faults !== undefined),
    );
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
    this.#stage.recoveries.disturb(server.name);
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
      caller.cancel(this.#stage.dice.one(pending));
    }
    this.#step(kind, caller.name);
  }
}
