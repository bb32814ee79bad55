/**
 * One child as a connection: running → draining (exited, its pipes are read to their end) → down.
 *
 * S1. When the connection ends, nothing of the child's process group is left.
 * S2. After the child's exit its pipes are read to their end, or for `DRAIN_MS` if somebody else
 *     holds them, before the link is reported down: a last answer and last words count.
 * S3. `onDown` comes once, also after `close`, and is the last event.
 * S4. A request of which no byte was handed to the operating system is reported as refused.
 * S5. A child that can neither hear nor answer any more is ended: it is no connection.
 * S6. While held, its stdout is not read: the child waits for its pipe. On the way to its end all is read.
 */
import type { ChildProcess } from "node:child_process";
import { must } from "../base/assert.ts";
import { deferred } from "../base/async.ts";
import type { CancelTimer, World } from "../base/world.ts";
import { failure, type Failure } from "../core/failure.ts";
import type { Connection, ConnectionEvents, Log, Outbound } from "../ports.ts";
import { describeExit, exitFailure, type Exit } from "./exit-failure.ts";
import { signalGroup } from "./process-group.ts";
import type { Reaper } from "./reaper.ts";
import { StderrRing } from "./stderr-ring.ts";
import { StdinWriter } from "./stdin-writer.ts";
import { StdoutReader } from "./stdout-reader.ts";

/** How long pipes are read after the exit if something of the group still holds them. */
const DRAIN_MS = 250;
/** A child that closed a pipe of its own is given this long to exit by itself. */
const ABANDON_AFTER_MS = 1000;
const ABANDON_GRACE_MS = 2000;
/** Where in the grace of `close` the child is asked by signal, and where it is killed. */
const TERM_AT = 0.5;
const KILL_AT = 0.8;
/** After the grace: for a process that even SIGKILL does not end (waiting for a dead disk). */
const GIVE_UP_AFTER_MS = 1000;
/** A killed group is looked at this often, and this many times (zombies nobody reaps count as left). */
const GROUP_POLL_MS = 10;
const GROUP_POLLS_MAX = 50;

export interface ChildConnectionOptions {
  readonly world: World;
  readonly log: Log;
  readonly child: ChildProcess;
  readonly pid: number;
  readonly reaper: Reaper;
  readonly events: ConnectionEvents;
  readonly frameMaxBytes: number;
  /** Longest first. */
  readonly maskValues: readonly string[];
  readonly onChildGone?: (pid: number) => void;
}

type State =
  | { readonly kind: "running" }
  | { readonly kind: "draining"; readonly exit: Exit; readonly cancelTimer: CancelTimer }
  | { readonly kind: "down" };

interface Ladder {
  readonly endsAt: number;
  readonly cancelTimers: readonly CancelTimer[];
}

export class ChildConnection implements Connection {
  readonly #options: ChildConnectionOptions;
  readonly #writer: StdinWriter;
  readonly #reader: StdoutReader;
  readonly #words: StderrRing;
  readonly #gone = deferred<void>();
  #state: State = { kind: "running" };
  #ladder: Ladder | undefined;
  /** Why we ended a child that did not exit by itself; the first cause is kept. */
  #abandonedFor: string | undefined;
  #cancelAbandon: CancelTimer | undefined;
  #isHeld = false;

  constructor(options: ChildConnectionOptions) {
    this.#options = options;
    const { world, log, child, pid, maskValues } = options;
    this.#reader = new StdoutReader(options);
    this.#words = new StderrRing(maskValues, (line) => {
      log("debug", "upstream stderr", { pid, line });
    });
    this.#writer = new StdinWriter(world, must(child.stdin, "stdin of the child"), (cause) => {
      this.#abandonSoon(`stopped reading its input (${cause})`);
    });
    this.#listen(child);
  }

  #listen(child: ChildProcess): void {
    const stdout = must(child.stdout, "stdout of the child");
    const stderr = must(child.stderr, "stderr of the child");
    stdout.on("data", (chunk: Buffer) => {
      if (this.#state.kind !== "down") this.#reader.push(chunk);
    });
    stdout.on("end", () => {
      this.#abandonSoon("closed its output");
    });
    stderr.on("data", (chunk: Buffer) => {
      if (this.#state.kind !== "down") this.#words.push(chunk);
    });
    const pipeFailed = (error: Error): void => {
      this.#options.log("debug", "a pipe of the upstream failed", { cause: error.message });
    };
    stdout.on("error", pipeFailed);
    stderr.on("error", pipeFailed);
    child.on("error", pipeFailed);
    child.on("exit", (code, signal) => {
      this.#exited({ code, signal });
    });
    child.on("close", () => {
      this.#drained();
    });
  }

  send(text: string, about: Outbound): boolean {
    if (this.#state.kind !== "running") return false;
    if (about.kind === "notification" && this.#writer.isCongested) return false;
    return this.#writer.send(text, about.kind === "request" ? about.id : undefined);
  }

  /** Nothing on stdio depends on the handshake. */
  handshaken(): void {}

  forget(id: string): void {
    this.#writer.forget(id);
  }

  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    this.#review();
  }

  /** S6. */
  #review(): void {
    const stdout = must(this.#options.child.stdout, "stdout of the child");
    const isEnding = this.#state.kind !== "running" || this.#ladder !== undefined;
    if (this.#isHeld && !isEnding) stdout.pause();
    else stdout.resume();
  }

  describe(): Readonly<Record<string, string | number>> {
    return { pid: this.#options.pid };
  }

  /**
   * Closes the child's stdin, asks its group with SIGTERM at half of `graceMs` and kills it at four
   * fifths. A later call with less grace shortens the wait. Answers that still come are delivered.
   */
  close(graceMs: number): Promise<void> {
    const { world } = this.#options;
    const endsAt = world.monotonic() + graceMs;
    const isSooner = this.#ladder === undefined || endsAt < this.#ladder.endsAt;
    if (this.#state.kind === "running" && isSooner) this.#climb(graceMs, endsAt);
    return this.#gone.promise;
  }

  #climb(graceMs: number, endsAt: number): void {
    const { world, log, pid, child } = this.#options;
    this.#stopLadder();
    this.#writer.end();
    const signal = (name: "SIGTERM" | "SIGKILL") => () => {
      // No SIGCONT for a stopped child: it would run what waits in its pipe before it dies.
      if (this.#state.kind === "running") signalGroup(pid, name);
    };
    this.#ladder = {
      endsAt,
      cancelTimers: [
        world.timer(graceMs * TERM_AT, signal("SIGTERM")),
        world.timer(graceMs * KILL_AT, signal("SIGKILL")),
        world.timer(graceMs + GIVE_UP_AFTER_MS, () => {
          if (this.#state.kind !== "running") return;
          log("error", "an upstream process does not end, not even by SIGKILL", { pid });
          child.unref();
          this.#exited({ code: null, signal: "SIGKILL" });
        }),
      ],
    };
    this.#review();
  }

  #stopLadder(): void {
    for (const cancel of this.#ladder?.cancelTimers ?? []) cancel();
  }

  /** S5. Usually the child is about to exit, and its exit says more than the closed pipe. */
  #abandonSoon(cause: string): void {
    if (this.#state.kind !== "running" || this.#cancelAbandon !== undefined) return;
    const { world } = this.#options;
    this.#cancelAbandon = world.timer(ABANDON_AFTER_MS, () => {
      // After a stall of ours the timer is due before an exit was noticed: look for that first.
      world.soon(() => {
        if (this.#state.kind !== "running" || this.#ladder !== undefined) return;
        this.#abandonedFor = cause;
        void this.close(ABANDON_GRACE_MS);
      });
    });
  }

  #exited(exit: Exit): void {
    if (this.#state.kind !== "running") return;
    this.#stopLadder();
    this.#cancelAbandon?.();
    // What the child left behind must not hold its pipes, nor run beside its successor.
    signalGroup(this.#options.pid, "SIGTERM");
    const { world } = this.#options;
    const cancelTimer = world.timer(DRAIN_MS, () => {
      // After a stall of ours the timer is due before the pipes were looked at: read them first.
      world.soon(() => {
        this.#drained();
      });
    });
    this.#state = { kind: "draining", exit, cancelTimer };
    this.#review();
  }

  #drained(): void {
    if (this.#state.kind !== "draining") return;
    const { exit, cancelTimer } = this.#state;
    const { child, events, pid } = this.#options;
    cancelTimer();
    this.#reader.end();
    this.#state = { kind: "down" };
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.destroy();
    const why = this.#why(exit);
    signalGroup(pid, "SIGKILL");
    // S4.
    for (const id of this.#writer.stop()) events.onOutcome(id, { kind: "refused", failure: why });
    events.onDown(why, undefined);
    this.#options.reaper.hold();
    this.#awaitGroup(GROUP_POLLS_MAX);
  }

  #why(exit: Exit): Failure {
    const words = this.#words.tail();
    if (this.#abandonedFor !== undefined) {
      return failure("reset", `${this.#abandonedFor} and was ended: ${describeExit(exit, words)}`);
    }
    if (this.#ladder !== undefined) {
      return failure("process_exit", `was asked to end: ${describeExit(exit, words)}`);
    }
    return exitFailure(exit, words, this.#reader.hasSpoken);
  }

  /** S1: a killed process takes a moment to be gone. The reaper stays until then. */
  #awaitGroup(polls: number): void {
    const { world, log, pid, reaper } = this.#options;
    if (process.platform !== "win32" && signalGroup(pid, 0)) {
      if (polls > 0) {
        world.timer(GROUP_POLL_MS, () => {
          this.#awaitGroup(polls - 1);
        });
        return;
      }
      log("warn", "processes of an upstream are left in its group", { pid });
    }
    reaper.dismiss();
    this.#options.onChildGone?.(pid);
    this.#gone.resolve();
  }
}
