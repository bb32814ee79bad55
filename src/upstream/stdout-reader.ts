/**
 * Reads a child's stdout: messages, the fate of answers that could not be read, and noise.
 *
 * O1. An answer that cannot be taken (too large, invalid UTF-8, no valid reply) settles its request where its id is
 *     certain; nobody waits for it any longer.
 * O2. Whatever else is no message is noise: reported, counted, never fatal.
 */
import { idOfOversize, LineFramer, type Frame } from "../wire/framing.ts";
import { parseMessage, type Malformed } from "../wire/message.ts";
import { failure, type Failure } from "../core/failure.ts";
import type { ConnectionEvents } from "../ports.ts";
import type { World } from "../base/world.ts";
import { maskText } from "./environment.ts";
import { NoiseGate } from "./noise-gate.ts";
import { plainLine } from "./stderr-ring.ts";

const PREVIEW_CHARS_MAX = 200;
/** How much of a long line is looked at to find secrets in its preview. */
const PREVIEW_SOURCE_CHARS_MAX = 16_384;

/** A request of the upstream, which has an id of its own and is no answer to us. */
const REQUEST_HEAD = /^\{(?:"jsonrpc":"2\.0",)?(?:"id":(?:"[^"\\]*"|-?\d+),)?"method":/;

export interface StdoutReaderOptions {
  readonly world: World;
  readonly events: ConnectionEvents;
  readonly frameMaxBytes: number;
  /** Longest first. */
  readonly maskValues: readonly string[];
}

export class StdoutReader {
  readonly #events: ConnectionEvents;
  readonly #frameMaxBytes: number;
  readonly #maskValues: readonly string[];
  readonly #framer: LineFramer;
  readonly #gate: NoiseGate;
  #hasSpoken = false;

  constructor({ world, events, frameMaxBytes, maskValues }: StdoutReaderOptions) {
    this.#events = events;
    this.#frameMaxBytes = frameMaxBytes;
    this.#maskValues = maskValues;
    this.#framer = new LineFramer(frameMaxBytes);
    this.#gate = new NoiseGate(world, (what) => {
      events.onNoise(what);
    });
  }

  /** Whether a message has come: the command is a server, not a shell that could not find one. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  push(chunk: Uint8Array): void {
    for (const frame of this.#framer.push(chunk)) this.#frame(frame);
  }

  /** No more output. A last line without its end is not a message. */
  end(): void {
    const bytes = this.#framer.pendingBytes;
    if (bytes > 0)
      this.#gate.noise(() => `an unfinished line of ${String(bytes)} bytes at the end`);
    this.#gate.flush();
  }

  #frame(frame: Frame): void {
    if (frame.kind === "text") this.#text(frame.text, true);
    else if (frame.kind === "oversize") this.#oversize(frame.bytes, frame.head, frame.tail);
    else this.#invalid(frame.bytes, frame.head, frame.tail);
  }

  #text(text: string, mayBatch: boolean): void {
    const parsed = parseMessage(text);
    if (parsed.kind === "malformed") {
      this.#malformed(parsed, text);
    } else if (parsed.kind !== "batch") {
      this.#hasSpoken = true;
      this.#events.onMessage(parsed, undefined);
    } else if (mayBatch) {
      for (const part of parsed.texts) this.#text(part, false);
    } else {
      this.#gate.noise(() => "a batch inside a batch");
    }
  }

  #malformed(malformed: Malformed, text: string): void {
    this.#gate.noise(() => `not a message (${malformed.reason}): ${this.#preview(text)}`);
    if (malformed.idText === undefined) return;
    this.#unreadable(
      malformed.idText,
      failure("protocol_error", `answered with what is no JSON-RPC reply: ${malformed.reason}`),
    );
  }

  #oversize(bytes: number, head: string, tail: string): void {
    const limit = `the limit is ${String(this.#frameMaxBytes)}`;
    this.#gate.noise(() => `a line of ${String(bytes)} bytes; ${limit}: ${this.#preview(head)}`);
    this.#unreadableAt(
      head,
      tail,
      failure("oversize", `answered with ${String(bytes)} bytes; ${limit} bytes`),
    );
  }

  #invalid(bytes: number, head: string, tail: string): void {
    this.#gate.noise(() => `a line of ${String(bytes)} bytes of invalid UTF-8`);
    this.#unreadableAt(head, tail, failure("protocol_error", "answered with invalid UTF-8"));
  }

  #unreadableAt(head: string, tail: string, why: Failure): void {
    const idText = REQUEST_HEAD.test(head) ? undefined : idOfOversize(head, tail);
    if (idText !== undefined) this.#unreadable(idText, why);
  }

  #unreadable(idText: string, why: Failure): void {
    const id: unknown = JSON.parse(idText);
    // Our own ids are strings; a number is a request of the upstream's.
    if (typeof id !== "string") return;
    this.#hasSpoken = true;
    this.#events.onOutcome(id, { kind: "unreadable", failure: why });
  }

  #preview(text: string): string {
    const source = maskText(text.slice(0, PREVIEW_SOURCE_CHARS_MAX), this.#maskValues);
    const line = plainLine(source);
    return line.length > PREVIEW_CHARS_MAX ? `${line.slice(0, PREVIEW_CHARS_MAX - 1)}…` : line;
  }
}
