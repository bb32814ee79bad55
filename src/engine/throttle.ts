/**
 * Holds a server back while what it says can't go on: nothing more is read from its connection, so that
 * it waits as it would without us, and what it would say takes no memory here (promise P7).
 *
 * TH1. A line of one session is held while its client leaves more unread than its link's bound. A shared
 *      line is not: one slow client must not stop the others.
 * TH2. Any line is held while too much of what it answered waits for the disk.
 * TH3. Only a connection that serves is held: before that it answers us. On the way to its end it is let
 *      go, so that what is in flight still ends.
 */
import type { Connection } from "../ports.ts";
import type { ReplyMessage } from "../wire/message.ts";
import type { Members } from "./members.ts";

/** Characters of answers that may wait for the disk; beyond it nothing more is read. */
const UNWRITTEN_MAX = 8 * 1024 * 1024;

export interface ThrottleHooks {
  readonly isShared: boolean;
  readonly members: Members;
  /** The line sends nothing more: its connection is about to end. */
  isPaused(): boolean;
  /** The connection over which calls may go; undefined while there is none. */
  serving(): Connection | undefined;
}

export class Throttle {
  readonly #hooks: ThrottleHooks;
  #held: Connection | undefined;
  #unwritten = 0;

  constructor(hooks: ThrottleHooks) {
    this.#hooks = hooks;
  }

  /** What is held back is silent by our doing: it is not judged by its silence. */
  get isHeld(): boolean {
    return this.#held !== undefined && this.#held === this.#hooks.serving();
  }

  /** Something of what decides has changed: a client's reading, the connection, its future. */
  review(): void {
    const connection = this.#hooks.serving();
    const held = this.#isNeeded() ? connection : undefined;
    if (held === this.#held) return;
    if (this.#held === connection) connection?.hold?.(false);
    this.#held = held?.hold === undefined ? undefined : held;
    this.#held?.hold?.(true);
  }

  /** `work` writes the outcome of a call: with this answer, if there was one. */
  async writing(reply: ReplyMessage | undefined, work: Promise<void>): Promise<void> {
    const size = reply?.text.length ?? 0;
    this.#unwritten += size;
    this.review();
    try {
      await work;
    } finally {
      this.#unwritten -= size;
      this.review();
    }
  }

  #isNeeded(): boolean {
    const { isShared, members, isPaused } = this.#hooks;
    if (isPaused()) return false;
    return this.#unwritten > UNWRITTEN_MAX || (!isShared && members.isCongested);
  }
}
