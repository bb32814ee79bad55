/**
 * The event stream of a legacy HTTP+SSE server: one GET, read until it ends, once.
 *
 * The package `eventsource` interprets the stream. It neither bounds what it buffers nor minds broken
 * UTF-8, and it would reconnect behind our back; so it is given whole events of bounded size, and
 * never sees an end.
 *
 * ES1. `onEnd` comes once, nothing after it, and nothing at all after `close()`.
 * ES2. There is one GET. What a new stream would mean for calls in flight is not for a stream to say.
 * ES3. While held, the stream is not read: the server has to wait.
 */
import type { IncomingMessage } from "node:http";
import { EventSource, type EventSourceFetchInit, type FetchLikeResponse } from "eventsource";
import { assert } from "../../base/assert.ts";
import type { World } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import { SseFramer, type SseEvent } from "../../wire/sse.ts";
import { mediaType, readAnswer } from "../http/body.ts";
import { networkFailure, openingFailure, type Mask } from "../http/classify.ts";
import type { HttpCall, HttpClient } from "../http/client.ts";
import type { HeaderSet } from "../http/headers.ts";

export interface EventStreamParts {
  readonly world: World;
  readonly url: URL;
  /** For this stream alone. */
  readonly client: HttpClient;
  readonly headers: HeaderSet;
  readonly mask: Mask;
  readonly replyMaxBytes: number;
  readonly patienceMs: number;
}

export interface EventStreamEvents {
  /** The URI for messages, as the server wrote it. */
  onEndpoint(uri: string): void;
  onText(text: string): void;
  /** `head` and `tail` as those of `Oversize`. */
  onOversize(bytes: number, head: string, tail: string): void;
  onInvalid(bytes: number, head: string, tail: string): void;
  onNoise(describe: () => string): void;
  onEnd(why: Failure): void;
}

/** What may be wrong where the answer is not what such a server gives. */
const HINT = 'is this the address of an SSE stream? (for Streamable HTTP the type is "http")';
const encoder = new TextEncoder();

export class EventStream {
  readonly #parts: EventStreamParts;
  readonly #events: EventStreamEvents;
  readonly #source: EventSource;
  #call: HttpCall | undefined;
  #isOver = false;

  constructor(parts: EventStreamParts, events: EventStreamEvents) {
    this.#parts = parts;
    this.#events = events;
    this.#source = new EventSource(parts.url, { fetch: (_url, init) => this.#fetch(init) });
    this.#source.addEventListener("endpoint", (event: MessageEvent) => {
      if (!this.#isOver) events.onEndpoint(String(event.data));
    });
    this.#source.addEventListener("message", (event: MessageEvent) => {
      if (!this.#isOver) events.onText(String(event.data));
    });
    this.#source.addEventListener("error", (event) => {
      this.#end(failure("protocol_error", event.message ?? "the event stream can't be read"));
    });
  }

  /** ES3. */
  hold(isHeld: boolean): void {
    this.#parts.client.hold(isHeld);
  }

  /** Cuts the stream off. Tells nobody. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#call?.abort();
    this.#source.close();
    this.#parts.client.destroy();
  }

  #end(why: Failure): void {
    if (this.#isOver) return;
    this.close();
    this.#events.onEnd(why);
  }

  /** Resolves for an event stream only; whatever else happens ends us, and the package is let go. */
  #fetch(init: EventSourceFetchInit): Promise<FetchLikeResponse> {
    assert(this.#call === undefined, "an event stream was opened again by its package (ES2)");
    assert(init.headers["Last-Event-ID"] === undefined, "an event stream has no earlier one");
    const { client, headers } = this.#parts;
    const spec = { method: "GET", headers: headers.forGet(undefined), body: undefined } as const;
    return new Promise((resolve) => {
      this.#call = client.start(
        { ...spec, isFresh: true },
        {
          onResponse: (response) => {
            if (this.#isOver) return;
            const encoding = response.headers["content-encoding"] ?? "identity";
            const isStream = mediaType(response) === "text/event-stream";
            if (response.statusCode !== 200 || !isStream || encoding !== "identity") {
              this.#refused(response);
              return;
            }
            resolve(asFetched(this.#parts.url, this.#bodyOf(response)));
          },
          onFailed: (fault) => {
            this.#end(fault.failure);
          },
        },
      );
    });
  }

  #refused(response: IncomingMessage): void {
    const { world, mask, patienceMs } = this.#parts;
    const type = mediaType(response);
    const encoding = response.headers["content-encoding"];
    readAnswer(world, response, patienceMs, (answer) => {
      if (answer.status >= 200 && answer.status < 300) {
        const coded = encoding === undefined ? "" : `, content-encoding ${encoding.slice(0, 40)}`;
        const found = `HTTP ${String(answer.status)} with content of type "${type.slice(0, 100)}"`;
        this.#end(failure("protocol_error", mask(`${found}${coded}; ${HINT}`)));
        return;
      }
      const why = openingFailure(answer, world.now(), mask);
      const isAbsent = [400, 404, 405, 406].includes(answer.status);
      this.#end(isAbsent ? { ...why, message: `${why.message}; ${HINT}` } : why);
    });
  }

  /** The stream with what can't be taken left out and reported. */
  #bodyOf(response: IncomingMessage): ReadableStream<Uint8Array> {
    const { world, replyMaxBytes } = this.#parts;
    const framer = new SseFramer(replyMaxBytes);
    // A turn later: the package hands out what it has read after the turn in which it came.
    const end = (why: Failure): void => {
      world.soon(() => {
        this.#end(why);
      });
    };
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        response.on("data", (chunk: Buffer) => {
          for (const event of this.#cut(framer, chunk)) controller.enqueue(encoder.encode(event));
        });
        response.on("end", () => {
          end(failure("reset", "the server ended the event stream"));
        });
        response.on("error", (error) => {
          end(networkFailure(error, "sent"));
        });
      },
    });
  }

  /** The events of a chunk, as text again. */
  #cut(framer: SseFramer, chunk: Uint8Array): string[] {
    const events: string[] = [];
    for (const frame of framer.push(chunk)) {
      switch (frame.kind) {
        case "retry":
          // When to dial again is the supervisor's business.
          break;
        case "oversize":
          this.#events.onOversize(frame.bytes, frame.head.replace(/^data: ?/, ""), frame.tail);
          break;
        case "invalid_utf8":
          this.#events.onInvalid(frame.bytes, frame.head.replace(/^data: ?/, ""), frame.tail);
          break;
        default:
          if (frame.event !== "endpoint" && frame.event !== "message") {
            const type = frame.event.slice(0, 100);
            this.#events.onNoise(() => `an event of type "${type}"`);
          } else if (frame.data !== "" || frame.event === "endpoint") events.push(written(frame));
      }
    }
    return events;
  }
}

const written = ({ event, data }: SseEvent): string =>
  `event: ${event}\ndata: ${data.replaceAll("\n", "\ndata: ")}\n\n`;

const asFetched = (url: URL, body: ReadableStream<Uint8Array>): FetchLikeResponse => ({
  body,
  url: url.href,
  status: 200,
  redirected: false,
  headers: { get: (name) => (name === "content-type" ? "text/event-stream" : null) },
});
