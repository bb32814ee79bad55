/**
 * What a journal may hold after any number of the operations asked of it: every call, session and fact
 * in each of its versions, made by the reference rules of core and not by the store under test.
 *
 * Operations reach the disk in the order in which they were asked for, so what is found on a disk must
 * be what there is after the first so many of them. `Span` says which numbers fit.
 */
import { apply, isRepeatable, isTerminal, mustSync } from "../../src/core/call.ts";
import type { CallChange, CallRow } from "../../src/core/call.ts";
import { recoverRow } from "../../src/store/recovery.ts";
import { encodeRow } from "../../src/store/rows.ts";
import type { Line, Operation, Outcome } from "./operations.ts";

/** An operation as the lines tell of it; the orders are those of the trace. */
export interface Asked {
  readonly operation: Operation;
  readonly askedAt: number;
  /** Undefined where nobody heard of an outcome. */
  readonly answeredAt: number | undefined;
  readonly outcome: Outcome | undefined;
}

/** At least `least` operations were carried out, and at most `most`. */
export interface Span {
  readonly least: number;
  readonly most: number;
}

interface Version {
  /** There is this version once so many operations were carried out. */
  readonly from: number;
  /** Undefined: there is none. */
  readonly text: string | undefined;
  readonly row: CallRow | undefined;
}

/** All of a row as one text, with lengths that keep neighbours apart; quicker than JSON. */
export const textOf = (row: CallRow): string =>
  encodeRow(row)
    .map((value) => (typeof value === "string" ? `${value.length}:${value}` : String(value)))
    .join();

/** Pairs lines up; operations that were refused never count. In the order of asking. */
export function askedOf(lines: readonly { order: number; line: Line }[]): Asked[] {
  const asked = new Map<number, { -readonly [Key in keyof Asked]: Asked[Key] }>();
  for (const { order, line } of lines) {
    if ("asked" in line) {
      const entry = { operation: line.asked, askedAt: order, answeredAt: undefined };
      asked.set(line.number, { ...entry, outcome: undefined });
    } else {
      const entry = asked.get(line.number);
      if (entry === undefined) throw new Error(`an answer to nothing: ${line.number}`);
      entry.answeredAt = order;
      entry.outcome = line.outcome;
    }
  }
  return [...asked.values()].filter(({ outcome }) => outcome?.kind !== "refused");
}

export class History {
  readonly asked: readonly Asked[];
  readonly #calls = new Map<string, Version[]>();
  readonly #sessions = new Map<string, Version[]>();
  readonly #facts = new Map<string, Version[]>();
  /** By operation: whether its commit has to reach the platter before its outcome is told. */
  readonly #isSynced: boolean[] = [];
  readonly #dropsDelivered: boolean;
  #seq = 0;

  constructor(asked: readonly Asked[], dropsDelivered: boolean) {
    this.asked = asked;
    this.#dropsDelivered = dropsDelivered;
    for (const [at, { operation, outcome }] of asked.entries())
      this.#take(operation, outcome, at + 1);
  }

  #take(operation: Operation, outcome: Outcome | undefined, from: number): void {
    this.#isSynced.push(isSynced(operation));
    switch (operation.kind) {
      case "admit": {
        const row = { ...operation.row, seq: ++this.#seq };
        expectSame(`the number of ${row.id}`, outcome, row.seq);
        add(this.#calls, row.id, { from, text: textOf(row), row });
        break;
      }
      case "change":
      case "later":
        expectSame("a change", outcome, this.#change(operation.change, from));
        break;
      case "session":
        this.#addText(this.#sessions, operation.row.id, JSON.stringify(operation.row), from);
        break;
      case "keep":
        this.#addText(this.#facts, operation.key, operation.value, from);
        break;
      case "prune":
        this.#prune(operation.results, operation.records, from);
        break;
      case "recover":
        for (const [id, versions] of this.#calls) {
          const row = versions.at(-1)?.row;
          const next = row === undefined ? undefined : recoverRow(row, operation.now, true)?.row;
          if (next !== undefined) add(this.#calls, id, { from, text: textOf(next), row: next });
        }
        break;
    }
  }

  #addText(of: Map<string, Version[]>, key: string, text: string, from: number): void {
    add(of, key, { from, text, row: undefined });
  }

  #change(change: CallChange, from: number): boolean {
    const row = this.#calls.get(change.id)?.at(-1)?.row;
    const next = row === undefined ? undefined : apply(row, change);
    if (next === undefined) return false;
    const isDropped =
      this.#dropsDelivered && change.kind === "deliver" && !isRepeatable(next.state);
    const kept = isDropped ? { ...next, request: "", reply: undefined } : next;
    add(this.#calls, change.id, { from, text: textOf(kept), row: kept });
    return true;
  }

  #prune(results: number, records: number, from: number): void {
    for (const [id, versions] of this.#calls) {
      const row = versions.at(-1)?.row;
      if (row?.settledAt === undefined || !isTerminal(row.state)) continue;
      if (row.settledAt < records) {
        add(this.#calls, id, { from, text: undefined, row: undefined });
      } else if (row.settledAt < results && (row.request !== "" || row.reply !== undefined)) {
        const bare = { ...row, request: "", reply: undefined };
        add(this.#calls, id, { from, text: textOf(bare), row: bare });
      }
    }
  }

  /** What may have been carried out at this instant of the trace, if power is lost or only the process. */
  spanAt(order: number, survives: "power" | "process"): Span {
    let least = 0;
    let most = 0;
    for (const [at, { askedAt, answeredAt, outcome }] of this.asked.entries()) {
      if (askedAt < order) most = at + 1;
      const isPromised = answeredAt !== undefined && answeredAt < order && outcome?.kind === "done";
      if (isPromised && (survives === "process" || this.#isSynced[at] === true)) least = at + 1;
    }
    return { least, most };
  }

  /** The ids of calls, sessions and facts that there ever were. */
  get callIds(): Iterable<string> {
    return this.#calls.keys();
  }
  get sessionIds(): Iterable<string> {
    return this.#sessions.keys();
  }
  get factKeys(): Iterable<string> {
    return this.#facts.keys();
  }

  knowsCall(id: string): boolean {
    return this.#calls.has(id);
  }

  knowsSession(id: string): boolean {
    return this.#sessions.has(id);
  }

  /** Each span of operations after which this is what there is; none where it never was. */
  spansOfCall(id: string, text: string | undefined): Span[] {
    return spansOf(this.#calls.get(id), text, this.asked.length);
  }
  spansOfSession(id: string, text: string | undefined): Span[] {
    return spansOf(this.#sessions.get(id), text, this.asked.length);
  }
  spansOfFact(key: string, text: string | undefined): Span[] {
    return spansOf(this.#facts.get(key), text, this.asked.length);
  }

  /** What a call may be after that many operations; undefined among them: it may be missing. */
  versionsOfCall(id: string, { least, most }: Span): (CallRow | undefined)[] {
    const versions = this.#calls.get(id) ?? [];
    return versions
      .filter(({ from }, at) => from <= most && (versions[at + 1]?.from ?? Infinity) > least)
      .map(({ row }) => row);
  }
}

function isSynced(operation: Operation): boolean {
  if (operation.kind === "admit") return mustSync(operation.row);
  return operation.kind === "recover" || (operation.kind === "change" && operation.sync);
}

/** The store's word against the reference; both were asked the same. */
function expectSame(what: string, outcome: Outcome | undefined, expected: unknown): void {
  if (outcome?.kind === "done" && outcome.value !== undefined && outcome.value !== expected)
    throw new Error(`${what}: the store says ${String(outcome.value)}, not ${String(expected)}`);
}

/** What is as it was is no new version. */
function add(of: Map<string, Version[]>, key: string, version: Version): void {
  const versions = of.get(key) ?? [{ from: 0, text: undefined, row: undefined }];
  if (versions.at(-1)?.text !== version.text) versions.push(version);
  of.set(key, versions);
}

/** A text may come again: what was saved as before, a call that is not there any more. */
function spansOf(
  versions: readonly Version[] | undefined,
  text: string | undefined,
  count: number,
): Span[] {
  return (versions ?? []).flatMap((version, at) =>
    version.text === text
      ? [{ least: version.from, most: (versions?.[at + 1]?.from ?? count + 1) - 1 }]
      : [],
  );
}
