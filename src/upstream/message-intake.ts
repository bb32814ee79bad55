/**
 * Sorts what a server writes on a channel that bears everything (a child's stdout, an event stream, a
 * WebSocket): messages, the fate of answers that could not be read, and noise.
 *
 * O1. An answer that cannot be taken (too large, invalid UTF-8, no valid reply) settles its request where its id is
 *     certain; nobody waits for it any longer.
 * O2. Whatever else is no message is noise: reported, counted, never fatal.
 */
import type { World } from "../base/world.ts";
import { failure, type Failure } from "../core/failure.ts";
import type { ConnectionEvents } from "../ports.ts";
import { idOfOversize } from "../wire/framing.ts";
import { parseMessage, type Malformed } from "../wire/message.ts";
import { NoiseGate } from "./noise-gate.ts";
import { plainLine } from "./stderr-ring.ts";

const PREVIEW_CHARS_MAX = 200;
/** How much of a long text is looked at to find secrets in its preview. */
const PREVIEW_SOURCE_CHARS_MAX = 16_384;

/** A request of the upstream, which has an id of its own and is no answer to us. */
const REQUEST_HEAD = /^\{(?:"jsonrpc":"2\.0",)?(?:"id":(?:"[^"\\]*"|-?\d+),)?"method":/;

export interface MessageIntakeOptions {
  readonly world: World;
  readonly events: Pick<ConnectionEvents, "onMessage" | "onOutcome" | "onNoise">;
  readonly frameMaxBytes: number;
  /** What one frame is called in reports: "a line", "an event". */
  readonly frameName: string;
  /** Hides secrets. */
  readonly mask: (text: string) => string;
}

export class MessageIntake {
  readonly #options: MessageIntakeOptions;
  readonly #gate: NoiseGate;
  #hasSpoken = false;

  constructor(options: MessageIntakeOptions) {
    this.#options = options;
    this.#gate = new NoiseGate(options.world, (what) => {
      options.events.onNoise(what);
    });
  }

  /** Whether a message has come: this is an MCP server, not something else. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  /** One whole frame. */
  take(text: string): void {
    this.#text(text, true);
  }

  /** `head` and `tail` as those of `Oversize`. */
  oversize(bytes: number, head: string, tail: string): void {
    const { frameName, frameMaxBytes } = this.#options;
    const limit = `the limit is ${String(frameMaxBytes)}`;
    this.#gate.noise(
      () => `${frameName} of ${String(bytes)} bytes; ${limit}: ${this.#preview(head)}`,
    );
    this.#unreadableAt(
      head,
      tail,
      failure("oversize", `answered with ${String(bytes)} bytes; ${limit} bytes`),
    );
  }

  /** `head` and `tail` as those of `InvalidUtf8`. */
  invalid(bytes: number, head: string, tail: string): void {
    const { frameName } = this.#options;
    this.#gate.noise(() => `${frameName} of ${String(bytes)} bytes of invalid UTF-8`);
    this.#unreadableAt(head, tail, failure("protocol_error", "answered with invalid UTF-8"));
  }

  noise(describe: () => string): void {
    this.#gate.noise(describe);
  }

  /** No more input: says how much noise was withheld. */
  end(): void {
    this.#gate.flush();
  }

  #text(text: string, mayBatch: boolean): void {
    const parsed = parseMessage(text);
    if (parsed.kind === "malformed") {
      this.#malformed(parsed, text);
    } else if (parsed.kind !== "batch") {
      this.#hasSpoken = true;
      this.#options.events.onMessage(parsed, undefined);
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

  #unreadableAt(head: string, tail: string, why: Failure): void {
    const idText = REQUEST_HEAD.test(head) ? undefined : idOfOversize(head, tail);
    if (idText !== undefined) this.#unreadable(idText, why);
  }

  #unreadable(idText: string, why: Failure): void {
    const id: unknown = JSON.parse(idText);
    // Our own ids are strings; a number is a request of the upstream's.
    if (typeof id !== "string") return;
    this.#hasSpoken = true;
    this.#options.events.onOutcome(id, { kind: "unreadable", failure: why });
  }

  #preview(text: string): string {
    const source = this.#options.mask(text.slice(0, PREVIEW_SOURCE_CHARS_MAX));
    const line = plainLine(source);
    return line.length > PREVIEW_CHARS_MAX ? `${line.slice(0, PREVIEW_CHARS_MAX - 1)}…` : line;
  }
}
