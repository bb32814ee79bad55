/**
 * Gives a client that came back what it missed: answers from the journal, and a place among the
 * waiters of what still runs.
 *
 * RT1. Only calls of this very session are given out.
 * RT2. An outcome is given as it stands on disk; giving it twice (the first may not have arrived) does
 *      not run anything twice.
 */
import { type CallRow, isTerminal } from "../core/call.ts";
import { wasAskedIn } from "../core/session.ts";
import type { ClientStream } from "../ports.ts";
import { parseMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import { countsAsDelivered } from "./delivery.ts";
import type { Held } from "./held.ts";
import type { Line } from "./line.ts";
import { newLiveCall } from "./live-call.ts";
import type { Member } from "./member.ts";
import { heldWords, ownAnswer, storedReply, wordsFor } from "./outbox.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Recalled, Registry } from "./registry.ts";
import type { Requests } from "./requests.ts";
import { BY_CALLER } from "./taken-back.ts";

export interface ReturningParts {
  readonly line: Line;
  readonly member: Member;
  readonly requests: Requests;
  readonly registry: Registry;
  readonly held: Held;
  readonly outgoing: Outgoing;
}

/** More than this is not given at once to one client. */
const MISSED_MAX = 10_000;

export class Returning {
  readonly #context: EngineContext;
  readonly #parts: ReturningParts;

  constructor(context: EngineContext, parts: ReturningParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** The answers of these calls go to `stream`. Resolves to the ids of which nothing is known. */
  async resume(callIds: readonly string[], stream: ClientStream): Promise<readonly string[]> {
    const unknown: string[] = [];
    for (const id of callIds) {
      // A call that ends during the first look is neither live any more nor ended in what was read.
      const isFound = (await this.#look(id, stream)) || (await this.#look(id, stream));
      if (!isFound) unknown.push(id);
    }
    return unknown;
  }

  async #look(id: string, stream: ClientStream): Promise<boolean> {
    const recalled = await this.#parts.registry.recall(id);
    if (recalled === undefined || !this.#isWanted(recalled.row)) return false;
    return (
      this.#takeUp(recalled.row, stream) ||
      this.#give(recalled, stream) ||
      this.#sayHeld(recalled, stream)
    );
  }

  /** All that this session has not been given, in the order in which it was asked. */
  async catchUp(stream: ClientStream): Promise<void> {
    const { registry, member } = this.#parts;
    for (const journal of registry.journals) {
      const filter = { sessionId: member.session.id, isUndelivered: true, limit: MISSED_MAX };
      const rows = [...(await journal.list(filter))].sort((a, b) => a.seq - b.seq);
      for (const row of rows) {
        if (!this.#isWanted(row)) continue;
        // A person's repetition answers no request of the client's.
        if (row.redriveOf !== undefined) continue;
        // Its answer may have crossed this look on the way, or said that the call runs late.
        if (registry.wasGiven(row.id)) continue;
        if (this.#takeUp(row, stream) || this.#give({ row, journal }, stream)) continue;
        this.#sayHeld({ row, journal }, stream);
      }
    }
  }

  /** Asked in this session, and not taken back. */
  #isWanted(row: CallRow): boolean {
    const { registry, member } = this.#parts;
    if (!wasAskedIn(member.session, row) || registry.wasTakenBack(row.id)) return false;
    return row.cause?.startsWith(BY_CALLER) !== true;
  }

  /** A call that runs or waits. `row`: as it is on disk, with its payload. */
  #takeUp(row: CallRow, stream: ClientStream): boolean {
    const live = this.#parts.registry.find(row.id);
    const request = parseMessage(row.request);
    if (live === undefined || live.call.phase === "ended" || request.kind !== "request")
      return false;
    this.#parts.requests.takeUp(live.call, request, stream);
    return true;
  }

  /** A call that waits for a person: its client is told so, and waits no longer. */
  #sayHeld({ row, journal }: Recalled, stream: ClientStream): boolean {
    const { held, line, outgoing, registry } = this.#parts;
    const request = parseMessage(row.request);
    if (!held.has(row.id) || request.kind !== "request") return false;
    const situation = line.keeper.situation(newLiveCall(row, 0, journal, request));
    const words = heldWords(row, held.isSound(row.id));
    const { idText } = request;
    if (outgoing.reply(stream, idText, ownAnswer(row, idText, situation, words), true))
      registry.gave(row.id);
    return true;
  }

  /** A call that has ended. False where its outcome is not kept any more. */
  #give({ row, journal }: Recalled, stream: ClientStream): boolean {
    const { line, outgoing } = this.#parts;
    if (!isTerminal(row.state)) return false;
    const request = parseMessage(row.request);
    if (request.kind !== "request") return false;
    const { idText } = request;
    const isReplied = row.state === "done" || row.state === "failed";
    let text = storedReply(row, idText, undefined);
    if (text === undefined && isReplied && row.cause === undefined) return false;
    if (text === undefined) {
      const asCall = newLiveCall(row, 0, journal, request);
      asCall.phase = "ended";
      const situation = line.keeper.situation(asCall);
      text = ownAnswer(row, idText, situation, wordsFor(row, situation));
    }
    if (!outgoing.reply(stream, idText, text, true)) return true;
    this.#context.tally.answered++;
    this.#parts.registry.gave(row.id);
    if (!countsAsDelivered(row)) return true;
    // Of an unknown outcome a repetition is warned, whoever was told of it before.
    const isDoubt = row.executed === "unknown" && row.state !== "failed";
    if (!isDoubt) this.#parts.registry.shield.forget(row.fingerprint, row.id);
    journal.applyLater({ kind: "deliver", id: row.id, at: this.#context.world.now() });
    return true;
  }
}
