/**
 * What travels against the usual direction, for one session: requests of the upstream to its client,
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
  type ReplyMessage,
  type RequestMessage,
  withIdText,
  withMember,
} from "../wire/message.ts";
import type { Channel } from "./channel.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";

/**
 * Sends to the client, on the stream of `call`'s request where there is one. False where the client
 * can't get it.
 */
export type ToClient = (text: string, call: LiveCall | undefined) => boolean;

/** More than this is not kept for a client that does not finish its handshake. */
const EARLY_MAX = 256;
/** More than this is not asked of a client that does not answer (promise P7). */
const PENDING_MAX = 256;

export class Relay {
  readonly #context: EngineContext;
  readonly #send: ToClient;
  readonly #pending = new ServerRequests();
  #early: string[] | undefined = [];
  #hasClientLeft = false;

  constructor(context: EngineContext, send: ToClient) {
    this.#context = context;
    this.#send = send;
  }

  /** The client has finished its handshake: what came early goes out now. */
  clientReady(): void {
    const early = this.#early;
    if (early === undefined) return;
    this.#early = undefined;
    for (const text of early) this.#send(text, undefined);
  }

  /** False where the client can't get it. */
  toClient(text: string, call?: LiveCall): boolean {
    if (this.#early === undefined) return this.#send(text, call);
    if (this.#early.length >= EARLY_MAX) return false;
    this.#early.push(text);
    return true;
  }

  /** `call`: the call in whose course the upstream asks, where that is known. */
  onRequest(message: RequestMessage, channel: Channel, call: LiveCall | undefined): void {
    const { method, idText: upstreamIdText } = message;
    if (this.#hasClientLeft || this.#pending.size >= PENDING_MAX) {
      channel.send(refusal(method, upstreamIdText, NOBODY), { kind: "reply" });
      return;
    }
    const idText = this.#pending.add({ upstreamIdText, epoch: channel.epoch, method });
    if (this.toClient(withIdText(message, idText), call)) return;
    this.#pending.take(idText);
    channel.send(refusal(method, upstreamIdText, NOBODY), { kind: "reply" });
  }

  /** The upstream takes a request back; false if this client was not asked it. */
  onCancel(text: string, upstreamIdText: string, channel: Channel): boolean {
    const idText = this.#pending.downstreamIdOf(upstreamIdText, channel.epoch);
    if (idText === undefined) return false;
    this.#pending.take(idText);
    this.toClient(withMember(text, ["params", "requestId"], idText));
    return true;
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
      channel.send(refusal(request.method, request.upstreamIdText, NOBODY), { kind: "reply" });
    }
  }
}

export const NOBODY = "no client is connected to answer this";

/** What the upstream gets where no client can answer. An elicitation has a word of its own for that. */
export function refusal(method: string, idText: string, why: string): string {
  if (method === "elicitation/create") return formatResult(idText, { action: "cancel" });
  return formatError(idText, { code: RPC.internal, message: why });
}
