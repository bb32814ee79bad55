/**
 * One request: its POST, the answer as JSON or as a stream, and the GETs by which a broken stream is
 * taken up again. An exchange lives until its reply or its fate; the connection holds it meanwhile.
 *
 *     posting → streaming → (resuming → streaming)* → trailing → over
 *
 * E1. The request ends once: by its reply (through `Host.take`) or its fate (through `Host.settle`).
 * E2. A POST goes out once, also where a kept-alive socket was stale: the server may have run the request,
 *     and a second sending is another attempt, which is counted and has another id.
 * E3. A stream that gave an event id is resumed until the server says that it can't be.
 */
import type { IncomingMessage } from "node:http";
import type { CancelTimer } from "../../base/world.ts";
import { failure } from "../../core/failure.ts";
import { mediaType, readAnswer, readEvents, readWhole } from "./body.ts";
import type { Cursor, EventSink } from "./body.ts";
import { judgeAnswer, type HttpAnswer } from "./classify.ts";
import type { HttpCall, NetworkFault } from "./client.ts";
import { isSessionId } from "./headers.ts";
import type { Fate, Host } from "./host.ts";
import { Resumption } from "./resumption.ts";

/** A server that leaves the stream open after the reply is cut off after this long. */
const TRAIL_MS = 5_000;

export interface ExchangeFacts {
  readonly id: string;
  readonly safety: "read" | "idempotent" | "unsafe";
  readonly isHandshake: boolean;
}

/** Where a broken stream stands, for a later connection. */
export interface ResumePoint {
  readonly facts: ExchangeFacts;
  readonly lastId: string;
  readonly retryMs: number | undefined;
}

type Phase =
  | { readonly kind: "posting"; readonly call: HttpCall }
  | { readonly kind: "streaming"; readonly call: HttpCall }
  | { readonly kind: "resuming" }
  | { readonly kind: "trailing"; readonly call: HttpCall; readonly cancel: CancelTimer }
  | { readonly kind: "over" };

export class Exchange {
  readonly facts: ExchangeFacts;
  readonly #host: Host;
  readonly #cursor: Cursor;
  readonly #resumption: Resumption;
  #phase: Phase = { kind: "over" };

  private constructor(host: Host, facts: ExchangeFacts, cursor: Cursor) {
    this.#host = host;
    this.facts = facts;
    this.#cursor = cursor;
    this.#resumption = new Resumption(host, cursor, {
      onStream: (call, response) => {
        this.#phase = { kind: "streaming", call };
        this.#read(call, response, false);
      },
      onRepoll: () => {
        this.#phase = { kind: "resuming" };
      },
      onLost: (why, isDown) => {
        this.#settle({ kind: "lost", failure: why });
        if (isDown) host.fail(why);
      },
      onKept: (why) => {
        host.fail(why);
      },
    });
  }

  static post(host: Host, facts: ExchangeFacts, text: string): Exchange {
    const exchange = new Exchange(host, facts, { lastId: undefined, retryMs: undefined });
    exchange.#post(text);
    return exchange;
  }

  static resume(host: Host, point: ResumePoint): Exchange {
    const { lastId, retryMs } = point;
    const exchange = new Exchange(host, point.facts, { lastId, retryMs });
    exchange.#phase = { kind: "resuming" };
    exchange.#resumption.fetch();
    return exchange;
  }

  /** The server has it, and its answer can come without anything more from us. */
  get isLive(): boolean {
    return this.#phase.kind === "posting" || this.#phase.kind === "streaming";
  }

  /** It has its reply, and its stream is still open. */
  get isTrailing(): boolean {
    return this.#phase.kind === "trailing";
  }

  /** No byte of it left. */
  get isUnsent(): boolean {
    return this.#phase.kind === "posting" && !this.#phase.call.isSent;
  }

  get resumePoint(): ResumePoint | undefined {
    const { lastId, retryMs } = this.#cursor;
    return lastId === undefined ? undefined : { facts: this.facts, lastId, retryMs };
  }

  /** Lets go of everything. Tells nobody. */
  abort(): void {
    const phase = this.#phase;
    this.#phase = { kind: "over" };
    this.#resumption.abort();
    if ("cancel" in phase) phase.cancel();
    if ("call" in phase) phase.call.abort();
  }

  /** The reply was passed on; what may still come on its stream is read for a moment. */
  replied(): void {
    const phase = this.#phase;
    if (phase.kind !== "streaming") {
      this.abort();
      return;
    }
    this.#resumption.abort();
    const { call } = phase;
    const cancel = this.#host.world.timer(TRAIL_MS, () => {
      this.abort();
      this.#host.released();
    });
    this.#phase = { kind: "trailing", call, cancel };
  }

  #post(text: string): void {
    const host = this.#host;
    const hasSession = host.headers.sessionId !== undefined;
    const headers = host.headers.forPost(text);
    const call = host.client.start(
      { method: "POST", headers, body: text, isFresh: false },
      {
        onResponse: (response) => {
          this.#answered(call, response, hasSession);
        },
        onFailed: (fault) => {
          this.#unanswered(fault);
        },
      },
    );
    this.#phase = { kind: "posting", call };
  }

  #unanswered(fault: NetworkFault): void {
    if (fault.isStale) this.#host.client.dropFreeSockets();
    const fate: Fate = { kind: fault.isUnsent ? "refused" : "lost", failure: fault.failure };
    this.#settle(fate);
    if (fault.isUnsent) this.#host.fail(fault.failure);
  }

  #answered(call: HttpCall, response: IncomingMessage, hasSession: boolean): void {
    const status = response.statusCode ?? 0;
    const type = mediaType(response);
    const encoding = response.headers["content-encoding"] ?? "identity";
    const isSuccess = status === 200 || status === 201 || status === 203;
    if (isSuccess && this.facts.isHandshake) this.#keepSession(response);
    if (isSuccess && encoding !== "identity") {
      this.#breach(call, `HTTP ${String(status)} in content-encoding ${encoding}, not asked for`);
    } else if (isSuccess && type === "text/event-stream") {
      this.#phase = { kind: "streaming", call };
      this.#read(call, response, true);
    } else if (isSuccess && (type === "application/json" || type === "")) {
      this.#readJson(call, response);
    } else if (isSuccess) {
      this.#breach(call, `HTTP ${String(status)} with content of type "${type.slice(0, 100)}"`);
    } else {
      readAnswer(this.#host.world, response, this.#host.patienceMs, (answer) => {
        if (this.#isAt(call)) this.#judge(answer, hasSession);
      });
    }
  }

  #keepSession(response: IncomingMessage): void {
    const id = response.headers["mcp-session-id"];
    if (typeof id !== "string") return;
    if (isSessionId(id)) this.#host.headers.setSession(id);
    else this.#host.noise("a session id that is not visible ASCII was ignored");
  }

  #judge(answer: HttpAnswer, hasSession: boolean): void {
    const host = this.#host;
    const facts = { ...this.facts, hasSession };
    const judgement = judgeAnswer(answer, facts, host.world.now(), host.mask);
    if (judgement.kind === "reply") {
      host.take(judgement.message.text, this.facts.id, true);
      return;
    }
    this.#settle(judgement.outcome);
    if (judgement.isDown) host.fail(judgement.outcome.failure);
  }

  #readJson(call: HttpCall, response: IncomingMessage): void {
    const host = this.#host;
    readWhole(response, host.replyMaxBytes, (whole) => {
      if (!this.#isAt(call)) return;
      switch (whole.kind) {
        case "whole":
          host.take(whole.text, this.facts.id, true);
          if (this.#isAt(call)) this.#breach(call, "the answer is not the reply to its request");
          break;
        case "oversize":
          call.abort();
          this.#tooLarge(whole.bytes);
          break;
        case "invalid_utf8":
          this.#breach(call, "the answer is not valid UTF-8");
          break;
        case "broken":
          this.#settle({
            kind: "lost",
            failure: failure("reset", `the answer broke off: ${whole.cause}`),
          });
      }
    });
  }

  /** Reads a stream that `call` opened, by POST (`isFirstHand`) or by GET. */
  #read(call: HttpCall, response: IncomingMessage, isFirstHand: boolean): void {
    const host = this.#host;
    const { id } = this.facts;
    const sink: EventSink = {
      onText: (text) => {
        this.#resumption.proven();
        host.take(text, id, isFirstHand);
      },
      onOversize: (bytes, idText, isCall) => {
        const isOurs = idText === undefined ? !isCall : idText === JSON.stringify(id);
        if (isOurs && this.#isPending(call)) {
          call.abort();
          this.#tooLarge(bytes);
        } else host.noise(`an event of ${String(bytes)} bytes was left out: over the limit`);
      },
      onInvalid: (bytes) => {
        if (this.#isPending(call))
          this.#breach(call, `an event of ${String(bytes)} bytes is not UTF-8`);
      },
      onNoise: (what) => {
        host.noise(what);
      },
      onEnd: (isClean, cause) => {
        this.#ended(isClean, cause);
      },
    };
    readEvents(response, this.#cursor, host.replyMaxBytes, () => this.#isAt(call), sink);
  }

  #ended(isClean: boolean, cause: string): void {
    if (this.#phase.kind === "trailing") {
      this.#phase.cancel();
      this.#phase = { kind: "over" };
      this.#host.released();
      return;
    }
    if (this.#cursor.lastId === undefined) {
      const told = isClean ? `${cause} without an answer` : `the answer broke off: ${cause}`;
      this.#settle({ kind: "lost", failure: failure("reset", told) });
      return;
    }
    this.#phase = { kind: "resuming" };
    this.#resumption.again();
    this.#host.released();
  }

  // ── Ends ──────────────────────────────────────────────────────────────────────────────────────

  #isAt(call: HttpCall): boolean {
    return "call" in this.#phase && this.#phase.call === call;
  }

  /** The stream of `call` is still waited on for the reply. */
  #isPending(call: HttpCall): boolean {
    return this.#isAt(call) && this.#phase.kind !== "trailing";
  }

  #breach(call: HttpCall, what: string): void {
    call.abort();
    this.#settle({ kind: "lost", failure: failure("protocol_error", what) });
  }

  #tooLarge(bytes: number): void {
    const limit = String(this.#host.replyMaxBytes);
    const told = `a reply of ${String(bytes)} bytes or more, limit ${limit}`;
    this.#settle({ kind: "unreadable", failure: failure("oversize", told) });
  }

  #settle(fate: Fate): void {
    this.#resumption.abort();
    this.#phase = { kind: "over" };
    this.#host.settle(this.facts.id, fate);
  }
}
