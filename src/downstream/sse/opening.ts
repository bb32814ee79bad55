/**
 * What becomes of a new stream is decided by the first message that comes for it: `initialize` begins
 * a session; anything else comes from a client whose library opened a new stream by itself after it
 * lost the old one, and which believes that its session goes on. It is given the session that can only
 * be its own, or told that there is none.
 *
 * CL5. Messages reach the session in the order in which they came, also those that came while the door
 *      was being asked; what waits meanwhile is bounded.
 */
import { errorText, RPC } from "../../base/errors.ts";
import type { CancelTimer, World } from "../../base/world.ts";
import type { ClientHandler, Door, Inbound, Log } from "../../ports.ts";
import { formatError, parseMessage, type Batch, type Message } from "../../wire/message.ts";
import { methodOf } from "../../wire/methods.ts";
import type { KeptLink } from "../kept-link.ts";

/** Requests larger than this wait alone. */
const WAITING_CHARS_MAX = 8 * 1024 * 1024;
/** A client that begins does so as soon as it knows where to. */
const SILENCE_MS = 250;

export type Readable = Message | Batch;

export interface OpeningOptions {
  readonly world: World;
  readonly link: KeptLink;
  readonly door: Door;
  readonly log: Log;
  /** Called before the door is asked for the client's session. */
  readonly onReturn: () => void;
}

export class Opening {
  readonly #options: OpeningOptions;
  /** What came since the door was asked; undefined while it is not. */
  #waiting: Readable[] | undefined;
  #waitingChars = 0;
  #stopWaiting: CancelTimer | undefined;

  constructor(options: OpeningOptions) {
    this.#options = options;
  }

  /**
   * The client named a protocol version, which an answer to `initialize` tells: it is given its session
   * though it may have nothing to say. Not at once, for one that names it always and begins anew.
   */
  expectReturn(): void {
    const { world, link } = this.#options;
    this.#stopWaiting = world.timer(SILENCE_MS, () => {
      if (this.#waiting !== undefined || !link.isNew || !link.isOpen()) return;
      this.#waiting = [];
      void this.#return();
    });
  }

  /** False where no more can wait. Only while the link is not bound. */
  receive(message: Readable): boolean {
    this.#stopWaiting?.();
    if (this.#waiting === undefined && beginsAnew(message)) {
      this.#begin(message);
      return true;
    }
    const chars = charsOf(message);
    if (this.#waitingChars > 0 && this.#waitingChars + chars > WAITING_CHARS_MAX) return false;
    this.#waitingChars += chars;
    if (this.#waiting === undefined) {
      this.#waiting = [message];
      void this.#return();
    } else {
      this.#waiting.push(message);
    }
    return true;
  }

  #begin(message: Inbound): void {
    const { link, door } = this.#options;
    link.bind(door.enter(link), false);
    link.receive(message);
  }

  async #return(): Promise<void> {
    const { link, door, log, onReturn } = this.#options;
    onReturn();
    let handler: ClientHandler | undefined;
    let why = NO_SESSION;
    try {
      handler = await door.adopt(link);
    } catch (error) {
      log("error", "a session could not be looked up", { cause: errorText(error) });
      why = "Not executed: the session could not be looked up";
    }
    const messages = this.#waiting ?? [];
    this.#waiting = undefined;
    this.#waitingChars = 0;
    if (handler !== undefined) {
      link.bind(handler, true);
      for (const message of messages) handler.receive(message);
      return;
    }
    log("debug", "a client came back without initialize, and without a session", { link: link.id });
    for (const message of messages) {
      if (link.isBound) link.receive(message);
      else if (beginsAnew(message)) this.#begin(message);
      else this.#refuse(message, why);
    }
  }

  #refuse(message: Readable, why: string): void {
    if (message.kind === "batch") {
      for (const text of message.texts) {
        const member = parseMessage(text);
        if (member.kind === "request") this.#refuse(member, why);
      }
    } else if (message.kind === "request") {
      // A client whose stream is gone again gets no answer: it has no session that could keep one.
      this.#options.link.send(
        formatError(message.idText, { code: RPC.invalidRequest, message: why }),
      );
    }
  }
}

const NO_SESSION =
  "Not executed: this stream has no session. Its client came back without initialize, and no waiting " +
  "session is certainly its own. A new initialize begins one; where several clients can't be told " +
  "apart, ?client=NAME in the URL of each does it";

/** A probe, too, is what a client says that has no session yet. */
function beginsAnew(message: Readable): boolean {
  if (message.kind !== "request") return false;
  const { role } = methodOf(message.method);
  return role === "handshake" || role === "probe";
}

function charsOf(message: Readable): number {
  if (message.kind !== "batch") return message.text.length;
  return message.texts.reduce((sum, text) => sum + text.length, 0);
}
