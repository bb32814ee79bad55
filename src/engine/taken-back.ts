/**
 * What a client takes back that this process was not asked: calls of its session that a dead one left, and
 * that the client has not come back for.
 *
 * TB1. A call taken back like this ends as one that was asked of this process: it is not sent any more, and
 *      its answer is not given.
 */
import { wasAskedIn } from "../core/session.ts";
import type { EngineContext } from "./context.ts";
import type { Held } from "./held.ts";
import type { Member } from "./member.ts";
import type { Registry } from "./registry.ts";

/** How the cause of a call begins that its own caller took back: nobody wants to hear of it. */
export const BY_CALLER = "cancelled by its caller";

export interface TakenBackParts {
  readonly member: Member;
  readonly registry: Registry;
  readonly held: Held;
}

/** Takes back the call that was asked under this id. A failure ends the process. */
export function takeBackLeft(
  { fatal }: Pick<EngineContext, "fatal">,
  { member, registry, held }: TakenBackParts,
  idText: string,
  cause: string,
): void {
  const { session } = member;
  const live = registry.findUnwaited(session.id, idText);
  if (live === undefined) {
    const id = held.find(session, idText);
    if (id !== undefined) held.cancel(id, cause).catch(fatal);
    return;
  }
  const { call, line } = live;
  // Who was told that it runs late may rely on it.
  if (call.row.acknowledgedAt !== undefined || !wasAskedIn(session, call.row)) return;
  registry.tookBack(call.row.id);
  line.dispatcher.cancel(call, cause).catch(fatal);
}
