/**
 * The server's own stream (GET): requests and notifications that belong to no request of ours. Having
 * none is normal; one that ends is opened again, ever more slowly while it brings nothing.
 *
 * S1. A server that has no such stream (405 and other 4xx) is asked once.
 * S2. After 404 or a session-shaped 400 on a stream that was open before, the session is lost.
 * S3. Only a connection that can't be made is a failure of the connection.
 */
import type { IncomingMessage } from "node:http";
import type { CancelTimer } from "../../base/world.ts";
import { failure } from "../../core/failure.ts";
import { mediaType, readAnswer, readEvents, type Cursor } from "./body.ts";
import { describeAnswer, isSessionLoss, retryAfterMs, type HttpAnswer } from "./classify.ts";
import type { HttpCall } from "./client.ts";
import { reopenDelayMs, RETRY_DEFAULT_MS, type Host } from "./host.ts";

const REOPEN_CAP_MS = 30_000;
/** A stream that lived this long did not fail, even if it brought nothing. */
const HEALTHY_MS = 30_000;
/** A stream that broke, not ended: look soon whether the server is still there. */
const BROKEN_RETRY_MS = 250;

type Phase =
  | { readonly kind: "opening"; readonly call: HttpCall }
  | { readonly kind: "open"; readonly call: HttpCall; readonly since: number }
  | { readonly kind: "waiting"; readonly cancel: CancelTimer }
  | { readonly kind: "none" };

export class ServerStream {
  readonly #host: Host;
  readonly #cursor: Cursor;
  #phase: Phase = { kind: "none" };
  #wasOpen: boolean;
  /** Streams in a row that brought nothing. */
  #failures = 0;

  /** `lastId`: the last event of this session's stream on an earlier connection. */
  constructor(host: Host, lastId: string | undefined) {
    this.#host = host;
    this.#cursor = { lastId, retryMs: undefined };
    this.#wasOpen = lastId !== undefined;
    this.#open();
  }

  get lastId(): string | undefined {
    return this.#cursor.lastId;
  }

  abort(): void {
    const phase = this.#phase;
    this.#phase = { kind: "none" };
    if ("cancel" in phase) phase.cancel();
    if ("call" in phase) phase.call.abort();
  }

  #open(): void {
    const { client, headers } = this.#host;
    const get = headers.forGet(this.#cursor.lastId);
    const call = client.start(
      { method: "GET", headers: get, body: undefined, isFresh: false },
      {
        onResponse: (response) => {
          this.#answered(call, response);
        },
        onFailed: (fault) => {
          if (fault.isUnsent) {
            this.#phase = { kind: "none" };
            this.#host.fail(fault.failure);
          } else this.#reopen(BROKEN_RETRY_MS);
        },
      },
    );
    this.#phase = { kind: "opening", call };
  }

  #answered(call: HttpCall, response: IncomingMessage): void {
    const host = this.#host;
    const status = response.statusCode ?? 0;
    if (status === 200 && mediaType(response) === "text/event-stream") {
      this.#wasOpen = true;
      this.#phase = { kind: "open", call, since: host.world.monotonic() };
      this.#read(call, response);
    } else if (status < 300) {
      call.abort();
      this.#phase = { kind: "none" };
    } else {
      readAnswer(host.world, response, host.patienceMs, (answer) => {
        if (this.#isAt(call)) this.#refused(answer);
      });
    }
  }

  #refused(answer: HttpAnswer): void {
    const host = this.#host;
    this.#phase = { kind: "none" };
    const { status } = answer;
    if (status === 409 || status === 429 || status >= 500) {
      const askedMs = retryAfterMs(answer.retryAfter, host.world.now());
      this.#reopen(askedMs ?? RETRY_DEFAULT_MS);
    } else if (this.#wasOpen && isSessionLoss(answer, host.headers.sessionId !== undefined)) {
      host.fail(failure("session_lost", describeAnswer(answer, host.mask)));
    } else if (status !== 405) {
      host.noise(`the server has no stream of its own: ${describeAnswer(answer, host.mask)}`);
    }
  }

  #read(call: HttpCall, response: IncomingMessage): void {
    const host = this.#host;
    const oversize = (bytes: number): void => {
      host.noise(`an event of ${String(bytes)} bytes was left out: over the limit`);
    };
    readEvents(response, this.#cursor, host.replyMaxBytes, () => this.#isAt(call), {
      onText: (text) => {
        this.#failures = 0;
        host.take(text, undefined, false);
      },
      onOversize: oversize,
      onInvalid: (bytes) => {
        host.noise(`an event of ${String(bytes)} bytes is not UTF-8`);
      },
      onNoise: (what) => {
        host.noise(what);
      },
      onEnd: (isClean) => {
        this.#reopen(isClean ? RETRY_DEFAULT_MS : BROKEN_RETRY_MS);
      },
    });
  }

  #reopen(defaultMs: number): void {
    const { world } = this.#host;
    const phase = this.#phase;
    if (phase.kind === "open" && world.monotonic() - phase.since >= HEALTHY_MS) this.#failures = 0;
    const retryMs = this.#cursor.retryMs ?? defaultMs;
    const delayMs = reopenDelayMs(world, retryMs, this.#failures, REOPEN_CAP_MS);
    this.#failures += 1;
    const cancel = world.timer(delayMs, () => {
      this.#open();
    });
    this.#phase = { kind: "waiting", cancel };
  }

  #isAt(call: HttpCall): boolean {
    return "call" in this.#phase && this.#phase.call === call;
  }
}
