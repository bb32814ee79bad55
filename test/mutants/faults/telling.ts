/** Faults on the way back: outcomes, their delivery, and who gets them. */
import type { Mutant } from "../mutant.ts";

export const TELLING: readonly Mutant[] = [
  {
    name: "deliver-before-commit",
    says: "a client has its result before the result is on disk",
    edits: [
      {
        file: "engine/scribe.ts",
        find: "    if (await isMine) this.end(call, reply);\n  }\n\n  #settle(",
        replace:
          "    if (reply !== undefined) this.end(call, reply);\n    if ((await isMine) && reply === undefined) this.end(call, reply);\n  }\n\n  #settle(",
      },
    ],
    caughtBy: "sim",
    // To a repetition that waited too, the row is said to be pending still.
    expects: ["I5", "P4", "P5a"],
  },
  {
    name: "doubt-told-as-no",
    says: "a call that was lost on the line is said not to have run",
    edits: [
      {
        file: "engine/outbox.ts",
        find: '    executed: isTerminal(row.state) ? row.executed : "pending",',
        replace:
          '    executed: isTerminal(row.state) ? (row.executed === "unknown" ? "no" : row.executed) : "pending",',
      },
    ],
    caughtBy: "sim",
    expects: ["I8", "I3"],
  },
  {
    name: "terminal-rows-change",
    says: "a call that has ended can be ended again",
    edits: [
      {
        file: "core/call.ts",
        find: '      if (row.state !== "sent" && row.state !== "in_doubt" && row.state !== "tasked")\n        return undefined;\n      if (row.attempt !== change.attempt) return undefined;\n      return {\n        ...settled(',
        replace: "      return {\n        ...settled(",
      },
      {
        file: "engine/under-way.ts",
        find: "    this.#inFlight.delete(upstreamId);\n",
        replace: "",
      },
    ],
    caughtBy: "sim",
    expects: ["I2", "I5", "I8", "I11"],
  },
  {
    name: "no-delivery-mark",
    says: "that an outcome was delivered is never noted",
    edits: [
      {
        file: "engine/delivery.ts",
        find: '      journal.applyLater({ kind: "deliver", id: row.id, at: this.#context.world.now() });\n    };',
        replace: "      return journal;\n    };",
      },
      {
        file: "engine/registry.ts",
        find: "    return this.#given.has(callId);",
        replace: "    return this.#given.has(`not ${callId}`);",
      },
    ],
    caughtBy: "sim",
    expects: ["I11"],
  },
  {
    name: "sessions-crossed",
    says: "a client that comes back is given what other sessions missed",
    edits: [
      {
        file: "core/session.ts",
        find: "  return call.sessionId === session.id && call.acceptedAt >= session.createdAt;",
        replace: '  return call.sessionId !== "" && call.acceptedAt >= session.createdAt;',
      },
      {
        file: "engine/returning.ts",
        find: "      const filter = { sessionId: member.session.id, isUndelivered: true, limit: MISSED_MAX };",
        replace:
          "      const filter = { isUndelivered: true, limit: member.session.id.length * MISSED_MAX };",
      },
    ],
    caughtBy: "sim",
    expects: ["I6"],
  },
];
