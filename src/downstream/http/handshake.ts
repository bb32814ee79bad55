/** The answer to a handshake: plain JSON, however long it takes, with the key of the session. */
import type { ServerResponse } from "node:http";
import type { ClientStream, Said } from "../../ports.ts";
import { answerJson, refuse, type Trouble } from "./answers.ts";

export interface HandshakeHooks {
  /** The headers of its answer. */
  headers(): readonly string[];
  answered(reply: string): void;
  /** The client went away before it was answered. */
  abandoned(): void;
}

export class HandshakeStream implements ClientStream {
  readonly #response: ServerResponse;
  readonly #idText: string;
  readonly #hooks: HandshakeHooks;
  #isOpen = true;

  constructor(response: ServerResponse, idText: string, hooks: HandshakeHooks) {
    this.#response = response;
    this.#idText = idText;
    this.#hooks = hooks;
    response.on("close", () => {
      if (!this.#isOpen) return;
      this.#isOpen = false;
      hooks.abandoned();
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Only the answer: what is said meanwhile goes over the link. */
  send(text: string, said: Said): boolean {
    if (!this.#isOpen || said.kind !== "reply") return false;
    this.#isOpen = false;
    answerJson(this.#response, 200, text, this.#hooks.headers());
    this.#hooks.answered(text);
    return true;
  }

  bufferedBytes(): number {
    return this.#response.writableLength;
  }

  /** There will be no answer. */
  refuse(what: Trouble): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    refuse(this.#response, { ...what, idText: this.#idText });
  }
}
