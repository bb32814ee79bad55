/** The last look at a call that waited, before it goes: whether it may still be sent. */
import type { CallChange } from "../core/call.ts";
import { UNSAFE_PATIENCE_MS } from "../core/offline.ts";
import type { Cataloguer } from "./cataloguer.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";

export const OTHER_CREDENTIALS =
  "it was accepted under credentials that the configuration has no more";

/** How a call that must not be sent any more ends; undefined if it may go. */
export function lastLook(
  context: EngineContext,
  cataloguer: Cataloguer,
  principal: string,
  call: LiveCall,
): CallChange | undefined {
  const at = context.world.now();
  const { id } = call.row;
  if (context.isRevoked(principal)) {
    const cause = "the token that it was accepted under was revoked or has expired";
    return { kind: "expire", id, cause, at };
  }
  if (call.row.credentials !== context.identity.credentials) {
    return { kind: "expire", id, cause: OTHER_CREDENTIALS, at };
  }
  const cause = changedTool(context, cataloguer, call);
  if (cause !== undefined) return { kind: "bury", id, reason: "tool_changed", cause, at };
  // A deferral that is being written comes first, and sets another deadline.
  if (call.row.deadlineAt <= at && !call.isWaitEnding) {
    return { kind: "expire", id, cause: "the time it was accepted for was over", at };
  }
  const [waiter] = call.waiters;
  const patience = waiter?.patienceMs;
  if (patience === undefined || waiter === undefined || call.row.safety !== "unsafe")
    return undefined;
  // Promised to run late: whoever waits for it now was not the one that it was promised to.
  if (call.row.acknowledgedAt !== undefined) return undefined;
  if (waiter.since + patience - at >= UNSAFE_PATIENCE_MS) return undefined;
  const words = "too little of its caller's patience was left for a call that can't be repeated";
  return { kind: "expire", id, cause: words, at };
}

/** Why the tool is no longer the one that the call was accepted for. */
function changedTool(
  context: EngineContext,
  cataloguer: Cataloguer,
  call: LiveCall,
): string | undefined {
  const { tool, schema } = call.row;
  if (tool === undefined || schema === undefined || !cataloguer.knowsTools) return undefined;
  const facts = cataloguer.tool(tool);
  if (!facts.isKnown) return `the tool '${tool}' is gone since the server came back`;
  if (context.world.digest("", facts.schema) !== schema) {
    return `the input schema of '${tool}' has changed since the call was accepted`;
  }
  const own = context.settings.tools[tool]?.safety;
  if ((own ?? facts.safety) === call.row.safety) return undefined;
  return `the annotations of '${tool}' have changed since the call was accepted`;
}
