/**
 * Cuts byte streams into lines of bounded size: NDJSON messages, and what `sse.ts` builds upon.
 *
 * F1. A frame over its limit is reported once, with its head and tail, and skipped; the stream goes on.
 * F2. Memory held is at most the limit plus one chunk, whatever the peer sends.
 * F3. Invalid UTF-8 is reported with its edges, never replaced silently: a call must not run with other arguments.
 */

import { LARGE_FROM } from "../base/large.ts";
import { Pages } from "../base/pages.ts";

export type Frame = { readonly kind: "text"; readonly text: string } | Oversize | InvalidUtf8;

/** `head` and `tail` as those of `Oversize`. */
export interface InvalidUtf8 {
  readonly kind: "invalid_utf8";
  readonly bytes: number;
  readonly head: string;
  readonly tail: string;
}

/** `head` and `tail` are the first and last bytes (≤ 256 each), read as Latin-1. */
export interface Oversize {
  readonly kind: "oversize";
  readonly bytes: number;
  readonly head: string;
  readonly tail: string;
}

export const NEWLINE = 10;
export const RETURN = 13;
/** Of an oversize frame this much of its head and tail is kept. */
export const EDGE_BYTES = 256;
/** Pieces smaller than this are copied together: an object for each could outweigh its bytes (F2). */
const BLOCK_BYTES = 16 * 1024;

const decoder = new TextDecoder("utf-8", { fatal: true });

function decode(bytes: Uint8Array): Frame {
  try {
    return { kind: "text", text: decoder.decode(bytes) };
  } catch {
    const head = latin1(bytes.subarray(0, EDGE_BYTES));
    const tail = latin1(bytes.subarray(Math.max(0, bytes.length - EDGE_BYTES)));
    return { kind: "invalid_utf8", bytes: bytes.length, head, tail };
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
  /** Instead of `#chunks`, once the line is large and came in pieces: whole, and given back at once. */
  #pages: Pages | undefined;
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
    if (this.#length + part.length <= this.#frameMaxBytes) {
      this.#keep(part);
      return;
    }
    const parts = [...(this.#pages === undefined ? this.#chunks : [this.#pages.bytes]), part];
    this.#overrun = {
      head: latin1(firstBytes(parts)),
      bytes: this.#length + part.length,
      tail: lastBytes(parts),
    };
    this.#forget();
  }

  #keep(part: Uint8Array): void {
    if (part.length === 0) return;
    this.#length += part.length;
    if (this.#pages !== undefined) {
      this.#pages.append(part);
      return;
    }
    if (this.#chunks.length > 0 && this.#length >= LARGE_FROM) {
      this.#pages = new Pages(this.#frameMaxBytes);
      for (const chunk of this.#chunks) this.#pages.append(chunk);
      this.#pages.append(part);
      this.#chunks = [];
      return;
    }
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
    let line = this.#pages?.bytes ?? only ?? concat(this.#chunks, this.#length);
    if (line.at(-1) === RETURN) line = line.subarray(0, -1);
    const frame = line.length === 0 ? undefined : decode(line);
    this.#forget();
    return frame;
  }

  #forget(): void {
    this.#pages?.drop();
    this.#pages = undefined;
    this.#chunks = [];
    this.#length = 0;
  }
}

function firstBytes(parts: readonly Uint8Array[]): Uint8Array {
  const kept: Uint8Array[] = [];
  let length = 0;
  for (const part of parts) {
    if (length === EDGE_BYTES) break;
    const slice = part.subarray(0, EDGE_BYTES - length);
    kept.push(slice);
    length += slice.length;
  }
  return concat(kept, length);
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
 * The id of a message too large, or too broken, to be read, where one of the layouts that SDKs write shows it for
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
