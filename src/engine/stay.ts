/**
 * The stay of one client: the session that it has in this process, from its handshake or its return
 * to its end, over however many connections.
 *
 * SY1. A session that its client can return to is on disk before the client hears of it.
 */
import { JournalError, RPC } from "../base/errors.ts";
import { handshakeRefusal, type SessionRow } from "../core/session.ts";
import type { SessionStatus } from "../core/status.ts";
import type { ClientLink, ClientStream } from "../ports.ts";
import { formatError, type JsonObject, type RequestMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import { Greeter } from "./greeter.ts";
import type { Line } from "./line.ts";
import type { MemberClient } from "./member.ts";
import { Outgoing } from "./outgoing.ts";
import { Requests } from "./requests.ts";
import { Returning } from "./returning.ts";
import { newSession } from "./session-start.ts";
import type { Served, StayHooks } from "./stay-hooks.ts";
import { withdrawSession } from "./withdrawal.ts";

export class Stay {
  readonly #context: EngineContext;
  readonly #hooks: StayHooks;
  readonly #greeter: Greeter;
  readonly #client: MemberClient;
  readonly outgoing: Outgoing;
  #served: Served | undefined;
  #hasLeft = false;
  #detachedAt: number | undefined;
  /** Taken up from its row: the upstream is dialled when something is asked of it. */
  #isAsleep = false;

  constructor(context: EngineContext, link: ClientLink, hooks: StayHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.outgoing = new Outgoing(context, link, () => this.#served?.member.session.id);
    this.#greeter = new Greeter(context);
    this.#client = this.#newClient();
  }

  get served(): Served | undefined {
    return this.#served;
  }

  get session(): SessionRow | undefined {
    return this.#served?.member.session;
  }

  /** Since when its connection is gone; undefined while it has one, or needs none. */
  get detachedAt(): number | undefined {
    return this.#detachedAt;
  }

  /** Its client could come back, and has shown nothing of itself for so long. */
  isAway(ms: number): boolean {
    const { session } = this;
    if (session === undefined || this.outgoing.link.key === undefined) return false;
    if (this.#context.world.now() - session.lastSeenAt < ms) return false;
    return this.outgoing.link.isOpen?.() !== true;
  }

  /** Nobody is there and nothing is under way: only the row of the session need stay. */
  isIdle(idleMs: number): boolean {
    const served = this.#served;
    if (served === undefined || !this.isAway(idleMs)) return false;
    return served.requests.size === 0 && !this.#hooks.registry.hasLive(served.member.session.id);
  }

  /** A connection that is open shows that its client is there, also where it says nothing for days. */
  showPresence(): void {
    const member = this.#served?.member;
    if (this.outgoing.link.isOpen?.() === true) member?.seen(member.session.timeoutMs / 8);
  }

  status(): SessionStatus | undefined {
    const served = this.#served;
    if (served === undefined) return undefined;
    const isHere = this.outgoing.link.isOpen?.() ?? true;
    const isAttached = isHere && !this.#hasLeft && this.#detachedAt === undefined;
    return served.member.status(served.line.status(), isAttached);
  }

  /** The client asks something: it is ready, and its upstream is wanted. */
  active(): Served | undefined {
    const served = this.#served;
    if (served === undefined) return undefined;
    // Some clients never say that they are ready; whoever asks with the answer at hand is.
    if (!this.#greeter.isWaiting) served.member.relay.clientReady();
    if (this.#isAsleep) {
      this.#isAsleep = false;
      served.line.supervisor.want();
    }
    return served;
  }

  // ── The connection ────────────────────────────────────────────────────────────────────────────

  resume(callIds: readonly string[], stream: ClientStream): Promise<readonly string[]> {
    const returning = this.#returning();
    if (returning === undefined) return Promise.resolve(callIds);
    this.#served?.member.seen();
    return returning.resume(callIds, stream);
  }

  detached(cause: string): void {
    if (this.#detachedAt !== undefined || this.#hasLeft) return;
    this.#detachedAt = this.#context.world.now();
    this.#served?.member.change({ detachedAt: this.#detachedAt });
    this.#served?.member.tell("detached", cause);
  }

  attached(): void {
    this.#detachedAt = undefined;
    this.#served?.member.change({ detachedAt: undefined });
    this.#served?.member.tell("attached", undefined);
    this.outgoing.catchUp();
    this.#returning()?.catchUp(this.outgoing.own).catch(this.#context.fatal);
  }

  /** The client is back over another link. */
  relink(link: ClientLink): void {
    this.outgoing.relink(link);
    this.#served?.line.throttle.review();
    this.attached();
  }

  /** See `ClientHandler.left`. A failure ends the process. */
  async left(cause: string): Promise<void> {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#greeter.refuse(`the server had not come up when ${cause}`);
    const served = this.#served;
    served?.member.relay.onClientLeft(served.line.supervisor.channel);
    if (served?.member.session.keyDigest === undefined) {
      this.#hooks.onLeft(cause);
      return;
    }
    const { fatal } = this.#context;
    const line = await this.#conclude(cause).catch(fatal);
    if (line !== undefined) this.#hooks.endLine(line).catch(fatal);
  }

  /** Takes up a session that an earlier connection, or process, began. */
  revive(session: SessionRow): void {
    this.#isAsleep = true;
    const { member } = this.#serve(session, this.#hooks.lineOf(session, "asleep"));
    member.relay.clientReady();
    member.change({ detachedAt: undefined });
    member.tell("attached", undefined);
  }

  /** Ends the session: what waits is withdrawn, unless it was promised to run late. */
  async end(cause: string): Promise<void> {
    const line = await this.#conclude(cause);
    if (line !== undefined) await this.#hooks.endLine(line);
  }

  /** Resolves when the end is on disk, to the line that only this session was on. */
  async #conclude(cause: string): Promise<Line | undefined> {
    const served = this.#served;
    if (served === undefined) return undefined;
    const { line, member } = served;
    member.tell("ended", cause);
    this.#letGo(served);
    const isSaved = member.trySave({ endedAt: this.#context.world.now() });
    await withdrawSession(line, cause, member.session.id);
    await isSaved;
    return line.plan.isShared ? undefined : line;
  }

  /** Ends the session by our decision: its client's connections are closed. */
  async dismiss(cause: string): Promise<void> {
    const { link } = this.outgoing;
    const served = this.#served;
    if (served !== undefined) await withdrawSession(served.line, cause, served.member.session.id);
    await this.end(cause);
    link.ended?.(cause);
  }

  /** Leaves the session to its row; a client that returns is given it back. */
  async park(): Promise<void> {
    const served = this.#served;
    if (served === undefined) return;
    served.member.tell("detached", "idle");
    this.#letGo(served);
    this.outgoing.link.ended?.("idle");
    if (!served.line.plan.isShared) await this.#hooks.endLine(served.line);
  }

  #letGo({ line, member, requests }: Served): void {
    this.#served = undefined;
    requests.detachAll();
    line.leave(member);
    this.#hooks.onEnded(this, line, member.session);
  }

  // ── The beginning ─────────────────────────────────────────────────────────────────────────────

  /** A client's `initialize`: another session begins, whatever was before. */
  begin(request: RequestMessage, params: JsonObject, stream: ClientStream): void {
    const { idText } = request;
    const answer = (text: string) => {
      this.outgoing.reply(stream, idText, text, false);
    };
    this.end("the client initialised anew").catch(this.#context.fatal);
    const refuse = (why: string) => {
      answer(formatError(idText, { code: RPC.internal, message: `Not executed: ${why}` }));
    };
    const refusal = this.#hooks.refusal() ?? handshakeRefusal(request.text.length);
    if (refusal !== undefined) {
      refuse(refusal);
      return;
    }
    const { link } = this.outgoing;
    const session = newSession(this.#context, link, params);
    const served = this.#serve(session, this.#hooks.lineOf(session, "awake"));
    const { line, member } = served;
    member.tell("began", undefined);
    const greet = () => {
      this.#greeter.greet({
        idText,
        facts: member.facts,
        line,
        send: answer,
        agreed: (protocolVersion) => {
          member.change({ protocolVersion });
        },
      });
    };
    if (link.key === undefined) {
      member.change({});
      greet();
      return;
    }
    member.save().then(() => {
      if (this.#served !== served) return;
      link.begun?.();
      greet();
    }, this.#orNotBegun(refuse));
  }

  /** A session that can't be saved is not begun: on a full disk those that there are go on. */
  #orNotBegun(refuse: (why: string) => void): (error: unknown) => void {
    return (error) => {
      if (!(error instanceof JournalError) || error.trouble !== "full") {
        this.#context.fatal(error);
        return;
      }
      refuse(error.message);
      this.end("it could not be saved").catch(this.#context.fatal);
    };
  }

  #serve(session: SessionRow, line: Line): Served {
    const member = line.join(session, this.#client);
    const { outgoing } = this;
    const { canResume } = outgoing.link;
    const parts = { ...this.#hooks, line, member, canResume, outgoing };
    const requests = new Requests(this.#context, parts);
    const served = { line, member, requests };
    this.#served = served;
    this.#hooks.onBegun(this, session.id);
    return served;
  }

  #newClient(): MemberClient {
    const greeter = this.#greeter;
    return {
      send: (text, call) => this.outgoing.unasked(text, call),
      isCongested: () => this.outgoing.isCongested,
      isOverBound: () => this.outgoing.isOverBound,
      get isWaitingForHandshake() {
        return greeter.isWaiting;
      },
      onHandshake: (reply) => {
        greeter.onUpstream(reply);
      },
      onLink: (state) => {
        greeter.onLink(state);
      },
      hold: (isHeld) => {
        this.outgoing.link.hold?.(isHeld);
      },
    };
  }

  #returning(): Returning | undefined {
    const served = this.#served;
    if (served === undefined) return undefined;
    return new Returning(this.#context, { ...served, ...this.#hooks, outgoing: this.outgoing });
  }
}
