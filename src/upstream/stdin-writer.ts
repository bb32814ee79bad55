/**
 * Writes messages to a child's stdin: those of one turn in one write, one write at a time.
 *
 * I1. What waits here was not handed to the operating system: when the child ends, these messages
 *     provably did not run. So a child that does not read leaves few calls in doubt.
 *     What waits unasked for (notifications, answers) is counted, so that it can be bounded (promise P7).
 * I2. An error of the pipe is reported once and never thrown.
 */
import type { Writable } from "node:stream";
import { onOneLine } from "../wire/framing.ts";
import type { World } from "../base/world.ts";

/** Characters handed over in one write; a longer message goes alone. */
const WRITE_CHARS_MAX = 256 * 1024;
/** More than this in notifications is not kept for a server that does not read. */
export const NOTICES_MAX_CHARS = 16 * 1024 * 1024;

interface Waiting {
  readonly text: string;
  /** The id of a request whose fate somebody waits for. */
  requestId: string | undefined;
  /** 0 for requests: of those the engine lets only so many go. */
  readonly noticeChars: number;
}

export class StdinWriter {
  readonly #world: World;
  readonly #stdin: Writable;
  readonly #onBroken: (cause: string) => void;
  #waiting: Waiting[] = [];
  #noticeChars = 0;
  #isScheduled = false;
  #isWriting = false;
  #isOpen = true;

  constructor(world: World, stdin: Writable, onBroken: (cause: string) => void) {
    this.#world = world;
    this.#stdin = stdin;
    this.#onBroken = onBroken;
    stdin.on("error", (error) => {
      this.#break(error.message);
    });
  }

  /** The child leaves so much unread that notifications only pile up. */
  get isCongested(): boolean {
    return this.#noticeChars > NOTICES_MAX_CHARS;
  }

  /** False if the pipe is closed: no byte of `text` was or will be written. */
  send(text: string, requestId: string | undefined): boolean {
    if (!this.#isOpen || !this.#stdin.writable) return false;
    const noticeChars = requestId === undefined ? text.length : 0;
    this.#noticeChars += noticeChars;
    this.#waiting.push({ text, requestId, noticeChars });
    if (!this.#isScheduled && !this.#isWriting) {
      this.#isScheduled = true;
      this.#world.soon(() => {
        this.#isScheduled = false;
        this.#flush();
      });
    }
    return true;
  }

  /** Nobody waits for the fate of this request any more. It is still written. */
  forget(requestId: string): void {
    for (const waiting of this.#waiting) {
      if (waiting.requestId === requestId) waiting.requestId = undefined;
    }
  }

  /** Writes what the pipe takes at once, then closes it. */
  end(): void {
    if (!this.#isOpen) return;
    if (this.#waiting.length > 0 && !this.#stdin.writableNeedDrain) this.#stdin.write(this.#take());
    this.#isOpen = false;
    this.#stdin.end();
  }

  /** The child is gone. Returns the requests of which no byte was written. */
  stop(): readonly string[] {
    this.#isOpen = false;
    const unsent = this.#waiting;
    this.#waiting = [];
    return unsent.flatMap(({ requestId }) => (requestId === undefined ? [] : [requestId]));
  }

  #flush(): void {
    if (!this.#isOpen || this.#isWriting || this.#waiting.length === 0) return;
    this.#isWriting = true;
    this.#stdin.write(this.#take(), (error) => {
      this.#isWriting = false;
      if (error) this.#break(error.message);
      else this.#flush();
    });
  }

  #take(): string {
    const waiting = this.#waiting;
    let chunk = "";
    let count = 0;
    for (const { text, noticeChars } of waiting) {
      if (count > 0 && chunk.length + text.length > WRITE_CHARS_MAX) break;
      this.#noticeChars -= noticeChars;
      chunk += `${onOneLine(text)}\n`;
      count++;
    }
    this.#waiting = count === waiting.length ? [] : waiting.slice(count);
    return chunk;
  }

  #break(cause: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#onBroken(cause);
  }
}
