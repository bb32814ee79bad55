/**
 * Random histories done to the reference in memory and to SQLite in lockstep, with crashes of the latter
 * in between: every answer of every method must be the same.
 */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CALL_STATES } from "../../src/core/call.ts";
import type { CallChange, CallRow } from "../../src/core/call.ts";
import type { JournalFilter } from "../../src/core/call-filter.ts";
import type { Journal } from "../../src/ports.ts";
import { openMemoryJournal } from "../../src/store/memory.ts";
import { NOW, aCall, aFolder, aSqliteJournal, world } from "./builders.ts";
import { aSession, everyChange } from "./conformance.ts";

const KINDS = everyChange("", 0).length;
/** Around what the changes and sessions of a history are dated with. */
const INSTANTS = [0, NOW, NOW + 50, NOW + 101, NOW + 5_000, NOW + 600_200, NOW * 2];

const anInstant = fc.constantFrom(...INSTANTS);
const aSessionId = fc.constantFrom("s_1", "s_2", "s_3");
const aKey = fc.constantFrom("child:1", "child:2", "link:a", "");

const aFilter: fc.Arbitrary<JournalFilter> = fc
  .record(
    {
      states: fc.subarray([...CALL_STATES]),
      sessionId: aSessionId,
      isUndelivered: fc.boolean(),
      afterSeq: fc.nat(12),
      limit: fc.nat(6),
    },
    { requiredKeys: [] },
  )
  .map((filter) => filter as JournalFilter);

type Step =
  | { readonly do: "admit"; readonly row: Partial<CallRow> }
  | { readonly do: "apply" | "applyLater"; readonly which: number; readonly kind: number }
  | { readonly do: "find"; readonly which: number }
  | { readonly do: "list"; readonly filter: JournalFilter }
  | { readonly do: "saveSession"; readonly id: string; readonly endedAt: number | undefined }
  | { readonly do: "findSession"; readonly id: string }
  | { readonly do: "keep"; readonly key: string; readonly value: string | undefined }
  | { readonly do: "kept"; readonly key: string }
  | { readonly do: "prune"; readonly results: number; readonly records: number }
  | { readonly do: "recover"; readonly now: number }
  | { readonly do: "sessions" | "crash" };

const aRow: fc.Arbitrary<Partial<CallRow>> = fc.record({
  state: fc.constantFrom("queued", "sent"),
  safety: fc.constantFrom("read", "idempotent", "unsafe"),
  sessionId: aSessionId,
  tool: fc.constantFrom("write", "read", undefined),
  fingerprint: fc.constantFrom("print", undefined),
  deadlineAt: anInstant,
});

/** The way to an unknown outcome that was given and noted is long; half of the changes lie on it. */
const UNKNOWN = ["dispatch", "doubt", "bury", "deliver", "annotate"];
const ON_THE_WAY = everyChange("", 0).flatMap(({ kind }, at) =>
  UNKNOWN.includes(kind) ? [at] : [],
);
const aKind = fc.oneof(fc.nat(KINDS - 1), fc.constantFrom(...ON_THE_WAY));

/** Changes and crashes are what a life is made of; the rest comes in between. */
const aStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("admit" as const), row: aRow }) },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constantFrom("apply" as const, "apply" as const, "applyLater" as const),
      which: fc.nat(4),
      kind: aKind,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("find" as const), which: fc.nat(4) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("list" as const), filter: aFilter }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("saveSession" as const),
      id: aSessionId,
      endedAt: fc.option(anInstant, { nil: undefined }),
    }),
  },
  fc.record({ do: fc.constant("findSession" as const), id: aSessionId }),
  fc.record({
    do: fc.constant("keep" as const),
    key: aKey,
    value: fc.constantFrom("a", "\u00e9", "", undefined),
  }),
  fc.record({ do: fc.constant("kept" as const), key: aKey }),
  fc.record({ do: fc.constant("prune" as const), results: anInstant, records: anInstant }),
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("recover" as const), now: anInstant }),
  },
  fc.record({ do: fc.constantFrom("sessions" as const, "crash" as const) }),
);

/** What a journal answers to a step; of what takes time without its time. */
async function answer(journal: Journal, step: Step, ids: readonly string[]): Promise<unknown> {
  const idOf = (which: number) => ids[which] ?? "c_nowhere";
  switch (step.do) {
    case "admit":
      return journal.admit(aCall({ ...step.row, id: ids.at(-1) ?? "" }));
    case "apply":
    case "applyLater": {
      const id = idOf(step.which);
      const attempt = (await journal.find(id))?.attempt ?? 0;
      const change = everyChange(id, attempt)[step.kind];
      if (change === undefined) throw new Error(`no change ${String(step.kind)}`);
      if (step.do === "apply") return journal.apply(change, true);
      journal.applyLater(change);
      return undefined;
    }
    case "find":
      return journal.find(idOf(step.which));
    case "list":
      return journal.list(step.filter);
    case "saveSession":
      return journal.saveSession({
        ...aSession,
        id: step.id,
        endedAt: step.endedAt,
        // Its end is the last that is seen of a session.
        lastSeenAt: step.endedAt ?? aSession.lastSeenAt,
      });
    case "findSession":
      return journal.findSession(step.id);
    case "keep":
      return journal.keep(step.key, step.value);
    case "kept":
      return [...(await journal.kept(step.key))];
    case "prune":
      return journal.prune(step.results, step.records);
    case "recover": {
      const { report, live, remembered } = await journal.recover(step.now);
      return { report: { ...report, tookMs: 0 }, live, remembered };
    }
    case "sessions":
      return journal.sessions();
    case "crash":
      return undefined;
  }
}

async function everything(journal: Journal): Promise<unknown> {
  const [calls, sessions, facts] = [journal.list({}), journal.sessions(), journal.kept("")];
  const held = { calls: await calls, sessions: await sessions, facts: [...(await facts)] };
  return { ...held, rows: journal.stats().rows };
}

class Subject {
  readonly #dropsDelivered: boolean;
  #folder = aFolder();
  #journal: Journal | undefined;

  constructor(dropsDelivered: boolean) {
    this.#dropsDelivered = dropsDelivered;
  }

  async journal(): Promise<Journal> {
    const options = { dropsDelivered: this.#dropsDelivered };
    this.#journal ??= (await aSqliteJournal(this.#folder, options)).journal;
    return this.#journal;
  }

  /** As a kill leaves it: the files as they are at this instant, without a close. */
  async crash(): Promise<void> {
    // What nobody waits for goes with the next batch; a kill may lose it, and this is not about that.
    await (await this.journal()).find("");
    const image = aFolder();
    execFileSync("cp", ["-r", `${this.#folder}/.`, image]);
    await this.end();
    this.#folder = image;
  }

  async end(): Promise<void> {
    await this.#journal?.close();
    this.#journal = undefined;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function live(steps: readonly Step[], dropsDelivered: boolean): Promise<void> {
  const reference = openMemoryJournal(world, { dropsDelivered });
  const subject = new Subject(dropsDelivered);
  const ids: string[] = [];
  try {
    for (const [at, step] of steps.entries()) {
      if (step.do === "admit") ids.push(`c_${String(ids.length)}`);
      if (step.do === "crash") await subject.crash();
      const journal = await subject.journal();
      const given = await answer(journal, step, ids);
      expect(given, `step ${String(at)}, ${step.do}`).toEqual(await answer(reference, step, ids));
    }
    await subject.crash();
    expect(await everything(await subject.journal())).toEqual(await everything(reference));
  } finally {
    await subject.end();
    await reference.close();
  }
}

describe.each([false, true])("with payloads dropped on delivery: %s", (dropsDelivered) => {
  it("SQLite remembers an unknown outcome as the reference does, given, and noted", async () => {
    const kindOf = (name: CallChange["kind"]) =>
      everyChange("", 0).findLastIndex(
        ({ kind, ...rest }) => kind === name && (!("attempt" in rest) || rest.attempt === 0),
      );
    const changed = (name: CallChange["kind"]): Step => {
      return { do: "apply", which: 0, kind: kindOf(name) };
    };
    const recover: Step = { do: "recover", now: NOW + 101 };
    const row: Partial<CallRow> = { state: "sent", fingerprint: "print" };
    const given = [changed("doubt"), changed("bury"), recover, changed("deliver"), recover];
    await live(
      [{ do: "admit", row }, ...given, { do: "crash" }, changed("annotate"), recover],
      dropsDelivered,
    );
  });

  it("SQLite answers as the reference does along random histories, through crashes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(aStep, { minLength: 1, maxLength: 60, size: "max" }), (steps) =>
        live(steps, dropsDelivered),
      ),
      { numRuns: 10 },
    );
  }, 60_000);
});
