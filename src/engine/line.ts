/**
 * A line: one upstream connection for one session, with everything that belongs to it. Lines without a
 * client finish what a dead process left behind, over a connection initialised as its client's was.
 */
import { handshakeVariant, type SessionRow } from "../core/session.ts";
import type { UpstreamState, UpstreamStatus } from "../core/status.ts";
import type { Failure } from "../core/failure.ts";
import type { JsonObject, Message, ReplyMessage } from "../wire/message.ts";
import type { StateChange } from "../wire/dialect/dialect.ts";
import { Cataloguer } from "./cataloguer.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Keeper } from "./keeper.ts";
import { lineStatus } from "./line-status.ts";
import type { LiveCall, Waiter } from "./live-call.ts";
import { Queue } from "./queue.ts";
import { Relay } from "./relay.ts";
import { Replayer } from "./replayer.ts";
import { Scribe } from "./scribe.ts";
import { Supervisor } from "./supervisor.ts";
import { expireWaiting } from "./withdrawal.ts";

export interface LineClient {
  readonly name: string;
  send(text: string): void;
  isCongested(): boolean;
}

export interface LineHooks {
  /** The upstream's first answer to the handshake, or what it failed with so far. */
  onHandshake(reply: ReplyMessage): void;
  onLink(state: UpstreamState): void;
  /** `initialize` itself waits for this line. */
  hasEarlyCaller(): boolean;
  onEnded(line: Line, call: LiveCall, reply: ReplyMessage | undefined): void;
  tellPending(line: Line, call: LiveCall, waiter: Waiter): void;
}

export class Line {
  readonly #context: EngineContext;
  readonly #hooks: LineHooks;
  readonly #client: LineClient | undefined;
  readonly #replayer: Replayer;
  readonly supervisor: Supervisor;
  readonly queue: Queue;
  readonly dispatcher: Dispatcher;
  readonly scribe: Scribe;
  readonly keeper: Keeper;
  readonly cataloguer: Cataloguer;
  readonly relay: Relay;
  readonly handshake: JsonObject;
  /** `handshakeVariant()` of the session. */
  readonly variant: string;
  #session: SessionRow;
  #haveRootsChanged = false;
  #connections = 0;

  constructor(
    context: EngineContext,
    session: SessionRow,
    client: LineClient | undefined,
    hooks: LineHooks,
  ) {
    this.#context = context;
    this.#hooks = hooks;
    this.#client = client;
    this.#session = session;
    this.handshake = JSON.parse(session.handshake) as JsonObject;
    this.variant = handshakeVariant(this.handshake);
    this.cataloguer = new Cataloguer(context, this.variant);
    const supervisor = () => this.supervisor;
    const cataloguer = () => this.cataloguer;
    const keeper = () => this.keeper;
    const queue = () => this.queue;
    this.relay = new Relay(context, {
      send:
        client === undefined
          ? undefined
          : (text) => {
              client.send(text);
            },
      isCongested: () => client?.isCongested() === true,
      callOf: (id) => this.dispatcher.callOf(id),
      onListChanged: () => {
        this.#relist();
      },
    });
    this.queue = new Queue(context, {
      supervisor,
      cataloguer,
      keeper,
      clientName: client?.name,
      go: (call, channel) => {
        this.dispatcher.dispatch(call, channel);
      },
      stop: (call, how) => {
        this.dispatcher.stop(call, how).catch(context.fatal);
      },
    });
    this.scribe = new Scribe(context, {
      keeper,
      queue,
      ended: (call, reply) => {
        this.#onEnded(call, reply);
      },
    });
    const scribe = () => this.scribe;
    this.dispatcher = new Dispatcher(context, { supervisor, keeper, queue, scribe });
    this.keeper = new Keeper(context, {
      supervisor,
      cataloguer,
      position: (call) => this.queue.position(call),
      deferred: (call) => {
        this.queue.moveToLate(call);
      },
      ended: (call) => {
        this.scribe.end(call, undefined);
      },
      tellPending: (call, waiter) => {
        hooks.tellPending(this, call, waiter);
      },
    });
    this.#replayer = this.#newReplayer();
    this.supervisor = this.#newSupervisor();
  }

  get session(): SessionRow {
    return this.#session;
  }

  get hasClient(): boolean {
    return this.#client !== undefined;
  }

  /** Remembers what must be restored at the upstream after a reconnect. */
  remember(state: StateChange): void {
    const { subscriptions } = this.#session;
    switch (state.kind) {
      case "log_level":
        this.#session = { ...this.#session, logLevel: state.level };
        break;
      case "subscribe":
        if (subscriptions.includes(state.uri)) return;
        this.#session = { ...this.#session, subscriptions: [...subscriptions, state.uri] };
        break;
      case "unsubscribe":
        this.#session = {
          ...this.#session,
          subscriptions: subscriptions.filter((uri) => uri !== state.uri),
        };
    }
    this.save();
  }

  /** Posts the session's row; a failure is the journal's to report with the next call. */
  save(): void {
    const row = { ...this.#session, lastSeenAt: this.#context.world.now() };
    this.#context
      .journal()
      .then((journal) => journal.saveSession(row))
      .catch((error: unknown) => {
        this.#context.log("warn", "could not save the session", { error: String(error) });
      });
  }

  /** Passes a notification of the client on, if there is somebody to hear it. */
  notify(text: string, isRootsChange: boolean): void {
    const channel = this.supervisor.serving;
    if (channel !== undefined) channel.send(text, { kind: "notification" });
    else if (isRootsChange) this.#haveRootsChanged = true;
  }

  onClientReply(reply: ReplyMessage): boolean {
    // Servers ask (for roots) before the connection serves calls, and may wait for the answer.
    return this.relay.onClientReply(reply, this.supervisor.channel);
  }

  async stop(graceMs: number): Promise<void> {
    this.queue.pause();
    // Nothing comes over this connection any more; what is in flight must not stay open for ever.
    const told = this.dispatcher.abandon("the connection was ended");
    await Promise.all([told, this.supervisor.stop(graceMs)]);
  }

  status(): UpstreamStatus {
    return lineStatus(this.#context, this, this.#connections);
  }

  #newReplayer(): Replayer {
    return new Replayer(this.#context, {
      cataloguer: this.cataloguer,
      handshake: this.handshake,
      logLevel: () => this.#session.logLevel,
      subscriptions: () => this.#session.subscriptions,
      takeRootsChanged: () => {
        const have = this.#haveRootsChanged;
        this.#haveRootsChanged = false;
        return have;
      },
      hasBacklog: () => this.queue.size > 0,
      isToolMissing: () =>
        this.cataloguer.knowsTools &&
        this.queue
          .calls()
          .some(({ row }) => row.tool !== undefined && !this.cataloguer.tool(row.tool).isKnown),
      onHandshake: (reply) => {
        this.#hooks.onHandshake(reply);
      },
      announce: (text) => {
        this.relay.toClient(text);
      },
    });
  }

  #newSupervisor(): Supervisor {
    return new Supervisor(this.#context, {
      prepare: (channel, isResumed) => this.#prepare(channel, isResumed),
      onServing: (channel) => {
        this.#onServing(channel);
      },
      onMessage: (message, _relatedId, channel) => {
        this.#onMessage(message, channel);
      },
      onOutcome: (id, outcome) => {
        this.dispatcher.onOutcome(id, outcome);
      },
      onDown: (cause, resumable) => {
        this.#onDown(cause, resumable);
      },
      onUnresumed: (cause) => {
        this.dispatcher.onDown(cause, new Set());
      },
      onLink: (link) => {
        this.keeper.review();
        this.#hooks.onLink(link.state);
      },
      hasCaller: () => this.queue.size > 0 || this.#hooks.hasEarlyCaller(),
      isBusy: () => this.dispatcher.inFlight > 0,
    });
  }

  async #prepare(channel: Channel, isResumed: boolean): Promise<Failure | undefined> {
    if (!isResumed && this.#connections > 0 && this.#context.settings.isStateful) {
      await expireWaiting(
        this.#context,
        this,
        "the server keeps state per session, and that session is gone",
      );
    }
    return this.#replayer.restore(channel, isResumed);
  }

  #onServing(channel: Channel): void {
    this.#connections++;
    this.queue.restart();
    this.#replayer.afterwards(channel).catch(this.#context.fatal);
  }

  #onMessage(message: Message, channel: Channel): void {
    switch (message.kind) {
      case "reply":
        if (!this.dispatcher.onReply(message)) {
          this.#context.log("debug", "a reply to nothing that is waited for was dropped", {
            id: String(message.id),
          });
        }
        return;
      case "request":
        this.relay.onRequest(message, channel);
        return;
      case "notification":
        this.relay.onNotification(message, channel);
    }
  }

  #onDown(cause: Failure, resumable: ReadonlySet<string>): void {
    this.dispatcher.onDown(cause, resumable);
    this.relay.onUpstreamDown();
  }

  #onEnded(call: LiveCall, reply: ReplyMessage | undefined): void {
    this.#hooks.onEnded(this, call, reply);
    this.supervisor.replan();
  }

  #relist(): void {
    const channel = this.supervisor.serving;
    if (channel === undefined) return;
    this.#replayer.relist(channel).catch(this.#context.fatal);
  }
}
