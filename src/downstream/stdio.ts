/**
 * The stdio listener: we are the child of one client, which speaks over our stdin and stdout.
 *
 * L1. Nothing but messages is ever written to the output.
 * L2. The client has left at the end or failure of either stream; its handler is told once. What was
 *     sent until then still goes out: a client may end its input and read on.
 * L3. Memory is bounded: while the client does not read, or its calls are on their way to disk, nothing
 *     is read from it; of the first its handler is told.
 */
import type { Readable, Writable } from "node:stream";
import { assert, unreachable } from "../base/assert.ts";
import type { World } from "../base/world.ts";
import { idOfOversize, LineFramer, onOneLine, type Frame } from "../wire/framing.ts";
import { parseMessage } from "../wire/message.ts";
import type { ClientHandler, ClientLink, Inbound, Listener, Log } from "../ports.ts";

/** Above this much unread output input and server are held until the client has read it all. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
/** How long `stop` waits for a client that does not read. */
const FLUSH_MS = 2000;

export interface StdioListenerOptions {
  readonly world: World;
  readonly log: Log;
  /** The client's messages: `process.stdin`. */
  readonly input: Readable;
  /** Ours: `process.stdout`. Nothing else may write to it. */
  readonly output: Writable;
  /** The largest line taken from the client. */
  readonly frameMaxBytes: number;
}

/** Accepts the one client of this process. `start` may be called once. */
export function stdioListener(options: StdioListenerOptions): Listener {
  const link = new StdioLink(options);
  return {
    start: (accept) => {
      link.start(accept);
    },
    stop: () => link.stop(),
  };
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "open"; readonly handler: ClientHandler }
  /** No more input is taken; output still goes out. */
  | { readonly kind: "stopped" }
  | { readonly kind: "left" };

class StdioLink implements ClientLink {
  readonly id: string;
  readonly transport = "stdio";
  /** Whoever starts us owns us. */
  readonly principal = "local";
  readonly peer = "stdio";
  readonly key = undefined;
  readonly canResume = false;
  readonly #options: StdioListenerOptions;
  readonly #framer: LineFramer;
  #state: State = { kind: "idle" };
  /** Lines of this turn, written together. */
  #pending = "";
  #isScheduled = false;
  /** Why nothing is read. */
  readonly #holds = new Set<"unread" | "intake">();

  constructor(options: StdioListenerOptions) {
    this.#options = options;
    this.#framer = new LineFramer(options.frameMaxBytes);
    this.id = options.world.newId("link");
  }

  start(accept: (link: ClientLink) => ClientHandler): void {
    assert(this.#state.kind === "idle", "a stdio listener is started once");
    const { input, output } = this.#options;
    this.#state = { kind: "open", handler: accept(this) };
    input.on("data", (chunk: Buffer | string) => {
      this.#take(typeof chunk === "string" ? Buffer.from(chunk) : chunk);
    });
    input.on("end", () => {
      this.#leave("the client closed our stdin");
    });
    input.on("close", () => {
      this.#leave("our stdin was closed");
    });
    input.on("error", (error) => {
      this.#leave(`our stdin failed: ${error.message}`);
    });
    output.on("error", (error) => {
      this.#leave(`the client closed our stdout: ${error.message}`);
    });
    output.on("close", () => {
      this.#leave("our stdout was closed");
    });
    output.on("drain", () => {
      this.#resume("unread");
    });
  }

  send(text: string): boolean {
    if (!this.#options.output.writable) return false;
    this.#pending += `${onOneLine(text)}\n`;
    if (this.bufferedBytes() > UNREAD_BYTES_MAX) this.#pause("unread");
    if (this.#isScheduled) return true;
    this.#isScheduled = true;
    this.#options.world.soon(() => {
      this.#isScheduled = false;
      this.#flush();
    });
    return true;
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.#pause("intake");
    else this.#resume("intake");
  }

  bufferedBytes(): number {
    return this.#options.output.writableLength + this.#pending.length;
  }

  async stop(): Promise<void> {
    const { input, output, world, log } = this.#options;
    if (this.#state.kind !== "left") this.#state = { kind: "stopped" };
    input.pause();
    this.#flush();
    if (output.writableLength === 0 || !output.writable) return;
    await new Promise<void>((resolve) => {
      const cancelTimer = world.timer(FLUSH_MS, () => {
        log("warn", "the client does not read; some of its answers are left behind", {
          bytes: output.writableLength,
        });
        resolve();
      });
      const end = (): void => {
        cancelTimer();
        resolve();
      };
      // The callback of a later write comes after all earlier ones, or with the stream's error.
      output.write("", end);
      output.once("close", end);
    });
  }

  #flush(): void {
    const lines = this.#pending;
    this.#pending = "";
    const { output } = this.#options;
    if (lines !== "" && output.writable) output.write(lines);
    // Without a need to drain no `drain` will come.
    if (!output.writableNeedDrain) this.#resume("unread");
  }

  #pause(why: "unread" | "intake"): void {
    this.#holds.add(why);
    this.#options.input.pause();
    if (why === "unread" && this.#state.kind === "open") this.#state.handler.congested?.(true);
  }

  #resume(why: "unread" | "intake"): void {
    if (!this.#holds.delete(why) || this.#state.kind !== "open") return;
    if (this.#holds.size === 0) this.#options.input.resume();
    if (why === "unread") this.#state.handler.congested?.(false);
  }

  #take(chunk: Uint8Array): void {
    for (const frame of this.#framer.push(chunk)) {
      if (this.#state.kind !== "open") return;
      this.#state.handler.receive(inboundOf(frame));
    }
  }

  #leave(cause: string): void {
    const state = this.#state;
    if (state.kind === "left") return;
    this.#state = { kind: "left" };
    const bytes = this.#framer.pendingBytes;
    if (bytes > 0) {
      this.#options.log("warn", "the client's last line was not finished and is ignored", {
        bytes,
      });
    }
    if (state.kind === "open") void state.handler.left(cause);
  }
}

/** A client's answer to a request of the server, whose id is not the client's own. */
const REPLY_HEAD = /^\{(?:"jsonrpc":"2\.0",)?(?:"id":(?:"[^"\\]*"|-?\d+),)?"(?:result|error)":/;

function inboundOf(frame: Frame): Inbound {
  switch (frame.kind) {
    case "text":
      return parseMessage(frame.text);
    case "oversize":
      return {
        kind: "oversize",
        bytes: frame.bytes,
        idText: idOfOversize(frame.head, frame.tail),
      };
    case "invalid_utf8":
      return {
        kind: "malformed",
        code: -32700,
        reason: "invalid UTF-8",
        idText: REPLY_HEAD.test(frame.head) ? undefined : idOfOversize(frame.head, frame.tail),
      };
    default:
      return unreachable(frame);
  }
}
