/**
 * The open requests of one client session: taken on, answered, cancelled, and taken up again when the
 * client comes back for their answers.
 *
 * Z1. Every request gets exactly one answer, except one that its client cancelled.
 * Z2. The lists are answered from the catalogue where the upstream can't answer (promise P6).
 */
import { RPC } from "../base/errors.ts";
import { subscriptionRefusal } from "../core/session.ts";
import type { ClientStream } from "../ports.ts";
import {
  formatError,
  formatResult,
  isObject,
  parseMessage,
  type RequestMessage,
} from "../wire/message.ts";
import { LISTS, type ListKind, methodOf } from "../wire/methods.ts";
import { type Accepted, Admission, type Caller } from "./admission.ts";
import type { ControlTool } from "./control-tool.ts";
import type { EngineContext } from "./context.ts";
import type { Delivery } from "./delivery.ts";
import type { Held } from "./held.ts";
import type { Line } from "./line.ts";
import type { Member } from "./member.ts";
import type { LiveCall, Waiter } from "./live-call.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Registry } from "./registry.ts";
import { BY_CALLER, takeBackLeft } from "./taken-back.ts";

export interface RequestsParts {
  readonly line: Line;
  readonly member: Member;
  readonly canResume: boolean;
  readonly registry: Registry;
  readonly delivery: Delivery;
  readonly held: Held;
  readonly controlTool: ControlTool | undefined;
  readonly outgoing: Outgoing;
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
    const { registry, delivery, line, member } = parts;
    this.#admission = new Admission(context, registry, delivery, line, member);
  }

  call(request: RequestMessage, tool: string | undefined, stream: ClientStream): void {
    const { controlTool, outgoing, line, member } = this.#parts;
    const { idText } = request;
    if (controlTool !== undefined && tool === controlTool.name) {
      const answer = (text: string) => outgoing.reply(stream, idText, text, false);
      controlTool.call(request, answer).catch(this.#context.fatal);
      return;
    }
    const state = this.#context.dialect.readState(request);
    if (state === undefined) {
      this.#accept(request, tool, stream, (text) => text);
      return;
    }
    const before = member.session;
    const why =
      state.kind === "subscribe" ? subscriptionRefusal(before.subscriptions, state.uri) : undefined;
    if (why !== undefined) {
      const error = { code: RPC.internal, message: `Not executed: ${why}` };
      outgoing.reply(stream, idText, formatError(idText, error), false);
      return;
    }
    if (!line.members.remember(member, state)) {
      outgoing.reply(stream, idText, formatResult(idText, {}), false);
      return;
    }
    this.#accept(request, tool, stream, (text) => {
      const reply = parseMessage(text);
      // What its client believes to be unset must not be set after the next reconnect.
      if (reply.kind === "reply" && reply.error !== undefined) member.takeBack(state, before);
      else line.members.told(state);
      return text;
    });
  }

  list(request: RequestMessage, list: ListKind, isFirstPage: boolean, stream: ClientStream): void {
    const { line, controlTool } = this.#parts;
    const withOwn = (text: string) => {
      if (isFirstPage) this.#learn(text, list);
      return list === "tools" && controlTool !== undefined ? controlTool.addTo(text) : text;
    };
    const known = isFirstPage ? line.cataloguer.list(list) : undefined;
    if (known === undefined) {
      this.#accept(request, undefined, stream, withOwn);
      return;
    }
    if (line.supervisor.serving === undefined) {
      this.#answerFromCatalogue(request.idText, list, known, stream);
      return;
    }
    const accepted = this.#accept(request, undefined, stream, withOwn);
    // A server that hangs must not take the client's tools away, and neither must a short hold.
    const { since, holdUntil } = accepted.waiter;
    const patienceMs = Math.min(LIST_PATIENCE_MS, (holdUntil - since) / 2);
    this.#context.world.timer(patienceMs, () => {
      if (this.#open.get(request.idText) !== accepted) return;
      this.#open.delete(request.idText);
      // Withdrawn, or a server that hangs would count as busy with it for ever.
      this.#detach(accepted, "answered from the catalogue");
      this.#answerFromCatalogue(request.idText, list, known, stream);
    });
  }

  /**
   * The client cancelled a request; there will be no answer to it. It may be one that a dead process was
   * asked, and that the client has not come back for.
   */
  cancel(idText: string, reason: string): void {
    const cause = reason === "" ? BY_CALLER : `${BY_CALLER}: ${reason}`;
    if (this.#takeBack(idText, cause)) return;
    takeBackLeft(this.#context, this.#parts, idText, cause);
  }

  /** The client came back for a call that runs or waits: its answer goes to this stream. */
  takeUp(call: LiveCall, request: RequestMessage, stream: ClientStream): void {
    const { member } = this.#parts;
    const { row } = call;
    for (const waiter of [...call.waiters]) {
      if (waiter.sessionId !== member.session.id || waiter.idText !== request.idText) continue;
      // Its stream is gone; one answer goes to the new one.
      call.waiters.delete(waiter);
      waiter.stopTimer?.();
    }
    const { waiter } = this.#admission.welcomeBack(
      request,
      row,
      this.#caller(request.idText, stream, (text) => text),
    );
    call.waiters.add(waiter);
    this.#parts.registry.shield.forget(row.fingerprint, row.id);
    this.#open.set(request.idText, { waiter, call, isGivenUp: false });
    const line = this.#parts.registry.find(row.id)?.line ?? this.#parts.line;
    line.keeper.watchWaiter(call, waiter);
  }

  /** The session is over: nobody waits for any of them. */
  detachAll(): void {
    for (const accepted of this.#open.values()) this.#detach(accepted);
    this.#open.clear();
  }

  get size(): number {
    return this.#open.size;
  }

  #takeBack(idText: string, cause: string): boolean {
    const accepted = this.#open.get(idText);
    if (accepted === undefined) return false;
    this.#open.delete(idText);
    this.#detach(accepted, cause);
    return true;
  }

  #caller(idText: string, stream: ClientStream, shape: (text: string) => string): Caller {
    const { member, canResume, outgoing } = this.#parts;
    const answer: Waiter["answer"] = (text, isKept) => {
      // A client that reuses an id while it is open gets both answers; the newer owns the entry.
      if (this.#open.get(idText)?.waiter.answer === answer) this.#open.delete(idText);
      return outgoing.reply(stream, idText, shape(text), isKept);
    };
    return {
      clientName: member.facts.name,
      canResume,
      answer,
      notify: (text) => outgoing.message(stream, text),
      accepted: canResume
        ? (callId) => {
            stream.accepted?.(idText, callId);
          }
        : undefined,
    };
  }

  #accept(
    request: RequestMessage,
    tool: string | undefined,
    stream: ClientStream,
    shape: (text: string) => string,
  ): Accepted {
    const { idText } = request;
    const state = { isAnswered: false };
    const caller = this.#caller(idText, stream, (text) => {
      state.isAnswered = true;
      return shape(text);
    });
    const accepted = this.#admission.accept(request, methodOf(request.method), tool, caller);
    // A refusal is answered before `accept` returns.
    if (!state.isAnswered) this.#open.set(idText, accepted);
    return accepted;
  }

  /** A complete list that passes is what the client knows from now on: its tools' classes, too. */
  #learn(text: string, list: ListKind): void {
    const reply = parseMessage(text);
    if (reply.kind !== "reply") return;
    const { result } = reply;
    if (!isObject(result)) return;
    const items = result[LISTS[list].member];
    const isComplete = Array.isArray(items) && result["nextCursor"] === undefined;
    if (isComplete) this.#parts.line.cataloguer.learn(list, items as unknown[]);
  }

  #answerFromCatalogue(
    idText: string,
    list: ListKind,
    items: readonly unknown[],
    stream: ClientStream,
  ): void {
    const { line, controlTool, outgoing } = this.#parts;
    const own = list === "tools" ? (controlTool?.definition ?? []) : [];
    const seenAt = line.cataloguer.seenAt ?? this.#context.world.now();
    const text = formatResult(idText, {
      [LISTS[list].member]: [...items, ...own],
      _meta: { "holdfast/catalogue": { asOf: new Date(seenAt).toISOString() } },
    });
    outgoing.reply(stream, idText, text, false);
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
    if (cause !== undefined && !waiter.isRepeat) registry.tookBack(call.row.id);
    const isNeeded = call.waiters.size > 0 || call.row.acknowledgedAt !== undefined;
    if (cause !== undefined && !isNeeded) {
      line.dispatcher.cancel(call, cause).catch(this.#context.fatal);
    }
    delivery.nobodyWaits(call);
  }
}
