/** Notices a client that does not read (promise P7): then notifications are dropped; answers never are. */
import type { ClientStream, Log } from "../ports.ts";

/** More than this unread is too much. The listener takes no more requests long before. */
const UNREAD_MAX_BYTES = 16 * 1024 * 1024;

export class Congestion {
  readonly #stream: ClientStream;
  readonly #log: Log;
  #was = false;

  constructor(stream: ClientStream, log: Log) {
    this.#stream = stream;
    this.#log = log;
  }

  static isOn(stream: ClientStream): boolean {
    return stream.bufferedBytes() > UNREAD_MAX_BYTES;
  }

  /** The client does not read what it is sent. Logged once each time that it begins. */
  get is(): boolean {
    const is = Congestion.isOn(this.#stream);
    if (is && !this.#was) {
      this.#log("warn", "the client does not read; its notifications are dropped", {});
    }
    this.#was = is;
    return is;
  }
}
