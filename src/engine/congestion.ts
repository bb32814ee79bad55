/** Notices a client that does not read (promise P7): then notifications are dropped; answers never are. */
import type { ClientLink, Log } from "../ports.ts";

/** More than this unread is too much. The listener takes no more requests long before. */
const UNREAD_MAX_BYTES = 16 * 1024 * 1024;

export class Congestion {
  readonly #link: ClientLink;
  readonly #log: Log;
  #was = false;

  constructor(link: ClientLink, log: Log) {
    this.#link = link;
    this.#log = log;
  }

  /** The client does not read what it is sent. Logged once each time that it begins. */
  get is(): boolean {
    const is = this.#link.bufferedBytes() > UNREAD_MAX_BYTES;
    if (is && !this.#was) {
      this.#log("warn", "the client does not read; its notifications are dropped", {});
    }
    this.#was = is;
    return is;
  }
}
