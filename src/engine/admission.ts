/**
 * Accepts a client's requests as calls: class, bounds, shield, then the fast path or the queue.
 *
 * N1. The safety class is pinned here, from the tools that the client knows, and never changes.
 * N2. A call that is refused has no row, and its refusal says `executed: "no"` and which bound it was.
 */
import { callPieces } from "../core/canonical.ts";
import { patienceMs } from "../core/offline.ts";
import { recordLater } from "./recording.ts";
import { cutOut } from "../wire/json-span.ts";
import type { CallRow, Safety } from "../core/call.ts";
import type { Method } from "../wire/methods.ts";
import { isObject, progressTokenSpan, type RequestMessage } from "../wire/message.ts";
import type { Journal } from "../ports.ts";
import type { ShieldVerdict } from "../core/shield.ts";
import { toolSafety } from "./cataloguer.ts";
import type { EngineContext } from "./context.ts";
import { type Delivery, tellCall } from "./delivery.ts";
import type { Line } from "./line.ts";
import type { Member } from "./member.ts";
import { type LiveCall, newLiveCall, type Waiter } from "./live-call.ts";
import { duration, ownAnswer } from "./outbox.ts";
import type { Registry } from "./registry.ts";

/** Who asks, and the way back to it. */
export interface Caller {
  readonly clientName: string;
  /** The client can come back for what it missed: everything of it is journalled. */
  readonly canResume: boolean;
  readonly answer: Waiter["answer"];
  readonly notify: Waiter["notify"];
  readonly accepted: Waiter["accepted"];
}

/** A request that was taken on. The call comes with the journal, which may still be opening. */
export interface Accepted {
  readonly waiter: Waiter;
  call: LiveCall | undefined;
  /** Given up before it became a call. */
  isGivenUp: boolean;
}

export class Admission {
  readonly #context: EngineContext;
  readonly #registry: Registry;
  readonly #delivery: Delivery;
  readonly #line: Line;
  readonly #member: Member;
  #journal: Journal | undefined;

  constructor(
    context: EngineContext,
    registry: Registry,
    delivery: Delivery,
    line: Line,
    member: Member,
  ) {
    this.#context = context;
    this.#registry = registry;
    this.#delivery = delivery;
    this.#line = line;
    this.#member = member;
  }

  accept(
    request: RequestMessage,
    method: Method,
    tool: string | undefined,
    caller: Caller,
  ): Accepted {
    const accepted: Accepted = {
      waiter: this.#newWaiter(request, tool, caller),
      call: undefined,
      isGivenUp: false,
    };
    const order = this.#registry.nextOrder();
    const { intake } = this.#member;
    const bytes = request.text.length;
    intake.took(bytes);
    this.#context.world.litter(bytes);
    const go = (journal: Journal) => {
      const isWriting =
        !accepted.isGivenUp && this.#admit(accepted, request, method, tool, caller, journal, order);
      if (!isWriting) intake.settled(bytes);
    };
    if (this.#journal !== undefined) {
      go(this.#journal);
      return accepted;
    }
    // Continuations of one promise run in the order in which they were added: no call overtakes.
    this.#context.journal().then((journal) => {
      this.#journal = journal;
      go(journal);
    }, this.#context.fatal);
    return accepted;
  }

  /** A caller that came back for the answer of its call. */
  welcomeBack(request: RequestMessage, row: CallRow, caller: Caller): { readonly waiter: Waiter } {
    const waiter = this.#newWaiter(request, row.tool, caller);
    waiter.since = row.acceptedAt;
    // One that was told that the call runs late is told so again.
    waiter.holdUntil = row.acknowledgedAt === undefined ? row.deadlineAt : waiter.since;
    return { waiter };
  }

  #newWaiter(request: RequestMessage, tool: string | undefined, caller: Caller): Waiter {
    const now = this.#context.world.now();
    const meta = request.params?.["_meta"];
    const token = isObject(meta) ? meta["progressToken"] : undefined;
    const hasToken = typeof token === "string" || typeof token === "number";
    const span = hasToken ? progressTokenSpan(request.text) : undefined;
    return {
      sessionId: this.#member.session.id,
      idText: request.idText,
      tokenText: span === undefined ? undefined : cutOut(request.text, span),
      since: now,
      holdUntil: now + this.#line.keeper.holdMs(caller.clientName, tool),
      isRepeat: false,
      patienceMs: patienceMs(caller.clientName),
      answer: caller.answer,
      notify: caller.notify,
      accepted: caller.accepted,
      progress: 0,
      tickAt: now + this.#context.settings.progressEveryMs,
      stopTimer: undefined,
      wakeAt: 0,
    };
  }

  /** True where the call is on its way to disk, which settles what was taken in. */
  #admit(
    accepted: Accepted,
    request: RequestMessage,
    method: Method,
    tool: string | undefined,
    caller: Caller,
    journal: Journal,
    order: number,
  ): boolean {
    const { waiter } = accepted;
    const row = this.#newRow(request, method, tool, waiter);
    const call = newLiveCall(row, order, journal, request);
    const verdict: ShieldVerdict =
      row.fingerprint === undefined
        ? { kind: "pass" }
        : this.#registry.shield.check(row.fingerprint, waiter.since, this.#context.settings.shield);
    if (verdict.kind !== "pass" && this.#shielded(verdict, call, accepted)) return false;
    const refusal = this.#context.bounds.admit(row.sessionId, call.bytes);
    if (refusal !== undefined) {
      this.#refuse(call, waiter, refusal);
      return false;
    }
    accepted.call = call;
    call.waiters.add(waiter);
    this.#context.tally.accepted++;
    this.#registry.add(call, this.#line);
    const { dispatcher } = this.#line;
    const channel = dispatcher.openChannel(row.sessionId);
    const isPassing = channel !== undefined && this.#isPassThrough(row.safety, method, caller);
    if (!isPassing) call.intake = this.#member.intake;
    if (channel === undefined) dispatcher.enqueue(call);
    else if (isPassing) {
      dispatcher.sendUnjournalled(call, channel);
      if (caller.canResume && row.state === "sent") recordLater(this.#context, call);
    } else dispatcher.sendJournalled(call, channel);
    tellCall(this.#context, call.row);
    return !isPassing;
  }

  /** Recoverable requests that do not wait are not journalled (design §3), or not at once. */
  #isPassThrough(safety: Safety, method: Method, caller: Caller): boolean {
    if (!caller.canResume) return safety === "read" || method.role !== "tool";
    // A client over SSE is not told that a request is lost, so it must be able to come back for any.
    return safety === "read" && this.#member.session.transport === "http";
  }

  #newRow(
    request: RequestMessage,
    method: Method,
    tool: string | undefined,
    waiter: Waiter,
  ): CallRow {
    const { world, identity, settings } = this.#context;
    const isTool = method.role === "tool";
    const facts = this.#line.cataloguer.tool(tool);
    const safety = isTool ? toolSafety(settings, tool, facts) : method.safety;
    const { principal, createdAt } = this.#member.session;
    const hasPrint = isTool && safety !== "read" && settings.shield !== "off";
    const { upstream, credentials } = identity;
    const scope = [principal, upstream, credentials, tool ?? ""];
    return {
      id: world.newId("c"),
      seq: 0,
      sessionId: this.#member.session.id,
      upstream,
      credentials,
      method: request.method,
      tool: isTool ? tool : undefined,
      safety,
      fingerprint: hasPrint ? world.digest(identity.key, callPieces(scope, request)) : undefined,
      schema: isTool && facts.isKnown ? this.#schemaDigest(facts.schema) : undefined,
      request: request.text,
      // Never before its session, also where the clock was set back meanwhile: what is older is taken
      // for an earlier session's.
      acceptedAt: Math.max(waiter.since, createdAt),
      deadlineAt: waiter.holdUntil,
      // All members in one literal: a spread with new members costs V8 several times as much, and
      // this is the path of every call.
      acknowledgedAt: undefined,
      state: "queued",
      reason: undefined,
      executed: "pending",
      attempt: 0,
      isDoubted: false,
      upstreamId: undefined,
      sentAt: undefined,
      settledAt: undefined,
      deliveredAt: undefined,
      reply: undefined,
      cause: undefined,
      note: undefined,
      redriveOf: undefined,
    };
  }

  #lastSchema = "";
  #lastDigest = "";

  /** The same few tools are called again and again. */
  #schemaDigest(schema: string): string {
    if (schema !== this.#lastSchema || this.#lastDigest === "") {
      this.#lastSchema = schema;
      this.#lastDigest = this.#context.world.digest("", schema);
    }
    return this.#lastDigest;
  }

  /** True where the call is answered from an earlier, equal one. */
  #shielded(
    verdict: Exclude<ShieldVerdict, { kind: "pass" }>,
    call: LiveCall,
    accepted: Accepted,
  ): boolean {
    const { waiter } = accepted;
    const repeat: Waiter = { ...waiter, isRepeat: true };
    if (verdict.kind === "attach") {
      const earlier = this.#registry.find(verdict.callId);
      if (earlier === undefined) return false;
      const { callsPerSession } = this.#context.settings.limits;
      if (earlier.call.waiters.size >= callsPerSession) {
        const why = `${String(callsPerSession)} repetitions wait for call ${verdict.callId} already`;
        this.#refuse(call, waiter, `${why} (option --max-calls-per-session)`);
        return true;
      }
      accepted.call = earlier.call;
      earlier.call.waiters.add(repeat);
      Object.assign(accepted, { waiter: repeat });
      earlier.line.keeper.watchWaiter(earlier.call, repeat);
      return true;
    }
    this.#registry.recall(verdict.callId).then((recalled) => {
      if (accepted.isGivenUp) return;
      if (recalled === undefined)
        this.#refuse(call, waiter, "its earlier outcome is no longer kept");
      else if (verdict.kind === "replay") this.#delivery.replay(this.#line, recalled, repeat, call);
      else this.#warn(recalled.row, waiter, call);
    }, this.#context.fatal);
    return true;
  }

  #warn(earlier: CallRow, waiter: Waiter, call: LiveCall): void {
    const situation = this.#line.keeper.situation(call);
    const next =
      this.#context.settings.shield === "warn"
        ? "Repeated once more, it will be sent."
        : "Repetitions are blocked for 10 minutes (option --shield block).";
    const words = `This repetition was not sent: an identical call was sent ${duration(
      situation.now - (earlier.sentAt ?? earlier.acceptedAt),
    )} ago and its outcome is unknown (${earlier.cause ?? "no answer came"}), so it may already have taken effect (call ${earlier.id}). ${next}`;
    waiter.answer(ownAnswer(earlier, waiter.idText, situation, words), false);
  }

  #refuse(call: LiveCall, waiter: Waiter, why: string): void {
    this.#context.tally.refused++;
    const situation = this.#line.keeper.situation(call);
    const row: CallRow = {
      ...call.row,
      state: "expired",
      executed: "no",
      cause: `refused: ${why}`,
    };
    const words = `Not executed, not queued: ${why}.`;
    waiter.answer(ownAnswer(row, waiter.idText, situation, words), false);
  }
}
