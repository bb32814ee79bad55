/**
 * The last words of a child: its newest stderr lines, for errors; each line also goes to a listener.
 *
 * W1. Memory is bounded whatever the child writes: a long line is cut, an old one forgotten.
 * W2. A line is masked before it is cut, so that no part of a secret is left over.
 */
import { longestFirst, maskText } from "./environment.ts";

const LINES_MAX = 20;
const CHARS_MAX = 4096;
/** Shown of one line. */
const LINE_CHARS_MAX = 1000;
/** Held of an unfinished line. */
const HELD_CHARS_MAX = 16_384;

const ESCAPE = /\u001b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?)/g;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g;

/** Text of a peer as one line that cannot steer a terminal. */
export function plainLine(text: string): string {
  return text.replace(ESCAPE, "").replace(CONTROL, " ").trim();
}

export class StderrRing {
  readonly #maskValues: readonly string[];
  readonly #onLine: (line: string) => void;
  readonly #decoder = new TextDecoder();
  #held = "";
  #lines: string[] = [];
  #chars = 0;

  constructor(maskValues: readonly string[], onLine: (line: string) => void) {
    this.#maskValues = longestFirst(maskValues);
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array): void {
    const text = this.#decoder.decode(chunk, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      this.#hold(text.slice(start, end));
      this.#finish();
      start = end + 1;
    }
    this.#hold(text.slice(start));
  }

  /** The newest lines, oldest first, an unfinished one included. */
  tail(): readonly string[] {
    if (this.#held !== "") this.#finish();
    return this.#lines;
  }

  #hold(part: string): void {
    const room = HELD_CHARS_MAX - this.#held.length;
    if (room > 0) this.#held += part.length > room ? part.slice(0, room) : part;
  }

  #finish(): void {
    const line = plainLine(maskText(this.#held, this.#maskValues));
    this.#held = "";
    if (line === "") return;
    const shown = line.length > LINE_CHARS_MAX ? `${line.slice(0, LINE_CHARS_MAX)}…` : line;
    this.#lines.push(shown);
    this.#chars += shown.length;
    while (this.#lines.length > LINES_MAX || this.#chars > CHARS_MAX) {
      this.#chars -= this.#lines.shift()?.length ?? 0;
    }
    this.#onLine(shown);
  }
}
