/** What journals may not show over time, and the near misses. */
import {
  change,
  type Case,
  evidence,
  ofClass,
  row,
  T0,
  view,
  views,
  ask,
  ran,
  told,
} from "../builders.ts";

const read = ofClass("read");
const DAY_MS = 86_400_000;
const readRun = { asked: [read.ask("a")] };

const changed = (after: Parameters<typeof row>[1], before: Parameters<typeof row>[1] = {}) =>
  evidence({ views: change([row("a", before)], [row("a", after)]) });

const bounded = (sessionId: string) => {
  const late = (nonce: string) => ask(nonce, { told: [told(nonce, { at: 13 })] });
  return evidence({
    asked: [late("a"), late("b")],
    executions: [ran("a", { at: 12 }), ran("b", { at: 12 })],
    views: change(
      [row("a", { state: "queued", sessionId: "s_1" }), row("b", { state: "queued", sessionId })],
      [row("a", { sessionId: "s_1" }), row("b", { sessionId })],
    ),
    rules: { callsPerSession: 1 },
  });
};

const waited = (after: Parameters<typeof row>[1], before: Parameters<typeof row>[1] = {}) =>
  evidence({
    asked: [ask("a", { told: [told("a", { at: 13 })] })],
    executions: [ran("a", { at: 12 })],
    views: change([row("a", { ...before, state: "queued" })], [row("a", after)]),
  });

/** In flight after the first death, and done at the end. */
const recalled = (after: Parameters<typeof row>[1], before: Parameters<typeof row>[1]) =>
  evidence({
    asked: [ask("a", { told: [told("a", { at: 13 })] })],
    executions: [ran("a", { at: 12, requestId: undefined })],
    views: change([row("a", { state: "sent", ...before })], [row("a", after)]),
  });

const afterSecond = (cause: string) =>
  evidence({
    views: change([row("a")], [row("a", { cause })], { isAfterSecondRecovery: true }),
  });

export const ROWS: readonly Case[] = [
  {
    invariant: "I1",
    says: "a row vanished",
    broken: evidence({ views: change([row("a")], []) }),
    but: "it was past its retention",
    sound: evidence({
      views: change([row("a")], [], { atMs: T0 + 20 * DAY_MS }),
      rules: { recordsMs: 14 * DAY_MS },
    }),
  },
  {
    invariant: "I1",
    says: "a power loss took the row of a write",
    broken: evidence({ views: change([row("a")], [], { isAfterPowerLoss: true }) }),
    but: "it was a read that nobody had been promised",
    sound: evidence({
      ...readRun,
      views: change([read.row("a")], [], { isAfterPowerLoss: true }),
    }),
  },
  {
    invariant: "I1",
    says: "a kill took the row of a read",
    broken: evidence({ ...readRun, views: change([read.row("a")], []) }),
    but: "it was there at the end",
    sound: evidence({ ...readRun, views: views(read.row("a")) }),
  },
  {
    invariant: "I2",
    says: "a row that had ended has another end",
    broken: changed({ state: "failed", executed: "unknown", reply: row("a").reply }),
    but: "it was delivered, and a person left a note",
    sound: changed({ deliveredAt: T0 + 100, note: "seen in the ledger" }),
  },
  {
    invariant: "I2",
    says: "a row that had ended has another reply",
    broken: changed({ reply: '{"jsonrpc":"2.0","id":"e1-a","result":{"text":"other a"}}' }),
    but: "its payloads were dropped with its delivery",
    sound: changed({ request: "", reply: undefined, deliveredAt: T0 + 100 }),
  },
  {
    invariant: "I2",
    says: "a row went to another session",
    broken: changed({ sessionId: "s_2" }, { sessionId: "s_1" }),
    but: "it stayed in its own",
    sound: changed({ sessionId: "s_1" }, { sessionId: "s_1" }),
  },
  {
    invariant: "I2",
    says: "a row has forgotten a sending",
    broken: recalled({ attempt: 1 }, { attempt: 2 }),
    but: "it has one more",
    sound: recalled({ attempt: 2 }, { attempt: 1 }),
  },
  {
    invariant: "I2",
    says: "a row has forgotten that an attempt was lost",
    broken: recalled({}, { isDoubted: true }),
    but: "it remembers",
    sound: recalled({ isDoubted: true }, { isDoubted: true }),
  },
  {
    invariant: "I2",
    says: "a row was delivered at two instants",
    broken: changed({ deliveredAt: T0 + 200 }, { deliveredAt: T0 + 100 }),
    but: "the power took the mark",
    sound: evidence({
      views: change([row("a", { deliveredAt: T0 + 100 })], [row("a", { deliveredAt: T0 + 200 })], {
        isAfterPowerLoss: true,
      }),
    }),
  },
  {
    invariant: "P5a",
    says: "a row has forgotten that its caller was told that it runs late",
    broken: waited({}, { acknowledgedAt: T0 + 1 }),
    but: "it remembers",
    sound: waited({ acknowledgedAt: T0 + 1 }, { acknowledgedAt: T0 + 1 }),
  },
  {
    invariant: "I2",
    says: "a row says executed no after a lost attempt",
    broken: evidence({
      executions: [],
      asked: [ask("a", { told: [], isAbandoned: true })],
      views: views(
        row("a", { state: "expired", isDoubted: true, attempt: 1, sentAt: T0, upstreamId: "e1-a" }),
      ),
    }),
    but: "no attempt of it was lost",
    sound: evidence({
      executions: [],
      asked: [ask("a", { told: [], isAbandoned: true })],
      views: views(row("a", { state: "expired" })),
    }),
  },
  {
    invariant: "I2",
    says: "a number went to another row",
    broken: evidence({
      asked: [ask("a"), ask("b")],
      executions: [ran("a"), ran("b")],
      views: views(row("a"), row("b", { seq: 1 })),
    }),
    but: "each has its own",
    sound: evidence({
      asked: [ask("a"), ask("b")],
      executions: [ran("a"), ran("b")],
      views: views(row("a"), row("b")),
    }),
  },
  {
    invariant: "I2",
    says: "a number was given again after its row was past retention",
    broken: evidence({
      asked: [ask("a"), ask("b", { incarnation: 2, told: [told("b", { at: 13 })] })],
      executions: [ran("a"), ran("b", { at: 12 })],
      views: change([row("a")], [row("b", { seq: 1 })], { atMs: T0 + 20 * DAY_MS }),
      rules: { recordsMs: 14 * DAY_MS },
    }),
    but: "the power took it before it was synced",
    sound: evidence({
      asked: [read.ask("a"), ask("b", { incarnation: 2, told: [told("b", { at: 13 })] })],
      executions: [ran("a"), ran("b", { at: 12 })],
      views: change([read.row("a")], [row("b", { seq: 1 })], { isAfterPowerLoss: true }),
    }),
  },
  {
    invariant: "I5",
    says: "a result that nobody had was dropped",
    broken: changed({ reply: undefined, request: "" }),
    but: "it was past its retention",
    sound: evidence({
      views: change([row("a")], [row("a", { reply: undefined, request: "" })], {
        atMs: T0 + 2 * DAY_MS,
      }),
      rules: { resultsMs: DAY_MS },
    }),
  },
  {
    invariant: "I9",
    says: "recovering a second time changed a row",
    broken: afterSecond("recovered again"),
    but: "it changed nothing",
    sound: evidence({
      views: change([row("a")], [row("a")], { isAfterSecondRecovery: true }),
    }),
  },
  {
    invariant: "I9",
    says: "a call ran during a second recovery",
    broken: evidence({
      asked: [read.ask("a", { told: [told("a", { at: 13 })] })],
      executions: [ran("a", { at: 12 })],
      views: [view([]), view([], { at: 20, isAfterSecondRecovery: true })],
    }),
    but: "it ran before",
    sound: evidence({
      asked: [read.ask("a")],
      views: [view([]), view([], { at: 20, isAfterSecondRecovery: true })],
    }),
  },
  {
    invariant: "P5a",
    says: "a waiting call got more time, and nobody had been told",
    broken: waited({ deadlineAt: T0 + 50_000 }),
    but: "its caller was told that it runs late",
    sound: waited({ deadlineAt: T0 + 50_000, acknowledgedAt: T0 + 1 }),
  },
  {
    invariant: "P7",
    says: "a session has more live calls than its bound",
    broken: bounded("s_1"),
    but: "they are of two sessions",
    sound: bounded("s_2"),
  },
];
