/**
 * The open requests of one client session: taken on, answered, cancelled.
 *
 * Z1. Every request gets exactly one answer, except one that its client cancelled.
 * Z2. The lists are answered from the catalogue where the upstream can't answer (promise P6).
 */
import type { ClientFacts } from "../core/session.ts";
import { formatResult, isObject, parseMessage, type RequestMessage } from "../wire/message.ts";
import { LISTS, type ListKind, methodOf } from "../wire/methods.ts";
import { type Accepted, Admission } from "./admission.ts";
import type { ControlTool } from "./control-tool.ts";
import type { EngineContext } from "./context.ts";
import type { Delivery } from "./delivery.ts";
import type { Line } from "./line.ts";
import type { Registry } from "./registry.ts";

export interface RequestsParts {
  readonly line: Line;
  readonly facts: ClientFacts;
  readonly canResume: boolean;
  readonly registry: Registry;
  readonly delivery: Delivery;
  readonly controlTool: ControlTool | undefined;
  /** False where the client can't get it any more. */
  send(text: string): boolean;
  notify(text: string): void;
}

/** How long a list of a serving upstream is waited for before the catalogue's is given, at most. */
const LIST_PATIENCE_MS = 2_000;

export class Requests {
  readonly #context: EngineContext;
  readonly #parts: RequestsParts;
  readonly #admission: Admission;
  readonly #open = new Map<string, Accepted>();

  constructor(context: EngineContext, parts: RequestsParts) {
    this.#context = context;
    this.#parts = parts;
    this.#admission = new Admission(context, parts.registry, parts.delivery, parts.line);
  }

  call(request: RequestMessage, tool: string | undefined): void {
    const { controlTool, send } = this.#parts;
    if (controlTool !== undefined && tool === controlTool.name) {
      controlTool.call(request, send).catch(this.#context.fatal);
      return;
    }
    const state = this.#context.dialect.readState(request);
    if (state !== undefined) this.#parts.line.remember(state);
    this.#accept(request, tool, (text) => text);
  }

  list(request: RequestMessage, list: ListKind, isFirstPage: boolean): void {
    const { line, controlTool } = this.#parts;
    const withOwn = (text: string) => {
      if (isFirstPage) this.#learn(text, list);
      return list === "tools" && controlTool !== undefined ? controlTool.addTo(text) : text;
    };
    const known = isFirstPage ? line.cataloguer.list(list) : undefined;
    if (known === undefined) {
      this.#accept(request, undefined, withOwn);
      return;
    }
    if (line.supervisor.serving === undefined) {
      this.#answerFromCatalogue(request.idText, list, known);
      return;
    }
    const accepted = this.#accept(request, undefined, withOwn);
    // A server that hangs must not take the client's tools away, and neither must a short hold.
    const { since, holdUntil } = accepted.waiter;
    const patienceMs = Math.min(LIST_PATIENCE_MS, (holdUntil - since) / 2);
    this.#context.world.timer(patienceMs, () => {
      if (this.#open.get(request.idText) !== accepted) return;
      this.#open.delete(request.idText);
      // Withdrawn, or a server that hangs would count as busy with it for ever.
      this.#detach(accepted, "answered from the catalogue");
      this.#answerFromCatalogue(request.idText, list, known);
    });
  }

  /** The client cancelled a request; there will be no answer to it. */
  cancel(idText: string, reason: string): void {
    const accepted = this.#open.get(idText);
    if (accepted === undefined) return;
    this.#open.delete(idText);
    const cause = "cancelled by its caller";
    this.#detach(accepted, reason === "" ? cause : `${cause}: ${reason}`);
  }

  /** The session is over: nobody waits for any of them. */
  detachAll(): void {
    for (const accepted of this.#open.values()) this.#detach(accepted);
    this.#open.clear();
  }

  #accept(
    request: RequestMessage,
    tool: string | undefined,
    shape: (text: string) => string,
  ): Accepted {
    const { idText } = request;
    const { facts, canResume, send, notify } = this.#parts;
    const state = { isAnswered: false };
    const answer = (text: string) => {
      state.isAnswered = true;
      // A client that reuses an id while it is open gets both answers; the newer owns the entry.
      if (this.#open.get(idText)?.waiter.answer === answer) this.#open.delete(idText);
      return send(shape(text));
    };
    const caller = { clientName: facts.name, canResume, answer, notify };
    const accepted = this.#admission.accept(request, methodOf(request.method), tool, caller);
    // A refusal is answered before `accept` returns.
    if (!state.isAnswered) this.#open.set(idText, accepted);
    return accepted;
  }

  /** A complete list that passes is what the client knows from now on: its tools' classes, too. */
  #learn(text: string, list: ListKind): void {
    const reply = parseMessage(text);
    if (reply.kind !== "reply" || !isObject(reply.result)) return;
    const items = reply.result[LISTS[list].member];
    const isComplete = Array.isArray(items) && reply.result["nextCursor"] === undefined;
    if (isComplete) this.#parts.line.cataloguer.learn(list, items as unknown[]);
  }

  #answerFromCatalogue(idText: string, list: ListKind, items: readonly unknown[]): void {
    const { line, controlTool, send } = this.#parts;
    const own = list === "tools" ? (controlTool?.definition ?? []) : [];
    const seenAt = line.cataloguer.seenAt ?? this.#context.world.now();
    send(
      formatResult(idText, {
        [LISTS[list].member]: [...items, ...own],
        _meta: { "holdfast/catalogue": { asOf: new Date(seenAt).toISOString() } },
      }),
    );
  }

  /** Its caller no longer waits; with a `cause` the call itself is withdrawn, unless others need it. */
  #detach(accepted: Accepted, cause?: string): void {
    accepted.isGivenUp = true;
    const { call, waiter } = accepted;
    if (call === undefined) return;
    const { registry, delivery } = this.#parts;
    // An attached repetition waits for a call that may belong to another line.
    const line = registry.find(call.row.id)?.line ?? this.#parts.line;
    call.waiters.delete(waiter);
    line.keeper.left(call, waiter);
    const isNeeded = call.waiters.size > 0 || call.row.acknowledgedAt !== undefined;
    if (cause !== undefined && !isNeeded) {
      line.dispatcher.cancel(call, cause).catch(this.#context.fatal);
    }
    delivery.nobodyWaits(call);
  }
}
