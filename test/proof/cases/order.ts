/** What may not overtake what, what may not be late, and the near misses. */
import type { CallRow } from "../../../src/core/call.ts";
import type { Asked } from "../evidence.ts";
import {
  ask,
  type Case,
  change,
  evidence,
  ofClass,
  own,
  ran,
  row,
  T0,
  told,
  view,
  views,
} from "../builders.ts";

const read = ofClass("read");
const WAITED = { sentAt: T0 + 5_000 };
const AFTER_B = { at: 2.5 };

/** Two writes of one session that ran the wrong way round. */
const swapped = (overrides: Parameters<typeof row>[1], session = "s_1") =>
  evidence({
    asked: [ask("a"), ask("b", { session: session === "s_1" ? "session 1" : "session 2" })],
    executions: [ran("a", AFTER_B), ran("b")],
    views: views(
      row("a", { ...WAITED, sessionId: "s_1", ...overrides }),
      row("b", { ...WAITED, sessionId: session, ...overrides }),
    ),
  });

const LATE = { acknowledgedAt: T0 + 1_000, deadlineAt: T0 + 90_000 };

const lateTogether = (sentAt: number) =>
  evidence({
    asked: [ask("a"), ask("b")],
    executions: [ran("a", AFTER_B), ran("b")],
    views: views(
      row("a", { ...WAITED, ...LATE, sessionId: "s_1" }),
      row("b", { ...LATE, sessionId: "s_1", sentAt }),
    ),
  });

const piped = (isOrdered: boolean) =>
  evidence({
    asked: [ask("a", { isInOrder: true }), read.ask("b", { isInOrder: true })],
    executions: [ran("a", { ...AFTER_B, isOrdered }), ran("b", { isOrdered })],
    views: views(row("a")),
  });

const overLinks = (last: string) =>
  evidence({
    asked: ["a", "b", "c"].map((nonce) => ask(nonce)),
    executions: ["link 1", "link 2", last].map((link, i) =>
      ran("abc".charAt(i), { at: 2 + i / 10, link, session: "session 1" }),
    ),
    views: views(row("a"), row("b"), row("c")),
  });

const withdrawn = (sentAt: number, overrides: Partial<Asked> = {}, settledAt = T0 + 2_000) =>
  evidence({
    asked: [
      ask("a", {
        told: [],
        isCancelled: true,
        cancelledAt: 1.5,
        cancelledAtMs: T0 + 1_000,
        ...overrides,
      }),
    ],
    views: views(row("a", { sentAt, settledAt })),
  });

/** A call whose client left at T0 + 1 s, and which was sent, then and only then, at `sentAt`. */
const leftBehind = (overrides: Partial<CallRow>, before: Partial<CallRow> = {}) => {
  const after = row("a", { sentAt: T0 + 1_001, ...overrides });
  return evidence({
    asked: [ask("a", { told: [], isAbandoned: true, leftAt: 1.5, leftAtMs: T0 + 1_000 })],
    executions: [ran("a", { at: 12 })],
    views: change([{ ...after, ...before }], [after]),
  });
};

/** Its disk failed after a death: it ran from the memory of the next process; `at`: when the disk was read. */
const leftToMemory = (at: number) => {
  const queued = row("a", { state: "queued" });
  return {
    ...leftBehind({}),
    views: [
      view([queued], { label: "after kill 1", at, kind: "abandoned" }),
      view([row("a", { sentAt: T0 + 1_001 })], { journal: "memory", kind: "memory", at: 20 }),
    ],
  };
};

const overSession = (incarnation: number) =>
  evidence({
    asked: [ask("a", { incarnation }), ask("b", { session: "session 2", incarnation: 2 })],
    executions: [ran("a", { session: "session 2" }), ran("b", { session: "session 2" })],
    views: views(row("a", { sessionId: "s_1" }), row("b", { sessionId: "s_2" })),
  });

/** A call whose outcome is unknown is repeated, and the repetition ran. */
const repeated = (acceptedAt: number, isShielded = true) =>
  evidence({
    asked: [
      ask("a", { told: [own("a", "unknown")] }),
      ask("a", { at: 4, order: 2, told: [told("a", { at: 6 })] }),
    ],
    executions: [ran("a", { at: 5, requestId: "e1-b" })],
    views: views(
      row("a", { state: "dead" }),
      row("a", {
        id: "c_again",
        seq: 2,
        acceptedAt,
        deadlineAt: acceptedAt + 45_000,
        sentAt: acceptedAt,
        upstreamId: "e1-b",
      }),
    ),
    rules: { isShielded },
  });

/** The call's own caller was gone; its first repetition was warned, and the second ran. */
const warned = (() => {
  const run = repeated(T0 + 60_000);
  const [first, again] = run.asked;
  const text = `{"jsonrpc":"2.0","id":8,"result":{"isError":true,"_meta":{"holdfast/call":{"callId":"c_a","executed":"unknown"}}}}`;
  const asked = [
    ask("a", { ...first, told: [], isAbandoned: true }),
    ask("a", { at: 2, order: 2, told: [own("a", "unknown", { text })] }),
    ask("a", { ...again, order: 3 }),
  ];
  return { ...run, asked };
})();

export const ORDER: readonly Case[] = [
  {
    invariant: "I7",
    says: "a write that had waited ran before an earlier one that had",
    broken: swapped({}),
    but: "they are of two sessions",
    sound: swapped({}, "s_2"),
  },
  {
    invariant: "I7",
    says: "a write that had waited ran before an earlier one that had",
    broken: swapped({}),
    but: "they had not waited, and ran beside each other",
    sound: swapped({ sentAt: T0 }),
  },
  {
    invariant: "I7",
    says: "a deferred write ran before an earlier one in its lane",
    broken: lateTogether(T0 + 4_000),
    but: "it left before the other came into that lane",
    sound: lateTogether(T0 + 500),
  },
  {
    invariant: "I7",
    says: "a read overtook a write from pipe to pipe",
    broken: piped(true),
    but: "the upstream keeps no order",
    sound: piped(false),
  },
  {
    invariant: "I10",
    says: "a call went over an older connection after a newer one was in use",
    broken: overLinks("link 1"),
    but: "it went over the newer one",
    sound: overLinks("link 2"),
  },
  {
    invariant: "P5a",
    says: "a call was sent after its hold",
    broken: evidence({ views: views(row("a", { sentAt: T0 + 45_001 })) }),
    but: "at its end",
    sound: evidence({ views: views(row("a", { sentAt: T0 + 45_000 })) }),
  },
  {
    invariant: "P5a",
    says: "a call was sent later than a clock that was set back explains",
    broken: evidence({
      views: views(row("a", { sentAt: T0 + 55_001 })),
      rules: { setBackMs: 10_000 },
    }),
    but: "as late as it explains",
    sound: evidence({
      views: views(row("a", { sentAt: T0 + 55_000 })),
      rules: { setBackMs: 10_000 },
    }),
  },
  {
    invariant: "T13",
    says: "a call was sent after its client had withdrawn it",
    broken: withdrawn(T0 + 1_001),
    but: "before",
    sound: withdrawn(T0 + 1_000),
  },
  {
    invariant: "T13",
    says: "a client was answered that had withdrawn its call",
    broken: withdrawn(T0, { told: [told("a")] }),
    but: "it had the answer by then",
    sound: withdrawn(T0, { told: [told("a", { at: 1.4 })], isCancelled: false }),
  },
  {
    invariant: "T13",
    says: "a client was answered whose call ended after it was withdrawn",
    broken: withdrawn(T0, { told: [told("a")] }, T0 + 1_001),
    but: "had ended before, and its answer was there",
    sound: withdrawn(T0, { told: [told("a")] }, T0 + 1_000),
  },
  {
    invariant: "T13",
    says: "a call was sent after its client had left",
    broken: leftBehind({}),
    but: "before",
    sound: leftBehind({ sentAt: T0 + 1_000 }),
  },
  {
    invariant: "T13",
    says: "a call was sent after its client had left",
    broken: leftBehind({}),
    but: "it had been promised to run late",
    sound: leftBehind({ acknowledgedAt: T0 + 500, deadlineAt: T0 + 90_000 }),
  },
  {
    invariant: "T13",
    says: "a call was sent after its client had left",
    broken: leftBehind({}),
    but: "its process had died before the goodbye was on disk",
    sound: leftBehind({}, row("a", { state: "queued" })),
  },
  {
    invariant: "T13",
    says: "a call was sent, from memory, after its client had left",
    broken: leftToMemory(13),
    but: "the process that knew of that had died before, and its disk failed later",
    sound: leftToMemory(10),
  },
  {
    invariant: "I6",
    says: "a call ran over the connection of another session",
    broken: overSession(2),
    but: "its process had died, and the other's took it over",
    sound: overSession(1),
  },
  {
    invariant: "S3",
    says: "a call was repeated after an unknown outcome, and went without a warning",
    broken: repeated(T0 + 60_000),
    but: "ten minutes had gone by",
    sound: repeated(T0 + 700_000),
  },
  {
    invariant: "S3",
    says: "a call was repeated after an unknown outcome, and went without a warning",
    broken: repeated(T0 + 60_000),
    but: "the shield was off",
    sound: repeated(T0 + 60_000, false),
  },
  {
    invariant: "S3",
    says: "a call was repeated after an unknown outcome, and went without a warning",
    broken: repeated(T0 + 60_000),
    but: "its caller was gone, and the first repetition was warned",
    sound: warned,
  },
];
