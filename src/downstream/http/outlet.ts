/** One open response with server-sent events: every event is one write, and goes out at once. */
import type { ServerResponse } from "node:http";
import { COMMON } from "./answers.ts";
import { Unwritten } from "../unwritten.ts";
import { writeEvent } from "./event.ts";

const HEAD: readonly string[] = [
  "Content-Type",
  "text/event-stream",
  "Cache-Control",
  "no-cache, no-transform",
  // Some gateways hold a response back until it is complete, unless told.
  "X-Accel-Buffering",
  "no",
  ...COMMON,
];

/**
 * When a client whose stream broke is to come back. The SDK's client tries twice and then gives the
 * stream up for good, so this is half of the time that a restart of the proxy may take.
 */
const RETRY_MS = 1_500;

export class Outlet {
  readonly #response: ServerResponse;
  readonly #unwritten = new Unwritten();

  /** The head goes out with the first event, or by `flush`. */
  constructor(response: ServerResponse) {
    this.#response = response;
    response.writeHead(200, HEAD as string[]);
  }

  flush(): void {
    this.#response.flushHeaders();
  }

  get isOpen(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded;
  }

  get response(): ServerResponse {
    return this.#response;
  }

  bufferedBytes(): number {
    return this.#response.writableLength + this.#unwritten.bytes;
  }

  /** A message. Without an id where the client could not come back for more. */
  event(text: string, id: string | undefined): void {
    this.#unwritten.begin();
    writeEvent(this.#response, text, id, this.#unwritten.written);
  }

  /**
   * Tells the client an id and when to come back with it. `hasPriming`: it knows events with empty
   * data; an older one gets a block that is no event.
   */
  prime(id: string, hasPriming: boolean): void {
    this.#response.write(
      `id: ${id}\nretry: ${String(RETRY_MS)}\n${hasPriming ? "data: \n" : ""}\n`,
    );
    // Node keeps it until the end of the turn, in which calls by the dozen may be sent upstream; killed
    // then, we would leave clients behind whose calls ran and who can't come back for them.
    this.#response.socket?.uncork();
  }

  /** A comment, so that nobody on the way takes the stream for dead. */
  comment(): void {
    // A client that does not read needs no more of them.
    if (this.isOpen && !this.#response.writableNeedDrain) this.#response.write(": keep-alive\n\n");
  }

  end(): void {
    if (this.isOpen) this.#response.end();
  }

  /** Another connection takes over: what the client did not read here, it gets there. */
  giveWay(): void {
    if (this.#response.writableLength > 0) this.#response.destroy();
    else this.end();
  }
}
