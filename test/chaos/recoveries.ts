/** How long it takes from an upstream's return to the first answer of a call that waited for it. */
import type { TransportKind } from "../../src/core/transport.ts";
import type { Told } from "../proof/evidence.ts";
import type { CallRecord } from "./caller.ts";

interface Return {
  readonly transport: TransportKind;
  readonly at: number;
  readonly waiting: ReadonlySet<CallRecord>;
}

export class Recoveries {
  readonly samples: { readonly transport: TransportKind; readonly ms: number }[] = [];
  readonly #returns = new Map<string, Return>();

  isBack(upstream: string, transport: TransportKind, waiting: readonly CallRecord[]): void {
    if (waiting.length === 0) return;
    this.#returns.set(upstream, { transport, at: Date.now(), waiting: new Set(waiting) });
  }

  /** Something else happened; what comes now says nothing. Without a name: to all of them. */
  disturb(upstream?: string): void {
    if (upstream === undefined) this.#returns.clear();
    else this.#returns.delete(upstream);
  }

  told(record: CallRecord, told: Told): void {
    const back = this.#returns.get(record.upstream);
    // An answer of Holdfast's own is none of the upstream's.
    if (back === undefined || !back.waiting.has(record) || told.nonce === undefined) return;
    this.samples.push({ transport: back.transport, ms: told.at - back.at });
    this.#returns.delete(record.upstream);
  }
}
