/**
 * What a workload asks of a journal, one line of JSON for each step and one for what came of it, so that
 * whoever reads the lines knows at every instant what had been asked for and what had been promised.
 */
import { writeSync } from "node:fs";
import { JournalError } from "../../src/base/errors.ts";
import type { CallChange, CallRow } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import type { Journal, Recovery } from "../../src/ports.ts";

export type Operation =
  | { readonly kind: "admit"; readonly row: CallRow }
  | { readonly kind: "change"; readonly change: CallChange; readonly sync: boolean }
  /** A change that nobody waits for; there is no word of what came of it. */
  | { readonly kind: "later"; readonly change: CallChange }
  | { readonly kind: "session"; readonly row: SessionRow }
  | { readonly kind: "keep"; readonly key: string; readonly value: string }
  | { readonly kind: "prune"; readonly results: number; readonly records: number }
  | { readonly kind: "recover"; readonly now: number };

/** What came of an operation; `refused`: for certain nothing, `unknown`: perhaps something. */
export type Outcome =
  | { readonly kind: "done"; readonly value: unknown }
  | { readonly kind: "refused" }
  | { readonly kind: "unknown"; readonly text: string };

/** A line: the number of the operation and what is said of it. */
export type Line =
  | { readonly number: number; readonly asked: Operation }
  | { readonly number: number; readonly outcome: Outcome };

export const toStdout = (line: Line): void => {
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
};

/** What a workload needs of a journal. */
export type Worked = Pick<
  Journal,
  "recover" | "admit" | "apply" | "applyLater" | "saveSession" | "keep" | "prune" | "close"
>;

/** Carries operations out on a journal, and says so before and after each. */
export class Recorder {
  readonly #write: (line: Line) => void;
  #count = 0;
  #journal: Worked;

  constructor(journal: Worked, write: (line: Line) => void) {
    this.#journal = journal;
    this.#write = write;
  }

  /** Goes on with another journal: the same one, opened again. */
  use(journal: Worked): void {
    this.#journal = journal;
  }

  /** Rejects with what is no `JournalError`: a bug. */
  async do(operation: Operation): Promise<Outcome> {
    const number = this.#count++;
    this.#write({ number, asked: operation });
    const outcome = await this.#outcome(operation);
    if (operation.kind !== "later") this.#write({ number, outcome });
    return outcome;
  }

  async #outcome(operation: Operation): Promise<Outcome> {
    try {
      return { kind: "done", value: await this.#run(operation) };
    } catch (error) {
      if (!(error instanceof JournalError)) throw error;
      if (error.trouble === "full") return { kind: "refused" };
      return { kind: "unknown", text: error.message };
    }
  }

  async #run(operation: Operation): Promise<unknown> {
    const journal = this.#journal;
    switch (operation.kind) {
      case "admit":
        return journal.admit(operation.row);
      case "change":
        return journal.apply(operation.change, operation.sync);
      case "later":
        journal.applyLater(operation.change);
        return undefined;
      case "session":
        await journal.saveSession(operation.row);
        return undefined;
      case "keep":
        await journal.keep(operation.key, operation.value);
        return undefined;
      case "prune":
        return journal.prune(operation.results, operation.records);
      case "recover":
        return idsOf(await journal.recover(operation.now));
    }
  }
}

const idsOf = ({ live }: Recovery): string[] => live.map(({ id }) => id);
