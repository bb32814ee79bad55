/** What may not have run, and the near misses. */
import type { CallRow } from "../../../src/core/call.ts";
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
  unanswered,
  view,
  views,
} from "../builders.ts";

const idempotent = ofClass("idempotent");
const read = ofClass("read");

const unsafeTwice = (second: string) =>
  evidence({
    asked: [ask("a"), ask("a", { at: 4, order: 2, told: [told("a", { at: 6 })] })],
    executions: [ran("a"), ran("a", { at: 5, requestId: "e1-b" })],
    views: views(
      row("a"),
      ...(second === "" ? [] : [row("a", { id: second, seq: 2, upstreamId: "e1-b" })]),
    ),
  });

/** The call went on, and ended, in the memory of a process that had lost its disk. */
const givenUp = (left: CallRow) =>
  evidence({
    views: [
      view([row("a")], { journal: "memory", kind: "memory" }),
      view([left], { at: 12, kind: "abandoned" }),
      view([left], { at: 20, kind: "abandoned" }),
    ],
  });

const idempotentRun = (times: number) =>
  evidence({
    asked: [idempotent.ask("a")],
    executions: Array.from({ length: times }, (_, i) => ran("a", { requestId: `e${String(i)}-a` })),
    views: views(idempotent.row("a", { attempt: 4 })),
  });

const readRun = (times: number, rows = true) =>
  evidence({
    asked: [read.ask("a")],
    executions: Array.from({ length: times }, (_, i) => ran("a", { requestId: `e${String(i)}-a` })),
    views: views(...(rows ? [read.row("a", { attempt: 2 })] : [])),
  });

/** A write ran without a row of its own; another row says nothing of any nonce. */
const besideRow = (other: Partial<CallRow>) =>
  evidence({
    asked: [ask("a", { isAbandoned: true, told: [] })],
    views: views(row("z", { tool: undefined, safety: "idempotent", upstreamId: "e1-z", ...other })),
  });

const ranAt = (at: number) =>
  evidence({
    asked: [ask("a", { told: [told("a", { at: 13 })] })],
    executions: [ran("a", { at })],
    views: change([row("a", { state: "queued" })], [row("a")]),
  });

const unknown = (kind: string | undefined) =>
  evidence({
    ...unanswered("a", "dead", "unknown"),
    faults: kind === undefined ? [] : [{ at: 1, kind, nonces: ["a"] }],
  });

const unknownAfterKill = (at: number) =>
  evidence({
    ...unanswered("a", "dead", "unknown"),
    faults: [{ at, kind: "kill proxy: a kill at any time" }],
  });

export const EXECUTIONS: readonly Case[] = [
  {
    invariant: "I3",
    says: "a write ran and no journal has it",
    broken: evidence({ asked: [ask("a", { isAbandoned: true, told: [] })], views: views() }),
    but: "it was a read that passed straight through",
    sound: evidence({ asked: [read.ask("a")], views: views() }),
  },
  {
    invariant: "I3",
    says: "a write ran without a row, beside one of another method",
    broken: besideRow({
      method: "logging/setLevel",
      request: '{"jsonrpc":"2.0","id":8,"method":"logging/setLevel","params":{"level":"info"}}',
    }),
    but: "the request of that one was dropped, and may have been this one's",
    sound: besideRow({ request: "", reply: undefined, deliveredAt: T0 }),
  },
  {
    invariant: "I3",
    says: "something ran for which nobody had asked",
    broken: evidence({ executions: [ran("a"), ran("b")] }),
    but: "everything was asked for",
    sound: evidence(),
  },
  {
    invariant: "I3",
    says: "a write ran before its journal knew of a sending",
    broken: ranAt(5),
    but: "it ran after that was looked at",
    sound: ranAt(12),
  },
  {
    invariant: "I3",
    says: "a write ran under an id that no row has",
    broken: evidence({ executions: [ran("a", { requestId: "e9-1" })] }),
    but: "nobody saw the id",
    sound: evidence({ executions: [ran("a", { requestId: undefined })] }),
  },
  {
    invariant: "I4",
    says: "an unsafe call ran twice",
    broken: unsafeTwice(""),
    but: "it was repeated, and has two rows",
    sound: unsafeTwice("c_again"),
  },
  {
    invariant: "I4",
    says: "an unsafe call ran twice under one id",
    broken: evidence({ executions: [ran("a"), ran("a")] }),
    but: "it ran once",
    sound: evidence(),
  },
  {
    invariant: "I4",
    says: "an idempotent call ran four times",
    broken: idempotentRun(4),
    but: "it ran three times",
    sound: idempotentRun(3),
  },
  {
    invariant: "I4",
    says: "a read ran more often than its row was sent",
    broken: readRun(3),
    but: "it ran as often as it was sent",
    sound: readRun(2),
  },
  {
    invariant: "I4",
    says: "a read that no journal has ran four times",
    broken: readRun(4, false),
    but: "it ran three times",
    sound: readRun(3, false),
  },
  {
    invariant: "I6",
    says: "a call ran as another tool",
    broken: evidence({ executions: [ran("a", { tool: "put" })] }),
    but: "as its own",
    sound: evidence(),
  },
  {
    invariant: "I6",
    says: "two calls ran under one id",
    broken: evidence({
      asked: [read.ask("a"), read.ask("b")],
      executions: [ran("a"), ran("b", { requestId: "e1-a" })],
      views: views(),
    }),
    but: "each under its own",
    sound: evidence({
      asked: [read.ask("a"), read.ask("b")],
      executions: [ran("a"), ran("b")],
      views: views(),
    }),
  },
  {
    invariant: "I8",
    says: "a call that ended as not executed had run",
    broken: evidence({
      asked: [ask("a", { isAbandoned: true, told: [] })],
      views: views(
        row("a", { state: "cancelled", attempt: 1, sentAt: row("a").sentAt, upstreamId: "e1-a" }),
      ),
    }),
    but: "it ended as unknown",
    sound: evidence({
      asked: [ask("a", { isAbandoned: true, told: [] })],
      views: views(row("a", { state: "dead" })),
    }),
  },
  {
    invariant: "I8",
    says: "a journal that was given up says of a call that it did not run, which ran from memory",
    broken: givenUp(row("a", { state: "expired" })),
    but: "it says that nobody knows",
    sound: givenUp(row("a", { state: "cancelled", executed: "unknown" })),
  },
  {
    invariant: "I8",
    says: "a call is done that never ran",
    broken: evidence({ asked: [ask("a", { isAbandoned: true, told: [] })], executions: [] }),
    but: "the upstream answered it in another's place",
    sound: evidence({
      asked: [ask("a", { isAbandoned: true, told: [] })],
      executions: [],
      faults: [{ at: 1, kind: "swapped ids", nonces: ["a"], isLie: true }],
    }),
  },
  {
    invariant: "I8",
    says: "an outcome is unknown, and nothing had gone wrong",
    broken: unknown(undefined),
    but: "the answer had been dropped",
    sound: unknown("answer dropped"),
  },
  {
    invariant: "I8",
    says: "an outcome is unknown, and the proxy had been killed before the call was asked",
    broken: unknownAfterKill(0),
    but: "it was killed afterwards",
    sound: unknownAfterKill(10),
  },
  {
    invariant: "I8",
    says: "of a repeated call more ran than its rows own up to",
    broken: evidence({
      asked: [
        ask("a"),
        ask("a", { at: 4, order: 2, told: [own("a", "no", { at: 6, callId: "c_again" })] }),
      ],
      executions: [ran("a"), ran("a", { at: 5, requestId: undefined })],
      views: views(
        row("a"),
        row("a", {
          id: "c_again",
          seq: 2,
          state: "cancelled",
          attempt: 1,
          sentAt: row("a").sentAt,
          upstreamId: "e1-b",
        }),
      ),
    }),
    but: "it ran once",
    sound: evidence({
      asked: [
        ask("a"),
        ask("a", { at: 4, order: 2, told: [own("a", "no", { at: 6, callId: "c_again" })] }),
      ],
      views: views(
        row("a"),
        row("a", {
          id: "c_again",
          seq: 2,
          state: "cancelled",
          attempt: 1,
          sentAt: row("a").sentAt,
          upstreamId: "e1-b",
        }),
      ),
    }),
  },
];
