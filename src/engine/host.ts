/**
 * The host of one client connection: reads what the client sends and gives it where it belongs.
 *
 * H1. The handshake and the lists are answered from the catalogue at once where it knows them, so that
 *     the client never loses its tools because of the upstream (promise P6).
 * H2. Every request gets exactly one answer, except one that its client cancelled.
 * H3. What can't be read is answered with what was wrong; the connection goes on.
 */
import { RPC } from "../base/errors.ts";
import { shownHandshake } from "../core/catalogue.ts";
import { handshakeWaitMs } from "../core/offline.ts";
import { clientFacts, type ClientFacts, type SessionRow } from "../core/session.ts";
import type { SessionStatus } from "../core/status.ts";
import type { ClientHandler, ClientLink, Inbound } from "../ports.ts";
import type { ClientIntent } from "../wire/dialect/dialect.ts";
import {
  formatError,
  formatResult,
  type JsonObject,
  type NotificationMessage,
  parseMessage,
  type ReplyMessage,
  type RequestMessage,
} from "../wire/message.ts";
import { LISTS, methodOf } from "../wire/methods.ts";
import type { ListKind } from "../wire/methods.ts";
import { revisionOf } from "../wire/revisions.ts";
import { type Accepted, Admission } from "./admission.ts";
import type { ControlTool } from "./control-tool.ts";
import type { EngineContext } from "./context.ts";
import type { Delivery } from "./delivery.ts";
import type { Line } from "./line.ts";
import type { Registry } from "./registry.ts";

export interface HostHooks {
  readonly registry: Registry;
  readonly delivery: Delivery;
  readonly controlTool: ControlTool | undefined;
  newLine(session: SessionRow, host: Host, clientName: string): Line;
  /** The client is gone for good. */
  onLeft(host: Host, cause: string): void;
}

/** How long a list of a serving upstream is waited for before the catalogue's is given. */
const LIST_PATIENCE_MS = 2_000;

interface Served {
  readonly line: Line;
  readonly admission: Admission;
  readonly facts: ClientFacts;
}

export class Host implements ClientHandler {
  readonly #context: EngineContext;
  readonly #link: ClientLink;
  readonly #hooks: HostHooks;
  #served: Served | undefined;
  /** The `initialize` that is not answered yet. */
  #pendingHandshake: { readonly idText: string; readonly stopTimer: () => void } | undefined;
  #protocolVersion = "";
  #hasLeft = false;
  readonly #open = new Map<string, Accepted>();

  constructor(context: EngineContext, link: ClientLink, hooks: HostHooks) {
    this.#context = context;
    this.#link = link;
    this.#hooks = hooks;
  }

  get line(): Line | undefined {
    return this.#served?.line;
  }

  get isWaitingForHandshake(): boolean {
    return this.#pendingHandshake !== undefined;
  }

  send(text: string): void {
    if (!this.#hasLeft) this.#link.send(text);
  }

  status(): SessionStatus | undefined {
    const served = this.#served;
    if (served === undefined) return undefined;
    const { session } = served.line;
    return {
      id: session.id,
      client: `${served.facts.name} ${served.facts.version}`.trim(),
      protocolVersion: this.#protocolVersion,
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
    this.#pendingHandshake?.stopTimer();
    this.#pendingHandshake = undefined;
    const line = this.#served?.line;
    line?.relay.onClientLeft(line.supervisor.serving);
    for (const accepted of this.#open.values()) this.#detach(accepted);
    this.#open.clear();
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
        this.#onList(request, intent.list, intent.isFirstPage);
        return;
      case "call":
        this.#onCall(request, intent);
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

  #onCall(request: RequestMessage, intent: Extract<ClientIntent, { kind: "call" }>): void {
    const served = this.#requireSession(request);
    if (served === undefined) return;
    const { controlTool } = this.#hooks;
    if (controlTool !== undefined && intent.tool === controlTool.name) {
      controlTool
        .call(request, (text) => {
          this.send(text);
        })
        .catch(this.#context.fatal);
      return;
    }
    if (intent.method.role === "state") {
      const state = this.#context.dialect.readState(request);
      if (state !== undefined) served.line.remember(state);
    }
    this.#accept(served, request, intent.tool);
  }

  #onList(request: RequestMessage, list: ListKind, isFirstPage: boolean): void {
    const served = this.#requireSession(request);
    if (served === undefined) return;
    const known = served.line.cataloguer.list(list);
    if (known === undefined || !isFirstPage) {
      this.#accept(served, request, undefined, list);
      return;
    }
    if (served.line.supervisor.serving === undefined) {
      this.#answerFromCatalogue(served, request.idText, list, known);
      return;
    }
    const accepted = this.#accept(served, request, undefined, list);
    this.#context.world.timer(LIST_PATIENCE_MS, () => {
      if (this.#open.get(request.idText) !== accepted) return;
      this.#open.delete(request.idText);
      this.#detach(accepted);
      this.#answerFromCatalogue(served, request.idText, list, known);
    });
  }

  #answerFromCatalogue(
    served: Served,
    idText: string,
    list: ListKind,
    items: readonly unknown[],
  ): void {
    const own = list === "tools" ? (this.#hooks.controlTool?.definition ?? []) : [];
    const seenAt = served.line.cataloguer.seenAt ?? this.#context.world.now();
    this.send(
      formatResult(idText, {
        [LISTS[list].member]: [...items, ...own],
        _meta: { "holdfast/catalogue": { asOf: new Date(seenAt).toISOString() } },
      }),
    );
  }

  #accept(
    served: Served,
    request: RequestMessage,
    tool: string | undefined,
    list?: ListKind,
  ): Accepted {
    const { idText } = request;
    const isToolList = list === "tools" && this.#hooks.controlTool !== undefined;
    const accepted = served.admission.accept(request, methodOf(request.method), tool, {
      clientName: served.facts.name,
      canResume: this.#link.canResume,
      answer: (text) => {
        // A client that reuses an id while it is open gets both answers; the newer one owns the entry.
        if (this.#open.get(idText) === accepted) this.#open.delete(idText);
        this.send(isToolList ? (this.#hooks.controlTool?.addTo(text) ?? text) : text);
      },
      notify: (text) => {
        this.send(text);
      },
    });
    this.#open.set(idText, accepted);
    return accepted;
  }

  #requireSession(request: RequestMessage): Served | undefined {
    if (this.#served !== undefined) return this.#served;
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
    const admission = new Admission(
      this.#context,
      this.#hooks.registry,
      this.#hooks.delivery,
      line,
    );
    this.#served = { line, admission, facts };
    line.save();
    const known = line.cataloguer.handshake;
    if (known === undefined) {
      const wait = handshakeWaitMs(this.#context.settings, facts.name);
      const stopTimer = this.#context.world.timer(wait, () => {
        this.#answerHandshakeAnyway();
      });
      this.#pendingHandshake = { idText: request.idText, stopTimer };
    } else {
      this.#answerHandshake(request.idText, known);
    }
  }

  #newSession(params: JsonObject): SessionRow {
    const { world, identity, dialect } = this.#context;
    const now = world.now();
    return {
      id: world.newId("s"),
      upstream: identity.upstream,
      credentials: identity.credentials,
      era: dialect.era,
      handshake: JSON.stringify(params),
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
    for (const accepted of this.#open.values()) this.#detach(accepted);
    this.#open.clear();
    const { line } = before;
    line.relay.onClientLeft(line.supervisor.serving);
    line.dispatcher
      .withdrawWaiting(cause)
      .then(() => line.stop(2_000))
      .catch(this.#context.fatal);
  }

  /** The upstream answered the handshake. */
  onHandshake(reply: ReplyMessage): void {
    const pending = this.#pendingHandshake;
    if (pending === undefined) return;
    if (reply.error !== undefined) {
      this.#pendingHandshake = undefined;
      pending.stopTimer();
      this.send(formatError(pending.idText, reply.error));
      return;
    }
    this.#answerHandshake(pending.idText, reply.result as JsonObject);
  }

  /** The wait is over: what another client was told, else what any server may offer. */
  #answerHandshakeAnyway(): void {
    const pending = this.#pendingHandshake;
    const served = this.#served;
    if (pending === undefined || served === undefined) return;
    const nearest = served.line.cataloguer.takeNearest();
    this.#answerHandshake(pending.idText, nearest ?? this.#blankHandshake(served.facts));
  }

  #blankHandshake(facts: ClientFacts): JsonObject {
    return {
      protocolVersion: facts.protocolVersion,
      capabilities: { tools: {}, prompts: {}, resources: {}, logging: {} },
      serverInfo: { name: this.#context.settings.upstreamName, version: "unknown" },
    };
  }

  #answerHandshake(idText: string, result: JsonObject): void {
    this.#pendingHandshake?.stopTimer();
    this.#pendingHandshake = undefined;
    const version = result["protocolVersion"];
    this.#protocolVersion = typeof version === "string" ? version : "";
    this.send(formatResult(idText, shownHandshake(result)));
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
        this.#cancel(intent.idText, intent.reason);
        return;
      case "roots_changed":
        line.notify(message.text, true);
        return;
      default:
        line.notify(message.text, false);
    }
  }

  #cancel(idText: string | undefined, reason: string): void {
    const accepted = idText === undefined ? undefined : this.#open.get(idText);
    if (idText === undefined || accepted === undefined) return;
    this.#open.delete(idText);
    this.#detach(
      accepted,
      reason === "" ? "cancelled by its caller" : `cancelled by its caller: ${reason}`,
    );
  }

  /** Its caller no longer waits; with a `cause` the call itself is withdrawn, unless others need it. */
  #detach(accepted: Accepted, cause?: string): void {
    accepted.isGivenUp = true;
    const { call, waiter } = accepted;
    if (call === undefined) return;
    const line = this.#served?.line;
    line?.keeper.releaseWaiter(waiter);
    call.waiters.delete(waiter);
    this.#hooks.delivery.nobodyWaits(call);
    if (cause === undefined || call.waiters.size > 0 || call.row.acknowledgedAt !== undefined)
      return;
    line?.dispatcher.cancel(call, cause).catch(this.#context.fatal);
  }

  // ── What can't be read ────────────────────────────────────────────────────────────────────────

  #onBatch(texts: readonly string[]): void {
    if (!revisionOf(this.#protocolVersion).hasBatches || this.#served === undefined) {
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
