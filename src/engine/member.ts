/**
 * One session on a line: what its client told us, the way to it, and what has to be restored for it.
 * A line of isolation "session" has one member for its life; a shared one has many.
 */
import { clientFacts, type ClientFacts, type SessionRow } from "../core/session.ts";
import type { SessionStatus, UpstreamState, UpstreamStatus } from "../core/status.ts";
import type { StateChange } from "../wire/dialect/dialect.ts";
import type { JsonObject, ReplyMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import type { IntakeSource } from "./intake.ts";
import { Relay, type ToClient } from "./relay.ts";

/** The way to a client, as a line sees it. */
export interface MemberClient {
  readonly send: ToClient;
  /** The client does not read: its notifications are dropped rather than kept without bound. */
  isCongested(): boolean;
  /** The client leaves more unread than its link's bound: the server has to wait. */
  isOverBound(): boolean;
  /** Its `initialize` is not answered yet. */
  readonly isWaitingForHandshake: boolean;
  /** The upstream's answer to the handshake, also where it is an error. */
  onHandshake(reply: ReplyMessage): void;
  onLink(state: UpstreamState): void;
  /** Nothing more is read from the client, or it is read from again. */
  hold(isHeld: boolean): void;
}

/** So often at most `lastSeenAt` is written for a client that says something. */
const SEEN_EVERY_MS = 30_000;

export class Member {
  readonly #context: EngineContext;
  readonly client: MemberClient;
  readonly facts: ClientFacts;
  readonly relay: Relay;
  /** What it has sent and the journal does not have yet. */
  readonly intake: IntakeSource;
  #session: SessionRow;

  constructor(context: EngineContext, session: SessionRow, client: MemberClient) {
    this.#context = context;
    this.#session = session;
    this.client = client;
    this.facts = clientFacts(JSON.parse(session.handshake) as JsonObject);
    this.relay = new Relay(context, client.send);
    this.intake = context.bounds.intake.source((isHeld) => {
      client.hold(isHeld);
    });
  }

  get session(): SessionRow {
    return this.#session;
  }

  /** Remembers what must be restored at the upstream after a reconnect. */
  remember(state: StateChange): void {
    const { subscriptions } = this.#session;
    switch (state.kind) {
      case "log_level":
        this.change({ logLevel: state.level });
        return;
      case "subscribe":
        if (!subscriptions.includes(state.uri))
          this.change({ subscriptions: [...subscriptions, state.uri] });
        return;
      case "unsubscribe":
        this.change({ subscriptions: subscriptions.filter((uri) => uri !== state.uri) });
    }
  }

  /** The upstream was not told: as it was in `before`, unless the client has set something else since. */
  takeBack(state: StateChange, before: SessionRow): void {
    const { logLevel, subscriptions } = this.#session;
    if (state.kind === "log_level") {
      if (logLevel === state.level) this.change({ logLevel: before.logLevel });
    } else if (state.kind === "subscribe" && !before.subscriptions.includes(state.uri)) {
      this.change({ subscriptions: subscriptions.filter((uri) => uri !== state.uri) });
    }
  }

  /** The client showed that it is there; written not more often than every `everyMs`. */
  seen(everyMs = SEEN_EVERY_MS): void {
    const now = this.#context.world.now();
    if (now - this.#session.lastSeenAt >= everyMs) this.change({});
  }

  status(upstream: UpstreamStatus, isAttached: boolean): SessionStatus {
    const { id, principal, transport, protocolVersion, createdAt, lastSeenAt } = this.#session;
    const client = `${this.facts.name} ${this.facts.version}`.trim();
    const about = { id, client, principal, transport, protocolVersion, createdAt, lastSeenAt };
    return { ...about, isAttached, upstream };
  }

  /** Tells followers what became of the session. */
  tell(what: "began" | "detached" | "attached" | "ended", cause: string | undefined): void {
    const { feed, world, settings } = this.#context;
    feed.tell(() => ({
      kind: "session",
      at: world.now(),
      upstream: settings.upstreamName,
      sessionId: this.#session.id,
      client: this.facts.name,
      what,
      cause,
    }));
  }

  /** Changes the row and posts it. */
  change(what: Partial<SessionRow>): void {
    void this.trySave(what);
  }

  /**
   * Resolves when the changed row is on disk, or could not be brought there: that is the journal's to
   * report with the next call.
   */
  trySave(what: Partial<SessionRow>): Promise<void> {
    return this.save(what).catch((error: unknown) => {
      this.#context.log("warn", "could not save the session", { error: String(error) });
    });
  }

  /** Resolves when the row is on disk. Rejects with `JournalError`. */
  async save(what: Partial<SessionRow> = {}): Promise<void> {
    this.#session = { ...this.#session, ...what, lastSeenAt: this.#context.world.now() };
    const row = this.#session;
    const journal = await this.#context.sessionJournal();
    await journal.saveSession(row);
  }
}
