/**
 * Builders of evidence: a small run that is sound in itself, of which a test says only what matters to it.
 * Its order of events: calls are asked at 1, run at 2 and answered at 3; the first process dies at 10, and
 * the end is at 20.
 */
import type { CallRow, Executed, Safety } from "../../src/core/call.ts";
import { ACCEPTED_AT, aRow } from "../support/builders.ts";
import type { Asked, Evidence, Execution, JournalView, Told } from "./evidence.ts";

export const T0 = ACCEPTED_AT;

const requestOf = (nonce: string): string =>
  `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"write","arguments":{"nonce":"${nonce}"}}}`;

/** What the upstream answered to that call, under `id`. */
export const answerOf = (nonce: string, id: string | number = 7): string =>
  `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":{"content":[{"type":"text","text":"done ${nonce}"}]}}`;

/** The row of a call, named after it; numbers follow the nonces `a`, `b`, `c` … */
export function row(nonce: string, overrides: Partial<CallRow> = {}): CallRow {
  const state = overrides.state ?? "done";
  const wasSent = !["queued", "expired", "cancelled"].includes(state);
  return aRow({
    id: `c_${nonce}`,
    seq: nonce.charCodeAt(0) - 96,
    state,
    request: requestOf(nonce),
    fingerprint: `fingerprint-${nonce}`,
    acceptedAt: T0,
    deadlineAt: T0 + 45_000,
    ...(wasSent ? { upstreamId: `e1-${nonce}`, sentAt: T0 } : {}),
    ...(state === "done" ? { reply: answerOf(nonce, `e1-${nonce}`) } : {}),
    ...overrides,
  });
}

/** The upstream's answer. */
export const told = (nonce: string, overrides: Partial<Told> = {}): Told => ({
  at: 3,
  text: answerOf(nonce),
  nonce,
  executed: undefined,
  callId: undefined,
  ...overrides,
});

/** An answer of Holdfast's own. */
export const own = (nonce: string, executed: Executed, overrides: Partial<Told> = {}): Told => ({
  at: 3,
  text: `{"jsonrpc":"2.0","id":7,"result":{"isError":true,"_meta":{"holdfast/call":{"callId":"c_${nonce}","executed":"${executed}"}}}}`,
  nonce: undefined,
  executed,
  callId: `c_${nonce}`,
  ...overrides,
});

export const ask = (nonce: string, overrides: Partial<Asked> = {}): Asked => ({
  nonce,
  at: 1,
  client: "client 1",
  principal: "local",
  session: "session 1",
  upstream: "files",
  tool: "write",
  safety: "unsafe",
  order: nonce.charCodeAt(0) - 96,
  incarnation: 1,
  isCancelled: false,
  isAbandoned: false,
  isAcknowledged: false,
  told: [told(nonce)],
  ...overrides,
});

export const ran = (nonce: string, overrides: Partial<Execution> = {}): Execution => ({
  at: 2,
  nonce,
  upstream: "files",
  tool: "write",
  requestId: `e1-${nonce}`,
  link: "link 1",
  ...overrides,
});

export const view = (
  rows: readonly CallRow[],
  overrides: Partial<JournalView> = {},
): JournalView => ({
  label: "view",
  at: 10,
  journal: "journal 1",
  isAfterPowerLoss: false,
  rows,
  ...overrides,
});

/** The same rows after the first death and at the end. */
export const views = (...rows: readonly CallRow[]): readonly JournalView[] => [
  view(rows, { label: "after kill 1" }),
  view(rows, { label: "at the end", at: 20 }),
];

/** `before` after the first death, `after` at the end; `overrides` of the latter. */
export const change = (
  before: readonly CallRow[],
  after: readonly CallRow[],
  overrides: Partial<JournalView> = {},
): readonly JournalView[] => [
  view(before, { label: "after kill 1" }),
  view(after, { label: "at the end", at: 20, ...overrides }),
];

export const evidence = (overrides: Partial<Evidence> = {}): Evidence => ({
  run: "a run",
  asked: [ask("a")],
  executions: [ran("a")],
  views: views(row("a")),
  faults: [{ at: 5, kind: "kill proxy" }],
  measures: {},
  fatal: [],
  ...overrides,
});

/** A call that was never answered by its upstream: what is on disk of it, and what its client was told. */
export const unanswered = (
  nonce: string,
  state: "expired" | "cancelled" | "dead",
  executed: Executed,
  rowOverrides: Partial<CallRow> = {},
): Partial<Evidence> => ({
  asked: [ask(nonce, { told: [own(nonce, executed)] })],
  executions: [],
  views: views(row(nonce, { state, ...rowOverrides })),
});

/** A call of that class, done. */
export const ofClass = (safety: Safety) => ({
  ask: (nonce: string, overrides: Partial<Asked> = {}) => ask(nonce, { safety, ...overrides }),
  row: (nonce: string, overrides: Partial<CallRow> = {}) =>
    row(nonce, {
      safety,
      fingerprint: safety === "read" ? undefined : `fingerprint-${nonce}`,
      ...overrides,
    }),
});

/** One fault, and the same run without it, or with one that the design permits. */
export interface Case {
  readonly invariant: string;
  /** What is wrong with `broken`. */
  readonly says: string;
  readonly broken: Evidence;
  /** What is different in `sound`, which is fine. */
  readonly but: string;
  readonly sound: Evidence;
}
