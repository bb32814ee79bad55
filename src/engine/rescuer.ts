/**
 * Takes over the calls of one upstream that a dead process left behind: judges what was in doubt, and runs what was queued
 * over a connection initialised as the original client's was.
 *
 * X1. A call is never run with other credentials, from an abandoned journal, or, unless it only reads,
 *     from one that went backwards or came out of a file: those wait for a person until they expire.
 * X2. Left-over calls run in order, in the late lane: new calls never wait behind them.
 * X5. None runs before all of them are judged, on disk.
 * X6. A session that begins meanwhile waits for one portion of the verdicts at most, not for all.
 */
import type { CallChange, CallRow } from "../core/call.ts";
import { mustSync } from "../core/call.ts";
import { failure } from "../core/failure.ts";
import { judge } from "../core/verdict.ts";
import { handshakeVariant, type SessionRow } from "../core/session.ts";
import type { Journal, Recovery } from "../ports.ts";
import { type JsonObject, parseMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import type { Delivery } from "./delivery.ts";
import type { Line } from "./line.ts";
import { Held, maySinceHaveRun } from "./held.ts";
import { type LiveCall, newLiveCall } from "./live-call.ts";
import type { Registry } from "./registry.ts";

export interface Leftover {
  readonly journal: Journal;
  readonly recovery: Recovery;
  /** Its process lost the journal in mid-life; what happened to its calls is not known. */
  readonly isAbandoned: boolean;
  /** Not the journal of this process: close it when nothing in it lives. */
  readonly isCaretaken: boolean;
}

export interface RescuerHooks {
  readonly registry: Registry;
  readonly delivery: Delivery;
  /** The line that carries this session, with its client or without. */
  lineOf(session: SessionRow): Line;
  /** A call that waited for a person has ended. */
  onHeldEnded(): void;
}

interface Group {
  readonly session: SessionRow;
  readonly variant: string;
  readonly calls: LiveCall[];
}

/** So many verdicts are posted at once: they share a commit, and what comes meanwhile gets its turn. */
const PORTION = 500;
/** So long a returning client's own connection is waited for, before an extra one is made. */
const OWN_LINE_MS = 1_500;
const LOST = "the proxy was killed while the call was in flight";

export class Rescuer {
  readonly #context: EngineContext;
  readonly #hooks: RescuerHooks;
  /** Calls that wait for a person. */
  readonly held: Held;
  #groups: Group[] = [];
  #stopTimer: (() => void) | undefined;
  #isClosed = false;

  constructor(context: EngineContext, hooks: RescuerHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.held = new Held(context, hooks.registry.shield, hooks.onHeldEnded);
  }

  /**
   * Takes the left-overs on, all of this upstream. Resolves when their fate is on disk; they run
   * afterwards.
   */
  async take(leftovers: readonly Leftover[]): Promise<void> {
    const groups: Group[] = [];
    for (const leftover of leftovers) {
      for (const row of leftover.recovery.remembered) this.#remember(row);
      groups.push(...(await this.#takeLive(leftover)));
    }
    this.#groups.push(...groups);
    this.#runExtraLater();
  }

  /** A session that this line carries ended; what outlives it runs over another line. */
  inherit({ queue, plan }: Line, session: SessionRow): void {
    const calls = [...queue.takeLasting(session.id)];
    if (calls.length > 0) this.#groups.push({ session, variant: plan.variant, calls });
    this.#runExtraLater();
  }

  #runExtraLater(): void {
    if (this.#groups.length === 0 || this.#isClosed) return;
    this.#stopTimer?.();
    this.#stopTimer = this.#context.world.timer(OWN_LINE_MS, () => {
      this.#runExtra();
    });
  }

  /** A client's line is there: calls that may run over it do. False if there are none. */
  attach(line: Line, session: SessionRow): boolean {
    const mine = this.#groups.filter((group) => mayRunOver(group, line, session));
    this.#groups = this.#groups.filter((group) => !mine.includes(group));
    for (const group of mine) this.#adopt(group, line);
    return mine.length > 0;
  }

  #remember(row: CallRow): void {
    const { shield } = this.#hooks.registry;
    const at = row.settledAt ?? row.acceptedAt;
    if (row.executed === "unknown" && row.state !== "failed") {
      shield.rememberDoubt(row, at);
    } else if (row.state === "done" || row.state === "failed") {
      shield.remember(row.fingerprint, { kind: "stored", callId: row.id, at });
    }
  }

  async #takeLive(leftover: Leftover): Promise<readonly Group[]> {
    const { live } = leftover.recovery;
    const groups = await this.#groupsOf(leftover);
    for (let from = 0; from < live.length; from += PORTION) {
      const portion = live.slice(from, from + PORTION);
      const rows = await Promise.all(portion.map((row) => this.#decide(leftover, row)));
      for (const row of rows)
        if (row !== undefined) this.#takeRow(leftover, row, groups.get(row.sessionId));
    }
    return [...groups.values()].filter((group) => group.calls.length > 0);
  }

  /** One for each session whose calls were left, empty yet. */
  async #groupsOf({ journal, recovery }: Leftover): Promise<ReadonlyMap<string, Group>> {
    const ids = new Set(recovery.live.map((row) => row.sessionId));
    const sessions = await Promise.all([...ids].map((id) => journal.findSession(id)));
    const groups = new Map<string, Group>();
    for (const session of sessions) {
      if (session === undefined) continue;
      const variant = handshakeVariant(JSON.parse(session.handshake) as JsonObject);
      groups.set(session.id, { session, variant, calls: [] });
    }
    return groups;
  }

  /** Resolves when its fate is on disk, to the row that still lives. */
  async #decide(leftover: Leftover, row: CallRow): Promise<CallRow | undefined> {
    const { journal } = leftover;
    const judged = row.state === "in_doubt" ? await this.#judge(journal, row) : row;
    if (judged === undefined || !this.#hasLostState(leftover, judged)) return judged;
    return this.#expire(journal, judged);
  }

  #takeRow(leftover: Leftover, row: CallRow, group: Group | undefined): void {
    const { journal } = leftover;
    const request = parseMessage(row.request);
    if (this.#mustHold(leftover, row) || group === undefined || request.kind !== "request") {
      this.held.add(journal, row, !maySinceHaveRun(leftover, row));
      return;
    }
    const call = newLiveCall(row, this.#hooks.registry.nextOrder(), journal, request);
    call.isJournalled = true;
    call.isSuspect = maySinceHaveRun(leftover, row);
    this.#context.bounds.count(row.sessionId, call.bytes);
    group.calls.push(call);
  }

  #mustHold(leftover: Leftover, row: CallRow): boolean {
    const { identity, settings, world } = this.#context;
    const isRepeatable =
      row.safety === "read" && !settings.isStateful && row.deadlineAt > world.now();
    return (
      leftover.isAbandoned ||
      row.credentials !== identity.credentials ||
      row.upstream !== identity.upstream ||
      (maySinceHaveRun(leftover, row) && !isRepeatable)
    );
  }

  /** The server's state that its calls relied on went with its proxy. Held calls are left to a person. */
  #hasLostState(leftover: Leftover, row: CallRow): boolean {
    return this.#context.settings.isStateful && !maySinceHaveRun(leftover, row);
  }

  async #expire(journal: Journal, row: CallRow): Promise<undefined> {
    const cause = "the server keeps state per session, and that session ended with its proxy";
    const at = this.#context.world.now();
    const what: CallChange = { kind: "expire", id: row.id, cause, at };
    if (await journal.apply(what, mustSync(row, what))) this.#context.tally.expired++;
    if (row.isDoubted) this.#hooks.registry.shield.rememberDoubt(row, at);
  }

  /** In doubt: safe ones are queued again (T9), the others end here (T11). */
  async #judge(journal: Journal, row: CallRow): Promise<CallRow | undefined> {
    const at = this.#context.world.now();
    const { id, safety, attempt } = row;
    const verdict = judge(
      { kind: "lost", failure: failure("reset", LOST) },
      { safety, sendings: attempt, crashes: 0 },
    );
    if (verdict.kind === "retry" && row.deadlineAt > at) {
      const what: CallChange = { kind: "requeue", id, attempt, cause: LOST, at };
      await journal.apply(what, mustSync(row, what));
      return { ...row, state: "queued", cause: LOST };
    }
    const reason = verdict.kind === "bury" ? verdict.reason : "outcome_unknown";
    const what: CallChange = { kind: "bury", id, reason, cause: LOST, at };
    await journal.apply(what, mustSync(row, what));
    this.#context.tally.outcomeUnknown++;
    this.#hooks.registry.shield.rememberDoubt(row, at);
    return undefined;
  }

  #runExtra(): void {
    const groups = this.#groups;
    this.#groups = [];
    for (const group of groups) {
      const line = this.#hooks.lineOf(group.session);
      this.#adopt(group, line);
      line.supervisor.want();
    }
  }

  #adopt(group: Group, line: Line): void {
    const { registry, delivery } = this.#hooks;
    this.#context.log("info", "taking over calls of an earlier process", {
      calls: group.calls.length,
    });
    // A person may have withdrawn some that came from another connection.
    const calls = group.calls.filter(({ phase }) => phase !== "ended");
    for (const call of calls) {
      registry.add(call, line);
      delivery.nobodyWaits(call);
    }
    for (const call of calls) line.dispatcher.adopt(call);
  }

  /** The end has begun: no connection is made for what was left any more; it stays on disk. */
  close(): void {
    this.#isClosed = true;
    this.#stopTimer?.();
  }

  /** It waits to be taken over, and may have run since it was written. */
  isSuspect(id: string): boolean {
    return this.#groups.some(({ calls }) =>
      calls.some((one) => one.row.id === id && one.isSuspect),
    );
  }

  /** Calls of this journal wait to be taken over. */
  needs(journal: Journal): boolean {
    return (
      this.held.size > 0 ||
      this.#groups.some((group) => group.calls.some((call) => call.journal === journal))
    );
  }

  /** The upstream goes out of service: what it still owes waits for a person. */
  leaveTo(held: Held): void {
    for (const { calls } of this.#groups) {
      for (const { journal, row, bytes, isSuspect } of calls) {
        this.#hooks.registry.remove(row.id);
        this.#context.bounds.release(row.sessionId, bytes);
        held.add(journal, row, !isSuspect);
      }
    }
    this.held.moveTo(held);
    this.stop();
  }

  /** Held and waiting calls stay on disk. */
  stop(): void {
    this.held.stop();
    this.#stopTimer?.();
    this.#groups = [];
  }
}

/**
 * A session that can be returned to runs its calls over its own line; the others over any that was
 * initialised equally, for the same principal.
 */
function mayRunOver({ session, variant }: Group, { plan }: Line, of: SessionRow): boolean {
  if (session.id === of.id) return true;
  if (session.principal !== plan.principal) return false;
  if (plan.isShared) return true;
  return session.keyDigest === undefined && of.keyDigest === undefined && variant === plan.variant;
}
