/**
 * Snapshots at intervals: when the next one is due, what came of the last, and one at a time.
 *
 * SI1. Restarts do not put a snapshot off: it is due one interval after the newest on the shelf.
 * SI2. A snapshot that fails is said and tried again; nothing else of the process depends on it.
 */
import { errorText } from "../base/errors.ts";
import type { CancelTimer, World } from "../base/world.ts";
import type { KeptSnapshot, SnapshotStatus } from "../core/snapshot.ts";
import type { Log } from "../ports.ts";
import type { SnapshotAnswer, SnapshotMaking } from "../store/snapshot/maker.ts";

export interface SnapshotParts {
  readonly world: World;
  readonly log: Log;
  readonly everyMs: number;
  /** Most bytes of all snapshots together. */
  readonly maxBytes: number;
  /** Begins one; undefined where there is no journal on disk (any more). */
  start(): SnapshotMaking | undefined;
  /** Of this upstream, the newest first. */
  kept(): readonly KeptSnapshot[];
}

/** A process that has just started has better things to do, and many live shorter. */
const FIRST_MS = 30_000;
const RETRY_MAX_MS = 600_000;

export class Snapshotting {
  readonly #parts: SnapshotParts;
  #kept: readonly KeptSnapshot[] = [];
  #failure: SnapshotStatus["failure"];
  #nextAt: number | undefined;
  #stopTimer: CancelTimer | undefined;
  #making: SnapshotMaking | undefined;
  #isStopped = false;

  constructor(parts: SnapshotParts) {
    this.#parts = parts;
  }

  start(): void {
    const { world, everyMs } = this.#parts;
    this.#look();
    const due = (this.#kept[0]?.at ?? Number.NEGATIVE_INFINITY) + everyMs;
    this.#wait(Math.max(FIRST_MS, due - world.now()));
  }

  status(): SnapshotStatus {
    const { everyMs } = this.#parts;
    return {
      everyMs,
      count: this.#kept.length,
      bytes: this.#kept.reduce((sum, { bytes }) => sum + bytes, 0),
      last: this.#kept[0],
      nextAt: this.#nextAt,
      failure: this.#failure,
    };
  }

  /** What is being made is given up. Resolves when nothing of it is left. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopTimer?.();
    await this.#making?.stop();
  }

  #wait(delayMs: number): void {
    const { world, everyMs } = this.#parts;
    // A clock that was set forward far must not put the next one off for as long.
    const delay = Math.min(delayMs, Math.max(everyMs, FIRST_MS));
    this.#nextAt = world.now() + delay;
    this.#stopTimer = world.timer(delay, () => {
      void this.#make();
    });
  }

  async #make(): Promise<void> {
    this.#nextAt = undefined;
    const making = this.#begin();
    if (making === undefined) return;
    if (!("kind" in making)) this.#making = making;
    const answer = "kind" in making ? making : await making.answer;
    this.#making = undefined;
    if (this.#isStopped) return;
    this.#note(answer);
    const { everyMs } = this.#parts;
    this.#wait(answer.kind === "failed" ? Math.min(everyMs, RETRY_MAX_MS) : everyMs);
  }

  #begin(): SnapshotMaking | SnapshotAnswer | undefined {
    try {
      return this.#parts.start();
    } catch (error) {
      return { kind: "failed", text: errorText(error) };
    }
  }

  /** The shelf may be on a disk that is gone; the next snapshot says so. */
  #look(): void {
    try {
      this.#kept = this.#parts.kept();
    } catch (error) {
      this.#failure = { message: errorText(error), at: this.#parts.world.now() };
    }
  }

  #note(answer: SnapshotAnswer): void {
    const { world, log, maxBytes } = this.#parts;
    this.#failure = undefined;
    if (answer.kind === "failed") {
      this.#failure = { message: answer.text, at: world.now() };
      log("warn", "no snapshot of the journal was made", { cause: answer.text });
    } else if (answer.kind === "made") {
      const { path, bytes, tookMs } = answer.made;
      log("info", "made a snapshot of the journal", { path, bytes, tookMs: Math.round(tookMs) });
      if (answer.shelfBytes > maxBytes) {
        const fields = { bytes: answer.shelfBytes, limit: maxBytes };
        log("warn", "the newest snapshots alone are over --snapshots-max-bytes", fields);
      }
    }
    this.#look();
  }
}
