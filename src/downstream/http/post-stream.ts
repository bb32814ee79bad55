/**
 * The answer to one POST with requests: a response whose form is decided late, and the stream that it
 * may become, over however many connections.
 *
 * PS1. The head is decided by what comes first: all answers make it plain JSON, unless the client named
 *      the stream first; a call that became durable, a message, or one second make it a stream of events.
 * PS2. An event has an id only while its client could come back with it; the id says which calls it
 *      is then owed (`event-id.ts`).
 * PS3. An answer that no open response takes is refused: it stays in the journal, until the client
 *      comes back. Messages are kept in the ring, and its gaps are said.
 * PS4. After the last answer the stream ends.
 */
import type { ServerResponse } from "node:http";
import type { CancelTimer } from "../../base/world.ts";
import type { ClientStream, Said } from "../../ports.ts";
import { answerJson, errorBody, refuse, type Trouble } from "./answers.ts";
import type { Asked } from "./asked.ts";
import { Outlet } from "./outlet.ts";
import { Ring } from "./ring.ts";
import { GAP, type StreamContext } from "./stream-context.ts";

/** So long an answer may take to be a plain one. */
const UNDECIDED_MS = 1_000;
/** An answer to a request that its client cancelled comes within this, if ever. */
const CANCELLED_MS = 1_000;

export interface AnswerForm {
  readonly isBatch: boolean;
  /** The client would rather have a stream than plain JSON. */
  readonly prefersEvents: boolean;
}

type Way =
  | { readonly kind: "undecided"; readonly response: ServerResponse; readonly replies: string[] }
  | { readonly kind: "open"; readonly outlet: Outlet }
  /** The connection broke; the client can come back. */
  | { readonly kind: "away"; readonly since: number }
  | { readonly kind: "over"; readonly since: number };

export class PostStream implements ClientStream {
  readonly #context: StreamContext;
  readonly #asked: Asked;
  readonly #form: AnswerForm;
  /** Made with the first message: most streams carry an answer and nothing else. */
  #ring: Ring | undefined;
  #way: Way;
  #cancelTimer: CancelTimer | undefined;

  constructor(
    context: StreamContext,
    asked: Asked,
    response: ServerResponse,
    form: AnswerForm = { isBatch: false, prefersEvents: false },
  ) {
    this.#context = context;
    this.#asked = asked;
    this.#form = form;
    this.#way = { kind: "undecided", response, replies: [] };
    this.#watch(response);
    this.#cancelTimer = context.world.timer(UNDECIDED_MS, () => {
      this.#open()?.flush();
    });
  }

  get isAttached(): boolean {
    return this.#way.kind === "undecided" || this.#way.kind === "open";
  }

  /** The newest message that would be lost with this stream; undefined where there is none. */
  get lastSeq(): number | undefined {
    return this.#ring?.lastSeq;
  }

  get callIds(): readonly string[] {
    return this.#asked.callIds();
  }

  /** Nobody comes back for it, or too late; its messages are not kept any more. */
  drop(): void {
    this.#ring?.clear();
    if (this.#way.kind === "away") {
      this.#way = { kind: "over", since: this.#context.world.monotonic() };
    }
  }

  /** It is a stream of events, and somebody reads it. */
  get isOpen(): boolean {
    return this.#way.kind === "open";
  }

  /** Monotonic instant at which its last connection ended; undefined while it has one. */
  get quietSince(): number | undefined {
    return this.#way.kind === "away" || this.#way.kind === "over" ? this.#way.since : undefined;
  }

  get isOver(): boolean {
    return this.#way.kind === "over";
  }

  // ── What the engine says ──────────────────────────────────────────────────────────────────────

  send(text: string, said: Said): boolean {
    return said.kind === "reply" ? this.#reply(text, said.idText) : this.#message(text);
  }

  bufferedBytes(): number {
    const way = this.#way;
    if (way.kind === "open") return way.outlet.bufferedBytes();
    return way.kind === "undecided" ? way.response.writableLength : 0;
  }

  accepted(idText: string, callId: string): void {
    // A client that left before it was told of the call can't come back for it.
    if (this.#way.kind === "over" || !this.#asked.accepted(idText, callId)) return;
    this.#context.remember(callId, this);
    if (this.#way.kind === "undecided") this.#open();
    else if (this.#way.kind === "open") this.#prime(this.#way.outlet);
  }

  #reply(text: string, idText: string): boolean {
    const way = this.#way;
    if (way.kind === "away" || way.kind === "over") return false;
    if (!this.#asked.answered(idText)) return false;
    if (way.kind === "undecided") way.replies.push(text);
    else way.outlet.event(text, this.#nextId());
    if (this.#asked.isSettled) this.#finish();
    return true;
  }

  #message(text: string): boolean {
    if (this.#way.kind === "over") return false;
    const outlet = this.#open();
    const seq = this.#context.nextSeq();
    this.#ring ??= new Ring(this.#context.budget);
    this.#ring.push(seq, text);
    outlet?.event(text, this.#idOf(seq));
    return true;
  }

  // ── What the client does ──────────────────────────────────────────────────────────────────────

  /** The client took this request back; whether an answer comes is open. */
  cancelled(idText: string): boolean {
    if (!this.#asked.cancelled(idText)) return false;
    if (!this.#asked.isSettled) return true;
    this.#open()?.flush();
    this.#cancelTimer = this.#context.world.timer(CANCELLED_MS, () => {
      this.#finish();
    });
    return true;
  }

  /**
   * The client is back, over `response`, and has seen all up to `seq`. It is owed `callIds`; their
   * answers are to be asked for next.
   */
  reattach(response: ServerResponse, callIds: readonly string[], seq: number): void {
    const before = this.#way;
    this.#asked.reopen(callIds);
    const outlet = new Outlet(response);
    this.#way = { kind: "open", outlet };
    // It may look open to us only: the newer connection is the one that lives.
    if (before.kind === "open") before.outlet.giveWay();
    this.#watch(response);
    const missed = this.#ring?.after(seq);
    if (missed?.isComplete === false) this.#tellGap(outlet, undefined);
    // The id that the client came with: what follows has not arrived before it says so.
    this.#prime(outlet, seq);
    for (const message of missed?.messages ?? []) {
      outlet.event(message.text, this.#idOf(message.seq));
    }
  }

  /** Begins the stream for a client that came back, if it is not begun. */
  begin(hasGap: boolean): void {
    if (this.#way.kind !== "undecided") return;
    const outlet = this.#become(this.#way.response);
    if (hasGap) this.#tellGap(outlet, undefined);
    this.#prime(outlet);
  }

  #tellGap(outlet: Outlet, id: string | undefined): void {
    if (this.#context.isInitialised) outlet.event(GAP, id);
  }

  /** Of these calls nothing more will come. */
  renounce(callIds: readonly string[]): void {
    if (callIds.length === 0 || this.#way.kind === "over") return;
    this.#asked.renounce(callIds);
    const outlet = this.#open();
    if (outlet !== undefined) this.#tellGap(outlet, this.#nextId());
    if (this.#asked.isSettled) this.#finish();
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Ends it before its time, because we stop or the session is over. `why` is told to the requests that
   * can't be come back for: they would be waited for in vain.
   */
  end(why: Trouble): void {
    const way = this.#way;
    if (way.kind === "undecided") {
      refuse(way.response, { ...why, idText: this.#asked.open()[0] });
    } else if (way.kind === "open") {
      for (const idText of this.#asked.orphans()) {
        way.outlet.event(errorBody(why.code, why.reason, idText), undefined);
      }
      way.outlet.end();
    }
    this.#quit();
  }

  comment(): void {
    if (this.#way.kind === "open") this.#way.outlet.comment();
  }

  #finish(): void {
    const way = this.#way;
    if (way.kind === "undecided" && way.replies.length > 0 && !this.#form.prefersEvents) {
      const [only = ""] = way.replies;
      const text = this.#form.isBatch ? `[${way.replies.join(",")}]` : only;
      answerJson(way.response, 200, text);
    } else {
      const outlet = this.#open();
      // So that a client that comes back all the same is told that there is nothing more.
      if (outlet !== undefined && this.#asked.hasCancelled) this.#prime(outlet);
      outlet?.end();
    }
    this.#quit();
  }

  #quit(): void {
    if (this.#way.kind === "over") return;
    this.#cancelTimer?.();
    this.#way = { kind: "over", since: this.#context.world.monotonic() };
    this.#context.quiet(this);
  }

  /** The connection of `response` ended. */
  #lost(response: ServerResponse): void {
    const way = this.#way;
    const current = way.kind === "open" ? way.outlet.response : undefined;
    if (way.kind === "undecided" ? way.response !== response : current !== response) return;
    if (this.#asked.owed().length === 0) {
      this.#quit();
      return;
    }
    this.#way = { kind: "away", since: this.#context.world.monotonic() };
    this.#context.quiet(this);
  }

  #watch(response: ServerResponse): void {
    this.#context.opened(response);
    // It may have ended while the session was looked up.
    if (response.destroyed) {
      this.#context.world.soon(() => {
        this.#lost(response);
      });
      return;
    }
    response.on("close", () => {
      this.#lost(response);
    });
  }

  /** The open stream; an undecided answer becomes one. */
  #open(): Outlet | undefined {
    const way = this.#way;
    if (way.kind === "open") return way.outlet;
    if (way.kind !== "undecided") return undefined;
    const outlet = this.#become(way.response);
    this.#prime(outlet);
    for (const text of way.replies) outlet.event(text, this.#nextId());
    return outlet;
  }

  #become(response: ServerResponse): Outlet {
    this.#cancelTimer?.();
    const outlet = new Outlet(response);
    this.#way = { kind: "open", outlet };
    return outlet;
  }

  #prime(outlet: Outlet, seq = this.#context.nextSeq()): void {
    const id = this.#idOf(seq);
    if (id !== undefined) outlet.prime(id, this.#context.hasPriming());
  }

  #nextId(): string | undefined {
    return this.#idOf(this.#context.nextSeq());
  }

  #idOf(seq: number): string | undefined {
    const name = this.#asked.streamName();
    return name === undefined ? undefined : this.#context.idOf(name, seq);
  }
}
