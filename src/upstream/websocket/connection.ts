/**
 * One open WebSocket: a JSON-RPC message in each text frame, its life and its one end.
 *
 *     open → over (its own end) | closed (by us)
 *
 * WC1. `onDown` comes once, and nothing after it; after `close()` nothing comes at all.
 * WC2. A request of which no byte was handed to the operating system is reported as refused.
 * WC3. A server that closes with 1009 took in no frame as large as the one that it minded, or larger:
 *      the largest request without an answer is rejected, if no notice of ours was larger. About any
 *      other request nothing is said.
 * WC4. A frame up to twice the limit is read for the id of its reply and dropped. A larger one ends
 *      the connection: there is no way to skip it.
 * WC5. While held, the socket is not read, and its silence is not judged. On the way to its end it is.
 */
import type { RawData, WebSocket } from "ws";
import { deferred } from "../../base/async.ts";
import type { World } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import type { Connection, ConnectionEvents, Outbound } from "../../ports.ts";
import { EDGE_BYTES } from "../../wire/framing.ts";
import type { Message } from "../../wire/message.ts";
import type { Mask } from "../http/classify.ts";
import { networkFailure } from "../http/classify.ts";
import { MessageIntake } from "../message-intake.ts";
import { closeFailure, TOO_BIG } from "./close-code.ts";
import { Pulse } from "./pulse.ts";
import { SocketWriter } from "./writer.ts";

/** How long a close frame of ours may take to leave after the connection was found broken. */
const PARTING_MS = 1_000;

export interface SocketParts {
  readonly world: World;
  readonly mask: Mask;
  readonly replyMaxBytes: number;
  readonly pingEveryMs: number;
}

export class SocketConnection implements Connection {
  readonly #parts: SocketParts;
  readonly #events: ConnectionEvents;
  readonly #socket: WebSocket;
  readonly #writer: SocketWriter;
  readonly #intake: MessageIntake;
  readonly #pulse: Pulse;
  readonly #gone = deferred<void>();
  /** Requests without an end, and their bytes. */
  readonly #waiting = new Map<string, number>();
  #largestNotice = 0;
  #isHeld = false;
  #state: "open" | "over" | "closed" = "open";

  /** `socket` is open. */
  constructor(parts: SocketParts, socket: WebSocket, events: ConnectionEvents) {
    this.#parts = parts;
    this.#events = events;
    this.#socket = socket;
    this.#writer = new SocketWriter(parts.world, socket);
    this.#intake = this.#newIntake();
    this.#pulse = new Pulse(parts.world, parts.pingEveryMs, {
      ping: () => {
        if (socket.readyState === socket.OPEN) socket.ping();
      },
      isBusy: () => this.#waiting.size > 0 || this.#isHeld,
      onDead: (silentMs) => {
        const seconds = String(Math.round(silentMs / 1_000));
        this.#end(failure("half_open", `no frame and no pong for ${seconds} s`));
        socket.terminate();
      },
    });
    this.#listen();
  }

  send(text: string, about: Outbound): boolean {
    if (this.#state !== "open") return false;
    if (about.kind === "notification" && this.#writer.isCongested) return false;
    const isRequest = about.kind === "request" || about.kind === "handshake";
    if (!this.#writer.send(text, isRequest ? about.id : undefined)) return false;
    const bytes = Buffer.byteLength(text);
    if (isRequest) this.#waiting.set(about.id, bytes);
    else this.#largestNotice = Math.max(this.#largestNotice, bytes);
    return true;
  }

  /** Nothing on a WebSocket depends on the handshake. */
  handshaken(): void {}

  forget(id: string): void {
    this.#waiting.delete(id);
    this.#writer.forget(id);
  }

  /** WC5. */
  hold(isHeld: boolean): void {
    if (this.#state !== "open" || isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    if (isHeld) this.#socket.pause();
    else this.#socket.resume();
  }

  close(graceMs: number): Promise<void> {
    const { world } = this.#parts;
    if (this.#state === "open") {
      this.#letGo("closed");
      this.#socket.close(1000);
    }
    const cancel = world.timer(graceMs, () => {
      this.#socket.terminate();
    });
    return this.#gone.promise.finally(cancel);
  }

  describe(): Readonly<Record<string, string | number>> {
    return this.#socket.protocol === "" ? {} : { subprotocol: this.#socket.protocol };
  }

  // ── Receiving ─────────────────────────────────────────────────────────────────────────────────

  #newIntake(): MessageIntake {
    const { world, mask, replyMaxBytes } = this.#parts;
    return new MessageIntake({
      world,
      mask,
      frameMaxBytes: replyMaxBytes,
      frameName: "a frame",
      events: {
        onMessage: (message) => {
          this.#received(message);
        },
        onOutcome: (id, outcome) => {
          if (this.#waiting.delete(id)) this.#events.onOutcome(id, outcome);
        },
        onNoise: (what) => {
          if (this.#state === "open") this.#events.onNoise(what);
        },
      },
    });
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("message", (data, isBinary) => {
      if (this.#state === "open") this.#frame(data, isBinary);
    });
    socket.on("pong", () => {
      this.#pulse.sawPong();
    });
    socket.on("ping", () => {
      this.#pulse.sawLife();
    });
    socket.on("error", (error) => {
      this.#broke(error);
    });
    socket.on("close", (code, reason) => {
      const why = closeFailure(code, reason.toString(), this.#parts.mask);
      if (code === TOO_BIG) this.#tooBig(why);
      this.#end(why);
      this.#gone.resolve();
    });
  }

  #frame(data: RawData, isBinary: boolean): void {
    this.#pulse.sawLife();
    if (isBinary) {
      this.#end(failure("protocol_error", "sent a binary frame; MCP messages are text"));
      this.#part(1003, "text frames only");
      return;
    }
    const bytes = asBuffer(data);
    if (bytes.length > this.#parts.replyMaxBytes) {
      const head = bytes.toString("latin1", 0, EDGE_BYTES);
      const tail = bytes.toString("latin1", Math.max(0, bytes.length - EDGE_BYTES));
      this.#intake.oversize(bytes.length, head, tail);
      return;
    }
    this.#intake.take(bytes.toString());
  }

  #received(message: Message): void {
    if (message.kind === "reply" && typeof message.id === "string") {
      this.#waiting.delete(message.id);
    }
    if (this.#state === "open") this.#events.onMessage(message, undefined);
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────

  /** The package says what it could not take, and closes with the code that fits. */
  #broke(error: Error): void {
    const code = String((error as { code?: unknown }).code ?? "");
    if (code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH") {
      const limit = String(2 * this.#parts.replyMaxBytes);
      this.#end(failure("oversize", `sent a frame of more than ${limit} bytes`));
    } else if (code.startsWith("WS_ERR_")) {
      this.#end(failure("protocol_error", this.#parts.mask(error.message)));
    } else this.#end(networkFailure(error, "sent"));
    this.#partSoon();
  }

  /** WC3. */
  #tooBig(why: Failure): void {
    if (this.#state !== "open") return;
    let largest: { readonly id: string; readonly bytes: number } | undefined;
    for (const [id, bytes] of this.#waiting) {
      if (bytes > (largest?.bytes ?? this.#largestNotice)) largest = { id, bytes };
    }
    if (largest === undefined) return;
    this.#waiting.delete(largest.id);
    this.#writer.forget(largest.id);
    const told = `a message of ${String(largest.bytes)} bytes: ${why.message}`;
    const outcome = { kind: "rejected", failure: failure("server_error", told) } as const;
    this.#events.onOutcome(largest.id, outcome);
  }

  #end(why: Failure): void {
    if (this.#state !== "open") return;
    const unsent = this.#letGo("over");
    for (const id of unsent) this.#events.onOutcome(id, { kind: "refused", failure: why });
    this.#events.onDown(why, undefined);
  }

  /** Returns the requests of which no byte was written. */
  #letGo(state: "over" | "closed"): readonly string[] {
    this.hold(false);
    this.#intake.end();
    this.#state = state;
    this.#pulse.stop();
    this.#waiting.clear();
    return this.#writer.stop();
  }

  #part(code: number, reason: string): void {
    this.#socket.close(code, reason);
    this.#partSoon();
  }

  /** The peer may never answer our close frame. */
  #partSoon(): void {
    const cancel = this.#parts.world.timer(PARTING_MS, () => {
      this.#socket.terminate();
    });
    void this.#gone.promise.then(cancel);
  }
}

/** The package hands out one buffer for its default `binaryType`; its type allows for more. */
function asBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}
