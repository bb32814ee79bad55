/** What was exported, as the beginning of a journal in memory. */
import { isTerminal } from "../../core/call.ts";
import type { CallRow } from "../../core/call.ts";
import type { SessionRow } from "../../core/session.ts";
import { HELD_MARK, broughtIn, heldMarkText } from "../held-mark.ts";
import type { MemorySeed } from "../memory.ts";
import { readExport } from "./read.ts";

/** Rejects with `RefusedError` for what is no whole export. `because`: see `broughtIn`. */
export async function seedOf(
  input: AsyncIterable<Uint8Array>,
  because: string,
): Promise<MemorySeed> {
  const rows: CallRow[] = [];
  const sessions = new Map<string, SessionRow>();
  await readExport(input, (record) => {
    if (record.kind === "call") rows.push({ ...record.call, seq: rows.length + 1 });
    else if (record.kind === "session") sessions.set(record.session.id, record.session);
  });
  const isLive = rows.some(({ state }) => !isTerminal(state));
  const mark = heldMarkText(broughtIn(rows.length, because));
  return {
    rows,
    sessions: sessions.values(),
    facts: isLive ? [[HELD_MARK, mark]] : [],
    seq: rows.length,
  };
}
