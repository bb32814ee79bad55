/**
 * The standalone stream of a session: what the server says unasked. It is there before a client opens
 * it, and between two connections; what comes meanwhile is kept in the ring.
 */
import type { ServerResponse } from "node:http";
import { Outlet } from "./outlet.ts";
import { Ring } from "./ring.ts";
import { ALL_CHANGED, GAP, type StreamContext } from "./stream-context.ts";

/** What the client has seen: up to a number; of another epoch; nothing that it tells of. */
export type Seen =
  | { readonly kind: "upTo"; readonly seq: number }
  | { readonly kind: "elsewhere" }
  | { readonly kind: "untold" };

export class Standalone {
  readonly #context: StreamContext;
  #ring: Ring | undefined;
  #outlet: Outlet | undefined;
  /** The newest message that went out to somebody. */
  #writtenSeq = 0;

  constructor(context: StreamContext) {
    this.#context = context;
  }

  get isOpen(): boolean {
    return this.#outlet !== undefined;
  }

  /** Always takes it: what nobody reads now is kept, and gaps are said (RG2). */
  send(text: string): void {
    const seq = this.#context.nextSeq();
    this.#ring ??= new Ring(this.#context.budget);
    this.#ring.push(seq, text);
    if (this.#outlet !== undefined) this.#write(this.#outlet, seq, text);
  }

  /** The client opened the stream, or came back to it. A newer connection takes over. */
  attach(response: ServerResponse, seen: Seen): void {
    // The client may have gone while its session was looked up.
    if (response.destroyed) return;
    const before = this.#outlet;
    const outlet = new Outlet(response);
    this.#outlet = outlet;
    before?.giveWay();
    this.#context.opened(response);
    response.on("close", () => {
      if (this.#outlet === outlet) this.#outlet = undefined;
    });
    const from = this.#cursor(seen);
    const missed = this.#ring?.after(from);
    const hasGap = seen.kind === "elsewhere" || missed?.isComplete === false;
    if (hasGap && this.#context.isInitialised) this.#tellGap(outlet);
    outlet.prime(this.#context.idOf("get", from), this.#context.hasPriming());
    for (const { seq, text } of missed?.messages ?? []) this.#write(outlet, seq, text);
  }

  comment(): void {
    this.#outlet?.comment();
  }

  end(): void {
    this.#outlet?.end();
    this.#outlet = undefined;
  }

  #cursor(seen: Seen): number {
    switch (seen.kind) {
      case "upTo":
        return seen.seq;
      case "elsewhere":
        return 0;
      case "untold":
        return this.#writtenSeq;
    }
  }

  /** Without ids: a client that loses these, too, comes back with the id that it had. */
  #tellGap(outlet: Outlet): void {
    outlet.event(GAP, undefined);
    for (const text of ALL_CHANGED) outlet.event(text, undefined);
  }

  #write(outlet: Outlet, seq: number, text: string): void {
    this.#writtenSeq = Math.max(this.#writtenSeq, seq);
    outlet.event(text, this.#context.idOf("get", seq));
  }
}
