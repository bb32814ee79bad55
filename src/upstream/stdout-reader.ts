/** Reads a child's stdout: one message a line; `message-intake.ts` says what becomes of the rest. */
import { LARGE_FROM } from "../base/large.ts";
import type { World } from "../base/world.ts";
import type { ConnectionEvents } from "../ports.ts";
import { LineFramer, type Frame } from "../wire/framing.ts";
import { maskText } from "./environment.ts";
import { MessageIntake } from "./message-intake.ts";

/** Bytes of a large line. */
const LITTER_EVERY = 4 * 1024 * 1024;

export interface StdoutReaderOptions {
  readonly world: World;
  readonly events: ConnectionEvents;
  readonly frameMaxBytes: number;
  /** Longest first. */
  readonly maskValues: readonly string[];
}

export class StdoutReader {
  readonly #framer: LineFramer;
  readonly #intake: MessageIntake;
  readonly #world: World;
  /** Bytes of the unfinished line since the last report of litter. */
  #copied = 0;

  constructor({ world, events, frameMaxBytes, maskValues }: StdoutReaderOptions) {
    this.#world = world;
    this.#framer = new LineFramer(frameMaxBytes);
    const mask = (text: string): string => maskText(text, maskValues);
    this.#intake = new MessageIntake({ world, events, frameMaxBytes, frameName: "a line", mask });
  }

  /** Whether a message has come: the command is a server, not a shell that could not find one. */
  get hasSpoken(): boolean {
    return this.#intake.hasSpoken;
  }

  push(chunk: Uint8Array): void {
    for (const frame of this.#framer.push(chunk)) this.#frame(frame);
    this.#count(chunk.length);
  }

  /** The chunks of a large line are copied together: each is litter, which only their sum shows. */
  #count(size: number): void {
    if (this.#framer.pendingBytes < LARGE_FROM) {
      this.#copied = 0;
      return;
    }
    this.#copied += size;
    if (this.#copied < LITTER_EVERY) return;
    this.#world.litter(this.#copied);
    this.#copied = 0;
  }

  /** No more output. A last line without its end is not a message. */
  end(): void {
    const bytes = this.#framer.pendingBytes;
    if (bytes > 0)
      this.#intake.noise(() => `an unfinished line of ${String(bytes)} bytes at the end`);
    this.#intake.end();
  }

  #frame(frame: Frame): void {
    if (frame.kind === "text") this.#intake.take(frame.text);
    else if (frame.kind === "oversize") this.#intake.oversize(frame.bytes, frame.head, frame.tail);
    else this.#intake.invalid(frame.bytes, frame.head, frame.tail);
  }
}
