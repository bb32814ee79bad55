/**
 * Finds out whether a silent connection is still alive. Any message is life.
 *
 * V1. Only an idle line is judged: while a request is in flight nothing is pinged and nothing is killed.
 * V2. A server that has never answered a ping is not judged by pings.
 * V3. Dead is three misses in a row and, on stdio, an unanswered `tools/list` as well.
 */
import { type Failure, failure } from "../core/failure.ts";
import type { Answer } from "./channel.ts";
import type { EngineContext } from "./context.ts";

const IDLE_MS = 30_000;
const SUSPECT_MS = 5_000;
const MISSES_MAX = 3;

export interface LivenessProbe {
  /** Undefined when there is no connection. */
  ping(): Promise<Answer> | undefined;
  list(): Promise<Answer> | undefined;
  isStdio(): boolean;
  isBusy(): boolean;
  onDead(cause: Failure): void;
}

export class Liveness {
  readonly #context: EngineContext;
  readonly #probe: LivenessProbe;
  #stopTimer: (() => void) | undefined;
  #misses = 0;
  #lastLife = 0;
  #hasAnsweredPing = false;
  #generation = 0;

  constructor(context: EngineContext, probe: LivenessProbe) {
    this.#context = context;
    this.#probe = probe;
  }

  start(): void {
    this.stop();
    this.#misses = 0;
    this.#lastLife = this.#context.world.monotonic();
    this.#schedule(IDLE_MS);
  }

  stop(): void {
    this.#generation++;
    this.#stopTimer?.();
    this.#stopTimer = undefined;
  }

  sawLife(): void {
    this.#lastLife = this.#context.world.monotonic();
    this.#misses = 0;
  }

  /** Something makes the line doubtful: look now, and look again sooner. */
  suspect(): void {
    if (this.#stopTimer === undefined) return;
    this.#lastLife = -IDLE_MS;
    this.#schedule(0);
  }

  #schedule(delayMs: number): void {
    this.#stopTimer?.();
    const generation = this.#generation;
    this.#stopTimer = this.#context.world.timer(delayMs, () => {
      this.#look(generation).catch(this.#context.fatal);
    });
  }

  async #look(generation: number): Promise<void> {
    const silentMs = this.#context.world.monotonic() - this.#lastLife;
    if (this.#probe.isBusy() || silentMs < IDLE_MS) {
      this.#schedule(this.#probe.isBusy() ? IDLE_MS : IDLE_MS - silentMs);
      return;
    }
    const answer = await this.#probe.ping();
    if (generation !== this.#generation) return;
    if (answer?.kind === "reply") {
      this.#hasAnsweredPing = true;
      this.#schedule(IDLE_MS);
      return;
    }
    this.#misses++;
    if (this.#misses >= MISSES_MAX && (await this.#isDead(generation))) return;
    if (generation === this.#generation) this.#schedule(SUSPECT_MS);
  }

  async #isDead(generation: number): Promise<boolean> {
    if (!this.#hasAnsweredPing || this.#probe.isBusy()) return false;
    if (this.#probe.isStdio()) {
      const answer = await this.#probe.list();
      if (generation !== this.#generation || answer?.kind === "reply") return false;
      // Meanwhile a call may have been sent, or something may have come.
      if (this.#probe.isBusy() || this.#misses < MISSES_MAX) return false;
    }
    this.#probe.onDead(failure("half_open", "stopped answering pings while idle"));
    return true;
  }
}
