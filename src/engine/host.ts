/**
 * The host of one client connection: reads what the client sends and gives it where it belongs.
 *
 * H1. The handshake and the lists are answered from the catalogue at once where it knows them, so that
 *     the client never loses its tools because of the upstream (promise P6).
 * H2. Every request gets exactly one answer, except one that its client cancelled.
 * H3. What can't be read is answered with what was wrong; the connection goes on.
 */
import { RPC } from "../base/errors.ts";
import { clientFacts, type ClientFacts, type SessionRow } from "../core/session.ts";
import type { SessionStatus, UpstreamState } from "../core/status.ts";
import type { ClientHandler, ClientLink, Inbound } from "../ports.ts";
import {
  formatError,
  formatResult,
  type JsonObject,
  type NotificationMessage,
  parseMessage,
  type ReplyMessage,
  type RequestMessage,
} from "../wire/message.ts";
import { jsonText } from "../wire/json-text.ts";
import { revisionOf } from "../wire/revisions.ts";
import { Congestion } from "./congestion.ts";
import type { ControlTool } from "./control-tool.ts";
import type { EngineContext } from "./context.ts";
import type { Delivery } from "./delivery.ts";
import { Greeter } from "./greeter.ts";
import type { Line } from "./line.ts";
import type { Registry } from "./registry.ts";
import { Requests } from "./requests.ts";
import { withdrawWaiting } from "./withdrawal.ts";

export interface HostHooks {
  readonly registry: Registry;
  readonly delivery: Delivery;
  readonly controlTool: ControlTool | undefined;
  newLine(session: SessionRow, host: Host, clientName: string): Line;
  /** The client began another session; deferred calls of this one are still to run. */
  onSessionEnd(line: Line): void;
  /** The client is gone for good. */
  onLeft(host: Host, cause: string): void;
}

interface Served {
  readonly line: Line;
  readonly requests: Requests;
  readonly facts: ClientFacts;
}

export class Host implements ClientHandler {
  readonly #context: EngineContext;
  readonly #link: ClientLink;
  readonly #hooks: HostHooks;
  #served: Served | undefined;
  readonly #greeter: Greeter;
  #hasLeft = false;
  readonly #congestion: Congestion;

  constructor(context: EngineContext, link: ClientLink, hooks: HostHooks) {
    this.#context = context;
    this.#link = link;
    this.#hooks = hooks;
    this.#congestion = new Congestion(link, context.log);
    this.#greeter = new Greeter(context, (text) => {
      this.send(text);
    });
  }

  get line(): Line | undefined {
    return this.#served?.line;
  }

  get isWaitingForHandshake(): boolean {
    return this.#greeter.isWaiting;
  }

  /** False where the client can't get it any more. */
  send(text: string): boolean {
    return this.#link.send(text);
  }

  isCongested(): boolean {
    return this.#congestion.is;
  }

  status(): SessionStatus | undefined {
    const served = this.#served;
    if (served === undefined) return undefined;
    const { session } = served.line;
    return {
      id: session.id,
      client: `${served.facts.name} ${served.facts.version}`.trim(),
      protocolVersion: this.#greeter.protocolVersion,
      isAttached: !this.#hasLeft,
      createdAt: session.createdAt,
      upstream: served.line.status(),
    };
  }

  receive(inbound: Inbound): void {
    switch (inbound.kind) {
      case "request":
        this.#onRequest(inbound);
        return;
      case "notification":
        this.#onNotification(inbound);
        return;
      case "reply":
        if (this.#served?.line.onClientReply(inbound) !== true) {
          this.#context.log("debug", "the client answered a request that nobody asked", {});
        }
        return;
      case "batch":
        this.#onBatch(inbound.texts);
        return;
      case "malformed":
        this.#context.log("warn", "the client sent something that is no message", {
          reason: inbound.reason,
        });
        this.send(
          formatError(inbound.idText, {
            code: inbound.code,
            message: `Not executed: ${inbound.reason}`,
          }),
        );
        return;
      case "oversize":
        this.#refuseOversize(inbound.bytes, inbound.idText);
    }
  }

  left(cause: string): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#greeter.refuse(`the server had not come up when ${cause}`);
    const line = this.#served?.line;
    line?.relay.onClientLeft(line.supervisor.channel);
    this.#hooks.onLeft(this, cause);
  }

  // ── Requests ──────────────────────────────────────────────────────────────────────────────────

  #onRequest(request: RequestMessage): void {
    const intent = this.#context.dialect.readClient(request);
    const { idText } = request;
    switch (intent.kind) {
      case "invalid":
        this.send(formatError(idText, { code: RPC.invalidParams, message: intent.reason }));
        return;
      case "probe":
        // A dual-era client falls back to `initialize` on this answer (design §9).
        this.send(
          formatError(idText, { code: RPC.methodNotFound, message: `no method ${request.method}` }),
        );
        return;
      case "ping":
        this.send(formatResult(idText, {}));
        return;
      case "handshake":
        this.#onHandshakeRequest(request, intent.params);
        return;
      case "list":
        this.#requireSession(request)?.requests.list(request, intent.list, intent.isFirstPage);
        return;
      case "call":
        this.#requireSession(request)?.requests.call(request, intent.tool);
        return;
      case "ready":
      case "cancel":
      case "roots_changed":
      case "notification":
        this.send(
          formatError(idText, {
            code: RPC.invalidRequest,
            message: `${request.method} takes no id`,
          }),
        );
    }
  }

  #requireSession(request: RequestMessage): Served | undefined {
    if (this.#served !== undefined) {
      // Some clients never say that they are ready; whoever asks with the answer at hand is.
      if (!this.#greeter.isWaiting) this.#served.line.relay.clientReady();
      return this.#served;
    }
    const message = `Not executed: ${request.method} came before initialize`;
    this.send(formatError(request.idText, { code: RPC.invalidRequest, message }));
    return undefined;
  }

  // ── The handshake ─────────────────────────────────────────────────────────────────────────────

  #onHandshakeRequest(request: RequestMessage, params: JsonObject): void {
    this.#endSession("the client initialised anew");
    const facts = clientFacts(params);
    const session = this.#newSession(params);
    const line = this.#hooks.newLine(session, this, facts.name);
    const requests = new Requests(this.#context, {
      line,
      facts,
      canResume: this.#link.canResume,
      registry: this.#hooks.registry,
      delivery: this.#hooks.delivery,
      controlTool: this.#hooks.controlTool,
      send: (text) => this.send(text),
      notify: (text) => !this.isCongested() && this.send(text),
    });
    this.#served = { line, requests, facts };
    line.save();
    this.#greeter.greet(request.idText, facts, line.cataloguer);
  }

  #newSession(params: JsonObject): SessionRow {
    const { world, identity, dialect } = this.#context;
    const now = world.now();
    return {
      id: world.newId("s"),
      upstream: identity.upstream,
      credentials: identity.credentials,
      era: dialect.era,
      handshake: jsonText(params),
      logLevel: undefined,
      subscriptions: [],
      createdAt: now,
      lastSeenAt: now,
      endedAt: undefined,
    };
  }

  #endSession(cause: string): void {
    const before = this.#served;
    if (before === undefined) return;
    this.#served = undefined;
    before.requests.detachAll();
    const { line } = before;
    line.relay.onClientLeft(line.supervisor.channel);
    this.#hooks.onSessionEnd(line);
    withdrawWaiting(line, cause)
      .then(() => line.stop(2_000))
      .catch(this.#context.fatal);
  }

  onLink(state: UpstreamState): void {
    this.#greeter.onLink(state);
  }

  /** The upstream answered the handshake. */
  onHandshake(reply: ReplyMessage): void {
    this.#greeter.onUpstream(reply);
  }

  // ── Notifications ─────────────────────────────────────────────────────────────────────────────

  #onNotification(message: NotificationMessage): void {
    const line = this.#served?.line;
    if (line === undefined) return;
    const intent = this.#context.dialect.readClient(message);
    switch (intent.kind) {
      case "ready":
        line.relay.clientReady();
        return;
      case "cancel":
        if (intent.idText !== undefined) {
          this.#served?.requests.cancel(intent.idText, intent.reason);
        }
        return;
      case "roots_changed":
        line.notify(message.text, true);
        return;
      default:
        line.notify(message.text, false);
    }
  }

  // ── What can't be read ────────────────────────────────────────────────────────────────────────

  #onBatch(texts: readonly string[]): void {
    if (!revisionOf(this.#greeter.protocolVersion).hasBatches || this.#served === undefined) {
      const message = "Not executed: batches exist only in protocol version 2025-03-26";
      this.send(formatError(undefined, { code: RPC.invalidRequest, message }));
      return;
    }
    for (const text of texts) {
      const message = parseMessage(text);
      if (message.kind !== "batch") this.receive(message);
    }
  }

  #refuseOversize(bytes: number, idText: string | undefined): void {
    const limit = this.#context.settings.limits.requestMaxBytes;
    const message = `Not executed: the message has ${String(bytes)} bytes, the limit is ${String(limit)} (option --max-request-bytes)`;
    this.#context.log("warn", "the client sent a message over the limit", { bytes, limit });
    this.send(formatError(idText, { code: RPC.invalidRequest, message }));
  }
}
