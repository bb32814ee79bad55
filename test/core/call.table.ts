/**
 * What each change does in each state: the state it leads to, "kept" where the row changes but not its
 * state, or "refused". Total by type: a state or change without an entry does not compile.
 */
import type { CallChange, CallState } from "../../src/core/call.ts";

/** `cancel` names the state in which the canceller saw the call, so it is two changes here. */
export type ChangeName = Exclude<CallChange["kind"], "cancel"> | "cancel_queued" | "cancel_sent";

export type Expected = CallState | "kept" | "refused";

const TERMINAL: Record<ChangeName, Expected> = {
  dispatch: "refused",
  settle: "refused",
  requeue: "refused",
  doubt: "refused",
  bury: "refused",
  expire: "refused",
  cancel_queued: "refused",
  cancel_sent: "refused",
  acknowledge: "refused",
  deliver: "kept",
  annotate: "kept",
};

export const TABLE: Record<CallState, Record<ChangeName, Expected>> = {
  queued: {
    dispatch: "sent", // T2
    settle: "refused",
    requeue: "refused",
    doubt: "refused",
    bury: "dead", // T14
    expire: "expired", // T12
    cancel_queued: "cancelled", // T13
    cancel_sent: "refused",
    acknowledge: "kept",
    deliver: "refused",
    annotate: "refused",
  },
  sent: {
    dispatch: "refused",
    settle: "done", // T3; T4 with state "failed"
    requeue: "queued", // T5
    doubt: "in_doubt", // T7
    bury: "refused",
    expire: "refused",
    cancel_queued: "refused",
    cancel_sent: "cancelled", // T13
    acknowledge: "refused",
    deliver: "refused",
    annotate: "refused",
  },
  tasked: {
    dispatch: "refused",
    settle: "done", // T8
    requeue: "refused",
    doubt: "refused",
    bury: "refused",
    expire: "refused",
    cancel_queued: "refused",
    cancel_sent: "refused",
    acknowledge: "refused",
    deliver: "refused",
    annotate: "refused",
  },
  in_doubt: {
    dispatch: "refused",
    settle: "done", // T10
    requeue: "queued", // T9
    doubt: "refused",
    bury: "dead", // T11
    expire: "refused",
    cancel_queued: "refused",
    cancel_sent: "refused",
    acknowledge: "refused",
    deliver: "refused",
    annotate: "refused",
  },
  done: TERMINAL,
  failed: TERMINAL,
  expired: TERMINAL,
  cancelled: TERMINAL,
  dead: TERMINAL,
};
