/**
 * The three ledgers of a run, which outlive every process in it: what clients asked and were told, what
 * servers ran, what was on disk after each death.
 */
import type { Asked, Evidence, Execution, Fault, JournalView, Told } from "../proof/evidence.ts";

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A call as its client keeps it. */
export interface Ask extends Omit<Writable<Asked>, "told" | "isAbandoned"> {
  /** Its request as it was sent. */
  readonly text: string;
  readonly told: Told[];
  /** The id under which its client may ask for it. */
  callId: string | undefined;
  /** Nobody is left who could be told. */
  isAbandoned: boolean;
}

export class Ledger {
  readonly run: string;
  readonly asks: Ask[] = [];
  readonly executions: Execution[] = [];
  readonly views: JournalView[] = [];
  readonly faults: Fault[] = [];
  readonly fatal: string[] = [];
  /** Payloads of rows by their call's id: rows lose them when they are delivered. */
  readonly requests = new Map<string, string>();
  readonly replies = new Map<string, string>();
  /** A power loss may take sessions, and so may their timeout. */
  mayLoseSessions = false;
  #at = 0;
  #nonces = 0;

  constructor(run: string) {
    this.run = run;
  }

  /** The next instant in the order of all events. */
  tick(): number {
    return ++this.#at;
  }

  nextNonce(): string {
    return `n${String(++this.#nonces)}`;
  }

  executed(what: Omit<Execution, "at">): void {
    this.executions.push({ ...what, at: this.tick() });
  }

  /** `nonces`: whom it may have hit; undefined: any. */
  fault(kind: string, nonces?: readonly string[]): void {
    const at = this.tick();
    this.faults.push(nonces === undefined ? { at, kind } : { at, kind, nonces });
  }

  /** A session that had begun was not found any more. */
  lostSession(client: string): void {
    this.fault("session gone", []);
    if (!this.mayLoseSessions) this.fatal.push(`SY1: the session of ${client} is gone`);
  }

  evidence(of: Pick<Evidence, "measures" | "rules" | "incarnations">): Evidence {
    const { run, asks: asked, executions, views, faults, fatal } = this;
    return { run, asked, executions, views, faults, fatal, ...of };
  }
}
