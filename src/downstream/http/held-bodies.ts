/**
 * The POSTs of one client whose bodies are being read: all pause together while its calls are on their
 * way to disk. A body that is paused is not late (`body.ts`).
 */
import type { IncomingMessage } from "node:http";
import { flowOn, hold } from "./flow.ts";

export class HeldBodies {
  readonly #reading = new Set<IncomingMessage>();
  #isHeld = false;

  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Before its body is read. */
  add(request: IncomingMessage): void {
    this.#reading.add(request);
    const forget = () => {
      this.#reading.delete(request);
    };
    request.on("end", forget);
    request.on("close", forget);
    if (this.#isHeld) hold(request);
  }

  hold(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#isHeld = isHeld;
    for (const request of this.#reading) {
      if (isHeld) hold(request);
      else flowOn(request);
    }
  }
}
