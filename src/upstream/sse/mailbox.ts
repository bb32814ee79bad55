/**
 * What is posted to the endpoint of a legacy HTTP+SSE server: requests until they end, and notices.
 *
 * MB1. A request ends once: by its reply on the stream, by the server's answer to its POST, or by its
 *      fate, whichever comes first. A POST that outlives its request's reply is read to its end.
 * MB2. A server that takes no message for long, and sends none, is asked by a ping of our own before
 *      it is given up. One that is only slow to answer a POST is not.
 * MB3. A server whose stream we do not read may be unable to go on: it is not given up meanwhile.
 */
import { assert } from "../../base/assert.ts";
import { failure, type Failure } from "../../core/failure.ts";
import { formatRequest, type ReplyMessage } from "../../wire/message.ts";
import type { Fate } from "../http/host.ts";
import { Post, type PostFacts, type PostParts } from "./post.ts";

/** No request of the engine has this id: those start with a connection's epoch. */
const PING_ID = "hf-alive";
const NOTICE: PostFacts = { id: undefined, safety: "unsafe", isHandshake: false };

export interface MailboxEvents {
  /** A request was answered in the answer to its POST. */
  onReply(message: ReplyMessage): void;
  onFate(id: string, fate: Fate): void;
  /** The connection is of no use any more. */
  onDown(why: Failure): void;
  onNoise(describe: () => string): void;
}

export class Mailbox {
  readonly #parts: PostParts;
  readonly #events: MailboxEvents;
  /** Requests without an end; undefined once the server has taken it. */
  readonly #requests = new Map<string, Post | undefined>();
  /** POSTs for whose fate no caller waits. */
  readonly #loose = new Set<Post>();
  #ping: Post | undefined;
  /** When the server last took or sent a message, monotonic ms. */
  #heardAt: number;
  #isHeld = false;

  /** `parts.client` is ours alone. */
  constructor(parts: PostParts, events: MailboxEvents) {
    this.#parts = parts;
    this.#events = events;
    this.#heardAt = parts.world.monotonic();
  }

  /** No request waits for its end. */
  get isIdle(): boolean {
    return this.#requests.size === 0;
  }

  request(text: string, facts: PostFacts & { readonly id: string }): void {
    const { id } = facts;
    assert(!this.#requests.has(id), `request id ${id} is used twice`);
    const isEnded = (): boolean => {
      if (this.#loose.delete(post) || !this.#requests.has(id)) return true;
      this.#requests.delete(id);
      return false;
    };
    const post: Post = this.#post(facts, text, {
      onTaken: () => {
        if (!this.#loose.delete(post)) this.#requests.set(id, undefined);
      },
      onReply: (message) => {
        if (!isEnded()) this.#events.onReply(message);
      },
      onFate: (fate) => {
        if (!isEnded()) this.#events.onFate(id, fate);
      },
    });
    this.#requests.set(id, post);
  }

  /** A notification or a reply. `onDone` is called once the server has answered, or will not. */
  notice(text: string, onDone: () => void): void {
    const done = (): void => {
      this.#loose.delete(post);
      onDone();
    };
    const post: Post = this.#post(NOTICE, text, {
      onTaken: done,
      onReply: done,
      onFate: (fate) => {
        this.#events.onNoise(() => `a notification was not taken: ${fate.failure.message}`);
        done();
      },
    });
    this.#loose.add(post);
  }

  /** The stream brought a message; `id`: of the request that it answers. False for one of our pings. */
  heard(id: string | undefined): boolean {
    this.#heardAt = this.#parts.world.monotonic();
    if (id === PING_ID) return false;
    if (id !== undefined) this.#release(id);
    return true;
  }

  /** The request came to an end elsewhere. False if it had ended before. */
  end(id: string): boolean {
    const isWaiting = this.#requests.has(id);
    this.#release(id);
    return isWaiting;
  }

  forget(id: string): void {
    this.#requests.get(id)?.abort();
    this.#requests.delete(id);
  }

  /** MB3. Whether the stream is not read. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#heardAt = this.#parts.world.monotonic();
  }

  /** Lets go of everything. Returns the requests of which no byte left. */
  drop(): string[] {
    const unsent: string[] = [];
    for (const [id, post] of this.#requests) {
      if (post?.isUnsent === true) unsent.push(id);
      post?.abort();
    }
    for (const post of this.#loose) post.abort();
    this.#ping?.abort();
    this.#ping = undefined;
    this.#requests.clear();
    this.#loose.clear();
    this.#parts.client.destroy();
    return unsent;
  }

  #release(id: string): void {
    const post = this.#requests.get(id);
    this.#requests.delete(id);
    if (post !== undefined) this.#loose.add(post);
  }

  #post(
    facts: PostFacts,
    text: string,
    ends: {
      onTaken(): void;
      onReply(message: ReplyMessage): void;
      onFate(fate: Fate): void;
    },
  ): Post {
    const answered = (): void => {
      this.#heardAt = this.#parts.world.monotonic();
    };
    const post: Post = new Post(this.#parts, facts, text, {
      onTaken: () => {
        answered();
        ends.onTaken();
      },
      onReply: (message) => {
        answered();
        ends.onReply(message);
      },
      onFate: (fate, isDown) => {
        answered();
        ends.onFate(fate);
        if (isDown) this.#events.onDown(fate.failure);
      },
      onSilence: () => {
        this.#silent(post);
      },
    });
    return post;
  }

  /** MB2. A POST that waits for its answer says this again and again. */
  #silent(post: Post): void {
    const { world, answerPatienceMs } = this.#parts;
    const silentMs = world.monotonic() - this.#heardAt;
    if (this.#isHeld || silentMs < answerPatienceMs) return;
    if (post === this.#ping) {
      const seconds = String(Math.round(silentMs / 1_000));
      const told = `took no message for ${seconds} s, not even a ping`;
      this.#events.onDown(failure("half_open", told));
      return;
    }
    if (this.#ping !== undefined) return;
    const over = (): void => {
      this.#ping = undefined;
    };
    const facts = { id: PING_ID, safety: "read", isHandshake: false } as const;
    const ends = { onTaken: over, onReply: over, onFate: over };
    this.#ping = this.#post(facts, formatRequest(PING_ID, "ping"), ends);
  }
}
