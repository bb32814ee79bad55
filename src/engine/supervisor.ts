/**
 * Keeps one upstream connection: dials, prepares the session on it, watches it, and dials again, for
 * ever. What is decided is in `core/connection.ts`; here are the sockets and timers.
 *
 * U1. One link value, changed by `#apply` alone; one log line per change of state.
 * U2. Events of a channel that is not the current one are dropped (late callbacks check identity).
 * U3. Every dial ends: connected, failed, or aborted by `stop`.
 */
import { type Failure, failure } from "../core/failure.ts";
import {
  freshLink,
  isAway,
  isReplyNews,
  type Link,
  type LinkEvent,
  nextDialAt,
  step,
} from "../core/connection.ts";
import { restoreLink, type SavedLink } from "../core/saved-link.ts";
import type { Outcome } from "../core/verdict.ts";
import type { Connector, ResumeTicket } from "../ports.ts";
import type { Message } from "../wire/message.ts";
import { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import { logState, saveLinkRecord } from "./link-record.ts";
import { Liveness } from "./liveness.ts";

export interface SupervisorHooks {
  /** Makes a fresh connection usable: handshake and restored state. Resolves to what went wrong. */
  prepare(channel: Channel, isResumed: boolean): Promise<Failure | undefined>;
  onServing(channel: Channel): void;
  onMessage(message: Message, relatedId: string | undefined, channel: Channel): void;
  onOutcome(id: string, outcome: Exclude<Outcome, { kind: "replied" }>): void;
  /** The connection is gone. Requests not in `resumable` are lost. */
  onDown(cause: Failure, resumable: ReadonlySet<string>): void;
  /** The session of an earlier connection could not be taken up again: what was resumable is lost. */
  onUnresumed(cause: Failure): void;
  onLink(link: Link, was: Link["state"]): void;
  hasCaller(): boolean;
  /** Requests in flight: a busy line is not judged by pings. */
  isBusy(): boolean;
}

export class Supervisor {
  readonly #context: EngineContext;
  readonly #hooks: SupervisorHooks;
  #connector: Connector;
  readonly #liveness: Liveness;
  readonly #nonce: string;
  #dials = 0;
  #link: Link;
  #channel: Channel | undefined;
  #resume: { readonly ticket: ResumeTicket; readonly channel: Channel } | undefined;
  #stopTimer: (() => void) | undefined;
  #abort: AbortController | undefined;
  #closing: Promise<void> | undefined;
  lastReplyAt: number | undefined;

  constructor(context: EngineContext, hooks: SupervisorHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.#connector = context.newConnector();
    this.#nonce = context.world.newId("e").slice(-8);
    this.#link = freshLink(context.world.now());
    this.#liveness = new Liveness(context, {
      ping: () => this.#channel?.ask((id) => context.dialect.ping(id), "request", 5_000),
      list: () =>
        this.#channel?.ask(
          (id) => context.dialect.listPage(id, "tools", undefined),
          "request",
          5_000,
        ),
      isStdio: () => this.#connector.kind === "stdio",
      isBusy: () => hooks.isBusy(),
      onDead: (cause) => {
        this.#down(cause, undefined);
      },
    });
  }

  get link(): Link {
    return this.#link;
  }

  get connector(): Connector {
    return this.#connector;
  }

  /** The channel over which calls may go now. */
  get serving(): Channel | undefined {
    const isServing = this.#link.state === "serving" && this.#channel?.isOver !== true;
    return isServing ? this.#channel : undefined;
  }

  /** The channel of the connection there is, serving or not yet. */
  get channel(): Channel | undefined {
    return this.#channel;
  }

  /** Until when the server asked us to send nothing. */
  get gatedUntil(): number {
    return this.#link.gatedUntil ?? 0;
  }

  /** From now on there should be a connection. `from`: where an earlier process left off. */
  want(from?: SavedLink): void {
    if (from !== undefined && this.#link.state === "idle") {
      this.#link = restoreLink(from, this.#context.world.now());
    }
    this.#apply({ kind: "want" });
    this.#plan(); // A restored cool-down is no change, but it has an end.
  }

  /** A caller waits: the next attempt may come sooner. */
  use(): void {
    if (isAway(this.#link.state)) this.#apply({ kind: "use" });
  }

  /**
   * Another connection, now: the one there is goes, an attempt under way is given up, and what held
   * attempts back is forgotten.
   */
  renew(cause: Failure): void {
    const channel = this.#channel;
    if (channel?.connection !== undefined) this.#down(cause, undefined);
    else if (channel !== undefined) {
      this.#abort?.abort();
      this.#channel = undefined;
    }
    // The configuration may say something else by now.
    this.#connector = this.#context.newConnector();
    this.#apply({ kind: "renew" });
  }

  /** The machine slept or its clock stepped: what is open is suspect, what waits may go at once. */
  wake(): void {
    this.#apply({ kind: "wake" });
    if (this.#link.state === "serving") this.#liveness.suspect();
  }

  /** One request failed at the transport though the link stands. */
  strike(): void {
    this.#apply({ kind: "strike" });
    this.#liveness.suspect();
  }

  gate(untilAt: number): void {
    this.#apply({ kind: "gate", untilAt });
  }

  /** Ends the connection, politely first. Resolves when nothing of it is left. */
  async stop(graceMs: number): Promise<void> {
    this.#stopTimer?.();
    this.#liveness.stop();
    this.#apply({ kind: "drain" });
    this.#abort?.abort();
    const connection = this.#channel?.connection;
    this.#channel?.close(failure("reset", "Holdfast is shutting down"));
    this.#channel = undefined;
    await Promise.all([connection?.close(graceMs), this.#closing]);
    this.#apply({ kind: "stop" });
  }

  #apply(event: LinkEvent): void {
    const before = this.#link;
    const { world } = this.#context;
    const now = world.now();
    this.#link = step(before, event, {
      now,
      random: world.random(),
      transport: this.#connector.kind,
    });
    if (this.#link === before) return;
    if (this.#link.state !== before.state) logState(this.#context, before, this.#link);
    this.#hooks.onLink(this.#link, before.state);
    this.#plan();
  }

  /** Keeps exactly one timer, for the next attempt. */
  #plan(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    const { state } = this.#link;
    if (state !== "idle" && !isAway(state)) return;
    const at = nextDialAt(this.#link, this.#hooks.hasCaller(), this.#connector.kind);
    if (at === undefined) return;
    const delay = Math.max(0, at - this.#context.world.now());
    this.#stopTimer = this.#context.world.timer(delay, () => {
      this.#dial().catch(this.#context.fatal);
    });
  }

  /** Callers came or went: the cap on cool-downs may have changed. */
  replan(): void {
    if (isAway(this.#link.state)) this.#plan();
  }

  async #dial(): Promise<void> {
    const channel = new Channel(this.#context.world, `${this.#nonce}${String(++this.#dials)}`);
    this.#channel = channel;
    this.#abort = new AbortController();
    this.#apply({ kind: "dial" });
    await this.#closing;
    const resume = this.#resume;
    const outcome = await this.#connector.dial(
      this.#events(channel),
      resume?.ticket,
      this.#abort.signal,
    );
    if (this.#channel !== channel) {
      if (outcome.kind === "connected") await outcome.connection.close(0);
      return;
    }
    if (outcome.kind === "failed") {
      this.#channel = undefined;
      this.#failed(outcome.failure);
      return;
    }
    this.#resume = undefined;
    channel.open(outcome.connection, outcome.isResumed ? resume?.channel : undefined);
    if (!outcome.isResumed && resume !== undefined) {
      this.#hooks.onUnresumed(failure("session_lost", "the session ended with the connection"));
    }
    const early = channel.earlyEnd;
    if (early !== undefined) {
      this.#down(early.cause, early.ticket);
      return;
    }
    this.#apply({ kind: "dialled" });
    await this.#prepare(channel, outcome.isResumed);
  }

  async #prepare(channel: Channel, isResumed: boolean): Promise<void> {
    const trouble = await this.#hooks.prepare(channel, isResumed);
    if (this.#channel !== channel) return; // It went down meanwhile, and that was handled.
    if (trouble !== undefined) {
      this.#down(trouble, undefined);
      return;
    }
    this.#apply({ kind: "serve" });
    saveLinkRecord(this.#context, this.#link);
    this.#liveness.start();
    this.#hooks.onServing(channel);
  }

  #events(channel: Channel) {
    const isCurrent = () => this.#channel === channel;
    return {
      onMessage: (message: Message, relatedId: string | undefined) => {
        if (!isCurrent()) return;
        this.#liveness.sawLife();
        if (message.kind === "reply") {
          this.lastReplyAt = this.#context.world.now();
          if (isReplyNews(this.#link, this.lastReplyAt)) this.#apply({ kind: "reply" });
          if (channel.answered(message)) return;
        }
        this.#hooks.onMessage(message, relatedId, channel);
      },
      onOutcome: (id: string, outcome: Exclude<Outcome, { kind: "replied" }>) => {
        if (isCurrent() && !channel.lost(id, outcome.failure)) this.#hooks.onOutcome(id, outcome);
      },
      onDown: (cause: Failure, ticket: ResumeTicket | undefined) => {
        if (!isCurrent()) return;
        if (channel.connection === undefined) channel.earlyEnd = { cause, ticket };
        else this.#down(cause, ticket);
      },
      onNoise: (what: string) => {
        this.#context.log("debug", "not a message from the upstream", { what });
      },
    };
  }

  /** The current connection ended, by its own report or by our judgement. */
  #down(cause: Failure, ticket: ResumeTicket | undefined): void {
    const channel = this.#channel;
    if (channel?.connection === undefined) return;
    this.#channel = undefined;
    this.#liveness.stop();
    this.#resume = ticket === undefined ? undefined : { ticket, channel };
    channel.close(cause);
    this.#close(channel);
    // The link first, so that whoever looks during `onDown` sees why.
    this.#failed(cause);
    this.#hooks.onDown(cause, new Set(ticket?.requestIds));
  }

  /** A dead connection's remains are cleared away before the next dial starts. */
  #close(channel: Channel): void {
    const closing = (channel.connection?.close(2_000) ?? Promise.resolve()).finally(() => {
      if (this.#closing === closing) this.#closing = undefined;
    });
    this.#closing = closing;
  }

  #failed(cause: Failure): void {
    this.#context.tally.failed(cause.kind);
    this.#apply({ kind: "fail", failure: cause });
    saveLinkRecord(this.#context, this.#link);
  }
}
