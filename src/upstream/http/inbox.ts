/**
 * Sorts what a server wrote: a reply goes to the request that waits for it, on whatever stream it
 * came; anything else goes on with the request on whose stream it came.
 */
import { failure } from "../../core/failure.ts";
import {
  parseMessage,
  type Malformed,
  type Message,
  type ReplyMessage,
} from "../../wire/message.ts";
import type { Fate } from "./host.ts";

export interface InboxEvents {
  /** Ends the exchange of a pending request; false if none has this id. */
  claim(id: string): boolean;
  pass(message: Message, relatedId: string | undefined): void;
  settle(id: string, fate: Fate): void;
  noise(what: string): void;
}

export class Inbox {
  readonly #events: InboxEvents;

  constructor(events: InboxEvents) {
    this.#events = events;
  }

  /** `isFirstHand`: from the answer to the related request's own POST. */
  take(text: string, relatedId: string | undefined, isFirstHand: boolean): void {
    const parsed = parseMessage(text);
    if (parsed.kind !== "batch") {
      this.#route(parsed, relatedId, isFirstHand);
      return;
    }
    for (const part of parsed.texts) {
      const message = parseMessage(part);
      if (message.kind === "batch") this.#events.noise("a batch inside a batch was dropped");
      else this.#route(message, relatedId, isFirstHand);
    }
  }

  #route(message: Message | Malformed, relatedId: string | undefined, isFirstHand: boolean): void {
    if (message.kind === "malformed") this.#malformed(message, relatedId);
    else if (message.kind === "reply") this.#reply(message, relatedId, isFirstHand);
    else this.#events.pass(message, relatedId);
  }

  #malformed({ reason, idText }: Malformed, relatedId: string | undefined): void {
    if (relatedId !== undefined && idText === JSON.stringify(relatedId)) {
      const told = `the answer is no JSON-RPC message: ${reason}`;
      this.#events.settle(relatedId, { kind: "lost", failure: failure("protocol_error", told) });
    } else this.#events.noise(`not a message: ${reason}`);
  }

  #reply(message: ReplyMessage, relatedId: string | undefined, isFirstHand: boolean): void {
    const { id } = message;
    if (typeof id === "string" && this.#events.claim(id)) {
      this.#events.pass(message, id);
    } else if (id !== undefined && isFirstHand) {
      // Nobody's; but it was not repeated to us, so let it be seen above.
      this.#events.pass(message, relatedId);
    } else {
      // A resumed stream may repeat replies that were taken before; an id of null answers nothing.
      this.#events.noise("a reply to nothing that waits for one was dropped");
    }
  }
}
