/**
 * The link of a client whose session outlives its connections (legacy SSE, WebSocket). It belongs to
 * one session; connections come and go on it, at most one at a time.
 *
 *     unbound ──bind──► bound ──────► over
 *        └──────────────────────────────▲     left, ended, or lost before a session had begun
 *
 * CL1. What a connection tells after another one took its place, or after the end, is ignored.
 * CL2. The handler hears `detached` and `attached` in turn, and nothing after `left`.
 */
import type { TransportKind } from "../core/transport.ts";
import type { ClientHandler, ClientLink, Inbound, Said } from "../ports.ts";
import { HeldBodies } from "./http/held-bodies.ts";

/** Why a connection is closed by us: its client came back on another one, or the session is over. */
export type Farewell = "taken_over" | "session_over" | "stopping";

/** One connection of a client: an SSE response, a WebSocket. */
export interface Carrier {
  /** False where it is certain that the client won't get it. Never throws. */
  send(text: string): boolean;
  bufferedBytes(): number;
  /** As of the link; where the carrier brings the client's messages, too. */
  hold?(isHeld: boolean): void;
  /** Ends it politely: what was sent still goes out. */
  close(why: Farewell, words: string): void;
  /** Ends it at once. */
  destroy(): void;
}

export interface KeptLinkFacts {
  readonly id: string;
  readonly transport: TransportKind;
  readonly upstream: string;
  readonly principal: string;
  readonly peer: string;
  readonly key: string;
  readonly canResume: boolean;
  /** The link is over: it is kept no longer. Once. */
  readonly onOver: (link: KeptLink) => void;
  /** The connection is gone and the session stays. */
  readonly onDetached: (link: KeptLink) => void;
}

type State =
  | { readonly kind: "unbound" }
  | { readonly kind: "bound"; readonly handler: ClientHandler; hasBegun: boolean }
  | { readonly kind: "over"; readonly cause: string };

export class KeptLink implements ClientLink {
  readonly id: string;
  readonly transport: TransportKind;
  readonly upstream: string;
  readonly principal: string;
  readonly peer: string;
  readonly key: string;
  readonly canResume: boolean;
  readonly #facts: KeptLinkFacts;
  #state: State = { kind: "unbound" };
  #carrier: Carrier | undefined;
  /** The ids of requests that are not answered yet. */
  readonly #asked = new Set<string>();
  readonly bodies = new HeldBodies();

  constructor(facts: KeptLinkFacts) {
    this.#facts = facts;
    this.id = facts.id;
    this.transport = facts.transport;
    this.upstream = facts.upstream;
    this.principal = facts.principal;
    this.peer = facts.peer;
    this.key = facts.key;
    this.canResume = facts.canResume;
  }

  /** Nobody has been told of this client yet. */
  get isNew(): boolean {
    return this.#state.kind === "unbound";
  }

  get isBound(): boolean {
    return this.#state.kind === "bound";
  }

  /** A connection is there. */
  isOpen(): boolean {
    return this.#carrier !== undefined;
  }

  send(text: string, said: Said): boolean {
    if (said.kind === "reply") this.#asked.delete(said.idText);
    return this.#carrier?.send(text) ?? false;
  }

  /** Nobody is there who waits for an answer. */
  get isAnswered(): boolean {
    return this.#carrier === undefined || this.#asked.size === 0;
  }

  bufferedBytes(): number {
    return this.#carrier?.bufferedBytes() ?? 0;
  }

  hold(isHeld: boolean): void {
    this.bodies.hold(isHeld);
    this.#carrier?.hold?.(isHeld);
  }

  begun(): void {
    if (this.#state.kind === "bound") this.#state.hasBegun = true;
  }

  ended(cause: string): void {
    this.#end(cause)?.close("session_over", cause);
  }

  /** Whether this connection is the one that speaks for the client. */
  isCarriedBy(carrier: Carrier): boolean {
    return this.#carrier === carrier;
  }

  /**
   * The handler of this client. `hasSession`: it was given an existing session. May come after the
   * link is over: the session then stays with the engine, without a connection.
   */
  bind(handler: ClientHandler, hasSession: boolean): void {
    if (this.#state.kind === "over") {
      handler.detached(this.#state.cause);
      return;
    }
    this.#state = { kind: "bound", handler, hasBegun: hasSession };
    if (this.#carrier === undefined) handler.detached("its connection is not there yet");
    // A session may come from the journal, with answers of before; they go out at this word.
    else if (hasSession) handler.attached();
  }

  receive(inbound: Inbound): void {
    if (this.#state.kind !== "bound") return;
    this.#note(inbound);
    this.#state.handler.receive(inbound);
  }

  /** Which answers are to come, as far as it can be told. */
  #note(inbound: Inbound): void {
    if (inbound.kind === "request") {
      // Whatever was asked before a new session is not answered any more.
      if (inbound.method === "initialize") this.#asked.clear();
      this.#asked.add(inbound.idText);
    } else if (inbound.kind === "notification" && inbound.method === "notifications/cancelled") {
      this.#asked.delete(JSON.stringify(inbound.params?.["requestId"]));
    }
  }

  /** A connection of the client; one before it is closed. */
  attach(carrier: Carrier): void {
    const before = this.#carrier;
    const state = this.#state;
    if (state.kind === "over") {
      carrier.close("session_over", state.cause);
      return;
    }
    this.#carrier = carrier;
    if (this.bodies.isHeld) carrier.hold?.(true);
    if (before !== undefined) {
      before.close("taken_over", "another connection of this session took over");
      if (state.kind === "bound") state.handler.detached("another connection of it took over");
    }
    if (state.kind === "bound") state.handler.attached();
  }

  /** The connection is gone; `isForGood`: its client said that it does not come back. */
  lost(carrier: Carrier, cause: string, isForGood: boolean): void {
    if (!this.isCarriedBy(carrier)) return;
    this.#carrier = undefined;
    const state = this.#state;
    if (state.kind === "bound" && state.hasBegun && !isForGood) {
      state.handler.detached(cause);
      this.#facts.onDetached(this);
      return;
    }
    // Without a session there is nothing to come back to.
    this.#end(cause);
    if (state.kind === "bound") void state.handler.left(cause);
  }

  /** Closes the connection, if there is one; the session stays. */
  release(why: Farewell, words: string): void {
    const carrier = this.#carrier;
    if (carrier === undefined) return;
    this.lost(carrier, words, false);
    carrier.close(why, words);
  }

  /** Without a connection, and kept only for a client that may return. */
  get isIdle(): boolean {
    return this.#state.kind === "bound" && this.#carrier === undefined;
  }

  /** The session stays with the engine, which finds it by its key; here nothing is known of it any more. */
  forget(): void {
    this.#end("forgotten");
  }

  /** Returns the connection that is to be closed. */
  #end(cause: string): Carrier | undefined {
    const carrier = this.#carrier;
    if (this.#state.kind === "over") return undefined;
    this.#state = { kind: "over", cause };
    this.#carrier = undefined;
    this.#facts.onOver(this);
    return carrier;
  }
}
