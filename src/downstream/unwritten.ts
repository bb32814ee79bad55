/**
 * What messages that wait to be written take in memory besides their text: a callback, a request to the
 * socket, pieces of buffers. Of short notifications it is most: 16 MiB of their text took 96 MiB.
 */
const MESSAGE_BYTES = 512;

/** The messages of one connection of which the socket has not taken all. */
export class Unwritten {
  #count = 0;

  /** One more; `written` is called once for it. */
  begin(): void {
    this.#count++;
  }

  /** The socket has all of one, or is gone. */
  readonly written = (): void => {
    this.#count--;
  };

  /** Besides their text. */
  get bytes(): number {
    return this.#count * MESSAGE_BYTES;
  }
}
