/**
 * Fetches the rest of a broken answer: waits as long as the server asked, GETs with the last event id,
 * and again, until there is a stream to read or the server says that there is none.
 */
import type { IncomingMessage } from "node:http";
import type { CancelTimer } from "../../base/world.ts";
import { failure, type Failure } from "../../core/failure.ts";
import { mediaType, readAnswer, type Cursor } from "./body.ts";
import { judgeResumption, type HttpAnswer } from "./classify.ts";
import type { HttpCall } from "./client.ts";
import { reopenDelayMs, RETRY_DEFAULT_MS, type Host } from "./host.ts";

/** A caller waits for the answer, so the pace never falls below this. */
const RESUME_CAP_MS = 5_000;
/**
 * A resumed stream that has not brought the reply for this long is asked for again: some servers
 * attach a resumed stream to nothing, and give a reply that came meanwhile only to the next GET.
 */
const REPOLL_MS = 15_000;

export interface ResumptionEvents {
  /** A stream to read; `again()` when it ends without the reply, `abort()` when it is not needed. */
  onStream(call: HttpCall, response: IncomingMessage): void;
  /** That stream was given up, and is being asked for again. */
  onRepoll(): void;
  /** The answer will not come. */
  onLost(why: Failure, isDown: boolean): void;
  /** The connection is down; the answer may still be fetched over the next one. */
  onKept(why: Failure): void;
}

type Phase =
  | { readonly kind: "waiting"; readonly cancel: CancelTimer }
  | { readonly kind: "fetching"; readonly call: HttpCall }
  /** The exchange reads the stream. */
  | { readonly kind: "reading"; readonly cancel: CancelTimer }
  | { readonly kind: "idle" };

export class Resumption {
  readonly #host: Host;
  readonly #cursor: Cursor;
  readonly #events: ResumptionEvents;
  #phase: Phase = { kind: "idle" };
  /** Attempts in a row that brought nothing. */
  #failures = 0;

  constructor(host: Host, cursor: Cursor, events: ResumptionEvents) {
    this.#host = host;
    this.#cursor = cursor;
    this.#events = events;
  }

  /** A stream brought something: the pace starts afresh. */
  proven(): void {
    this.#failures = 0;
  }

  /** Waits, then fetches. `askedMs`: longer than the stream's own `retry`, if the server said so. */
  again(askedMs?: number): void {
    this.abort();
    const { world } = this.#host;
    const retryMs = askedMs ?? this.#cursor.retryMs ?? RETRY_DEFAULT_MS;
    const delayMs = reopenDelayMs(world, retryMs, this.#failures, RESUME_CAP_MS);
    this.#failures += 1;
    const cancel = world.timer(delayMs, () => {
      this.fetch();
    });
    this.#phase = { kind: "waiting", cancel };
  }

  fetch(): void {
    const { client, headers } = this.#host;
    const get = headers.forGet(this.#cursor.lastId);
    const call = client.start(
      { method: "GET", headers: get, body: undefined, isFresh: false },
      {
        onResponse: (response) => {
          this.#answered(call, response);
        },
        onFailed: (fault) => {
          this.#phase = { kind: "idle" };
          if (fault.isUnsent) this.#events.onKept(fault.failure);
          else this.again();
        },
      },
    );
    this.#phase = { kind: "fetching", call };
  }

  /** Stops asking. A stream that was handed over goes on. */
  abort(): void {
    const phase = this.#phase;
    this.#phase = { kind: "idle" };
    if (phase.kind === "waiting" || phase.kind === "reading") phase.cancel();
    if (phase.kind === "fetching") phase.call.abort();
  }

  #answered(call: HttpCall, response: IncomingMessage): void {
    const { world, patienceMs } = this.#host;
    const isStream = mediaType(response) === "text/event-stream";
    if (response.statusCode === 200 && isStream) {
      const cancel = world.timer(REPOLL_MS, () => {
        call.abort();
        this.#events.onRepoll();
        this.again();
      });
      this.#phase = { kind: "reading", cancel };
      this.#events.onStream(call, response);
    } else if (response.statusCode === 200) {
      this.abort();
      const told = "the answer to a resumption is no event stream";
      this.#events.onLost(failure("protocol_error", told), false);
    } else {
      readAnswer(world, response, patienceMs, (answer) => {
        if (this.#phase.kind === "fetching" && this.#phase.call === call) this.#refused(answer);
      });
    }
  }

  #refused(answer: HttpAnswer): void {
    const { headers, world, mask } = this.#host;
    this.#phase = { kind: "idle" };
    const hasSession = headers.sessionId !== undefined;
    const verdict = judgeResumption(answer, hasSession, world.now(), mask);
    if (verdict.kind === "wait") this.again(verdict.askedMs);
    else if (verdict.kind === "keep") this.#events.onKept(verdict.failure);
    else this.#events.onLost(verdict.failure, verdict.isDown);
  }
}
