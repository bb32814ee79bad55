/**
 * Calls that wait, in lanes, and the window through which a backlog leaves after a recovery.
 *
 * Q4. A lane is first in, first out by order of acceptance; a call that comes back takes its old place.
 * Q5. At most one writing call of a lane is under way.
 * Q6. The window concerns backlogs only; while nothing waits, nothing is limited.
 */
import type { LiveCall } from "./live-call.ts";

export class Lane {
  /** In order; calls that ended elsewhere stay until they come to the head. */
  #calls: LiveCall[] = [];
  #at = 0;
  #size = 0;
  /** The write that is under way, if any. */
  writing: LiveCall | undefined;

  get size(): number {
    return this.#size;
  }

  add(call: LiveCall): void {
    this.#size++;
    const last = this.#calls.at(-1);
    if (last === undefined || last.order < call.order || this.#at >= this.#calls.length) {
      this.#calls.push(call);
      return;
    }
    let i = this.#calls.length;
    while (i > this.#at && (this.#calls[i - 1] as LiveCall).order > call.order) i--;
    this.#calls.splice(i, 0, call);
  }

  /** The call that is next, without taking it. */
  head(): LiveCall | undefined {
    for (;;) {
      const call = this.#calls[this.#at];
      if (call === undefined) {
        this.#calls = [];
        this.#at = 0;
        return undefined;
      }
      if (call.phase === "queued") return call;
      this.#at++;
    }
  }

  /** Takes the head, which `head()` just showed. */
  take(): void {
    this.#at++;
    this.#size--;
    if (this.#at > 1_000 && this.#at * 2 > this.#calls.length) {
      this.#calls = this.#calls.slice(this.#at);
      this.#at = 0;
    }
  }

  /** A call in this lane ended or moves elsewhere; it is no longer counted. */
  drop(call: LiveCall): void {
    this.#size--;
    const i = this.#calls.indexOf(call, this.#at);
    if (i >= 0) this.#calls.splice(i, 1);
  }

  /** 1 for the head; only calls that still wait are counted. */
  position(call: LiveCall): number {
    let position = 1;
    for (let i = this.#at; i < this.#calls.length; i++) {
      const other = this.#calls[i] as LiveCall;
      if (other === call) return position;
      if (other.phase === "queued") position++;
    }
    return position;
  }

  waiting(): readonly LiveCall[] {
    return this.#calls.slice(this.#at).filter((call) => call.phase === "queued");
  }
}

/** Slow start: 1, 2, 4 … up to the maximum; halved when the server asks to slow down. */
export class Window {
  readonly #max: number;
  #size = 1;
  #open = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get hasRoom(): boolean {
    return this.#open < this.#size;
  }

  get open(): number {
    return this.#open;
  }

  enter(): void {
    this.#open++;
  }

  /** A backlog call came back; `isGood`: with a reply. Each good one makes room for one more. */
  leave(isGood: boolean): void {
    this.#open--;
    if (isGood) this.#size = Math.min(this.#max, this.#size + 1);
  }

  /** Long calls must not hold up those behind them for their own length: room grows with time, too. */
  widen(): void {
    this.#size = Math.min(this.#max, this.#size * 2);
  }

  get canWiden(): boolean {
    return this.#size < this.#max;
  }

  halve(): void {
    this.#size = Math.max(1, Math.floor(this.#size / 2));
  }

  /** A recovery begins. */
  reset(): void {
    this.#size = 1;
  }
}
