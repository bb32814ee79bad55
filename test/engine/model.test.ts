/**
 * Random histories of one proxy after another on one world: whatever happens in whatever order, the
 * promises hold. The checker compares three ledgers: what clients were told, what the journal says, and
 * what the upstream ran.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CallRow, isTerminal } from "../../src/core/call.ts";
import { failure } from "../../src/core/failure.ts";
import { type ScriptedClient, Stage } from "../support/stage.ts";

type Step =
  | { readonly kind: "call"; readonly tool: "write" | "read" | "put" | "note" }
  | { readonly kind: "cancel" | "answer"; readonly pick: number }
  | { readonly kind: "keep"; readonly tool: string; readonly isKept: boolean }
  | { readonly kind: "advance" | "suspend"; readonly ms: number }
  | { readonly kind: "refuse"; readonly pick: number }
  | { readonly kind: "commit"; readonly count: number }
  | {
      readonly kind: "kill" | "killStay" | "comeBack" | "leave" | "crash" | "hold" | "release";
    };

const TOOL_NAMES = ["write", "read", "put", "note"] as const;

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("call" as const),
      tool: fc.constantFrom(...TOOL_NAMES),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("cancel" as const, "answer" as const),
      pick: fc.nat(20),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("keep" as const),
      tool: fc.constantFrom(...TOOL_NAMES),
      isKept: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("advance" as const),
      ms: fc.constantFrom(0, 1, 30, 500, 1_000, 3_000, 12_000, 21_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("suspend" as const),
      ms: fc.constantFrom(15_000, 900_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("refuse" as const), pick: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("commit" as const), count: fc.nat(3) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "kill" as const,
        "killStay" as const,
        "comeBack" as const,
        "comeBack" as const,
        "leave" as const,
        "crash" as const,
        "hold" as const,
        "release" as const,
      ),
    }),
  },
);

interface Made {
  readonly client: ScriptedClient;
  readonly id: number;
  readonly nonce: number;
  isCancelled: boolean;
  isGone: boolean;
}

const SETTINGS = { holdMs: 20_000, deferTtlMs: 600_000 };
const reset = failure("reset", "connection reset");
const nonceOf = (row: CallRow) => Number(/"nonce":(\d+)/.exec(row.request)?.[1]);

class Play {
  stage: Stage;
  client!: ScriptedClient;
  readonly made: Made[] = [];
  readonly #stages: Stage[] = [];

  constructor(seed: number) {
    this.stage = new Stage({ seed, settings: SETTINGS });
  }

  async begin(): Promise<void> {
    this.#stages.push(this.stage);
    await this.stage.start();
    this.client = await this.stage.connected();
  }

  async do(what: Step): Promise<void> {
    const { stage } = this;
    const { upstream, world, journal } = stage;
    switch (what.kind) {
      case "call": {
        const nonce = this.made.length;
        const { client } = this;
        const id = client.call(what.tool, nonce);
        this.made.push({ client, id, nonce, isCancelled: false, isGone: false });
        return;
      }
      case "cancel": {
        const open = this.made.filter((m) => m.client === this.client && !m.isCancelled);
        const one = open[what.pick % Math.max(1, open.length)];
        if (one === undefined || this.client.answerTo(one.id) !== undefined) return;
        one.isCancelled = true;
        this.client.cancel(one.id);
        return;
      }
      case "answer":
      case "refuse": {
        const ids = [...upstream.kept.values()];
        const kept = ids[what.pick % Math.max(1, ids.length)];
        if (kept === undefined) return;
        const nonce = (kept.params?.["arguments"] as { nonce: unknown }).nonce;
        if (what.kind === "answer") upstream.answer(nonce);
        else upstream.fate(nonce, { kind: "lost", failure: reset });
        return;
      }
      case "keep":
        if (what.isKept) upstream.keeps.add(what.tool);
        else upstream.keeps.delete(what.tool);
        return;
      case "advance":
        return world.advance(what.ms);
      case "suspend":
        world.suspend(what.ms);
        return;
      case "commit":
        journal.release(what.count);
        return world.settle();
      case "kill":
        upstream.kill();
        return;
      case "killStay":
        upstream.kill(reset);
        return;
      case "comeBack":
        upstream.down = undefined;
        return;
      case "hold":
        journal.hold();
        return;
      case "release":
        journal.release();
        return;
      case "leave": {
        this.client.leave();
        journal.release();
        let isOver = false;
        const over = stage.proxy.drain("the client left").then(() => {
          isOver = true;
        });
        await world.runUntil(() => isOver, 60_000);
        await over;
        this.#forgetClient();
        this.stage = await stage.next();
        await this.begin();
        return;
      }
      case "crash":
        this.#forgetClient();
        this.stage = await stage.next();
        await this.begin();
        return;
    }
  }

  #forgetClient(): void {
    for (const made of this.made) if (made.client === this.client) made.isGone = true;
  }

  /** Every fault ends, and then everything ends. */
  async finish(): Promise<void> {
    const { upstream, world, journal } = this.stage;
    upstream.keeps.clear();
    upstream.down = undefined;
    journal.release();
    for (let i = 0; i < 3; i++) {
      await world.advance(70_000);
      for (const kept of [...upstream.kept.values()]) {
        upstream.answer((kept.params?.["arguments"] as { nonce: unknown }).nonce);
      }
    }
    await world.advance(700_000);
  }

  async check(): Promise<void> {
    for (const stage of this.#stages) expect(stage.fatal).toEqual([]);
    const { upstream } = this.stage;
    const runs = (nonce: number) => upstream.ledger.filter((e) => e.nonce === nonce).length;
    for (const row of await this.stage.rows()) {
      const n = runs(nonceOf(row));
      const about = `call ${String(nonceOf(row))}: ${row.safety} ${row.state} ran ${String(n)} times`;
      expect(isTerminal(row.state), about).toBe(true); // I1
      if (row.executed === "no") expect(n, about).toBe(0); // I3, I8
      if (row.executed === "yes") expect(n, about).toBeGreaterThan(0); // I8
      expect(n, about).toBeLessThanOrEqual(row.safety === "unsafe" ? 1 : 3); // I4
    }
    for (const made of this.made) this.#checkTold(made, runs(made.nonce));
    const status = await this.stage.proxy.control.status();
    for (const { upstream: line } of status.sessions) {
      expect([line.waiting, line.inFlight]).toEqual([0, 0]);
    }
    // Heartbeat, pruning, the sweep of sessions, and one look at each client's connection.
    expect(this.stage.pendingTimers).toBeLessThanOrEqual(3 + status.sessions.length);
    this.stage.die();
  }

  #checkTold({ client, id, nonce, isCancelled, isGone }: Made, runs: number): void {
    const told = client.told(id); // throws at a second answer
    const about = `what the caller of ${String(nonce)} was told; it ran ${String(runs)} times`;
    if (!isCancelled && !isGone) expect(told, about).toBeDefined();
    if (told === undefined) return;
    if (told.meta === undefined) expect(runs, about).toBeGreaterThan(0);
    else if (told.meta["executed"] === "no") expect(runs, about).toBe(0);
  }
}

const RUNS = Number(process.env["MODEL_RUNS"] ?? 60);

describe("whatever happens in whatever order", () => {
  it(
    "every call ends once, nothing runs after a no, no write runs twice, and nothing is left over",
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 5, maxLength: 40 }),
          fc.nat(),
          async (steps, seed) => {
            const play = new Play(seed);
            await play.begin();
            for (const what of steps) await play.do(what);
            await play.finish();
            await play.check();
          },
        ),
        { numRuns: RUNS },
      );
    },
    60_000 + RUNS * 1_000,
  );

  it("writes of one session leave in the order in which they were called", async () => {
    const isOrderly = (what: Step) => !["hold", "commit", "crash", "leave"].includes(what.kind);
    await fc.assert(
      fc.asyncProperty(
        fc.array(step.filter(isOrderly), { minLength: 5, maxLength: 30 }),
        fc.nat(),
        async (steps, seed) => {
          const play = new Play(seed);
          await play.begin();
          for (const what of steps) await play.do(what);
          await play.finish();
          await play.check();
          const writes = play.stage.upstream.ledger.filter((entry) => entry.tool === "write");
          const nonces = writes.map((entry) => Number(entry.nonce));
          expect(nonces).toEqual([...nonces].sort((a, b) => a - b));
        },
      ),
      { numRuns: Math.ceil(RUNS / 2) },
    );
  }, 90_000);
});
