/**
 * A read of a client that can come back goes upstream at once, like one of a client that can't: it changes
 * nothing, and most are answered before a commit would be. One that takes its time is put on disk while
 * it runs; from then on its client may leave and come back for the answer.
 *
 * LR1. No change of a call is written before its row: whoever changes it waits for the recording.
 * LR2. A read that the journal can't take goes on without it; only a journal that is lost ends the process.
 */
import { JournalError } from "../base/errors.ts";
import type { EngineContext } from "./context.ts";
import type { LiveCall } from "./live-call.ts";

/** So long a read may run before it is recorded. */
const RECORD_AFTER_MS = 20;

export function recordLater(context: EngineContext, call: LiveCall): void {
  const { world, log, fatal } = context;
  call.stopRecording = world.timer(RECORD_AFTER_MS, () => {
    if (call.isJournalled || call.recording !== undefined || call.givenUp !== undefined) return;
    // It waits for an earlier call to leave first.
    if (call.phase === "committing") recordLater(context, call);
    if (call.phase !== "sent") return;
    call.recording = call.journal
      .admit(call.row)
      .then(
        (seq) => {
          call.isJournalled = true;
          call.row = { ...call.row, seq };
          for (const waiter of call.waiters) waiter.accepted?.(call.row.id);
        },
        (error: unknown) => {
          if (!(error instanceof JournalError) || error.trouble === "io") fatal(error);
          else log("debug", "a read in flight is not on disk", { cause: error.message });
        },
      )
      .finally(() => {
        call.recording = undefined;
      });
  });
}
