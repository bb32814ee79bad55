/**
 * Makes a fresh connection carry the session it replaces (docs/SPEC.md, "After a reconnect"): the
 * client's own handshake, its log level, its subscriptions, the lists compared.
 *
 * Y1. Nothing of a caller goes over a connection before this is done.
 * Y2. The handshake is the client's own, so the server sees the same capabilities as before.
 */
import { LIST_KINDS, type ListKind } from "../wire/methods.ts";
import { type Failure, failure } from "../core/failure.ts";
import { isHandshakeResult } from "../wire/dialect/legacy.ts";
import type { JsonObject, ReplyMessage } from "../wire/message.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";

/** A first start may download a package; so long may a handshake take. */
const HANDSHAKE_MS = { stdio: 300_000, http: 60_000, sse: 60_000, ws: 60_000 } as const;
const RESTORE_MS = 10_000;
const MISSING_LOOKS = 5;
const MISSING_LOOK_MS = 500;

export interface Restorable {
  readonly cataloguer: Cataloguer;
  /** The params to initialise with. */
  readonly handshake: JsonObject;
  /** What the sessions on this connection set at the upstream. */
  readonly wishes: () => Wishes;
  /** The roots changed while the upstream was away. */
  takeRootsChanged(): boolean;
  /** Calls wait: their tools are checked before they run. */
  hasBacklog(): boolean;
  /** A waiting call's tool is not in the list. */
  isToolMissing(): boolean;
  /** The upstream's answer to the handshake, also where it is an error. */
  onHandshake(reply: ReplyMessage): void;
  /** Tells every client. */
  announce(text: string): void;
  /** Tells those that are subscribed to the resource. */
  announceResource(uri: string, text: string): void;
}

export interface Wishes {
  readonly logLevel: string | undefined;
  readonly subscriptions: readonly string[];
}

export class Replayer {
  readonly #context: EngineContext;
  readonly #session: Restorable;
  #hasServed = false;
  /** The connection that was restored last. */
  #channel: Channel | undefined;

  constructor(context: EngineContext, session: Restorable) {
    this.#context = context;
    this.#session = session;
  }

  /** Resolves to what went wrong, or undefined when calls may flow. */
  async restore(channel: Channel, isResumed: boolean): Promise<Failure | undefined> {
    this.#channel = isResumed ? channel : undefined;
    if (isResumed) return undefined;
    const trouble = await this.#shakeHands(channel);
    if (trouble !== undefined) return trouble;
    this.#channel = channel;
    this.#restoreState(channel);
    if (this.#session.hasBacklog() || this.#session.cataloguer.knowsTools) {
      await this.#compare(channel, ["tools"]);
      await this.#awaitMissingTools(channel);
    }
    return undefined;
  }

  /** Some servers fill their list only after the handshake; a waiting call's tool is given a moment. */
  async #awaitMissingTools(channel: Channel): Promise<void> {
    for (let look = 0; look < MISSING_LOOKS && this.#session.isToolMissing(); look++) {
      await new Promise<void>((resolve) => this.#context.world.timer(MISSING_LOOK_MS, resolve));
      await this.#compare(channel, ["tools"]);
    }
  }

  /** The rest, while calls flow already. */
  async afterwards(channel: Channel): Promise<void> {
    const { cataloguer } = this.#session;
    if (!cataloguer.knowsTools) {
      // Alone, and kept at once: they say what may be repeated, and other lists may be long in coming.
      await this.#compare(channel, ["tools"]);
      cataloguer.save();
    }
    await this.#compare(
      channel,
      LIST_KINDS.filter((kind) => kind !== "tools"),
    );
    if (this.#hasServed) {
      // What changed in the gap is not known, so the client is told to look again.
      for (const uri of this.#session.wishes().subscriptions) {
        this.#session.announceResource(uri, this.#context.dialect.resourceUpdated(uri));
      }
    }
    this.#hasServed = true;
    cataloguer.save();
  }

  /** The upstream said that lists have changed; it told the client itself. */
  async relist(channel: Channel): Promise<void> {
    await this.#session.cataloguer.refresh(channel, LIST_KINDS);
    this.#session.cataloguer.save();
  }

  /** The sessions on this connection want something else together: the upstream is told the difference. */
  follow(before: Wishes, after: Wishes): void {
    const channel = this.#channel;
    if (channel?.connection === undefined) return;
    const { dialect } = this.#context;
    const { logLevel: level } = after;
    if (level !== undefined && level !== before.logLevel)
      this.#restoreOne(channel, "log level", (id) => dialect.setLogLevel(id, level));
    for (const uri of after.subscriptions) {
      if (before.subscriptions.includes(uri)) continue;
      this.#restoreOne(channel, `subscription to ${uri}`, (id) => dialect.subscribe(id, uri));
    }
    for (const uri of before.subscriptions) {
      if (after.subscriptions.includes(uri)) continue;
      this.#restoreOne(channel, `end of the subscription to ${uri}`, (id) =>
        dialect.unsubscribe(id, uri),
      );
    }
  }

  async #shakeHands(channel: Channel): Promise<Failure | undefined> {
    const { dialect, settings } = this.#context;
    const answer = await channel.ask(
      (id) => dialect.handshake(id, this.#session.handshake),
      "handshake",
      HANDSHAKE_MS[settings.transport],
    );
    if (answer.kind === "failed") return answer.failure;
    const { result, error } = answer.message;
    if (error !== undefined) {
      this.#session.onHandshake(answer.message);
      const kind = error.code === -32022 ? "upstream_era" : "protocol_error";
      return failure(kind, `refused initialize: ${error.message} (code ${String(error.code)})`);
    }
    if (!isHandshakeResult(result)) {
      return failure("protocol_error", "answered initialize with something that is no handshake");
    }
    this.#session.onHandshake(answer.message);
    const version = String(result["protocolVersion"]);
    const before = this.#session.cataloguer.handshake?.["protocolVersion"];
    if (before !== undefined && before !== version) {
      const { log } = this.#context;
      log("warn", "the upstream now speaks another protocol version", {
        was: String(before),
        is: version,
      });
    }
    this.#session.cataloguer.sawHandshake(result);
    channel.connection?.handshaken(version);
    channel.send(dialect.ready(), { kind: "notification" });
    return undefined;
  }

  /** Fire and note: a server that no longer knows a resource must not keep the session from coming back. */
  #restoreState(channel: Channel): void {
    const { dialect } = this.#context;
    const { logLevel: level, subscriptions } = this.#session.wishes();
    if (level !== undefined)
      this.#restoreOne(channel, "log level", (id) => dialect.setLogLevel(id, level));
    for (const uri of subscriptions) {
      this.#restoreOne(channel, `subscription to ${uri}`, (id) => dialect.subscribe(id, uri));
    }
    if (this.#session.takeRootsChanged())
      channel.send(dialect.rootsChanged(), { kind: "notification" });
  }

  #restoreOne(channel: Channel, what: string, build: (id: string) => string): void {
    channel.ask(build, "request", RESTORE_MS).then((answer) => {
      const trouble =
        answer.kind === "failed" ? answer.failure.message : answer.message.error?.message;
      if (trouble !== undefined)
        this.#context.log("warn", `could not restore the ${what}`, { trouble });
    }, this.#context.fatal);
  }

  async #compare(channel: Channel, kinds: readonly ListKind[]): Promise<void> {
    const { cataloguer } = this.#session;
    const given = kinds.filter((kind) => cataloguer.wasGiven(kind));
    const changed = await cataloguer.refresh(channel, kinds);
    const { dialect } = this.#context;
    // A list that was never known has not changed for anybody. Two lists share a notification.
    const texts = changed.filter((k) => given.includes(k)).map((kind) => dialect.listChanged(kind));
    for (const text of new Set(texts)) this.#session.announce(text);
  }
}
