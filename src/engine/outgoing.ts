/**
 * What goes to one client: over the stream that asked, over its link, or kept for its return.
 *
 * OU1. An answer that no stream took, and that the journal does not keep, is kept here for a client
 *     that can come back over its link, within bounds.
 * OU2. Notifications are dropped, not piled up, for a client that does not read; answers never are.
 */
import type { ClientLink, ClientStream } from "../ports.ts";
import { Congestion } from "./congestion.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";

const MESSAGE = { kind: "message" } as const;

/** Answers kept for a client that is away, characters. */
const MISSED_MAX = 1_048_576;

interface Missed {
  readonly idText: string;
  readonly text: string;
}

export class Outgoing {
  readonly #context: EngineContext;
  readonly #sessionId: () => string | undefined;
  #link: ClientLink;
  #congestion: Congestion;
  /** More than its bound is unread on the link, as that says itself. */
  isOverBound = false;
  #missed: Missed[] = [];
  #missedSize = 0;

  constructor(context: EngineContext, link: ClientLink, sessionId: () => string | undefined) {
    this.#context = context;
    this.#sessionId = sessionId;
    this.#link = link;
    this.#congestion = new Congestion(link, context.log);
  }

  get link(): ClientLink {
    return this.#link;
  }

  /** The link of today, whichever that is. */
  readonly own: ClientStream = {
    send: (text, said) => this.#link.send(text, said),
    bufferedBytes: () => this.#link.bufferedBytes(),
    accepted: (idText, callId) => this.#link.accepted?.(idText, callId),
  };

  /** The client is back over another link. */
  relink(link: ClientLink): void {
    this.#link = link;
    this.#congestion = new Congestion(link, this.#context.log);
    this.isOverBound = false;
  }

  get isCongested(): boolean {
    return this.#congestion.is;
  }

  /** `isKept`: the journal has the answer for the client's return. False where no stream took it. */
  reply(stream: ClientStream, idText: string, text: string, isKept: boolean): boolean {
    if (stream.send(text, { kind: "reply", idText })) return true;
    if (!isKept && stream === this.own && this.#link.key !== undefined)
      this.#keep({ idText, text });
    return false;
  }

  /** A notification that belongs to a request. */
  message(stream: ClientStream, text: string): boolean {
    if (stream === this.own ? this.isCongested : Congestion.isOn(stream)) return false;
    return stream.send(text, MESSAGE);
  }

  /** What the upstream says unasked, in the course of `call` where that is known. */
  unasked(text: string, call: LiveCall | undefined): boolean {
    const sessionId = this.#sessionId();
    for (const waiter of call?.waiters ?? []) {
      if (waiter.sessionId === sessionId && waiter.notify(text)) return true;
    }
    return this.#link.send(text, MESSAGE);
  }

  /** What was missed over the link goes out; for transports whose link is their only stream. */
  catchUp(): void {
    const missed = this.#missed;
    this.#missed = [];
    this.#missedSize = 0;
    for (const { idText, text } of missed) this.reply(this.own, idText, text, false);
  }

  #keep(missed: Missed): void {
    if (this.#missedSize + missed.text.length > MISSED_MAX) {
      const log = this.#context.log;
      log("warn", "a client that is away misses an answer: too much is kept for it", {});
      return;
    }
    this.#missed.push(missed);
    this.#missedSize += missed.text.length;
  }
}
