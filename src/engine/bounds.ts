/**
 * Bounds on what is accepted (promise P7), per session, per upstream and per process. Over a bound new
 * work is refused with the bound and its option in the message; accepted work is never dropped. Live
 * calls and their bytes count until the call has ended.
 */
import { BACKLOG_CALLS, BACKLOG_LITTER_BYTES } from "../base/large.ts";
import type { World } from "../base/world.ts";
import type { Limits } from "../core/settings.ts";
import { Intake } from "./intake.ts";

interface Held {
  calls: number;
  bytes: number;
}

/** What all upstreams of this process hold together. */
export class ProcessBounds {
  readonly #limits: Pick<Limits, "callsPerProcess" | "bytesPerProcess">;
  readonly #held: Held = { calls: 0, bytes: 0 };
  readonly #world: Pick<World, "litter"> | undefined;
  /** Calls at the last report of litter, or the fewest since. */
  #reportedAt = 0;
  readonly intake = new Intake();

  /** `world`: is told what a growing backlog leaves behind. */
  constructor(
    limits: Pick<Limits, "callsPerProcess" | "bytesPerProcess">,
    world?: Pick<World, "litter">,
  ) {
    this.#limits = limits;
    this.#world = world;
  }

  count(calls: 1 | -1, bytes: number): void {
    this.#held.calls += calls;
    this.#held.bytes += calls * bytes;
    this.#reportedAt = Math.min(this.#reportedAt, this.#held.calls);
  }

  /** A call was accepted. Calls that go straight through never become so many. */
  accepted(): void {
    const more = this.#held.calls - this.#reportedAt;
    if (more < BACKLOG_CALLS) return;
    this.#reportedAt = this.#held.calls;
    this.#world?.litter(BACKLOG_LITTER_BYTES);
  }

  /** Why one more call of so many bytes is refused, or undefined. */
  refusal(bytes: number): string | undefined {
    const { callsPerProcess, bytesPerProcess } = this.#limits;
    const { calls, bytes: have } = this.#held;
    const subject = "this proxy has";
    if (calls >= callsPerProcess) {
      return over(subject, calls, callsPerProcess, "calls", "--max-calls-per-process");
    }
    if (have + bytes > bytesPerProcess) {
      return over(subject, have, bytesPerProcess, "bytes", "--max-bytes-per-process");
    }
    return undefined;
  }
}

/** What one upstream and its sessions hold. */
export class Bounds {
  #limits: Limits;
  readonly #process: ProcessBounds;
  readonly #sessions = new Map<string, Held>();
  #calls = 0;

  /** `process`: shared by all upstreams of this process; without it this is the only one. */
  constructor(limits: Limits, process = new ProcessBounds(limits)) {
    this.#limits = limits;
    this.#process = process;
  }

  /** What is on its way to disk, of all upstreams. */
  get intake(): Intake {
    return this.#process.intake;
  }

  /** Other limits from now on; those of the process stay. What is over them already is not touched. */
  change(limits: Limits): void {
    this.#limits = limits;
  }

  /** Why a call of so many bytes is refused, or undefined after it has been counted in. */
  admit(sessionId: string, bytes: number): string | undefined {
    const refusal = this.#refusal(this.#sessions.get(sessionId), bytes);
    if (refusal !== undefined) return refusal;
    this.count(sessionId, bytes);
    this.#process.accepted();
    return undefined;
  }

  /** Counts a call in without asking: one that was accepted by an earlier process. */
  count(sessionId: string, bytes: number): void {
    const session = this.#sessions.get(sessionId) ?? { calls: 0, bytes: 0 };
    session.calls++;
    session.bytes += bytes;
    this.#sessions.set(sessionId, session);
    this.#calls++;
    this.#process.count(1, bytes);
  }

  release(sessionId: string, bytes: number): void {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return;
    session.calls--;
    session.bytes -= bytes;
    if (session.calls <= 0) this.#sessions.delete(sessionId);
    this.#calls--;
    this.#process.count(-1, bytes);
  }

  #refusal(session: Held | undefined, bytes: number): string | undefined {
    const { requestMaxBytes, callsPerSession, bytesPerSession, callsPerUpstream } = this.#limits;
    const { calls, bytes: have } = session ?? { calls: 0, bytes: 0 };
    if (bytes > requestMaxBytes) {
      return over("the request has", bytes, requestMaxBytes, "bytes", "--max-request-bytes");
    }
    if (calls >= callsPerSession) {
      return over("this session has", calls, callsPerSession, "calls", "--max-calls-per-session");
    }
    if (have + bytes > bytesPerSession) {
      return over("this session has", have, bytesPerSession, "bytes", "--max-bytes-per-session");
    }
    if (this.#calls >= callsPerUpstream) {
      const option = "--max-calls-per-upstream";
      return over("this server has", this.#calls, callsPerUpstream, "calls", option);
    }
    return this.#process.refusal(bytes);
  }
}

function over(subject: string, have: number, limit: number, unit: string, option: string): string {
  return `${subject} ${String(have)} ${unit} open, the limit is ${String(limit)} (option ${option})`;
}
