/**
 * Answers a client's `initialize`: from the catalogue at once, else from the upstream's own answer, else,
 * when the client's patience ends, with what is nearest to the truth.
 *
 * I1. One answer to each `initialize`.
 * I2. Change notifications of lists are always declared by us, because we can always give them.
 */
import { RPC } from "../base/errors.ts";
import { shownHandshake } from "../core/catalogue.ts";
import { handshakeWaitMs, PERSON_PATIENCE_MS } from "../core/offline.ts";
import type { ClientFacts } from "../core/session.ts";
import type { UpstreamState } from "../core/status.ts";
import { formatError, formatResult, type JsonObject, type ReplyMessage } from "../wire/message.ts";
import { agreedVersion } from "../wire/revisions.ts";
import type { EngineContext } from "./context.ts";
import type { Line } from "./line.ts";

/** One `initialize` that wants an answer. */
export interface Greeting {
  readonly idText: string;
  readonly facts: ClientFacts;
  readonly line: Line;
  /** Sends the answer. */
  readonly send: (text: string) => void;
  /** What was agreed, before the answer goes out. */
  readonly agreed: (protocolVersion: string) => void;
}

interface Pending extends Greeting {
  readonly stopTimer: () => void;
}

export class Greeter {
  readonly #context: EngineContext;
  #pending: Pending | undefined;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  /** An `initialize` that is not answered yet is a caller that waits. */
  get isWaiting(): boolean {
    return this.#pending !== undefined;
  }

  greet(greeting: Greeting): void {
    this.refuse("another initialize came before this one was answered");
    const known = greeting.line.cataloguer.handshake;
    if (known !== undefined) {
      this.#answer(greeting, known);
      return;
    }
    const waitMs = handshakeWaitMs(this.#context.settings, greeting.facts.name);
    const stopTimer = this.#context.world.timer(waitMs, () => {
      this.#answerAnyway();
    });
    this.#pending = { ...greeting, stopTimer };
  }

  /** Where a person has to act first, waiting longer brings nothing: `tools/list` will say why. */
  onLink(state: UpstreamState): void {
    const pending = this.#pending;
    if (pending === undefined || (state !== "misconfigured" && state !== "needs_auth")) return;
    pending.stopTimer();
    const stopTimer = this.#context.world.timer(PERSON_PATIENCE_MS, () => {
      this.#answerAnyway();
    });
    this.#pending = { ...pending, stopTimer };
  }

  #answerAnyway(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    const nearest = pending.line.cataloguer.takeNearest();
    this.#answer(pending, nearest ?? this.#blank(pending.facts));
  }

  /** The upstream answered the handshake. */
  onUpstream(reply: ReplyMessage): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    if (reply.error !== undefined) {
      this.#stop();
      pending.send(formatError(pending.idText, reply.error));
      return;
    }
    this.#answer(pending, reply.result as JsonObject);
  }

  /** An `initialize` that can't be answered any more is told why. */
  refuse(why: string): void {
    const before = this.#pending;
    if (before === undefined) return;
    this.#stop();
    const message = `Not executed: ${why}`;
    before.send(formatError(before.idText, { code: RPC.invalidRequest, message }));
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

  #answer({ idText, facts, line, send, agreed }: Greeting, result: JsonObject): void {
    this.#stop();
    const spoken = result["protocolVersion"];
    const upstream = typeof spoken === "string" ? spoken : "";
    // A shared connection was initialised for nobody in particular.
    const isOwn = !line.plan.isShared;
    const version = isOwn ? upstream : agreedVersion(facts.protocolVersion, upstream);
    agreed(version);
    const shown = shownHandshake(result);
    send(formatResult(idText, isOwn ? shown : { ...shown, protocolVersion: version }));
  }
}
