/**
 * A varied workload on a journal: calls of every safety that wait, are sent, are lost, are acknowledged,
 * end in every way and are delivered; sessions, facts and retention between them; payloads from a line
 * to several hundred KiB, so that the WAL outgrows its 4 MiB; several actors at once, so that batches
 * form. What one call goes through depends on its number and the seed alone.
 */
import { mustSync, apply } from "../../src/core/call.ts";
import type { CallChange, CallRow, Safety } from "../../src/core/call.ts";
import type { SessionRow } from "../../src/core/session.ts";
import { randomFrom } from "../support/random.ts";
import { aSession } from "../support/builders.ts";
import type { Recorder } from "./operations.ts";

export interface WorkOptions {
  readonly seed: number;
  readonly calls: number;
  /** Calls that are under way at once. */
  readonly actors: number;
  /** The largest payload, bytes. */
  readonly payloadMax: number;
}

export const STARTED_AT = 1_800_000_000_000;
const SAFETIES: readonly Safety[] = ["unsafe", "unsafe", "idempotent", "read"];

type Omitted<T> = T extends unknown ? Omit<T, "id" | "at"> : never;
type Step = Omitted<CallChange>;

export class Worker {
  readonly #recorder: Recorder;
  readonly #options: WorkOptions;
  readonly #random: () => number;
  /** Rows that were left in the middle of their lives. */
  readonly #left: CallRow[] = [];
  #count = 0;
  #clock = STARTED_AT;

  constructor(recorder: Recorder, options: WorkOptions) {
    this.#recorder = recorder;
    this.#options = options;
    this.#random = randomFrom(options.seed);
  }

  /** Does its share of calls, and leaves one in eight as it is then. Stops where the journal is lost. */
  async work(calls: number): Promise<void> {
    const until = this.#count + calls;
    const actors = Array.from({ length: this.#options.actors }, async () => {
      while (this.#count < until && (await this.#one()));
    });
    await Promise.all(actors);
  }

  /** Ends what was left, after a start at `now` did its part. */
  async workOff(now: number): Promise<void> {
    this.#clock = Math.max(this.#clock, now);
    await this.#recorder.do({ kind: "recover", now });
    for (const row of this.#left.splice(0)) {
      const isExpired = row.state === "queued" && row.deadlineAt <= now;
      const doubted: CallRow = { ...row, state: "in_doubt", isDoubted: true };
      if (!isExpired) await this.#live(row.state === "sent" ? doubted : row, false);
    }
  }

  /** False once the journal takes nothing more. */
  async #one(): Promise<boolean> {
    const number = this.#count++;
    if (number % 20 === 7 && !(await this.#saveSession(number))) return false;
    if (number % 25 === 9) {
      const value = String(number).repeat(1 + this.#below(40));
      await this.#recorder.do({ kind: "keep", key: `fact.${number % 3}`, value });
    }
    if (number % 50 === 49) {
      const results = this.#clock - 400;
      await this.#recorder.do({ kind: "prune", results, records: this.#clock - 700 });
    }
    const row = this.#newRow(number);
    const { kind } = await this.#recorder.do({ kind: "admit", row });
    if (kind !== "done") return kind === "refused";
    return this.#live(row, this.#random() < 0.125);
  }

  async #saveSession(number: number): Promise<boolean> {
    const lastSeenAt = this.#tick();
    const row: SessionRow = aSession({
      id: `s_${number % 4}`,
      lastSeenAt,
      timeoutMs: 1e12,
      handshake: JSON.stringify({ text: "x".repeat(this.#below(2000)) }),
    });
    return (await this.#recorder.do({ kind: "session", row })).kind !== "unknown";
  }

  #newRow(number: number): CallRow {
    const at = this.#tick();
    const safety = SAFETIES[this.#below(SAFETIES.length)] ?? "unsafe";
    const isSent = this.#random() < 0.4;
    const name = `c_${String(number).padStart(6, "0")}`;
    return {
      id: name,
      seq: 0,
      sessionId: `s_${number % 4}`,
      upstream: "up",
      credentials: "cred",
      method: "tools/call",
      tool: `tool_${number % 5}`,
      safety,
      fingerprint: safety === "read" ? undefined : `print-${number}`,
      schema: undefined,
      request: `{"name":"${name}","text":"${this.#text()}"}`,
      acceptedAt: at,
      deadlineAt: at + (this.#random() < 0.3 ? 5_000 : 90_000),
      acknowledgedAt: undefined,
      state: isSent ? "sent" : "queued",
      reason: undefined,
      executed: "pending",
      attempt: isSent ? 1 : 0,
      isDoubted: false,
      upstreamId: isSent ? `1-${number}` : undefined,
      sentAt: isSent ? at : undefined,
      settledAt: undefined,
      deliveredAt: undefined,
      reply: undefined,
      cause: undefined,
      note: undefined,
      redriveOf: undefined,
    };
  }

  /** From where it is to its end and its delivery. False once the journal takes nothing more. */
  async #live(from: CallRow, isLeft: boolean): Promise<boolean> {
    let row = from;
    for (let steps = 0; row.settledAt === undefined; steps++) {
      if (isLeft && this.#random() < 0.4) {
        this.#left.push(row);
        return true;
      }
      const change = this.#stamp(row, this.#nextStep(row, steps > 6));
      const { kind } = await this.#recorder.do({
        kind: "change",
        change,
        sync: mustSync(row, change),
      });
      if (kind !== "done") return kind === "refused";
      row = apply(row, change) ?? row;
    }
    if (this.#random() < 0.8)
      await this.#recorder.do({ kind: "later", change: this.#stamp(row, { kind: "deliver" }) });
    return true;
  }

  #nextStep(row: CallRow, isLate: boolean): Step {
    const { attempt } = row;
    const chance = this.#random();
    const settle = {
      kind: "settle",
      attempt,
      state: chance < 0.9 ? "done" : "failed",
      executed: "yes",
      reply: `{"text":"${this.#text()}"}`,
    } as const;
    if (row.state === "queued") {
      if (chance < 0.15 && row.acknowledgedAt === undefined)
        return { kind: "acknowledge", deadlineAt: row.deadlineAt + 3_600_000 };
      if (chance < 0.2) return { kind: "cancel", from: "queued", mayHaveRun: false, cause: "left" };
      if (chance < 0.25) return { kind: "expire", cause: "its time ran out" };
      if (chance < 0.3) return { kind: "bury", reason: "tool_changed", cause: "it vanished" };
      return { kind: "dispatch", attempt: attempt + 1, upstreamId: `2-${this.#count}` };
    }
    if (isLate || chance < 0.6) return settle;
    if (row.state === "sent") {
      if (chance < 0.8) return { kind: "doubt", attempt, cause: "the line broke" };
      if (chance < 0.9) return { kind: "requeue", attempt, cause: "refused" };
      return { kind: "cancel", from: "sent", mayHaveRun: true, cause: "the client left" };
    }
    if (chance < 0.8 && row.safety !== "unsafe")
      return { kind: "requeue", attempt, cause: "it may be repeated" };
    return { kind: "bury", reason: "outcome_unknown", cause: "nothing can resolve it" };
  }

  #stamp(row: CallRow, step: Step): CallChange {
    return { ...step, id: row.id, at: this.#tick() } as CallChange;
  }

  /** Each thing that happens has a millisecond of its own. */
  #tick(): number {
    return this.#clock++;
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  /** Mostly short, sometimes many pages, seldom more than a sector run of the WAL. */
  #text(): string {
    const { payloadMax } = this.#options;
    const chance = this.#random();
    const most = chance < 0.7 ? 800 : chance < 0.95 ? payloadMax / 10 : payloadMax;
    return `${this.#below(1e9)} `.repeat(Math.ceil(this.#below(Math.min(most, payloadMax)) / 10));
  }
}
