/**
 * The hub: clients come in, each gets a session with a line to the upstream; what a dead process left
 * is taken up; everything ends in order.
 *
 *     client ─► host ─► admission ─► journal ─► dispatcher ─► supervisor's connection ─► upstream
 *     client ◄─ host ◄─ delivery ◄── journal ◄─ judge() ◄──── outcome ◄──────────────── upstream
 */
import { JournalError } from "../base/errors.ts";
import type { SavedLink } from "../core/saved-link.ts";
import type { ProxyStatus, SessionStatus } from "../core/status.ts";
import type { SessionRow } from "../core/session.ts";
import type { ClientHandler, ClientLink, Control, Journal, Listener } from "../ports.ts";
import type { EngineContext } from "./context.ts";
import { type ControlTool, newControlTool } from "./control-tool.ts";
import { Delivery } from "./delivery.ts";
import { drain, untilJournalOpen } from "./drain.ts";
import { startHeartbeat } from "./heartbeat.ts";
import { Host } from "./host.ts";
import { Line } from "./line.ts";
import { readLinkRecord } from "./link-record.ts";
import { Operator } from "./operator.ts";
import { Registry } from "./registry.ts";
import { type Leftover, Rescuer } from "./rescuer.ts";

export interface ProxyOptions {
  readonly version: string;
  readonly pid: number;
  /** The last client left; in wrap mode that is the end. */
  readonly onEmpty: (cause: string) => void;
}

const PRUNE_EVERY_MS = 600_000;

export class Proxy {
  readonly #context: EngineContext;
  readonly #options: ProxyOptions;
  readonly #registry: Registry;
  readonly #delivery: Delivery;
  readonly #rescuer: Rescuer;
  readonly #operator: Operator;
  readonly #controlTool: ControlTool | undefined;
  readonly #hosts = new Set<Host>();
  readonly #startedAt: number;
  #savedLink: SavedLink | undefined;
  #leftovers: readonly Leftover[] = [];
  #journal: Journal | undefined;
  #stopHeartbeat: (() => void) | undefined;
  #stopPruning: (() => void) | undefined;
  #draining: Promise<void> | undefined;

  constructor(context: EngineContext, options: ProxyOptions) {
    this.#context = context;
    this.#options = options;
    this.#startedAt = context.world.now();
    this.#registry = new Registry(context.settings.shield);
    this.#delivery = new Delivery(context, this.#registry);
    const shared = { registry: this.#registry, delivery: this.#delivery };
    this.#rescuer = new Rescuer(context, {
      ...shared,
      newLine: (session) => this.#newExtraLine(session),
    });
    this.#operator = new Operator(context, {
      ...shared,
      status: () => this.#status(),
      cancelHeld: (id, cause) => this.#rescuer.cancelHeld(id, cause),
      anyLine: () => [...this.#hosts].find((host) => host.line !== undefined)?.line,
    });
    this.#controlTool = context.settings.hasControlTool
      ? newControlTool(context.settings.upstreamName, this.#operator)
      : undefined;
  }

  get control(): Control {
    return this.#operator;
  }

  /**
   * The journal is open. Takes up what was left behind; resolves when new calls may be accepted. The
   * first of `leftovers` is this process's own journal.
   */
  async recover(journal: Journal, leftovers: readonly Leftover[]): Promise<void> {
    this.#journal = journal;
    this.#leftovers = leftovers;
    this.#registry.addJournal(journal);
    this.#savedLink = await readLinkRecord(journal, this.#context.identity.upstream);
    await this.#rescuer.take(leftovers);
    for (const host of this.#hosts) if (host.line !== undefined) this.#rescuer.attach(host.line);
    this.#prune();
  }

  start(listener: Listener): void {
    this.#stopHeartbeat = startHeartbeat(this.#context.world, (news, gapMs) => {
      this.#context.log(
        "warn",
        `the machine ${news === "slept" ? "slept" : "had its clock changed"}`,
        {
          seconds: Math.round(gapMs / 1000),
        },
      );
      if (gapMs < 0) this.#registry.setBack(-gapMs);
      for (const line of this.#lines()) line.supervisor.wake();
    });
    listener.start((link) => this.#accept(link));
  }

  /** Ends everything within the drain deadline; called again, returns the same end. */
  drain(cause: string): Promise<void> {
    this.#draining ??= this.#drain(cause);
    return this.#draining;
  }

  async #drain(cause: string): Promise<void> {
    this.#stopHeartbeat?.();
    this.#stopPruning?.();
    for (const line of this.#lines()) line.queue.pause();
    await untilJournalOpen(this.#context);
    await drain(this.#context, [...this.#lines()], cause);
    await this.#rescuer.stop(2_000);
    await this.#journal?.close();
  }

  #lines(): readonly Line[] {
    const own = [...this.#hosts].map((host) => host.line).filter((line) => line !== undefined);
    return [...own, ...this.#rescuer.lines];
  }

  #accept(link: ClientLink): ClientHandler {
    const host = new Host(this.#context, link, {
      registry: this.#registry,
      delivery: this.#delivery,
      controlTool: this.#controlTool,
      newLine: (session, owner, clientName) => this.#newLine(session, owner, clientName),
      onSessionEnd: (line) => {
        this.#rescuer.inherit(line);
      },
      onLeft: (_host, cause) => {
        this.#options.onEmpty(cause);
      },
    });
    this.#hosts.add(host);
    return host;
  }

  #newLine(session: SessionRow, host: Host, clientName: string): Line {
    const line = new Line(
      this.#context,
      session,
      {
        name: clientName,
        isCongested: () => host.isCongested(),
        send: (text) => {
          host.send(text);
        },
      },
      {
        onHandshake: (reply) => {
          host.onHandshake(reply);
        },
        onLink: (state) => {
          host.onLink(state);
        },
        hasEarlyCaller: () => host.isWaitingForHandshake,
        onEnded: (of, call, reply) => {
          this.#onEnded(of, call, reply);
        },
        tellPending: (of, call, waiter) => {
          this.#delivery.tellPending(of, call, waiter);
        },
      },
    );
    this.#rescuer.attach(line);
    // Not before the journal is open: left-over children are gone then, and the backoff is known.
    this.#context.journal().then(() => {
      if (this.#draining === undefined) line.supervisor.want(this.#savedLink);
    }, this.#context.fatal);
    return line;
  }

  #newExtraLine(session: SessionRow): Line {
    return new Line(this.#context, session, undefined, {
      onHandshake: () => {},
      onLink: () => {},
      hasEarlyCaller: () => false,
      onEnded: (of, call, reply) => {
        this.#onEnded(of, call, reply);
      },
      tellPending: (of, call, waiter) => {
        this.#delivery.tellPending(of, call, waiter);
      },
    });
  }

  #onEnded(...[line, call, reply]: Parameters<Delivery["ended"]>): void {
    this.#delivery.ended(line, call, reply);
    this.#rescuer.onEnded(line);
  }

  #prune(): void {
    const { world, log, settings } = this.#context;
    const { resultsMs, recordsMs } = settings.retention;
    const now = world.now();
    this.#stopPruning = world.timer(PRUNE_EVERY_MS, () => {
      this.#prune();
    });
    for (const journal of this.#registry.journals) {
      journal.prune(now - resultsMs, now - recordsMs).catch((error: unknown) => {
        if (error instanceof JournalError && error.trouble === "closed") return;
        log("warn", "could not prune the journal", { error: String(error) });
      });
    }
  }

  #status(): ProxyStatus {
    const { settings, tally, world } = this.#context;
    const sessions = [...this.#hosts]
      .map((host) => host.status())
      .filter((status) => status !== undefined);
    const journal = this.#journal?.stats();
    const recovery = this.#leftovers[0]?.recovery.report;
    const reasons = this.#reasons(sessions);
    return {
      version: this.#options.version,
      pid: this.#options.pid,
      startedAt: this.#startedAt,
      now: world.now(),
      upstreamName: settings.upstreamName,
      health: reasons.length === 0 ? "healthy" : "degraded",
      reasons,
      sessions,
      heldForPerson: this.#rescuer.heldCount,
      journal: journal ?? {
        kind: "memory",
        path: undefined,
        degraded: "still opening",
        bytes: 0,
        walBytes: 0,
        fsyncMs: undefined,
        commits: 0,
        rows: 0,
      },
      recovery,
      calls: {
        accepted: tally.accepted,
        answered: tally.answered,
        expired: tally.expired,
        outcomeUnknown: tally.outcomeUnknown,
        refused: tally.refused,
      },
      failures: tally.failures,
    };
  }

  #reasons(sessions: readonly SessionStatus[]): readonly string[] {
    const reasons: string[] = [];
    for (const { upstream } of sessions) {
      if (upstream.state === "serving") continue;
      const cause = upstream.lastFailure === undefined ? "" : `: ${upstream.lastFailure.message}`;
      reasons.push(`'${upstream.name}' is ${upstream.state}${cause}`);
    }
    const stats = this.#journal?.stats();
    if (stats?.degraded !== undefined)
      reasons.push(`the journal is in memory only: ${stats.degraded}`);
    const held = this.#rescuer.heldCount;
    if (held > 0) reasons.push(`${String(held)} calls of an earlier process wait for a person`);
    const back = this.#leftovers.find((l) => l.recovery.report.wentBackwards !== undefined);
    if (back !== undefined) reasons.push("the journal holds less than was once written to it");
    return reasons;
  }
}

/** Undefined for what is no JSON: a fact that an older or broken process left. */
