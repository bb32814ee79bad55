/**
 * One message on its way to a legacy HTTP+SSE server: a POST whose answer says only whether the
 * message was taken. The reply comes on the stream, sometimes before this answer.
 *
 * PO1. One of `onTaken`, `onReply`, `onFate`, once; none after `abort()`.
 * PO2. A request goes out once: a second sending is another attempt, which is counted and has another id.
 *      Anything else is repeated at most once, on a fresh socket, if a kept-alive socket was stale.
 */
import type { IncomingMessage } from "node:http";
import type { CancelTimer, World } from "../../base/world.ts";
import type { ReplyMessage } from "../../wire/message.ts";
import { readAnswer, readPast } from "../http/body.ts";
import { judgeAnswer, type Mask, type RequestFacts } from "../http/classify.ts";
import type { HttpCall, HttpClient, NetworkFault } from "../http/client.ts";
import type { HeaderSet } from "../http/headers.ts";
import type { Fate } from "../http/host.ts";

export interface PostParts {
  readonly world: World;
  readonly client: HttpClient;
  readonly headers: HeaderSet;
  readonly mask: Mask;
  /** For the body of an error. */
  readonly patienceMs: number;
  /** After this long without an answer, and again, `onSilence` is called. */
  readonly answerPatienceMs: number;
}

/** As for `judgeAnswer`; the endpoint itself names the session, so that each POST has one. */
export type PostFacts = Omit<RequestFacts, "hasSession">;

export interface PostEvents {
  onTaken(): void;
  /** The server's own JSON-RPC error, in the answer to the POST. */
  onReply(message: ReplyMessage): void;
  /** `isDown`: the connection is of no use any more. */
  onFate(fate: Fate, isDown: boolean): void;
  onSilence(): void;
}

export class Post {
  readonly #parts: PostParts;
  readonly #facts: PostFacts;
  readonly #text: string;
  readonly #events: PostEvents;
  #call: HttpCall | undefined;
  #cancelTimer: CancelTimer | undefined;

  constructor(parts: PostParts, facts: PostFacts, text: string, events: PostEvents) {
    this.#parts = parts;
    this.#facts = facts;
    this.#text = text;
    this.#events = events;
    this.#send(false);
    this.#listen();
  }

  /** No byte of it left. */
  get isUnsent(): boolean {
    return this.#call !== undefined && !this.#call.isSent;
  }

  abort(): void {
    this.#over()?.abort();
  }

  #over(): HttpCall | undefined {
    const call = this.#call;
    this.#call = undefined;
    this.#cancelTimer?.();
    return call;
  }

  #listen(): void {
    const { world, answerPatienceMs } = this.#parts;
    this.#cancelTimer = world.timer(answerPatienceMs, () => {
      // After a stall of ours the timer is due before answers were looked at: read them first.
      world.soon(() => {
        if (this.#call === undefined) return;
        this.#listen();
        this.#events.onSilence();
      });
    });
  }

  #send(isFresh: boolean): void {
    const { client, headers } = this.#parts;
    const spec = {
      method: "POST",
      headers: headers.forPost(this.#text),
      body: this.#text,
    } as const;
    this.#call = client.start(
      { ...spec, isFresh },
      {
        onResponse: (response) => {
          this.#answered(response);
        },
        onFailed: (fault) => {
          this.#unanswered(fault, isFresh);
        },
      },
    );
  }

  #unanswered(fault: NetworkFault, isFresh: boolean): void {
    if (fault.isStale) this.#parts.client.dropFreeSockets();
    if (fault.isStale && !isFresh && this.#facts.id === undefined) {
      this.#send(true);
      return;
    }
    this.#over();
    const kind = fault.isUnsent ? "refused" : "lost";
    this.#events.onFate({ kind, failure: fault.failure }, fault.isUnsent);
  }

  #answered(response: IncomingMessage): void {
    const { world, mask, patienceMs } = this.#parts;
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) {
      readPast(world, response, patienceMs);
      this.#over();
      this.#events.onTaken();
      return;
    }
    readAnswer(world, response, patienceMs, (answer) => {
      if (this.#over() === undefined) return;
      const facts = { ...this.#facts, hasSession: true };
      const judgement = judgeAnswer(answer, facts, world.now(), mask);
      if (judgement.kind === "reply") this.#events.onReply(judgement.message);
      else this.#events.onFate(judgement.outcome, judgement.isDown);
    });
  }
}
