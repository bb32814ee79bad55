/**
 * Cuts byte streams into messages: NDJSON lines and SSE events, both bounded.
 *
 * F1. A frame over its limit is reported once, with its head and tail, and skipped; the stream goes on.
 * F2. Memory held is at most the limit plus one chunk, whatever the peer sends.
 * F3. Invalid UTF-8 is reported, never replaced silently: a call must not run with other arguments.
 */

export type Frame =
  | { readonly kind: "text"; readonly text: string }
  | Oversize
  | { readonly kind: "invalid_utf8"; readonly bytes: number };

/** `head` and `tail` are the first and last bytes (≤ 256 each), read as Latin-1. */
export interface Oversize {
  readonly kind: "oversize";
  readonly bytes: number;
  readonly head: string;
  readonly tail: string;
}

const NEWLINE = 10;
const RETURN = 13;
const EDGE_BYTES = 256;
/** Pieces smaller than this are copied together: an object for each could outweigh its bytes (F2). */
const BLOCK_BYTES = 16 * 1024;

const decoder = new TextDecoder("utf-8", { fatal: true });

function decode(bytes: Uint8Array): Frame {
  try {
    return { kind: "text", text: decoder.decode(bytes) };
  } catch {
    return { kind: "invalid_utf8", bytes: bytes.length };
  }
}

/** For at most `EDGE_BYTES` bytes. */
const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

function concat(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** What is known of a line that outgrew its limit. */
interface Overrun {
  readonly head: string;
  bytes: number;
  tail: Uint8Array;
}

/**
 * A JSON text on one line, as NDJSON wants it. Line ends can stand only between its tokens, never
 * raw inside a string, so a space means the same.
 */
export function onOneLine(text: string): string {
  if (!text.includes("\n") && !text.includes("\r")) return text;
  return text.replace(/[\r\n]+/g, " ");
}

/** Newline-delimited JSON. Empty lines are skipped; a final line without a newline is not a message. */
export class LineFramer {
  readonly #frameMaxBytes: number;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #overrun: Overrun | undefined;
  /** While `#blockUsed` is below its size, the last of `#chunks` is a view of this block. */
  #block = new Uint8Array(0);
  #blockUsed = 0;

  /** `frameMaxBytes`: the largest line, without its newline. */
  constructor(frameMaxBytes: number) {
    this.#frameMaxBytes = frameMaxBytes;
  }

  /** Bytes of an unfinished line: what a peer that died in the middle of a message leaves behind. */
  get pendingBytes(): number {
    return this.#overrun?.bytes ?? this.#length;
  }

  /** Keeps hold of `chunk`: the caller must not write to it afterwards. */
  push(chunk: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.#hold(chunk.subarray(start, end));
      const frame = this.#finish();
      if (frame !== undefined) frames.push(frame);
      start = end + 1;
    }
    if (start < chunk.length) this.#hold(chunk.subarray(start));
    return frames;
  }

  #hold(part: Uint8Array): void {
    if (this.#overrun !== undefined) {
      this.#overrun.bytes += part.length;
      this.#overrun.tail = lastBytes([this.#overrun.tail, part]);
      return;
    }
    this.#keep(part);
    if (this.#length <= this.#frameMaxBytes) return;
    this.#overrun = {
      head: latin1(concat(this.#chunks, this.#length).subarray(0, EDGE_BYTES)),
      bytes: this.#length,
      tail: lastBytes(this.#chunks),
    };
    this.#chunks = [];
    this.#length = 0;
  }

  #keep(part: Uint8Array): void {
    if (part.length === 0) return;
    this.#length += part.length;
    if (this.#chunks.length === 0 || part.length >= BLOCK_BYTES) {
      this.#chunks.push(part);
      this.#blockUsed = this.#block.length;
      return;
    }
    if (this.#blockUsed + part.length > this.#block.length) {
      this.#block = new Uint8Array(BLOCK_BYTES);
      this.#blockUsed = 0;
      this.#chunks.push(this.#block);
    }
    this.#block.set(part, this.#blockUsed);
    this.#blockUsed += part.length;
    this.#chunks[this.#chunks.length - 1] = this.#block.subarray(0, this.#blockUsed);
  }

  #finish(): Frame | undefined {
    if (this.#overrun !== undefined) {
      const { bytes, head, tail } = this.#overrun;
      this.#overrun = undefined;
      return { kind: "oversize", bytes, head, tail: latin1(tail) };
    }
    const only = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    let line = only ?? concat(this.#chunks, this.#length);
    this.#chunks = [];
    this.#length = 0;
    if (line.at(-1) === RETURN) line = line.subarray(0, -1);
    return line.length === 0 ? undefined : decode(line);
  }
}

function lastBytes(parts: readonly Uint8Array[]): Uint8Array {
  const kept: Uint8Array[] = [];
  let length = 0;
  for (let i = parts.length - 1; i >= 0 && length < EDGE_BYTES; i--) {
    const part = parts[i] as Uint8Array;
    const slice = part.subarray(Math.max(0, part.length - (EDGE_BYTES - length)));
    kept.unshift(slice);
    length += slice.length;
  }
  return concat(kept, length);
}

/**
 * The id of a message too large to be read, where one of the layouts that SDKs write shows it for
 * certain (`{"jsonrpc":"2.0","id":…` or `…"jsonrpc":"2.0","id":…}`). Undefined otherwise: a guess
 * could answer somebody else's request.
 */
export function idOfOversize(head: string, tail: string): string | undefined {
  // ASCII only: the edges are Latin-1, in which any other id would come back garbled.
  const id = String.raw`("[ !#-[\]-~]{1,128}"|-?\d{1,16})`;
  const atHead = new RegExp(String.raw`^\{"jsonrpc":"2\.0","id":${id},`).exec(head);
  const atTail = new RegExp(String.raw`,"jsonrpc":"2\.0","id":${id}\}\r?$`).exec(tail);
  if (atHead !== null && atTail !== null) return undefined;
  return (atHead ?? atTail)?.[1];
}

export interface SseEvent {
  readonly kind: "event";
  /** "message" unless the stream said otherwise. */
  readonly event: string;
  readonly data: string;
  /** The id given with this event, if any (the caller keeps the last one). */
  readonly id: string | undefined;
}

export type SseFrame =
  SseEvent | { readonly kind: "retry"; readonly ms: number } | Exclude<Frame, { kind: "text" }>;

/**
 * Server-Sent Events as in the WHATWG HTML standard, "Event stream interpretation". An event with an
 * id but empty data (MCP's priming event) is reported too, with `data: ""`.
 */
export class SseFramer {
  readonly #frameMaxBytes: number;
  readonly #lines: LineFramer;
  #event = "";
  #data: string[] = [];
  #dataBytes = 0;
  #id: string | undefined;
  #hasData = false;
  /** The event's data outgrew the limit; reported at its end, when its true tail is known. */
  #overrun: { head: string; bytes: number; tail: string } | undefined;
  #isBroken = false;
  #sawReturn = false;

  constructor(frameMaxBytes: number) {
    this.#frameMaxBytes = frameMaxBytes;
    this.#lines = new LineFramer(frameMaxBytes + 16);
  }

  push(chunk: Uint8Array): SseFrame[] {
    const frames: SseFrame[] = [];
    for (const line of this.#cut(chunk)) this.#line(line, frames);
    return frames;
  }

  /** LineFramer drops empty lines, which SSE needs; so blank lines are cut here first. */
  #cut(chunk: Uint8Array): (Frame | "")[] {
    const lines: (Frame | "")[] = [];
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte !== NEWLINE && byte !== RETURN) {
        this.#sawReturn = false;
        continue;
      }
      if (byte === NEWLINE && this.#sawReturn) {
        this.#sawReturn = false;
        start = i + 1;
        continue;
      }
      this.#sawReturn = byte === RETURN;
      if (i === start && this.#lines.pendingBytes === 0) lines.push("");
      else lines.push(...this.#lines.push(chunk.subarray(start, i)), ...this.#lines.push(LINE_END));
      start = i + 1;
    }
    if (start < chunk.length) this.#lines.push(chunk.subarray(start));
    return lines;
  }

  #line(line: Frame | "", frames: SseFrame[]): void {
    if (line === "") {
      this.#dispatch(frames);
    } else if (line.kind === "text") {
      this.#field(line.text, frames);
    } else if (line.kind === "invalid_utf8") {
      frames.push(line);
      this.#isBroken = true;
    } else if (!line.head.startsWith(":")) {
      this.#outgrow(line.bytes, line.head.replace(/^data: ?/, ""), line.tail);
    }
  }

  #field(line: string, frames: SseFrame[]): void {
    const colon = line.indexOf(":");
    if (colon === 0) return; // A comment: keep-alive.
    const name = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? "" : line.slice(colon + 1);
    const value = rest.startsWith(" ") ? rest.slice(1) : rest;
    if (name === "data") this.#appendData(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d{1,9}$/.test(value)) {
      frames.push({ kind: "retry", ms: Number(value) });
    }
  }

  #appendData(value: string): void {
    this.#hasData = true;
    this.#dataBytes += value.length + 1;
    if (this.#overrun !== undefined || this.#dataBytes > this.#frameMaxBytes) {
      this.#outgrow(value.length + 1, value, value);
    } else {
      this.#data.push(value);
    }
  }

  /** `head` and `tail` are those of the line; the event's own head is that of its first line. */
  #outgrow(bytes: number, head: string, tail: string): void {
    this.#overrun ??= {
      head: (this.#data[0] ?? head).slice(0, EDGE_BYTES),
      bytes: this.#data.reduce((sum, line) => sum + line.length + 1, 0),
      tail: "",
    };
    this.#overrun.bytes += bytes;
    this.#overrun.tail = tail.slice(-EDGE_BYTES);
    this.#data = [];
  }

  #dispatch(frames: SseFrame[]): void {
    if (this.#overrun !== undefined) {
      if (!this.#isBroken) frames.push({ kind: "oversize", ...this.#overrun });
    } else if (!this.#isBroken && (this.#hasData || this.#id !== undefined)) {
      const event = this.#event === "" ? "message" : this.#event;
      frames.push({ kind: "event", event, data: this.#data.join("\n"), id: this.#id });
    }
    this.#event = "";
    this.#data = [];
    this.#dataBytes = 0;
    this.#id = undefined;
    this.#hasData = false;
    this.#overrun = undefined;
    this.#isBroken = false;
  }
}

const LINE_END = Uint8Array.of(NEWLINE);
