/**
 * A client that behaves well, beside others that do not: it calls without a pause, and what it saw
 * says whether it was disturbed.
 */
import type { Answer } from "./holdfast-process.ts";

/** What it calls through: a session over HTTP, or the client of a wrapping proxy. */
export interface Caller {
  call(tool: string, nonce: string): Promise<Answer>;
}

export interface Experience {
  readonly calls: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly worstMs: number;
}

export interface Neighbour {
  /** Answered so far. */
  calls(): number;
  /** Ends it after its current call. Rejects if one of its calls was not answered well. */
  leave(): Promise<Experience>;
}

let neighbours = 0;

export function neighbourOf(session: Caller): Neighbour {
  const name = `neighbour${String(neighbours++)}`;
  const taken: number[] = [];
  const leaving = new AbortController();
  const living = (async () => {
    while (!leaving.signal.aborted) {
      const nonce = `${name}-${String(taken.length)}`;
      const tool = taken.length % 2 === 0 ? "read_value" : "append";
      const before = performance.now();
      const answer = await session.call(tool, nonce);
      taken.push(performance.now() - before);
      if (answer.isError || !answer.text.includes(nonce)) {
        throw new Error(`${nonce} was answered ${JSON.stringify(answer)}`);
      }
    }
  })();
  // Looked at when it leaves.
  living.catch(() => undefined);
  return {
    calls: () => taken.length,
    leave: async () => {
      leaving.abort();
      await living;
      const sorted = [...taken].sort((a, b) => a - b);
      const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
      return {
        calls: sorted.length,
        medianMs: at(0.5) ?? 0,
        p99Ms: at(0.99) ?? 0,
        worstMs: at(1) ?? 0,
      };
    },
  };
}
