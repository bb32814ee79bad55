/**
 * What a client takes back that this process was not asked: calls of its session that a dead one left. They are
 * known by their rows alone until the client comes back for them, so they are looked for on disk.
 *
 * TB1. A call taken back like this ends as one that was asked of this process: it is not sent any more, and
 *      its answer is not given.
 */
import { wasAskedIn } from "../core/session.ts";
import type { CallRow } from "../core/call.ts";
import { parseMessage } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";
import type { Held } from "./held.ts";
import type { Member } from "./member.ts";
import type { Registry } from "./registry.ts";

/** How the cause of a call begins that its own caller took back: nobody wants to hear of it. */
export const BY_CALLER = "cancelled by its caller";

/** More are not looked for at once: a client has no more requests open. */
const WANTED_MAX = 10_000;
const OPEN_STATES = ["queued", "sent", "tasked", "in_doubt"];

export interface TakenBackParts {
  readonly member: Member;
  readonly registry: Registry;
  readonly held: Held;
}

export class TakenBack {
  readonly #context: Pick<EngineContext, "fatal">;
  readonly #parts: TakenBackParts;
  readonly #takeBackOpen: (idText: string, cause: string) => boolean;
  /** Causes, by the ids of the requests as the client spelled them. */
  #wanted = new Map<string, string>();
  #isLooking = false;

  /** `takeBackOpen`: takes back what is being waited for here; false if that is not so. */
  constructor(
    context: Pick<EngineContext, "fatal">,
    parts: TakenBackParts,
    takeBackOpen: (idText: string, cause: string) => boolean,
  ) {
    this.#context = context;
    this.#parts = parts;
    this.#takeBackOpen = takeBackOpen;
  }

  /** Looks for the call that was asked under this id, and takes it back. A failure ends the process. */
  find(idText: string, cause: string): void {
    const { registry, held, member } = this.#parts;
    // Mostly the answer has crossed the cancellation, and there is nothing to look for.
    if (held.size === 0 && !registry.hasUnwaited(member.session.id)) return;
    if (this.#wanted.size < WANTED_MAX) this.#wanted.set(idText, cause);
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#look().catch(this.#context.fatal);
  }

  async #look(): Promise<void> {
    const { registry, member } = this.#parts;
    const filter = { sessionId: member.session.id, states: OPEN_STATES, limit: WANTED_MAX };
    while (this.#wanted.size > 0) {
      const wanted = this.#wanted;
      this.#wanted = new Map();
      for (const journal of registry.journals) {
        for (const row of await journal.list(filter)) await this.#takeBack(row, wanted);
      }
    }
    this.#isLooking = false;
  }

  async #takeBack(row: CallRow, wanted: ReadonlyMap<string, string>): Promise<void> {
    const { registry, held, member } = this.#parts;
    const request = parseMessage(row.request);
    // A person's repetition is no request of the client's.
    const isOwn = row.redriveOf === undefined && wasAskedIn(member.session, row);
    if (!isOwn || request.kind !== "request") return;
    const cause = wanted.get(request.idText);
    // The client may have come back for it meanwhile.
    if (cause === undefined || this.#takeBackOpen(request.idText, cause)) return;
    const live = registry.find(row.id);
    if (live === undefined) {
      await held.cancel(row.id, cause);
      return;
    }
    const { call, line } = live;
    // Who was told that it runs late may rely on it.
    if (call.waiters.size > 0 || call.row.acknowledgedAt !== undefined) return;
    registry.tookBack(row.id);
    await line.dispatcher.cancel(call, cause);
  }
}
