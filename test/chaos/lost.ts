/** Which answers can't be had any more, for reasons that are not Holdfast's: judged when all is over. */
import type { CallRow } from "../../src/core/call.ts";
import type { CallRecord } from "./caller.ts";

/**
 * Whether a call without an answer lost it on the way. Its answer was written into a connection that was
 * cut; or it repeats another, and a kill came before it was taken: the row is that of the earlier one. Over
 * HTTP an answer is delivered when its client has it, and asked for again until then.
 */
export function isLostOnTheWay(
  record: Pick<CallRecord, "nonce" | "at" | "wasCutOff" | "isAcknowledged">,
  front: string,
  rows: readonly Pick<CallRow, "request" | "acceptedAt" | "deliveredAt">[],
): boolean {
  if (!record.wasCutOff) return false;
  const ofCall = rows.filter(({ request }) => request.includes(`"${record.nonce}"`));
  const own = ofCall.find(({ acceptedAt }) => acceptedAt >= (record.at ?? 0));
  if (own === undefined) return ofCall.length > 0 && !record.isAcknowledged;
  return own.deliveredAt !== undefined && !front.includes("http");
}
