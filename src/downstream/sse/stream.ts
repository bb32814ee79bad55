/** The event stream of one client: the answer to its `GET /sse/NAME`. */
import type { ServerResponse } from "node:http";
import { COMMON } from "../http/answers.ts";
import { writeEvent } from "../http/event.ts";
import type { Carrier } from "../kept-link.ts";
import { Unwritten } from "../unwritten.ts";

/** How soon a client comes back after it lost its stream. */
const RETRY_MS = 1_000;

const HEAD = [
  ["Content-Type", "text/event-stream"],
  ["Cache-Control", "no-cache, no-transform"],
  // A reverse proxy that collects what is to come would hold everything back.
  ["X-Accel-Buffering", "no"],
].flat();

export class SseStream implements Carrier {
  readonly #response: ServerResponse;
  readonly #unwritten = new Unwritten();

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** `endpoint`: where the client's messages go, a path on this server. */
  open(endpoint: string): void {
    this.#response.writeHead(200, [...HEAD, ...COMMON]);
    this.#response.write(`event: endpoint\ndata: ${endpoint}\nretry: ${String(RETRY_MS)}\n\n`);
  }

  send(text: string): boolean {
    if (!this.#isWritable()) return false;
    this.#unwritten.begin();
    writeEvent(this.#response, text, undefined, this.#unwritten.written);
    return true;
  }

  keepAlive(): void {
    if (this.#isWritable()) this.#response.write(": keep-alive\n\n");
  }

  bufferedBytes(): number {
    return this.#response.writableLength + this.#unwritten.bytes;
  }

  close(): void {
    this.#response.end();
  }

  destroy(): void {
    this.#response.destroy();
  }

  #isWritable(): boolean {
    return !this.#response.destroyed && !this.#response.writableEnded;
  }
}
