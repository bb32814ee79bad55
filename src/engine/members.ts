/**
 * The sessions on one line, and what they want of the upstream together.
 *
 * MB1. On a shared line the upstream has the most verbose log level that anybody asked for and each
 *     subscription as long as somebody wants it: references are counted by looking at all sessions.
 */
import type { SessionRow } from "../core/session.ts";
import { sharedLogLevel, sharedSubscriptions } from "../core/sharing.ts";
import type { UpstreamState } from "../core/status.ts";
import type { StateChange } from "../wire/dialect/dialect.ts";
import type { ReplyMessage } from "../wire/message.ts";
import type { Member } from "./member.ts";
import type { Wishes } from "./replayer.ts";

export interface MembersPlan {
  readonly isShared: boolean;
  /** What is restored while nobody has joined. */
  readonly session: SessionRow;
}

export class Members {
  readonly #plan: MembersPlan;
  /** They want something else now: the upstream is told, unless a client's own request does it. */
  readonly #follow: (before: Wishes, after: Wishes) => void;
  readonly #byId = new Map<string, Member>();

  constructor(plan: MembersPlan, follow: (before: Wishes, after: Wishes) => void) {
    this.#plan = plan;
    this.#follow = follow;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(sessionId: string): Member | undefined {
    return this.#byId.get(sessionId);
  }

  all(): Iterable<Member> {
    return this.#byId.values();
  }

  add(member: Member): void {
    this.#byId.set(member.session.id, member);
  }

  /** What was kept at the upstream for it alone is undone; false if it was no member. */
  remove(member: Member): boolean {
    if (this.#byId.get(member.session.id) !== member) return false;
    const before = this.wishes();
    this.#byId.delete(member.session.id);
    if (this.#plan.isShared) this.#follow(before, this.wishes());
    return true;
  }

  /**
   * The member's client sets what the upstream keeps about it. True if its own request must tell the
   * upstream; false where the upstream knows already, or is told by us, so that we may answer.
   */
  remember(member: Member, state: StateChange): boolean {
    const before = this.wishes();
    member.remember(state);
    if (!this.#plan.isShared) return true;
    const after = this.wishes();
    switch (state.kind) {
      case "subscribe":
        return !before.subscriptions.includes(state.uri);
      case "unsubscribe":
        return before.subscriptions.includes(state.uri) && !after.subscriptions.includes(state.uri);
      case "log_level":
        if (after.logLevel === state.level) return before.logLevel !== state.level;
        this.#follow(before, after);
        return false;
    }
  }

  /**
   * A client's own request has set this at the upstream. It may have waited while others changed what
   * they want: then the upstream is told what they want together.
   */
  told(state: StateChange): void {
    if (!this.#plan.isShared) return;
    const wishes = this.wishes();
    const others = wishes.subscriptions.filter((uri) => !("uri" in state) || uri !== state.uri);
    switch (state.kind) {
      case "subscribe":
        this.#follow({ ...wishes, subscriptions: [...others, state.uri] }, wishes);
        return;
      case "unsubscribe":
        this.#follow({ ...wishes, subscriptions: others }, wishes);
        return;
      case "log_level":
        this.#follow({ ...wishes, logLevel: state.level }, wishes);
    }
  }

  wishes(): Wishes {
    const sessions =
      this.#byId.size === 0
        ? [this.#plan.session]
        : [...this.#byId.values()].map(({ session }) => session);
    return { logLevel: sharedLogLevel(sessions), subscriptions: sharedSubscriptions(sessions) };
  }

  /** One of them waits for the answer to its `initialize`. */
  get hasEarlyCaller(): boolean {
    for (const { client } of this.#byId.values()) if (client.isWaitingForHandshake) return true;
    return false;
  }

  /** One of their clients leaves more unread than its link's bound. */
  get isCongested(): boolean {
    for (const { client } of this.#byId.values()) if (client.isOverBound()) return true;
    return false;
  }

  onHandshake(reply: ReplyMessage): void {
    for (const { client } of this.#byId.values()) client.onHandshake(reply);
  }

  onLink(state: UpstreamState): void {
    for (const { client } of this.#byId.values()) client.onLink(state);
  }

  onUpstreamDown(): void {
    for (const { relay } of this.#byId.values()) relay.onUpstreamDown();
  }

  tellAll(text: string): void {
    for (const { relay } of this.#byId.values()) relay.toClient(text);
  }

  tellSubscribers(uri: string, text: string): void {
    for (const { relay, session } of this.#byId.values()) {
      if (session.subscriptions.includes(uri)) relay.toClient(text);
    }
  }
}
