/**
 * Answers a client's `initialize`: from the catalogue at once, else from the upstream's own answer, else,
 * when the client's patience ends, with what is nearest to the truth.
 *
 * I1. One answer to each `initialize`.
 * I2. Change notifications of lists are always declared by us, because we can always give them.
 */
import { RPC } from "../base/errors.ts";
import { shownHandshake } from "../core/catalogue.ts";
import { handshakeWaitMs } from "../core/offline.ts";
import type { ClientFacts } from "../core/session.ts";
import { formatError, formatResult, type JsonObject, type ReplyMessage } from "../wire/message.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { EngineContext } from "./context.ts";

interface Pending {
  readonly idText: string;
  readonly facts: ClientFacts;
  readonly cataloguer: Cataloguer;
  readonly stopTimer: () => void;
}

export class Greeter {
  readonly #context: EngineContext;
  readonly #send: (text: string) => void;
  #pending: Pending | undefined;
  #protocolVersion = "";

  constructor(context: EngineContext, send: (text: string) => void) {
    this.#context = context;
    this.#send = send;
  }

  /** An `initialize` that is not answered yet is a caller that waits. */
  get isWaiting(): boolean {
    return this.#pending !== undefined;
  }

  /** What was agreed with the client; empty before. */
  get protocolVersion(): string {
    return this.#protocolVersion;
  }

  greet(idText: string, facts: ClientFacts, cataloguer: Cataloguer): void {
    this.refuse("another initialize came before this one was answered");
    const known = cataloguer.handshake;
    if (known !== undefined) {
      this.#answer(idText, known);
      return;
    }
    const stopTimer = this.#context.world.timer(
      handshakeWaitMs(this.#context.settings, facts.name),
      () => {
        const nearest = cataloguer.takeNearest();
        this.#answer(idText, nearest ?? this.#blank(facts));
      },
    );
    this.#pending = { idText, facts, cataloguer, stopTimer };
  }

  /** The upstream answered the handshake. */
  onUpstream(reply: ReplyMessage): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    if (reply.error !== undefined) {
      this.#stop();
      this.#send(formatError(pending.idText, reply.error));
      return;
    }
    this.#answer(pending.idText, reply.result as JsonObject);
  }

  /** An `initialize` that can't be answered any more is told why. */
  refuse(why: string): void {
    const before = this.#pending;
    if (before === undefined) return;
    this.#stop();
    const message = `Not executed: ${why}`;
    this.#send(formatError(before.idText, { code: RPC.invalidRequest, message }));
  }

  #stop(): void {
    this.#pending?.stopTimer();
    this.#pending = undefined;
  }

  /** For a server of which nothing is known: whatever it may turn out to offer. */
  #blank(facts: ClientFacts): JsonObject {
    return {
      protocolVersion: facts.protocolVersion,
      capabilities: { tools: {}, prompts: {}, resources: {}, logging: {} },
      serverInfo: { name: this.#context.settings.upstreamName, version: "unknown" },
    };
  }

  #answer(idText: string, result: JsonObject): void {
    this.#stop();
    const version = result["protocolVersion"];
    this.#protocolVersion = typeof version === "string" ? version : "";
    this.#send(formatResult(idText, shownHandshake(result)));
  }
}
