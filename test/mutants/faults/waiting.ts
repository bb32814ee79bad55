/** Faults of calls that wait, are withdrawn or repeated. */
import type { Mutant } from "../mutant.ts";

const DEADLINE = "  if (call.row.deadlineAt <= at && !call.isWaitEnding) {";

export const WAITING: readonly Mutant[] = [
  {
    name: "hold-ignored",
    says: "a call whose hold is over is sent all the same",
    edits: [
      {
        file: "engine/last-look.ts",
        find: DEADLINE,
        replace: "  if (call.row.deadlineAt < 0) {",
      },
      {
        file: "store/recovery.ts",
        find: '  if (row.state === "queued" && row.deadlineAt <= now && isSound) {',
        replace: '  if (row.state === "queued" && row.deadlineAt < 0 && isSound) {',
      },
      {
        file: "engine/keeper.ts",
        find: "        else this.#expire(call).catch(this.#context.fatal);",
        replace: "",
      },
      {
        file: "engine/rescuer.ts",
        find: '    if (verdict.kind === "retry" && row.deadlineAt > at) {',
        replace: '    if (verdict.kind === "retry") {',
      },
    ],
    caughtBy: "sim",
    expects: ["P5a", "I1"],
  },
  {
    name: "expired-sent",
    says: "a caller is told that its call expired, and the call waits on",
    edits: [
      {
        file: "engine/keeper.ts",
        find: '    const isMine = await change(call, { kind: "expire", id: call.row.id, cause, at });\n    call.isWaitEnding = false;\n    if (!isMine) return;\n    this.#context.tally.expired++;\n    this.#hooks.ended(call);',
        replace:
          '    call.isWaitEnding = false;\n    const { row } = call;\n    call.row = { ...row, state: "expired", executed: "no", settledAt: at, cause };\n    for (const waiter of [...call.waiters]) this.#hooks.tellPending(call, waiter);\n    call.row = row;',
      },
    ],
    caughtBy: "sim",
    expects: ["I8", "I3"],
  },
  {
    name: "deferral-without-end",
    says: "a deferred call runs after the time that its caller was told",
    edits: [
      {
        file: "engine/last-look.ts",
        find: DEADLINE,
        replace:
          "  if (call.row.deadlineAt <= at && !call.isWaitEnding && call.row.acknowledgedAt === undefined) {",
      },
      {
        file: "store/recovery.ts",
        find: '  if (row.state === "queued" && row.deadlineAt <= now && isSound) {',
        replace:
          '  if (row.state === "queued" && row.deadlineAt <= now && isSound && row.acknowledgedAt === undefined) {',
      },
      {
        file: "engine/keeper.ts",
        find: "        if (world.now() < call.row.deadlineAt) this.#armDeadline(call);",
        replace:
          "        if (call.row.acknowledgedAt !== undefined) return;\n        if (world.now() < call.row.deadlineAt) this.#armDeadline(call);",
      },
    ],
    caughtBy: "sim",
    expects: ["P5a", "I1"],
  },
  {
    name: "cancel-ignored",
    says: "a call that its client withdrew is sent all the same",
    edits: [
      {
        file: "engine/requests.ts",
        find: "    this.#detach(accepted, cause);\n    return true;",
        replace: "    this.#detach(accepted);\n    return true;",
      },
    ],
    caughtBy: "sim",
    expects: ["T13"],
  },
  {
    name: "cancel-of-left-call-ignored",
    says: "a call that a dead proxy left is sent although its client withdraws it first thing",
    edits: [
      {
        file: "engine/requests.ts",
        find: "    takeBackLeft(this.#context, this.#parts, idText, cause);",
        replace: "",
      },
    ],
    caughtBy: "sim",
    expects: ["T13"],
  },
  {
    name: "shield-off",
    says: "a repetition after an unknown outcome is sent without a warning",
    edits: [
      {
        file: "core/shield.ts",
        find: '    if (seen.isWarned && mode === "warn") {',
        replace: '    if (mode === "warn") {',
      },
    ],
    caughtBy: "sim",
    expects: ["S3"],
  },
  {
    name: "warning-lost-on-return",
    says: "a client that came back to hear of an unknown outcome is not warned when it repeats",
    edits: [
      {
        file: "engine/returning.ts",
        find: "    if (!isDoubt) this.#parts.registry.shield.forget(row.fingerprint, row.id);",
        replace:
          "    this.#parts.registry.shield.forget(row.fingerprint, row.id);\n    void isDoubt;",
      },
    ],
    caughtBy: "sim",
    expects: ["S3"],
  },
  {
    name: "left-behind-runs",
    says: "what waits of a client that has left runs all the same",
    edits: [
      {
        file: "engine/withdrawal.ts",
        find: "  const own = calls.filter((call) => call.row.acknowledgedAt === undefined);",
        replace: "  const own = calls.slice(0, 0);",
      },
    ],
    caughtBy: "sim",
    expects: ["T13"],
  },
];
