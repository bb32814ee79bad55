/** Faults of the journal, and of a start that takes it up. */
import type { Mutant } from "../mutant.ts";

export const RECOVERY: readonly Mutant[] = [
  {
    name: "sent-taken-for-queued",
    says: "a start takes a call that was in flight for one that waits",
    edits: [
      {
        file: "store/recovery.ts",
        find: '    return { kind: "doubt", id, attempt, cause, at: now };',
        replace: '    return { kind: "requeue", id, attempt, cause, at: now };',
      },
    ],
    caughtBy: "sim",
    expects: ["I3", "I4", "I8"],
  },
  {
    name: "recovery-repeats-itself",
    says: "a second start does more than the first",
    edits: [
      {
        file: "store/recovery.ts",
        find: '  if (row.state === "sent") {',
        replace:
          '  if (row.state === "in_doubt")\n    return { kind: "requeue", id, attempt, cause: "started again", at: now };\n  if (row.state === "sent") {',
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/memory.test.ts",
      test: "run twice in a row finds nothing to do the second time",
    },
  },
  {
    name: "not-synced",
    says: "commits are never synced (NORMAL instead of FULL)",
    edits: [
      {
        file: "store/sqlite/writer.ts",
        find: '    if (durability === "process") return false;',
        replace: '    if (durability !== "always") return false;',
      },
    ],
    caughtBy: "sim",
    expects: ["I1", "I2", "I4"],
  },
  {
    name: "normal-at-every-open",
    says: "a connection stays at the driver's own NORMAL",
    edits: [
      {
        file: "store/sqlite/connection.ts",
        find: '      "synchronous = full",\n',
        replace: '      "synchronous = normal",\n',
      },
      {
        file: "store/sqlite/connection.ts",
        find: '    assertPragma(db, path, "synchronous", 2);\n',
        replace: "",
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/journal-file.test.ts",
      test: "has wal and synchronous=full on every open",
    },
  },
  {
    name: "lost-commit-told-as-no",
    says: "a commit that failed is said not to have happened, though it may be on the platter",
    edits: [
      {
        file: "engine/scribe.ts",
        find: '      if (!(error instanceof JournalError) || error.trouble === "io") throw error;\n      this.#refuse',
        replace: "      if (!(error instanceof JournalError)) throw error;\n      this.#refuse",
      },
    ],
    caughtBy: "sim",
    expects: ["I3", "I8", "I11"],
  },
  {
    name: "abandoned-told-as-no",
    says: "calls of a journal whose process went on without it are said not to have run",
    edits: [
      {
        file: "store/sqlite/recoverer.ts",
        find: "const isSound = !isAbandoned && row.seq",
        replace: "const isSound = row.seq",
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/folder.test.ts",
      test: "a call past its time in an abandoned journal",
      needsBuild: true,
    },
  },
  {
    name: "number-given-again",
    says: "after old calls were deleted a start gives their numbers again",
    edits: [
      {
        file: "store/sqlite/writer.ts",
        find: "        this.#calls.insert(command[1], ++this.#head.seq, command[3]);\n        this.#rows++;\n        return this.#head.seq;",
        replace:
          "        this.#calls.insert(command[1], ++this.#rows, command[3]);\n        this.#head.seq = this.#rows;\n        return this.#rows;",
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/sqlite.test.ts",
      test: "never gives a seq a second time after its call was pruned",
      needsBuild: true,
    },
  },
  {
    name: "went-backwards-unnoticed",
    says: "a journal that holds less than was synced is replayed blindly",
    edits: [
      {
        file: "store/sqlite/recoverer.ts",
        find: "(mark.dbId !== head.dbId || mark.commits > head.commits);",
        replace: "mark.dbId !== head.dbId;",
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/journal-file.test.ts",
      test: "says that a journal went backwards when an older copy was put back",
      needsBuild: true,
    },
  },
  {
    name: "damaged-row-handed-out",
    says: "a row whose checksum is wrong is used",
    edits: [
      {
        file: "store/sqlite/statements.ts",
        find: '  if (expected !== sum) return "its checksum is wrong";\n',
        replace: "",
      },
    ],
    caughtBy: "unit lane",
    unit: {
      file: "test/store/journal-file.test.ts",
      test: "notices a state that was changed behind its back",
      needsBuild: true,
    },
  },
];
