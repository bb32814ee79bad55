/**
 * A line: one upstream connection with everything that belongs to it, for one session or, if the
 * isolation is "shared", for all sessions of a principal. A line without members finishes what a dead
 * process left behind, over a connection initialised as its client's was.
 */
import type { SessionRow } from "../core/session.ts";
import type { UpstreamStatus } from "../core/status.ts";
import { type Failure, failure } from "../core/failure.ts";
import type { JsonObject, Message, ReplyMessage } from "../wire/message.ts";
import { Cataloguer } from "./cataloguer.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Keeper } from "./keeper.ts";
import { lineStatus, tellState } from "./line-status.ts";
import type { LiveCall, Waiter } from "./live-call.ts";
import { Member, type MemberClient } from "./member.ts";
import { Members } from "./members.ts";
import { type Pause, Queue } from "./queue.ts";
import { Replayer } from "./replayer.ts";
import { Router } from "./router.ts";
import { Scribe } from "./scribe.ts";
import { Supervisor } from "./supervisor.ts";
import { Throttle } from "./throttle.ts";
import { expireWaiting } from "./withdrawal.ts";

/** What a line is for. */
export interface LinePlan {
  readonly principal: string;
  /** The params to initialise with. */
  readonly handshake: JsonObject;
  /** `handshakeVariant()` of them. */
  readonly variant: string;
  readonly isShared: boolean;
  /** The session that it is made for: what is restored while nobody has joined. */
  readonly session: SessionRow;
}

export interface LineHooks {
  onEnded(line: Line, call: LiveCall, reply: ReplyMessage | undefined): void;
  tellPending(line: Line, call: LiveCall, waiter: Waiter): void;
}

/** How often a renewal looks whether what was in flight has ended, ms. */
const RENEW_LOOK_MS = 20;

export class Line {
  readonly #context: EngineContext;
  readonly #hooks: LineHooks;
  readonly #replayer: Replayer;
  readonly #router: Router;
  readonly plan: LinePlan;
  readonly members: Members;
  readonly supervisor: Supervisor;
  readonly queue: Queue;
  readonly dispatcher: Dispatcher;
  readonly throttle: Throttle;
  readonly scribe: Scribe;
  readonly keeper: Keeper;
  readonly cataloguer: Cataloguer;
  #haveRootsChanged = false;
  #connections = 0;

  constructor(context: EngineContext, plan: LinePlan, hooks: LineHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.plan = plan;
    this.members = new Members(plan, (before, after) => {
      this.#replayer.follow(before, after);
    });
    this.cataloguer = new Cataloguer(context, plan.variant);
    const supervisor = () => this.supervisor;
    const cataloguer = () => this.cataloguer;
    const keeper = () => this.keeper;
    const queue = () => this.queue;
    this.throttle = new Throttle({
      isShared: plan.isShared,
      members: this.members,
      isPaused: () => this.queue.isPaused,
      serving: () => this.supervisor.serving?.connection,
    });
    this.queue = new Queue(context, {
      principal: plan.principal,
      supervisor,
      cataloguer,
      keeper,
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
    const { throttle } = this;
    this.dispatcher = new Dispatcher(context, { supervisor, keeper, queue, scribe, throttle });
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
    this.#router = this.#newRouter();
    this.#replayer = this.#newReplayer();
    this.supervisor = this.#newSupervisor();
  }

  join(session: SessionRow, client: MemberClient): Member {
    const member = new Member(this.#context, session, client);
    this.members.add(member);
    return member;
  }

  /** The session is over, or goes to sleep. */
  leave(member: Member): void {
    if (!this.members.remove(member)) return;
    member.relay.onClientLeft(this.supervisor.channel);
    this.throttle.review();
  }

  // ── Towards the upstream ──────────────────────────────────────────────────────────────────────

  /** Passes a notification of a client on, if there is somebody to hear it. */
  notify(text: string, isRootsChange: boolean): void {
    const channel = this.supervisor.serving;
    if (channel !== undefined) channel.send(text, { kind: "notification" });
    else if (isRootsChange) this.#haveRootsChanged = true;
  }

  /** Connects anew. What is in flight may end within `graceMs`, what waits goes over the next one. */
  async renew(graceMs: number, cause: string): Promise<void> {
    await this.settle(graceMs);
    this.supervisor.renew(failure("reset", cause));
    this.queue.resume();
  }

  /** Sends nothing more, and lets the connection go, so that what is in flight can end. */
  pause(why: Pause): void {
    this.queue.pause(why);
    this.throttle.review();
  }

  /** Sends nothing more. Resolves when what is in flight has ended, or `graceMs` are over. */
  async settle(graceMs: number): Promise<void> {
    const { world } = this.#context;
    this.pause("a renewal");
    const endAt = world.now() + graceMs;
    while (this.dispatcher.awaited > 0 && world.now() < endAt) {
      await new Promise<void>((resolve) => world.timer(RENEW_LOOK_MS, resolve));
    }
  }

  /** `isLeft`: calls in flight whose end is the next process's business. */
  async stop(graceMs: number, isLeft?: (call: LiveCall) => boolean): Promise<void> {
    this.pause("the end");
    // Nothing comes over this connection any more; what is in flight must not stay open for ever.
    const told = this.dispatcher.abandon("the connection was ended", isLeft);
    await Promise.all([told, this.supervisor.stop(graceMs)]);
  }

  status(): UpstreamStatus {
    return lineStatus(this.#context, this, this.#connections);
  }

  #newRouter(): Router {
    return new Router(this.#context, {
      members: () => this.members.all(),
      member: (sessionId) => this.members.get(sessionId),
      isShared: this.plan.isShared,
      callOf: (id) => this.dispatcher.callOf(id),
      onlyCall: () =>
        this.supervisor.connector.kind === "http" ? undefined : this.dispatcher.onlyCall,
      onListChanged: () => {
        this.#relist();
      },
    });
  }

  #newReplayer(): Replayer {
    return new Replayer(this.#context, {
      cataloguer: this.cataloguer,
      handshake: this.plan.handshake,
      wishes: () => this.members.wishes(),
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
        this.members.onHandshake(reply);
      },
      announce: (text) => {
        this.members.tellAll(text);
      },
      announceResource: (uri, text) => {
        this.members.tellSubscribers(uri, text);
      },
    });
  }

  #newSupervisor(): Supervisor {
    return new Supervisor(this.#context, {
      prepare: (channel, isResumed) => this.#prepare(channel, isResumed),
      onServing: (channel) => {
        this.#onServing(channel);
      },
      onMessage: (message, relatedId, channel) => {
        this.#onMessage(message, relatedId, channel);
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
      onLink: (link, was) => {
        this.keeper.review();
        this.members.onLink(link.state);
        tellState(this.#context, this.plan, link.state, was, link.failure);
      },
      hasCaller: () => this.queue.size > 0 || this.members.hasEarlyCaller,
      isBusy: () => this.dispatcher.inFlight > 0 || this.throttle.isHeld,
    });
  }

  // ── Events of the connection ──────────────────────────────────────────────────────────────────

  async #prepare(channel: Channel, isResumed: boolean): Promise<Failure | undefined> {
    if (!isResumed && this.#connections > 0 && this.#context.settings.isStateful) {
      const cause = "the server keeps state per session, and that session is gone";
      await expireWaiting(this.#context, this, cause);
    }
    return this.#replayer.restore(channel, isResumed);
  }

  #onServing(channel: Channel): void {
    this.#connections++;
    this.queue.restart();
    this.throttle.review();
    this.#replayer.afterwards(channel).catch(this.#context.fatal);
  }

  #onMessage(message: Message, relatedId: string | undefined, channel: Channel): void {
    switch (message.kind) {
      case "reply":
        if (!this.dispatcher.onReply(message)) {
          this.#context.log("debug", "a reply to nothing that is waited for was dropped", {
            id: String(message.id),
          });
        }
        return;
      case "request":
        this.#router.onRequest(message, relatedId, channel);
        return;
      case "notification":
        this.#router.onNotification(message, relatedId, channel);
    }
  }

  #onDown(cause: Failure, resumable: ReadonlySet<string>): void {
    this.dispatcher.onDown(cause, resumable);
    this.members.onUpstreamDown();
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
