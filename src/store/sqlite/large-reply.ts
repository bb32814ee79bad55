/**
 * A large reply on its way to the journal thread: as bytes whose memory is handed over. A text would be
 * there up to five times at once: as it is copied out, in, for its checksum, and to be bound.
 */
import { Buffer } from "node:buffer";
import type { CallChange } from "../../core/call.ts";
import type { Command } from "./protocol.ts";

/** Smaller ones are copied sooner than moved, characters. */
const LARGE_FROM = 256 * 1024;

const encoder = new TextEncoder();

/** The command for this change; its reply stands beside it if it is large. */
export function changeCommand(change: CallChange, sync: boolean): Command {
  if (change.kind !== "settle" || change.reply.length < LARGE_FROM) return ["change", change, sync];
  // Memory of its own: a pooled buffer could not be handed over.
  const bytes = new Uint8Array(Buffer.byteLength(change.reply));
  encoder.encodeInto(change.reply, bytes);
  return ["change", { ...change, reply: "" }, sync, bytes];
}

/** The memory that goes with a batch; it is not ours afterwards. */
export function handedOver(batch: readonly Command[]): ArrayBuffer[] {
  return batch.flatMap((command) =>
    command[0] === "change" && command[3] !== undefined ? [command[3].buffer] : [],
  );
}
