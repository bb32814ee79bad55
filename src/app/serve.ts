/**
 * The composition root of the daemon: many upstreams, many clients over the network, one engine, one
 * journal.
 *
 * Order at the start: whether it may listen there at all; then the journal opens; then it listens, while
 * what was left in the journal is judged: sessions begin, calls and returning clients wait for that. Order at the end: nothing more is taken, what is in flight
 * may end within the drain deadline, and what waits for clients that can come back stays on disk.
 */
import { ConfigError } from "../base/errors.ts";
import type { ServingStatus } from "../core/status.ts";
import type { NetworkListener } from "../ports.ts";
import { openGatekeeper, type TokenGatekeeper } from "../store/tokens/gatekeeper.ts";
import { watchConfig } from "./config-watch.ts";
import { isBeyondLoopback, listenRefusal } from "./listen.ts";
import { networkListener } from "./network.ts";
import { EngineProcess } from "./process.ts";
import { Reloader } from "./reloader.ts";
import { makeServePlan, type ServePlan, type ServeRequest } from "./serve-plan.ts";

const EXIT_INTERRUPTED = 130;
/** How long the last answers may take to their clients. */
const FLUSH_MS = 500;

/**
 * Serves until it is told to stop. Resolves to the exit code. Rejects with `ConfigError` where it can't
 * be started as it was asked to.
 */
export async function serve(request: ServeRequest): Promise<number> {
  const daemon = new Daemon(request, makeServePlan(request));
  return daemon.untilEnd();
}

class Daemon {
  readonly #plan: ServePlan;
  readonly #engine: EngineProcess;
  readonly #gatekeeper: TokenGatekeeper;
  readonly #listener: NetworkListener;
  readonly #reloader: Reloader;
  #address = "";
  #stopWatching: (() => void) | undefined;

  constructor(request: ServeRequest, plan: ServePlan) {
    this.#plan = plan;
    const engine = new EngineProcess(plan, {
      // Clients come and go.
      onEmpty: () => undefined,
      onEnding: () => {
        this.#refuse();
      },
      isRevoked: (principal, upstream) => this.#gatekeeper.isRevoked(principal, upstream),
      onDrained: () => this.#stop(),
      serving: () => this.#serving(),
    });
    this.#engine = engine;
    const { settings, folders } = plan;
    const { world, log } = engine;
    this.#gatekeeper = openGatekeeper({
      world,
      log,
      stateFolder: folders.state,
      auth: settings.auth,
      isBeyondLoopback: isBeyondLoopback(settings.listen),
    });
    this.#listener = networkListener({ world, log, plan, gatekeeper: this.#gatekeeper });
    this.#reloader = new Reloader(request, engine, plan);
  }

  async untilEnd(): Promise<number> {
    const refusal = listenRefusal(this.#plan.settings, this.#gatekeeper);
    if (refusal !== undefined) throw new ConfigError(refusal);
    this.#heedSignals();
    // Before the start, so that no change is missed meanwhile.
    this.#stopWatching = watchConfig({
      world: this.#engine.world,
      log: this.#engine.log,
      path: this.#plan.configPath,
      onChange: () => {
        this.#reloader.reload();
      },
    });
    this.#start().catch((error: unknown) => {
      this.#engine.failStart(error);
    });
    return this.#engine.ended;
  }

  async #start(): Promise<void> {
    const engine = this.#engine;
    const { upstreams, journal, settings, configPath } = this.#plan;
    this.#sayDegraded();
    for (const plan of upstreams.values()) engine.proxy.add(engine.contextOf(plan));
    engine.proxy.start();
    const journals = await engine.open({
      ...journal,
      mode: settings.journal,
      // Its clients can come back for what they were told already (promise P4).
      dropsDelivered: false,
      name: "serve",
      target: configPath,
    });
    await Promise.all([engine.recover(journals), this.#listen()]);
    this.#reloader.start();
  }

  async #listen(): Promise<void> {
    const engine = this.#engine;
    if (engine.isEnding) return;
    this.#address = await this.#listener.start((name) => engine.proxy.door(name));
    await engine.serveControl();
    const { size } = this.#plan.upstreams;
    const count = `${String(size)} server${size === 1 ? "" : "s"}`;
    process.stderr.write(
      `holdfast: serving ${count} at ${this.#address} (/mcp/NAME, /sse/NAME, /ws/NAME)\n`,
    );
  }

  #sayDegraded(): void {
    const [plan] = this.#plan.upstreams.values();
    const why = plan?.identity.degraded;
    if (why === undefined) return;
    this.#engine.log("warn", `calls of an earlier process may wait for a person: ${why}`);
  }

  #heedSignals(): void {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => {
        // Whoever asks twice does not want to wait; the journal recovers.
        if (this.#engine.isEnding) process.exit(EXIT_INTERRUPTED);
        this.#engine.end(`Holdfast was stopped by ${signal}`);
      });
    }
    process.on("SIGHUP", () => {
      this.#reloader.reload();
    });
  }

  #refuse(): void {
    this.#stopWatching?.();
    this.#reloader.stop();
    this.#listener.refuse();
  }

  /** What is still open waits for the next process; its clients come back for it. */
  async #stop(): Promise<void> {
    await this.#listener.stop(FLUSH_MS);
    await this.#gatekeeper.close();
  }

  #serving(): ServingStatus {
    const { loadedAt, problem } = this.#reloader;
    const { configPath } = this.#plan;
    const doorTrouble = this.#gatekeeper.trouble();
    return { address: this.#address, configPath, loadedAt, problem, doorTrouble };
  }
}
