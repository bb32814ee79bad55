/**
 * Reads the configuration again while the daemon serves, and does what is different in it.
 *
 * RL1. A file that is not right in any part changes nothing, and is said to be so until it is right.
 * RL2. One reload at a time; what is asked for meanwhile is one more after it.
 * RL3. What an upstream does not share with a change (its sessions, calls and connections) goes on.
 */
import { unreachable } from "../base/assert.ts";
import { ConfigError } from "../base/errors.ts";
import type { EngineProcess } from "./process.ts";
import { difference, differenceText, unheededText, type UpstreamChange } from "./reload.ts";
import { remakeServePlan, type ServePlan, type ServeRequest } from "./serve-plan.ts";

const REMOVED = "its server was taken out of the configuration";
const CHANGED = "the configuration of its server changed";

export class Reloader {
  readonly #request: ServeRequest;
  readonly #engine: EngineProcess;
  #plan: ServePlan;
  #problem: string | undefined;
  #loadedAt: number;
  #isWanted = false;
  /** Running, not started yet, or stopped. */
  #isBusy = true;
  #isStopped = false;

  constructor(request: ServeRequest, engine: EngineProcess, plan: ServePlan) {
    this.#request = request;
    this.#engine = engine;
    this.#plan = plan;
    this.#loadedAt = engine.world.now();
  }

  /** Why the file on disk is not what is used, in words. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** When what is used was read. */
  get loadedAt(): number {
    return this.#loadedAt;
  }

  /** The daemon serves; what was asked for before is done now. */
  start(): void {
    this.#isBusy = false;
    if (this.#isWanted) this.reload();
  }

  reload(): void {
    this.#isWanted = true;
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#run()
      .catch(this.#engine.fatal)
      .finally(() => {
        this.#isBusy = false;
      });
  }

  /** Changes nothing more. */
  stop(): void {
    this.#isStopped = true;
  }

  async #run(): Promise<void> {
    while (this.#isWanted && !this.#isStopped) {
      this.#isWanted = false;
      const after = this.#read();
      if (after !== undefined) await this.#apply(after);
    }
  }

  /** Undefined where the file is not right. */
  #read(): ServePlan | undefined {
    try {
      return remakeServePlan(this.#request, this.#plan);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.#problem = error.message;
      this.#say("error", `the configuration stays as it was: ${error.message}`);
      return undefined;
    }
  }

  async #apply(after: ServePlan): Promise<void> {
    const found = difference(this.#plan, after);
    this.#plan = after;
    this.#loadedAt = this.#engine.world.now();
    this.#problem = unheededText(found);
    const level = this.#problem === undefined ? "info" : "warn";
    this.#say(level, `the configuration was read again: ${differenceText(found)}`);
    await Promise.all(found.upstreams.map((change) => this.#do(change)));
  }

  async #do(change: UpstreamChange): Promise<void> {
    const { proxy } = this.#engine;
    switch (change.kind) {
      case "removed":
        await proxy.remove(change.name, REMOVED);
        return;
      case "added":
        proxy.add(this.#engine.contextOf(change.plan));
        return;
      case "changed": {
        const { settings, identity, catalogues, newConnector } = this.#engine.contextOf(
          change.plan,
        );
        const news = { settings, identity, catalogues, newConnector };
        await proxy.branch(change.plan.name)?.change(news, change.isElsewhere, CHANGED);
        return;
      }
      default:
        unreachable(change);
    }
  }

  #say(level: "info" | "warn" | "error", text: string): void {
    const { log, feed, world } = this.#engine;
    log(level, text);
    feed.tell(() => ({ kind: "configuration", at: world.now(), upstream: "", text }));
  }
}
