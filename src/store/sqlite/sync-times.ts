/** How long recent commits took to reach the platter. */
const TIMES_MAX = 101;

export class SyncTimes {
  readonly #times: number[] = [];

  /** In ms; undefined where the commit was not synced. */
  add(ms: number | undefined): void {
    if (ms === undefined) return;
    this.#times.push(ms);
    if (this.#times.length > TIMES_MAX) this.#times.shift();
  }

  /** In ms; undefined before the first. */
  median(): number | undefined {
    return this.#times.toSorted((a, b) => a - b)[this.#times.length >> 1];
  }
}
