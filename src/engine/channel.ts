/**
 * One connection together with its epoch: mints the ids of what goes over it, and pairs Holdfast's own
 * requests (handshake, lists, pings) with their answers.
 *
 * E1. Ids are `<epoch>-<n>` and never used twice, so a late frame can't match a newer request.
 */
import type { World } from "../base/world.ts";
import { deferred, type Deferred } from "../base/async.ts";
import { type Failure, failure } from "../core/failure.ts";
import type { Connection, Outbound, ResumeTicket } from "../ports.ts";
import type { ReplyMessage } from "../wire/message.ts";

export type Answer =
  | { readonly kind: "reply"; readonly message: ReplyMessage }
  | { readonly kind: "failed"; readonly failure: Failure };

export class Channel {
  epoch: string;
  #count = 0;
  readonly #world: World;
  readonly #asked = new Map<string, Deferred<Answer>>();
  #connection: Connection | undefined;
  /** It has refused a request: it is over, which it is about to tell. Nothing may be tried on it again. */
  isOver = false;
  /** The link went down before its dial had been reported as a success. */
  earlyEnd: { readonly cause: Failure; readonly ticket: ResumeTicket | undefined } | undefined;

  constructor(world: World, epoch: string) {
    this.#world = world;
    this.epoch = epoch;
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  /** The link is up. `previous`: the channel whose session was resumed; its ids go on. */
  open(connection: Connection, previous: Channel | undefined): void {
    this.#connection = connection;
    if (previous === undefined) return;
    this.epoch = previous.epoch;
    this.#count = previous.#count;
  }

  nextId(): string {
    return `${this.epoch}-${String(++this.#count)}`;
  }

  send(text: string, about: Outbound): boolean {
    const isSent = this.#connection?.send(text, about) ?? false;
    if (!isSent && about.kind === "request") this.isOver = true;
    return isSent;
  }

  /** Sends a request of our own; resolves with its answer, or with the failure that took it. */
  ask(
    build: (id: string) => string,
    kind: "handshake" | "request",
    timeoutMs: number,
  ): Promise<Answer> {
    const id = this.nextId();
    const pending = deferred<Answer>();
    const about: Outbound = kind === "handshake" ? { kind, id } : { kind, id, safety: "read" };
    this.#asked.set(id, pending);
    const stopTimer = this.#world.timer(timeoutMs, () => {
      this.#connection?.forget(id);
      const waited = `no answer to ${kind === "handshake" ? "initialize" : "a request of ours"} within ${String(Math.round(timeoutMs / 1000))} s`;
      this.#settle(id, { kind: "failed", failure: failure("timeout", waited) });
    });
    if (!this.send(build(id), about)) {
      this.#settle(id, {
        kind: "failed",
        failure: failure("reset", "the connection was already gone"),
      });
    }
    return pending.promise.finally(stopTimer);
  }

  /** True if the id was one of ours and is settled now. */
  answered(message: ReplyMessage): boolean {
    return typeof message.id === "string" && this.#settle(message.id, { kind: "reply", message });
  }

  lost(id: string, cause: Failure): boolean {
    return this.#settle(id, { kind: "failed", failure: cause });
  }

  /** The link is gone: nothing of ours will be answered. */
  close(cause: Failure): void {
    for (const id of [...this.#asked.keys()]) this.#settle(id, { kind: "failed", failure: cause });
  }

  #settle(id: string, answer: Answer): boolean {
    const pending = this.#asked.get(id);
    if (pending === undefined) return false;
    this.#asked.delete(id);
    pending.resolve(answer);
    return true;
  }
}
