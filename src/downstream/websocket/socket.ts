/**
 * One WebSocket of a client: a JSON-RPC message is one text frame.
 *
 * CL6. While the client leaves more than 8 MiB unread, its calls are on their way to disk, or too much of
 *      all clients' messages is half read, nothing is read from it.
 * CL7. A connection without a sign of life for one beat after a ping is dead. One with something left
 *      to read gets eight: its pong comes behind that, and a slow line is not a dead one.
 */
import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { WebSocket, type RawData } from "ws";
import type { CancelTimer, World } from "../../base/world.ts";
import type { Inbound } from "../../ports.ts";
import { EDGE_BYTES, idOfOversize } from "../../wire/framing.ts";
import { parseMessage } from "../../wire/message.ts";
import type { Flow, HalfReadRoom } from "../half-read-room.ts";
import type { Carrier, Farewell } from "../kept-link.ts";
import { Unwritten } from "../unwritten.ts";

const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
/** How long a client has to answer our close frame. */
const CLOSE_MS = 5_000;
/** At 15 s a beat: the largest result in this time is 1.1 Mbit/s. */
const READING_BEATS_MAX = 8;
/** At 15 s a beat: so long a large message may take to come, as a request over HTTP may (60 s). */
const PART_BEATS_MAX = 4;
/** RFC 6455 §5.5: what a control frame holds, less its code. */
const REASON_BYTES_MAX = 123;
/** RFC 6455 §5.2: of a control frame of a client, its mask included. */
const CONTROL_HEAD_BYTES = 6;

/** RFC 6455 §7.4.1; 4409 is ours. */
export const CLOSE = {
  done: 1000,
  goingAway: 1001,
  binary: 1003,
  none: 1005,
  policy: 1008,
  tooBig: 1009,
  takenOver: 4409,
} as const;

const CODES: Readonly<Record<Farewell, number>> = {
  taken_over: CLOSE.takenOver,
  session_over: CLOSE.policy,
  stopping: CLOSE.goingAway,
};

type Hold = "unread" | "intake" | "room";

export interface SocketOptions {
  readonly world: World;
  readonly requestMaxBytes: number;
  readonly room: HalfReadRoom;
}

export interface SocketHooks {
  onMessage(inbound: Inbound): void;
  /** The connection is gone; `isForGood`: the client closed it politely. Once. */
  onClosed(cause: string, isForGood: boolean): void;
}

export class SocketCarrier implements Carrier {
  readonly #options: SocketOptions;
  readonly #socket: WebSocket;
  /** The first reason of ours to end it. */
  #ownCause: string | undefined;
  #stopClosing: CancelTimer | undefined;
  #hasHeard = true;
  readonly #unwritten = new Unwritten();
  /** Beats since it was heard, or was seen to read. */
  #silentBeats = 0;
  /** Why nothing is read. */
  readonly #holds = new Set<Hold>();
  /** Bytes since the last message was whole, less the pings and pongs among them. */
  #partBytes = 0;
  /** Beats that the message on its way has seen while it was read. */
  #partBeats = 0;

  /** `transport` is what `socket` reads from. */
  constructor(socket: WebSocket, transport: Duplex, options: SocketOptions) {
    this.#options = options;
    this.#socket = socket;
    // Before the library takes it, which may find the end of a message in it.
    transport.prependListener("data", (chunk: Buffer) => {
      // The library keeps nothing of what comes after a close frame or an error.
      if (socket.readyState !== WebSocket.OPEN) return;
      this.#partBytes += chunk.length;
      options.room.grew(this.#flow, this.#partBytes);
    });
  }

  open(hooks: SocketHooks): void {
    const socket = this.#socket;
    socket.on("message", (data, isBinary) => {
      this.#hasHeard = true;
      this.#partIsOver();
      // What comes after our close frame is not taken: another connection may speak for the client.
      if (socket.readyState !== WebSocket.OPEN) return;
      if (isBinary) this.#end(CLOSE.binary, "a message is a text frame");
      else hooks.onMessage(this.#inboundOf(data));
    });
    const onControl = (payload: Buffer) => {
      this.#hasHeard = true;
      // It was counted with the bytes around it. A day's pings would pass for a large message.
      this.#partBytes = Math.max(0, this.#partBytes - CONTROL_HEAD_BYTES - payload.length);
    };
    socket.on("ping", onControl);
    socket.on("pong", onControl);
    // The library has sent a close frame, if it can, and closes.
    socket.on("error", (error) => {
      this.#ownCause ??= error.message;
      this.#partIsOver();
    });
    socket.on("close", (code, reason) => {
      this.#stopClosing?.();
      this.#partIsOver();
      const own = this.#ownCause;
      const isPolite = code === CLOSE.done || code === CLOSE.goingAway || code === CLOSE.none;
      const said = `it closed its connection (${[String(code), reason.toString()].join(" ").trim()})`;
      hooks.onClosed(own ?? said, own === undefined && isPolite);
    });
  }

  send(text: string): boolean {
    const socket = this.#socket;
    if (socket.readyState !== WebSocket.OPEN) return false;
    this.#unwritten.begin();
    socket.send(text, this.#onWritten);
    if (this.bufferedBytes() > UNREAD_BYTES_MAX) this.#pause("unread");
    return true;
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.#pause("intake");
    else this.#resume("intake");
  }

  bufferedBytes(): number {
    return this.#socket.bufferedAmount + this.#unwritten.bytes;
  }

  close(why: Farewell, words: string): void {
    this.#end(CODES[why], words);
  }

  destroy(): void {
    this.#socket.terminate();
  }

  /** Once every 15 s: asks for a sign of life, and ends what gave none for too long. */
  beat(): void {
    // Its pong may be among what is not read.
    if (this.#isHeldByUs) this.#hasHeard = true;
    if (this.#isTooSlow()) {
      this.#end(CLOSE.policy, `a message took more than ${String(PART_BEATS_MAX)} pings to come`);
    }
    this.#silentBeats = this.#hasHeard ? 0 : this.#silentBeats + 1;
    this.#hasHeard = false;
    const silentBeatsMax = this.bufferedBytes() > 0 ? READING_BEATS_MAX : 1;
    if (this.#silentBeats >= silentBeatsMax) {
      this.#ownCause ??= "it answered no ping";
      this.destroy();
    } else if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.ping();
    }
  }

  readonly #flow: Flow = {
    hold: () => {
      this.#pause("room");
    },
    flowOn: () => {
      this.#resume("room");
    },
    giveUp: () => {
      if (!this.#isHeldByUs)
        this.#end(CLOSE.policy, "a message came too slowly while others waited");
    },
  };

  /** The message on its way has come, or never will. */
  #partIsOver(): void {
    this.#partBytes = 0;
    this.#partBeats = 0;
    this.#options.room.left(this.#flow);
  }

  get #isHeldByUs(): boolean {
    return this.#holds.has("intake") || this.#holds.has("room");
  }

  /** HR2: others may wait for what is large. */
  #isTooSlow(): boolean {
    if (this.#isHeldByUs || !this.#options.room.has(this.#flow)) return false;
    this.#partBeats += 1;
    return this.#partBeats > PART_BEATS_MAX;
  }

  #end(code: number, words: string): void {
    this.#ownCause ??= words;
    this.#socket.close(code, reasonOf(words));
    this.#stopClosing ??= this.#options.world.timer(CLOSE_MS, () => {
      this.destroy();
    });
  }

  /** A failed write is followed by the close of the connection, which tells it. */
  readonly #onWritten = (): void => {
    this.#unwritten.written();
    // With more behind it, it went because the client took what was before it.
    if (this.#socket.bufferedAmount > 0) this.#hasHeard = true;
    if (this.bufferedBytes() <= UNREAD_BYTES_MAX / 2) this.#resume("unread");
  };

  #pause(why: Hold): void {
    this.#holds.add(why);
    this.#socket.pause();
  }

  #resume(why: Hold): void {
    if (this.#holds.delete(why) && this.#holds.size === 0) this.#socket.resume();
  }

  #inboundOf(data: RawData): Inbound {
    // The library's default is one buffer for each message.
    const bytes = data as Buffer;
    if (bytes.length <= this.#options.requestMaxBytes) return parseMessage(bytes.toString());
    const head = bytes.subarray(0, EDGE_BYTES).toString("latin1");
    const tail = bytes.subarray(-EDGE_BYTES).toString("latin1");
    return { kind: "oversize", bytes: bytes.length, idText: idOfOversize(head, tail) };
  }
}

/** As much of `words` as a close frame holds, cut between characters. */
export function reasonOf(words: string): string {
  const bytes = Buffer.from(words);
  if (bytes.length <= REASON_BYTES_MAX) return words;
  let end = REASON_BYTES_MAX;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end).toString();
}
