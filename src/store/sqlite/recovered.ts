/** Puts together what the steps of one recovery did. */
import type { RecoveryReport } from "../../core/status.ts";
import type { RowValues } from "../rows.ts";
import type { RecoveredStep, RecoveryEnd } from "./protocol.ts";

export class Recovered {
  readonly live: RowValues[] = [];
  #expired = 0;
  #putInDoubt = 0;
  #tookMs = 0;
  #end: RecoveryEnd | undefined;

  /** In their order. Returns where the next begins; undefined after the last. */
  add({ live, expired, putInDoubt, tookMs, rest }: RecoveredStep): number | undefined {
    for (const values of live) this.live.push(values);
    this.#expired += expired;
    this.#putInDoubt += putInDoubt;
    this.#tookMs += tookMs;
    if (rest.next === undefined) this.#end = rest;
    return rest.next;
  }

  get remembered(): readonly RowValues[] {
    return this.#end?.remembered ?? [];
  }

  /** `tookMs`: of the thread, without what it did in between. */
  get report(): RecoveryReport {
    const wentBackwards = this.#end?.wentBackwards;
    return {
      tookMs: this.#tookMs,
      found: this.#found(),
      expired: this.#expired,
      putInDoubt: this.#putInDoubt,
      ...(wentBackwards === undefined ? {} : { wentBackwards }),
    };
  }

  /** By the state in which they were found: what was moved is counted back. */
  #found(): Record<string, number> {
    const { expired = 0, queued = 0, in_doubt = 0, sent = 0, ...others } = this.#end?.counts ?? {};
    const found = {
      ...others,
      expired: expired - this.#expired,
      queued: queued + this.#expired,
      in_doubt: in_doubt - this.#putInDoubt,
      sent: sent + this.#putInDoubt,
    };
    return Object.fromEntries(Object.entries(found).filter(([, count]) => count > 0));
  }
}
