/**
 * Where the things go that an upstream says unasked: to the session in whose course it says them, to
 * all whom they concern, or back with a refusal.
 *
 * RO1. What belongs to a call goes to that call's session alone, on the stream of its request.
 * RO2. A request that can't be told to belong to one session is refused in words, never shown to
 *     several or to the wrong one.
 */
import { wantsLog } from "../core/sharing.ts";
import {
  formatResult,
  type NotificationMessage,
  type RequestMessage,
  withMember,
} from "../wire/message.ts";
import { methodOf } from "../wire/methods.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";
import type { Member } from "./member.ts";
import { NOBODY, refusal } from "./relay.ts";

export interface RouterHooks {
  members(): Iterable<Member>;
  member(sessionId: string): Member | undefined;
  readonly isShared: boolean;
  callOf(upstreamId: string): LiveCall | undefined;
  /** The one call that is in flight, where the transport does not say what belongs to what. */
  onlyCall(): LiveCall | undefined;
  /** The upstream says that lists have changed. */
  onListChanged(): void;
}

const AMBIGUOUS =
  "this connection is shared by several clients, and it can't be told which of them is asked " +
  '(setting "isolation": "session" gives each its own connection)';

export class Router {
  readonly #context: EngineContext;
  readonly #hooks: RouterHooks;

  constructor(context: EngineContext, hooks: RouterHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  /** `relatedId`: the id of the request on whose stream it came, where the transport tells. */
  onRequest(message: RequestMessage, relatedId: string | undefined, channel: Channel): void {
    if (methodOf(message.method).role === "ping") {
      channel.send(formatResult(message.idText, {}), { kind: "reply" });
      return;
    }
    const call = this.#related(relatedId);
    const member = this.#memberFor(call);
    if (member !== undefined) {
      member.relay.onRequest(message, channel, call);
      return;
    }
    const why = this.#hooks.isShared ? AMBIGUOUS : NOBODY;
    channel.send(refusal(message.method, message.idText, why), { kind: "reply" });
  }

  onNotification(
    message: NotificationMessage,
    relatedId: string | undefined,
    channel: Channel,
  ): void {
    const intent = this.#context.dialect.readUpstream(message);
    switch (intent.kind) {
      case "progress":
        this.#onProgress(message, intent.token);
        return;
      case "cancel":
        if (intent.idText === undefined) return;
        for (const { relay } of this.#hooks.members()) {
          if (relay.onCancel(message.text, intent.idText, channel)) return;
        }
        return;
      case "list_changed":
        this.#hooks.onListChanged();
        for (const { relay } of this.#hooks.members()) relay.toClient(message.text);
        return;
      case "resource_updated":
        this.#tellAll(message.text, ({ session }) => session.subscriptions.includes(intent.uri));
        return;
      case "log":
        this.#tell(message.text, relatedId, ({ session }) => wantsLog(session, intent.level));
        return;
      case "notification":
        this.#tell(message.text, relatedId, () => true);
    }
  }

  #tell(text: string, relatedId: string | undefined, concerns: (member: Member) => boolean): void {
    const call = this.#related(relatedId);
    if (call === undefined && (relatedId === undefined || !this.#hooks.isShared)) {
      this.#tellAll(text, concerns);
      return;
    }
    // Invariant RO1: where its session is gone, nobody else gets it.
    const member = this.#memberFor(call);
    if (member !== undefined) this.#tellOne(member, text, call, concerns);
  }

  /** What is unasked and of no call goes to everybody on the line whom it concerns. */
  #tellAll(text: string, concerns: (member: Member) => boolean): void {
    for (const member of this.#hooks.members()) this.#tellOne(member, text, undefined, concerns);
  }

  #tellOne(
    member: Member,
    text: string,
    call: LiveCall | undefined,
    concerns: (member: Member) => boolean,
  ): void {
    // A server's own client is told everything, as on a direct connection.
    if (this.#hooks.isShared && !concerns(member)) return;
    // Bounded (promise P7): what a client that does not read would only pile up goes first.
    if (!member.client.isCongested()) member.relay.toClient(text, call);
  }

  #related(relatedId: string | undefined): LiveCall | undefined {
    return relatedId === undefined ? this.#hooks.onlyCall() : this.#hooks.callOf(relatedId);
  }

  #memberFor(call: LiveCall | undefined): Member | undefined {
    if (call !== undefined) {
      for (const { sessionId } of call.waiters) {
        const member = this.#hooks.member(sessionId);
        if (member !== undefined) return member;
      }
      // Its caller took it back, or a dead process left it: it is still that session's.
      const own = this.#hooks.member(call.row.sessionId);
      if (own !== undefined) return own;
    }
    if (this.#hooks.isShared) return undefined;
    for (const member of this.#hooks.members()) return member;
    return undefined;
  }

  /** Progress of a call, under the caller's token; values only ever increase (MCP, Progress). */
  #onProgress(message: NotificationMessage, token: string | number | undefined): void {
    const call = typeof token === "string" ? this.#hooks.callOf(token) : undefined;
    if (call === undefined) return;
    const value = message.params?.["progress"];
    for (const waiter of call.waiters) {
      if (waiter.tokenText === undefined) continue;
      let text = withMember(message.text, ["params", "progressToken"], waiter.tokenText);
      if (typeof value === "number" && value > waiter.progress) {
        waiter.progress = value;
      } else if (waiter.progress > 0) {
        // Our own ticks came first: a value that would not increase is lifted just above them.
        waiter.progress += 0.000_001;
        text = withMember(text, ["params", "progress"], String(waiter.progress));
      }
      waiter.notify(text);
    }
  }
}
