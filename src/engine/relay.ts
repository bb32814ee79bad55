/**
 * What travels against the usual direction: requests and notifications of the upstream to the client,
 * and the client's answers. Ids are translated; nothing else is touched.
 *
 * R1. A request of the upstream always gets an answer: the client's, or ours if one side disappears.
 * R2. An answer goes only into the connection that asked; ids start anew with every connection.
 * R3. Nothing is shown to a client before it has finished its handshake.
 */
import { ServerRequests } from "../core/routes.ts";
import { RPC } from "../base/errors.ts";
import {
  formatError,
  formatResult,
  type NotificationMessage,
  type ReplyMessage,
  type RequestMessage,
  withIdText,
  withMember,
} from "../wire/message.ts";
import { methodOf } from "../wire/methods.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";

export interface RelayHooks {
  /** Sends to the client; undefined for a line without one. */
  readonly send: ((text: string) => void) | undefined;
  /** The client does not read: its notifications are dropped rather than kept without bound. */
  isCongested(): boolean;
  callOf(upstreamId: string): LiveCall | undefined;
  /** The upstream says that lists have changed. */
  onListChanged(): void;
}

/** More than this is not kept for a client that does not finish its handshake. */
const EARLY_MAX = 256;

export class Relay {
  readonly #context: EngineContext;
  readonly #hooks: RelayHooks;
  readonly #pending = new ServerRequests();
  #early: string[] | undefined = [];
  #hasClientLeft = false;

  constructor(context: EngineContext, hooks: RelayHooks) {
    this.#context = context;
    this.#hooks = hooks;
  }

  /** The client has finished its handshake: what came early goes out now. */
  clientReady(): void {
    const early = this.#early;
    if (early === undefined) return;
    this.#early = undefined;
    for (const text of early) this.#hooks.send?.(text);
  }

  toClient(text: string): void {
    if (this.#hooks.send === undefined) return;
    if (this.#early === undefined) this.#hooks.send(text);
    else if (this.#early.length < EARLY_MAX) this.#early.push(text);
  }

  onRequest(message: RequestMessage, channel: Channel): void {
    if (methodOf(message.method).role === "ping") {
      channel.send(formatResult(message.idText, {}), { kind: "reply" });
      return;
    }
    if (this.#hooks.send === undefined || this.#hasClientLeft) {
      channel.send(refusal(message.method, message.idText), { kind: "reply" });
      return;
    }
    const { epoch } = channel;
    const idText = this.#pending.add({
      upstreamIdText: message.idText,
      epoch,
      method: message.method,
    });
    this.toClient(withIdText(message, idText));
  }

  onNotification(message: NotificationMessage, channel: Channel): void {
    const intent = this.#context.dialect.readUpstream(message);
    switch (intent.kind) {
      case "progress":
        this.#onProgress(message, intent.token);
        return;
      case "cancel": {
        const idText =
          intent.idText === undefined
            ? undefined
            : this.#pending.downstreamIdOf(intent.idText, channel.epoch);
        if (idText === undefined) return;
        this.#pending.take(idText);
        this.toClient(withMember(message.text, ["params", "requestId"], idText));
        return;
      }
      case "list_changed":
        this.#hooks.onListChanged();
        this.toClient(message.text);
        return;
      case "notification":
        // Bounded (promise P7): what a client that does not read would only pile up goes first.
        if (!this.#hooks.isCongested()) this.toClient(message.text);
    }
  }

  /** A client's answer to a request of the upstream; false if it answers nothing that we know. */
  onClientReply(reply: ReplyMessage, channel: Channel | undefined): boolean {
    const idText = reply.id === undefined ? undefined : JSON.stringify(reply.id);
    const request = idText === undefined ? undefined : this.#pending.take(idText);
    if (request === undefined) return false;
    if (channel?.epoch === request.epoch) {
      channel.send(withIdText(reply, request.upstreamIdText), { kind: "reply" });
    }
    return true;
  }

  /** The upstream's requests died with its connection; the client need not bother any more. */
  onUpstreamDown(): void {
    for (const { downstreamIdText } of this.#pending.takeAll()) {
      this.toClient(
        this.#context.dialect.cancel(downstreamIdText, "the server's connection was lost"),
      );
    }
  }

  /** From now on a server's question gets our answer at once, so that its call can end. */
  onClientLeft(channel: Channel | undefined): void {
    this.#hasClientLeft = true;
    for (const request of this.#pending.takeAll()) {
      if (channel?.epoch !== request.epoch) continue;
      channel.send(refusal(request.method, request.upstreamIdText), { kind: "reply" });
    }
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

/** What the upstream gets where no client can answer. An elicitation has a word of its own for that. */
function refusal(method: string, idText: string): string {
  if (method === "elicitation/create") return formatResult(idText, { action: "cancel" });
  return formatError(idText, {
    code: RPC.internal,
    message: "no client is connected to answer this",
  });
}
