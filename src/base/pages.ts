/**
 * Room for large payloads, taken from the system in pages. What comes from malloc is often kept by it after
 * it was freed, some 30 MiB in each thread, and what V8 frees it frees at its next collection; between
 * two large messages neither may come for long.
 *
 * PG1. Bytes that were dropped take no memory any more, at once; whoever still holds them finds them empty.
 */

/** Bytes that grow in place, up to a bound. */
export class Pages {
  readonly #buffer: ArrayBuffer;
  readonly #all: Uint8Array<ArrayBuffer>;
  #length = 0;

  /** Nothing of `maxBytes` is in memory before it is appended. */
  constructor(maxBytes: number) {
    this.#buffer = new ArrayBuffer(0, { maxByteLength: maxBytes });
    this.#all = new Uint8Array(this.#buffer);
  }

  /** Throws `RangeError` beyond the bound. */
  append(part: Uint8Array): void {
    const at = this.#length;
    this.#length += part.length;
    this.#buffer.resize(this.#length);
    this.#all.set(part, at);
  }

  /** All of them, not a copy. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#all.subarray(0, this.#length);
  }

  drop(): void {
    this.#buffer.resize(0);
  }
}

const encoder = new TextEncoder();

/** The text in UTF-8, in pages of its own. Another thread may be given its `buffer`. */
export function inPages(text: string): Uint8Array<ArrayBuffer> {
  const size = Buffer.byteLength(text);
  const buffer = new ArrayBuffer(size, { maxByteLength: size });
  const bytes = new Uint8Array(buffer);
  encoder.encodeInto(text, bytes);
  return bytes;
}

/** PG1, for bytes of `inPages`; others are left to V8. */
export function dropPages(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.resizable) buffer.resize(0);
}
