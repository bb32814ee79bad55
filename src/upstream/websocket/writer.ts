/**
 * Writes messages to a WebSocket, each in one text frame; what the system does not take at once waits
 * here, and not in the socket.
 *
 * WW1. What waits here was not handed to the operating system: when the connection ends, these
 *      messages provably did not run. So a server that does not read leaves few calls in doubt.
 */
import { WebSocket } from "ws";
import type { World } from "../../base/world.ts";
import { NOTICES_MAX_CHARS } from "../stdin-writer.ts";

interface Waiting {
  readonly text: string;
  /** The id of a request whose fate somebody waits for. */
  requestId: string | undefined;
  /** 0 for requests: of those the engine lets only so many go. */
  readonly noticeChars: number;
}

export class SocketWriter {
  readonly #world: World;
  readonly #socket: WebSocket;
  #waiting: Waiting[] = [];
  #noticeChars = 0;
  /** Frames handed to the socket; only what becomes of the last one counts. */
  #writes = 0;
  #isWriting = false;

  constructor(world: World, socket: WebSocket) {
    this.#world = world;
    this.#socket = socket;
  }

  /** The server leaves so much unread that notifications only pile up. */
  get isCongested(): boolean {
    return this.#noticeChars > NOTICES_MAX_CHARS;
  }

  /** False if the socket is not open: no byte of `text` was or will be written. */
  send(text: string, requestId: string | undefined): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (!this.#isWriting) {
      this.#write(text);
      return true;
    }
    const noticeChars = requestId === undefined ? text.length : 0;
    this.#noticeChars += noticeChars;
    this.#waiting.push({ text, requestId, noticeChars });
    return true;
  }

  /** Nobody waits for the fate of this request any more. It is still written. */
  forget(requestId: string): void {
    for (const waiting of this.#waiting) {
      if (waiting.requestId === requestId) waiting.requestId = undefined;
    }
  }

  /** The connection is over. Returns the requests of which no byte was written. */
  stop(): readonly string[] {
    const unsent = this.#waiting;
    this.#waiting = [];
    this.#writes += 1;
    return unsent.flatMap(({ requestId }) => (requestId === undefined ? [] : [requestId]));
  }

  #write(text: string): void {
    const write = ++this.#writes;
    this.#isWriting = true;
    this.#socket.send(text, () => {
      // A socket that was destroyed calls back as if all were well, and shows its end a moment later.
      this.#world.soon(() => {
        if (write !== this.#writes || this.#socket.readyState !== WebSocket.OPEN) return;
        this.#isWriting = false;
        this.#flush();
      });
    });
    // The system took all of it: the next one need not wait for the callback.
    if (this.#socket.bufferedAmount === 0) this.#isWriting = false;
  }

  #flush(): void {
    while (!this.#isWriting) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#noticeChars -= next.noticeChars;
      this.#write(next.text);
    }
  }
}
