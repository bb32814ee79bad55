/**
 * Reads the body of an HTTP response, bounded: as a whole, or as a stream of server-sent events.
 * Each reader calls its end exactly once, unless the call was aborted; then never.
 */
import type { IncomingMessage } from "node:http";
import type { World } from "../../base/world.ts";
import { idOfOversize } from "../../wire/framing.ts";
import { SseFramer } from "../../wire/sse.ts";
import type { HttpAnswer } from "./classify.ts";
import { isEventId } from "./headers.ts";

export type Whole =
  | { readonly kind: "whole"; readonly text: string }
  | { readonly kind: "oversize"; readonly bytes: number }
  | { readonly kind: "invalid_utf8" }
  | { readonly kind: "broken"; readonly cause: string };

const strictDecoder = new TextDecoder("utf-8", { fatal: true });
const lenientDecoder = new TextDecoder("utf-8");

/** The media type, lower case, without parameters; "" where there is none. */
export function mediaType(response: IncomingMessage): string {
  const value = response.headers["content-type"] ?? "";
  const end = value.indexOf(";");
  return (end < 0 ? value : value.slice(0, end)).trim().toLowerCase();
}

/** Reads the whole body, at most `maxBytes`; what is larger is not read to its end. */
export function readWhole(
  response: IncomingMessage,
  maxBytes: number,
  done: (whole: Whole) => void,
): void {
  const announced = Number(response.headers["content-length"] ?? 0);
  let isOver = false;
  const finish = (whole: Whole): void => {
    if (isOver) return;
    isOver = true;
    done(whole);
  };
  response.on("error", (error) => {
    finish({ kind: "broken", cause: error.message });
  });
  if (announced > maxBytes) {
    finish({ kind: "oversize", bytes: announced });
    return;
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on("data", (chunk: Buffer) => {
    if (isOver) return;
    bytes += chunk.length;
    if (bytes > maxBytes) finish({ kind: "oversize", bytes });
    else chunks.push(chunk);
  });
  response.on("end", () => {
    const only = chunks.length === 1 ? chunks[0] : undefined;
    let text: string;
    try {
      text = strictDecoder.decode(only ?? Buffer.concat(chunks, bytes));
    } catch {
      finish({ kind: "invalid_utf8" });
      return;
    }
    finish({ kind: "whole", text });
  });
}

const ERROR_BODY_MAX_BYTES = 65_536;

/**
 * Reads an answer that is no success. Its status says most, so a body that is late (after
 * `patienceMs`), broken or too long is taken as far as it came.
 */
export function readAnswer(
  world: World,
  response: IncomingMessage,
  patienceMs: number,
  done: (answer: HttpAnswer) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  const finish = (): void => {
    if (isOver) return;
    isOver = true;
    cancel();
    if (!response.complete) response.destroy();
    done({
      status: response.statusCode ?? 0,
      statusText: response.statusMessage ?? "",
      location: response.headers.location,
      retryAfter: response.headers["retry-after"],
      authenticate: response.headers["www-authenticate"],
      body: lenientDecoder.decode(Buffer.concat(chunks, bytes)),
    });
  };
  const cancel = world.timer(patienceMs, finish);
  response.on("error", finish);
  response.on("end", finish);
  response.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > ERROR_BODY_MAX_BYTES) finish();
  });
}

/** Reads past a body, so that its socket is free again; one that goes on for long is cut off. */
export function readPast(world: World, response: IncomingMessage, patienceMs: number): void {
  response.on("error", () => {
    cancel();
  });
  response.on("end", () => {
    cancel();
  });
  const cancel = world.timer(patienceMs, () => {
    response.destroy();
  });
  response.resume();
}

/** What is remembered of a stream so that it can be taken up again. */
export interface Cursor {
  /** The last event id; undefined: the stream can't be resumed. */
  lastId: string | undefined;
  /** How long the server asked us to wait before the next GET, ms. */
  retryMs: number | undefined;
}

export interface EventSink {
  /** The data of one `message` event. */
  onText(text: string): void;
  /** An event over the limit; `idText` is the JSON text of its id where that is certain. */
  onOversize(bytes: number, idText: string | undefined, isCall: boolean): void;
  onInvalid(bytes: number): void;
  onNoise(what: string): void;
  /** `isClean`: the server ended the stream; else it broke. */
  onEnd(isClean: boolean, cause: string): void;
}

/** A `retry` beyond this is not honoured in full: 15 min. */
const RETRY_MAX_MS = 900_000;

/**
 * Reads events into `sink` and keeps `cursor` up to date. `isCurrent` is asked before each event, so
 * that nothing more comes out of a chunk whose first event ended the exchange.
 */
export function readEvents(
  response: IncomingMessage,
  cursor: Cursor,
  frameMaxBytes: number,
  isCurrent: () => boolean,
  sink: EventSink,
): void {
  const framer = new SseFramer(frameMaxBytes);
  let isOver = false;
  const end = (isClean: boolean, cause: string): void => {
    if (isOver || !isCurrent()) return;
    isOver = true;
    sink.onEnd(isClean, cause);
  };
  response.on("data", (chunk: Buffer) => {
    for (const frame of framer.push(chunk)) {
      if (!isCurrent()) return;
      switch (frame.kind) {
        case "retry":
          cursor.retryMs = Math.min(frame.ms, RETRY_MAX_MS);
          break;
        case "oversize": {
          const head = frame.head.replace(/^data: ?/, "");
          const isCall = /^\{(?:"jsonrpc":"2\.0",)?"method":/.test(head);
          sink.onOversize(frame.bytes, idOfOversize(head, frame.tail), isCall);
          break;
        }
        case "invalid_utf8":
          sink.onInvalid(frame.bytes);
          break;
        default:
          if (frame.id !== undefined) keepId(cursor, frame.id, sink);
          if (frame.event !== "message") sink.onNoise(`an event of type "${frame.event}"`);
          else if (frame.data !== "") sink.onText(frame.data);
      }
    }
  });
  response.on("end", () => {
    end(true, "the server ended the stream");
  });
  response.on("error", (error) => {
    end(false, error.message);
  });
}

function keepId(cursor: Cursor, id: string, sink: EventSink): void {
  // An empty id takes the last one back (WHATWG HTML, "Event stream interpretation").
  if (id === "" || isEventId(id)) cursor.lastId = id === "" ? undefined : id;
  else sink.onNoise("an event id that can't be sent back");
}
