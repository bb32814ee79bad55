/** Cuts byte streams into server-sent events, under the same invariants as `framing.ts` (F1–F3). */
import { EDGE_BYTES, type Frame, LineFramer, NEWLINE, RETURN } from "./framing.ts";

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
