/** What clients may not be told, and the near misses. */
import type { Asked } from "../evidence.ts";
import {
  answerOf,
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
  unanswered,
  view,
  views,
} from "../builders.ts";

const read = ofClass("read");

const asked = (overrides: Partial<Asked>) => evidence({ asked: [ask("a", overrides)] });

const toldTwice = (at: number, text = answerOf("a")) =>
  asked({ told: [told("a"), told("a", { at, text })] });

/** Told, and told something else after the power had been lost. */
const toldAgainAfterPowerLoss = (safety: "read" | "unsafe") => {
  const of = ofClass(safety);
  const late = told("a", { at: 12, text: answerOf("a", 8) });
  const done = [of.row("a")];
  return evidence({
    asked: [of.ask("a", { told: [told("a"), late] })],
    views: [...change(done, done, { at: 11, isAfterPowerLoss: true }), view(done, { at: 20 })],
  });
};

/** Told at 3, and on disk by the first view or only at the end. */
const settledAtOnce = (isOnDisk: boolean) =>
  evidence({ views: change([row("a", isOnDisk ? {} : { state: "sent" })], [row("a")]) });

const pending = (overrides: Parameters<typeof row>[1], expiresAt = T0 + 60_000) => {
  const iso = new Date(expiresAt).toISOString();
  const text = `{"jsonrpc":"2.0","id":7,"result":{"_meta":{"holdfast/call":{"callId":"c_a","executed":"pending","expiresAt":"${iso}"}}}}`;
  const late = { acknowledgedAt: T0 + 45_000, deadlineAt: T0 + 60_000, ...overrides };
  return evidence({
    asked: [ask("a", { told: [own("a", "pending", { text })], isAcknowledged: true })],
    executions: [ran("a", { at: 12 })],
    views: change(
      [row("a", { ...late, state: "queued", sentAt: undefined })],
      [row("a", { sentAt: T0 + 50_000, ...late })],
    ),
  });
};

/** Told that it runs late at 3, and what came of it at `at`. */
/** The words that a call runs late are read at `pendingAt`, its outcome at `at`. */
const pendingThen = (
  at: number,
  { pendingAt = 3, since }: { pendingAt?: number; since?: number } = {},
) => {
  const late = { acknowledgedAt: T0 + 45_000, deadlineAt: T0 + 60_000 };
  const iso = new Date(late.deadlineAt).toISOString();
  const text = `{"jsonrpc":"2.0","id":7,"result":{"_meta":{"holdfast/call":{"callId":"c_a","executed":"pending","expiresAt":"${iso}"}}}}`;
  return evidence({
    asked: [
      ask("a", {
        told: [
          own("a", "pending", { text, at: pendingAt, ...(since === undefined ? {} : { since }) }),
          told("a", { at }),
        ],
        isAcknowledged: true,
      }),
    ],
    executions: [ran("a", { at: 3 })],
    views: change([row("a", late)], [row("a", late)]),
  });
};

const expired = unanswered("a", "expired", "no");

const replayed = (text: string) =>
  evidence({
    asked: [
      ask("a", { told: [], isAbandoned: true }),
      ask("a", {
        at: 4,
        order: 2,
        told: [told("a", { at: 6, executed: "yes", callId: "c_a", text })],
      }),
    ],
  });

/** The same where the row's reply is what is given. */
const replayedFrom = (reply: string | undefined) => ({
  ...replayed(noted("made a")),
  views: views(row("a", { reply })),
});

const noted = (what: string) =>
  `{"jsonrpc":"2.0","id":8,"result":{"content":[{"type":"text","text":"${what}"}],"_meta":{"holdfast/call":{"replayed":true}}}}`;

const crossed = (sessionId: string) =>
  evidence({
    asked: [ask("a"), ask("b", { session: "session 2", client: "client 2" })],
    executions: [ran("a"), ran("b")],
    views: views(row("a", { sessionId: "s_1" }), row("b", { sessionId })),
  });

const otherPrincipal = (principal: string) =>
  evidence({
    asked: [
      ask("a"),
      ask("b", { session: "session 2", principal, told: [own("b", "unknown")] }),
      ask("b", {
        at: 4,
        order: 2,
        session: "session 2",
        told: [own("b", "unknown", { at: 5 })],
        principal: "local",
      }),
    ],
    executions: [ran("a")],
    views: views(row("a", { sessionId: "s_1" }), row("b", { state: "dead", sessionId: "s_2" })),
  });

export const ANSWERS: readonly Case[] = [
  {
    invariant: "I1",
    says: "a row has not ended at the end",
    broken: evidence({
      asked: [ask("a", { told: [], isAbandoned: true })],
      executions: [],
      views: views(row("a", { state: "queued" })),
    }),
    but: "it was the memory of a process that died",
    sound: evidence({
      asked: [ask("a", { told: [], isAbandoned: true })],
      executions: [],
      views: [view([row("a", { state: "queued" })], { kind: "memory" })],
    }),
  },
  {
    invariant: "I1",
    says: "nobody answered a client that stayed",
    broken: asked({ told: [] }),
    but: "it was gone for good",
    sound: asked({ told: [], isAbandoned: true }),
  },
  {
    invariant: "I1",
    says: "nobody answered, though the process lived on",
    broken: evidence({
      asked: [ask("a", { told: [], incarnation: 2 })],
      executions: [],
      views: views(),
    }),
    but: "it died, and nobody had been told anything of that call",
    sound: evidence({ asked: [ask("a", { told: [] })], executions: [], views: views() }),
  },
  {
    invariant: "I1",
    says: "a client was told that its call is kept, and it is not",
    broken: evidence({
      asked: [ask("a", { told: [], isAbandoned: true, isAcknowledged: true })],
      executions: [],
      views: views(),
    }),
    but: "it is",
    sound: evidence({
      asked: [ask("a", { told: [], isAbandoned: true, isAcknowledged: true })],
      executions: [],
      views: views(row("a", { state: "expired" })),
    }),
  },
  {
    invariant: "I1",
    says: "a client was told of an unknown outcome of a call that no journal has",
    broken: evidence({ ...unanswered("a", "dead", "unknown"), views: views() }),
    but: "it was told that the call was refused",
    sound: evidence({ ...expired, views: views() }),
  },
  {
    invariant: "I1",
    says: "a client has the result of a write that no journal has",
    broken: evidence({
      executions: [ran("a", { at: 12 })],
      asked: [ask("a", { told: [told("a")] })],
      views: views(),
    }),
    but: "of a read that passed straight through",
    sound: evidence({ asked: [read.ask("a")], views: views() }),
  },
  {
    invariant: "I3",
    says: "a call ran after its client had been told no",
    broken: evidence({
      ...expired,
      executions: [ran("a", { at: 4 })],
      views: views(row("a", { state: "dead" })),
    }),
    but: "it never ran",
    sound: evidence(expired),
  },
  {
    invariant: "I5",
    says: "a result was delivered before it was on disk",
    broken: settledAtOnce(false),
    but: "it was on disk by then",
    sound: settledAtOnce(true),
  },
  {
    invariant: "I5",
    says: "a client has another result than the journal",
    broken: asked({ told: [told("a", { text: answerOf("a").replace("done", "made") })] }),
    but: "only the id is its own",
    sound: asked({ told: [told("a", { text: answerOf("a", "another id") })] }),
  },
  {
    invariant: "I5",
    says: "a repetition has another result than the journal",
    broken: replayed(noted("made a")),
    but: "only a note was added",
    sound: replayed(noted("done a")),
  },
  {
    invariant: "I5",
    says: "a repetition has another result than the journal",
    broken: replayedFrom(answerOf("a")),
    but: "the reply went with its delivery",
    sound: replayedFrom(undefined),
  },
  {
    invariant: "I6",
    says: "a client has the answer to another call",
    broken: asked({ told: [told("b", { text: answerOf("a") })] }),
    but: "its upstream had swapped them",
    sound: evidence({
      asked: [ask("a", { told: [told("b", { text: answerOf("a") })] })],
      faults: [{ at: 1, kind: "swapped ids", nonces: ["a"], isLie: true }],
    }),
  },
  {
    invariant: "I6",
    says: "a row has the reply to another call",
    broken: evidence({
      asked: [ask("a", { told: [], isAbandoned: true })],
      views: views(row("a", { reply: answerOf("b", "e1-a") })),
    }),
    but: "to its own",
    sound: asked({ told: [], isAbandoned: true }),
  },
  {
    invariant: "I6",
    says: "two sessions of clients share one session",
    broken: crossed("s_1"),
    but: "each has its own",
    sound: crossed("s_2"),
  },
  {
    invariant: "I6",
    says: "a client was told of another call",
    broken: evidence({
      asked: [ask("a", { told: [own("b", "unknown")] }), ask("b", { told: [own("b", "unknown")] })],
      executions: [],
      views: views(row("a", { state: "dead" }), row("b", { state: "dead" })),
    }),
    but: "of its own",
    sound: evidence({
      asked: [ask("a", { told: [own("a", "unknown")] }), ask("b", { told: [own("b", "unknown")] })],
      executions: [],
      views: views(row("a", { state: "dead" }), row("b", { state: "dead" })),
    }),
  },
  {
    invariant: "I6",
    says: "somebody was told of the call of another principal",
    broken: otherPrincipal("token 2"),
    but: "it is the same one",
    sound: otherPrincipal("local"),
  },
  {
    invariant: "I8",
    says: "a client was told no of a call whose outcome is unknown",
    broken: evidence(unanswered("a", "dead", "no")),
    but: "it was told so",
    sound: evidence(unanswered("a", "dead", "unknown")),
  },
  {
    invariant: "I8",
    says: "a client was told that its call was refused, which had run",
    broken: evidence({ asked: [read.ask("a", { told: [own("a", "no")] })], views: views() }),
    but: "it had not",
    sound: evidence({
      asked: [read.ask("a", { told: [own("a", "no")] })],
      executions: [],
      views: views(),
    }),
  },
  {
    invariant: "I8",
    says: "a client has a result of a call that never ran",
    broken: evidence({ asked: [read.ask("a")], executions: [], views: views() }),
    but: "it had run",
    sound: evidence({ asked: [read.ask("a")], views: views() }),
  },
  {
    invariant: "I11",
    says: "a client was answered twice by one process",
    broken: toldTwice(4),
    but: "the first mark was lost with the process in between",
    sound: toldTwice(12),
  },
  {
    invariant: "I11",
    says: "a client was answered again, and differently",
    broken: toldTwice(12, answerOf("a", 8)),
    but: "with the same bytes",
    sound: toldTwice(12),
  },
  {
    invariant: "I11",
    says: "a client was given another answer to its write after the power was lost",
    broken: toldAgainAfterPowerLoss("unsafe"),
    but: "to its read, whose row the power may take",
    sound: toldAgainAfterPowerLoss("read"),
  },
  {
    invariant: "I11",
    says: "a client was told that its call runs late, and then its outcome by the same process",
    broken: pendingThen(4),
    but: "the process that had told it had died",
    sound: pendingThen(12),
  },
  {
    invariant: "I11",
    says: "a client was told that its call runs late, and then its outcome, both after a death",
    broken: pendingThen(12, { pendingAt: 11 }),
    but: "it had not read since before",
    sound: pendingThen(12, { pendingAt: 11, since: 4 }),
  },
  {
    invariant: "I8",
    says: "a client was told that its call runs late, which had ended",
    broken: pendingThen(12, { pendingAt: 11, since: 11 }),
    but: "it was said before, and read late",
    sound: pendingThen(12, { pendingAt: 11, since: 9 }),
  },
  {
    invariant: "P5a",
    says: "a call ran later than its caller was told",
    broken: pending({}, T0 + 49_000),
    but: "it ran before",
    sound: pending({}),
  },
  {
    invariant: "P5a",
    says: "a caller was told that its call runs late, and the row does not say so",
    broken: pending({ acknowledgedAt: undefined }),
    but: "it does",
    sound: pending({}),
  },
];
