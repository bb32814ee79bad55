/**
 * Bounds on what is accepted (promise P7). Over a bound new work is refused with the bound and its
 * option in the message; accepted work is never dropped. Live calls and their bytes count until the
 * call has ended.
 */
import type { Limits } from "../core/settings.ts";

interface Held {
  calls: number;
  bytes: number;
}

export class Bounds {
  readonly #limits: Limits;
  readonly #sessions = new Map<string, Held>();
  readonly #all: Held = { calls: 0, bytes: 0 };

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Why a call of so many bytes is refused, or undefined after it has been counted in. */
  admit(sessionId: string, bytes: number): string | undefined {
    const session = this.#sessions.get(sessionId) ?? { calls: 0, bytes: 0 };
    const refusal = this.#refusal(session, bytes);
    if (refusal !== undefined) return refusal;
    this.count(sessionId, bytes);
    return undefined;
  }

  /** Counts a call in without asking: one that was accepted by an earlier process. */
  count(sessionId: string, bytes: number): void {
    const session = this.#sessions.get(sessionId) ?? { calls: 0, bytes: 0 };
    session.calls++;
    session.bytes += bytes;
    this.#sessions.set(sessionId, session);
    this.#all.calls++;
    this.#all.bytes += bytes;
  }

  release(sessionId: string, bytes: number): void {
    const session = this.#sessions.get(sessionId);
    if (session === undefined) return;
    session.calls--;
    session.bytes -= bytes;
    if (session.calls <= 0) this.#sessions.delete(sessionId);
    this.#all.calls--;
    this.#all.bytes -= bytes;
  }

  #refusal(session: Held, bytes: number): string | undefined {
    const limits = this.#limits;
    if (bytes > limits.requestMaxBytes) {
      return over("the request has", bytes, limits.requestMaxBytes, "bytes", "--max-request-bytes");
    }
    if (session.calls >= limits.callsPerSession) {
      return over(
        "this session has",
        session.calls,
        limits.callsPerSession,
        "calls",
        "--max-calls-per-session",
      );
    }
    if (session.bytes + bytes > limits.bytesPerSession) {
      return over(
        "this session has",
        session.bytes,
        limits.bytesPerSession,
        "bytes",
        "--max-bytes-per-session",
      );
    }
    const calls = Math.min(limits.callsPerUpstream, limits.callsPerProcess);
    if (this.#all.calls >= calls) {
      const option =
        limits.callsPerUpstream <= limits.callsPerProcess
          ? "--max-calls-per-upstream"
          : "--max-calls-per-process";
      return over("this proxy has", this.#all.calls, calls, "calls", option);
    }
    if (this.#all.bytes + bytes > limits.bytesPerProcess) {
      return over(
        "this proxy has",
        this.#all.bytes,
        limits.bytesPerProcess,
        "bytes",
        "--max-bytes-per-process",
      );
    }
    return undefined;
  }
}

function over(subject: string, have: number, limit: number, unit: string, option: string): string {
  return `${subject} ${String(have)} ${unit} open, the limit is ${String(limit)} (option ${option})`;
}
