/**
 * The host of one client: reads what it says and gives it where it belongs.
 *
 * H1. The handshake and the lists are answered from the catalogue at once where it knows them, so that
 *     the client never loses its tools because of the upstream (promise P6).
 * H2. Every request gets exactly one answer, except one that its client cancelled.
 * H3. What can't be read is answered with what was wrong; the connection goes on.
 */
import { RPC } from "../base/errors.ts";
import type { ClientHandler, ClientLink, ClientStream, Inbound } from "../ports.ts";
import {
  formatError,
  formatResult,
  type NotificationMessage,
  parseMessage,
  type ReplyMessage,
  type RequestMessage,
} from "../wire/message.ts";
import { revisionOf } from "../wire/revisions.ts";
import type { EngineContext } from "./context.ts";
import type { Requests } from "./requests.ts";
import { Stay } from "./stay.ts";
import type { StayHooks } from "./stay-hooks.ts";

export class Host implements ClientHandler {
  readonly #context: EngineContext;
  readonly stay: Stay;

  /** `stay`: the one to go on with, for a client that returned over another link. */
  constructor(context: EngineContext, link: ClientLink, hooks: StayHooks, stay?: Stay) {
    this.#context = context;
    this.stay = stay ?? new Stay(context, link, hooks);
  }

  receive(inbound: Inbound, stream: ClientStream = this.stay.outgoing.own): void {
    this.stay.served?.member.seen();
    switch (inbound.kind) {
      case "request":
        this.#onRequest(inbound, stream);
        return;
      case "notification":
        this.#onNotification(inbound);
        return;
      case "reply":
        this.#onReply(inbound);
        return;
      case "batch":
        this.#onBatch(inbound.texts, stream);
        return;
      case "malformed":
        this.#context.log("warn", "the client sent something that is no message", {
          reason: inbound.reason,
        });
        this.#fail(stream, inbound.idText, inbound.code, inbound.reason);
        return;
      case "oversize":
        this.#refuseOversize(inbound.bytes, inbound.idText, stream);
    }
  }

  resume(callIds: readonly string[], stream: ClientStream): Promise<readonly string[]> {
    return this.stay.resume(callIds, stream);
  }

  detached(cause: string): void {
    this.stay.detached(cause);
  }

  attached(): void {
    this.stay.attached();
  }

  left(cause: string): Promise<void> {
    return this.stay.left(cause);
  }

  // ── Requests ──────────────────────────────────────────────────────────────────────────────────

  #onRequest(request: RequestMessage, stream: ClientStream): void {
    const intent = this.#context.dialect.readClient(request);
    const { idText } = request;
    switch (intent.kind) {
      case "invalid":
        this.#reply(
          stream,
          idText,
          formatError(idText, { code: RPC.invalidParams, message: intent.reason }),
        );
        return;
      case "probe": {
        // A dual-era client falls back to `initialize` on this answer (design §9).
        const message = `no method ${request.method}`;
        this.#reply(stream, idText, formatError(idText, { code: RPC.methodNotFound, message }));
        return;
      }
      case "ping":
        this.#reply(stream, idText, formatResult(idText, {}));
        return;
      case "handshake":
        this.stay.begin(request, intent.params, stream);
        return;
      case "list":
        this.#require(request, stream)?.list(request, intent.list, intent.isFirstPage, stream);
        return;
      case "call":
        this.#require(request, stream)?.call(request, intent.tool, stream);
        return;
      case "ready":
      case "cancel":
      case "roots_changed":
      case "notification": {
        const message = `${request.method} takes no id`;
        this.#reply(stream, idText, formatError(idText, { code: RPC.invalidRequest, message }));
      }
    }
  }

  #require(request: RequestMessage, stream: ClientStream): Requests | undefined {
    const served = this.stay.active();
    if (served !== undefined) return served.requests;
    const why = `${request.method} came before initialize`;
    this.#fail(stream, request.idText, RPC.invalidRequest, why);
    return undefined;
  }

  // ── Notifications ─────────────────────────────────────────────────────────────────────────────

  #onNotification(message: NotificationMessage): void {
    const { served } = this.stay;
    if (served === undefined) return;
    const { line, member, requests } = served;
    const intent = this.#context.dialect.readClient(message);
    switch (intent.kind) {
      case "ready":
        member.relay.clientReady();
        return;
      case "cancel":
        if (intent.idText !== undefined) requests.cancel(intent.idText, intent.reason);
        return;
      case "roots_changed":
        // A shared connection declares no roots.
        if (!line.plan.isShared) line.notify(message.text, true);
        return;
      default:
        line.notify(message.text, false);
    }
  }

  #onReply(reply: ReplyMessage): void {
    const { served } = this.stay;
    // Servers ask (for roots) before the connection serves calls, and may wait for the answer.
    const channel = served?.line.supervisor.channel;
    if (served?.member.relay.onClientReply(reply, channel) === true) return;
    this.#context.log("debug", "the client answered a request that nobody asked", {});
  }

  // ── What can't be read ────────────────────────────────────────────────────────────────────────

  #onBatch(texts: readonly string[], stream: ClientStream): void {
    const version = this.stay.session?.protocolVersion ?? "";
    if (!revisionOf(version).hasBatches || this.stay.served === undefined) {
      const why = "batches exist only in protocol version 2025-03-26";
      this.#fail(stream, undefined, RPC.invalidRequest, why);
      return;
    }
    for (const text of texts) {
      const message = parseMessage(text);
      if (message.kind !== "batch") this.receive(message, stream);
    }
  }

  #refuseOversize(bytes: number, idText: string | undefined, stream: ClientStream): void {
    const limit = this.#context.settings.limits.requestMaxBytes;
    const why = `the message has ${String(bytes)} bytes, the limit is ${String(limit)} (option --max-request-bytes)`;
    this.#context.log("warn", "the client sent a message over the limit", { bytes, limit });
    this.#fail(stream, idText, RPC.invalidRequest, why);
  }

  #fail(stream: ClientStream, idText: string | undefined, code: number, why: string): void {
    const text = formatError(idText, { code, message: `Not executed: ${why}` });
    this.#reply(stream, idText ?? "null", text);
  }

  #reply(stream: ClientStream, idText: string, text: string): void {
    this.stay.outgoing.reply(stream, idText, text, false);
  }
}
