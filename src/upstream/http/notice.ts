/**
 * One notification or reply: a POST whose answer bears nothing but its status. A failure concerns the
 * connection, or is noise: nobody waits for the outcome of a notice.
 */
import type { IncomingMessage } from "node:http";
import { readAnswer, readPast } from "./body.ts";
import { describeAnswer, judgeAnswer } from "./classify.ts";
import type { HttpCall } from "./client.ts";
import type { Host } from "./host.ts";

export class Notice {
  readonly #host: Host;
  readonly #onDone: (notice: Notice) => void;
  #call: HttpCall | undefined;

  /** `onDone` is called once when the server has answered or will not; never after `abort()`. */
  constructor(host: Host, text: string, onDone: (notice: Notice) => void) {
    this.#host = host;
    this.#onDone = onDone;
    this.#post(text, false);
  }

  abort(): void {
    this.#call?.abort();
    this.#call = undefined;
  }

  #post(text: string, isFresh: boolean): void {
    const host = this.#host;
    const hasSession = host.headers.sessionId !== undefined;
    const headers = host.headers.forPost(text);
    this.#call = host.client.start(
      { method: "POST", headers, body: text, isFresh },
      {
        onResponse: (response) => {
          this.#answered(response, hasSession);
        },
        onFailed: (fault) => {
          if (fault.isStale && !isFresh) {
            this.#post(text, true);
            return;
          }
          this.#done();
          if (fault.isUnsent) host.fail(fault.failure);
          else host.noise(`a notification was not acknowledged: ${fault.failure.message}`);
        },
      },
    );
  }

  #answered(response: IncomingMessage, hasSession: boolean): void {
    const host = this.#host;
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) {
      readPast(host.world, response, host.patienceMs);
      this.#done();
      return;
    }
    readAnswer(host.world, response, host.patienceMs, (answer) => {
      if (this.#call === undefined) return;
      const facts = { id: undefined, safety: "unsafe", isHandshake: false, hasSession } as const;
      const judgement = judgeAnswer(answer, facts, host.world.now(), host.mask);
      this.#done();
      if (judgement.kind === "outcome" && judgement.isDown) host.fail(judgement.outcome.failure);
      else host.noise(`a notification was refused: ${describeAnswer(answer, host.mask)}`);
    });
  }

  #done(): void {
    this.#call = undefined;
    this.#onDone(this);
  }
}
