/** Faults on the way from a client to its upstream. */
import type { Mutant } from "../mutant.ts";

export const SENDING: readonly Mutant[] = [
  {
    name: "ack-before-commit",
    says: "a client is told that its call is kept before the call is on disk",
    edits: [
      {
        file: "engine/scribe.ts",
        find: "      const seq = await call.journal.admit(call.row);\n      call.row = { ...call.row, seq };\n      for (const waiter of call.waiters) waiter.accepted?.(call.row.id);",
        replace:
          "      for (const waiter of call.waiters) waiter.accepted?.(call.row.id);\n      const seq = await call.journal.admit(call.row);\n      call.row = { ...call.row, seq };",
      },
    ],
    caughtBy: "sim",
    expects: ["I1"],
  },
  {
    name: "bytes-before-intent",
    says: "the bytes of a call leave before the intent to send it is on disk",
    edits: [
      {
        file: "engine/dispatcher.ts",
        find: "      const isWritten = await write();",
        replace: "      const isWritten = true;\n      void write();",
      },
    ],
    caughtBy: "sim",
    expects: ["I3", "I4", "I1"],
    from: 7,
  },
  {
    name: "id-without-epoch",
    says: "ids to the upstream begin anew with each connection",
    edits: [
      {
        file: "engine/channel.ts",
        find: "    return `${this.epoch}-${String(++this.#count)}`;",
        replace: "    return `1-${String(++this.#count)}`;",
      },
    ],
    caughtBy: "sim",
    expects: ["I4", "I6"],
  },
  {
    name: "no-connection-fence",
    says: "late frames of an old connection count, and ids begin anew with each",
    edits: [
      {
        file: "engine/channel.ts",
        find: "    return `${this.epoch}-${String(++this.#count)}`;",
        replace: "    return `1-${String(++this.#count)}`;",
      },
      {
        file: "engine/supervisor.ts",
        find: "    const isCurrent = () => this.#channel === channel;",
        replace: "    const isCurrent = () => true;",
      },
    ],
    caughtBy: "sim",
    expects: ["I6", "I8", "I4"],
  },
  {
    name: "unsafe-retried",
    says: "an unsafe call whose answer was lost is sent again",
    edits: [
      {
        file: "core/verdict.ts",
        find: '  if (facts.safety === "unsafe") return { kind: "bury", reason: "outcome_unknown", failure };\n',
        replace: "",
      },
    ],
    caughtBy: "sim",
    expects: ["I4"],
  },
  {
    name: "repeated-without-end",
    says: "a lost idempotent call is sent again and again",
    edits: [
      {
        file: "core/verdict.ts",
        find: "export const ATTEMPTS_MAX = 3;",
        replace: "export const ATTEMPTS_MAX = 99;",
      },
    ],
    caughtBy: "sim",
    expects: ["I4"],
  },
  {
    name: "last-in-first-out",
    says: "of waiting calls the newest goes first",
    edits: [
      {
        file: "engine/backlog.ts",
        find: "      this.#calls.push(call);\n      return;",
        replace: "      this.#calls.splice(this.#at, 0, call);\n      return;",
      },
    ],
    caughtBy: "sim",
    expects: ["I7"],
  },
  {
    name: "bounds-ignored",
    says: "nothing is ever refused for being too much",
    edits: [
      {
        file: "engine/bounds.ts",
        find: "    if (refusal !== undefined) return refusal;\n",
        replace: "",
      },
    ],
    caughtBy: "sim",
    expects: ["P7"],
  },
  {
    name: "never-half-open",
    says: "a breaker that opened never goes half-open",
    edits: [
      {
        file: "core/breaker.ts",
        find: '  return breaker.state === "open" ? { state: "half_open", round: breaker.round } : breaker;',
        replace: "  return breaker;",
      },
    ],
    // A caller who waits caps every cool-down, so calls run all the same; what is lost is the probe.
    caughtBy: "unit lane",
    unit: {
      file: "test/core/breaker.test.ts",
      test: "B2: says until when it is open, and lets one probe pass",
    },
  },
];
