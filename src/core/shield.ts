/**
 * The shield (design §5.5): a model's reflex is to repeat a call that was not answered well. This is
 * the memory of unsafe and deferred calls by fingerprint (principal, tool, canonical arguments).
 *
 * S1. A call whose live caller still waits for it is never matched: parallel equal calls stay separate.
 * S2. An outcome is given out once; after that an equal call is a new call.
 * S3. After an unknown outcome an equal call is answered once with a warning; the next is sent (`warn`).
 */
import type { CallRow } from "./call.ts";
import type { ShieldMode } from "./settings.ts";

/** What is remembered of an earlier call. */
export type Remembered =
  /** Queued or sent, and nobody waits for it any more: an equal call may share its answer. */
  | { readonly kind: "running"; readonly callId: string; readonly at: number }
  /** Ended, and nobody has been given the outcome. */
  | { readonly kind: "stored"; readonly callId: string; readonly at: number }
  /** Outcome unknown. */
  | {
      readonly kind: "doubt";
      readonly callId: string;
      readonly at: number;
      readonly isWarned: boolean;
    };

export type ShieldVerdict =
  | { readonly kind: "pass" }
  | { readonly kind: "attach"; readonly callId: string }
  | { readonly kind: "replay"; readonly callId: string }
  | { readonly kind: "warn"; readonly callId: string };

/** How long an outcome matters to a repetition. */
export const SHIELD_MS = 600_000;

export class Shield {
  /** Apart from the ended ones, so that a sweep costs nothing per call that runs. */
  readonly #running = new Map<string, Remembered & { readonly kind: "running" }>();
  readonly #ended = new Map<string, Remembered & { readonly kind: "stored" | "doubt" }>();

  remember(fingerprint: string | undefined, what: Remembered): void {
    if (fingerprint === undefined) return;
    this.#running.delete(fingerprint);
    // Re-inserting moves it to the end, so that `sweep` meets the oldest first.
    this.#ended.delete(fingerprint);
    if (what.kind === "running") this.#running.set(fingerprint, what);
    else this.#ended.set(fingerprint, what);
  }

  /** Nobody knows whether this call ran: the first repetition within ten minutes of `at` is warned of. */
  rememberDoubt({ id, fingerprint }: Pick<CallRow, "id" | "fingerprint">, at: number): void {
    this.remember(fingerprint, { kind: "doubt", callId: id, at, isWarned: false });
  }

  /** Forgets `callId` if it is still what the fingerprint stands for. */
  forget(fingerprint: string | undefined, callId: string): void {
    if (fingerprint === undefined) return;
    for (const known of [this.#running, this.#ended]) {
      if (known.get(fingerprint)?.callId === callId) known.delete(fingerprint);
    }
  }

  /** What becomes of a new call with this fingerprint. Uses up a warning. */
  check(fingerprint: string, now: number, mode: ShieldMode): ShieldVerdict {
    if (mode === "off") return { kind: "pass" };
    const running = this.#running.get(fingerprint);
    if (running !== undefined) return { kind: "attach", callId: running.callId };
    const seen = this.#ended.get(fingerprint);
    if (seen === undefined) return { kind: "pass" };
    if (now - seen.at > SHIELD_MS) {
      this.#ended.delete(fingerprint);
      return { kind: "pass" };
    }
    if (seen.kind === "stored") {
      this.#ended.delete(fingerprint);
      return { kind: "replay", callId: seen.callId };
    }
    if (seen.isWarned && mode === "warn") {
      this.#ended.delete(fingerprint);
      return { kind: "pass" };
    }
    this.#ended.set(fingerprint, { ...seen, isWarned: true });
    return { kind: "warn", callId: seen.callId };
  }

  /** Drops what no longer matters; bounded work, called with every remembered outcome. */
  sweep(now: number): void {
    for (const [fingerprint, seen] of this.#ended) {
      if (now - seen.at <= SHIELD_MS) return;
      this.#ended.delete(fingerprint);
    }
  }

  get size(): number {
    return this.#running.size + this.#ended.size;
  }
}
