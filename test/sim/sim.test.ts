/** The bounded part of the simulation, and what the simulation itself must be for its word to count. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, describe, expect, it, vi } from "vitest";
import { must } from "../../src/base/assert.ts";
import { SqliteJournal } from "../../src/store/sqlite/journal.ts";
import { exhaust, QUICK } from "./exhaustive.ts";
import { planOf } from "./generate.ts";
import { judge } from "./judge.ts";
import type { Plan } from "./plan.ts";
import { regressions } from "./regressions.ts";
import { SCENARIOS } from "./scenarios.ts";
import { shrink } from "./shrink.ts";
import { play } from "./simulation.ts";
import { newTotals } from "./totals.ts";
import { runJobs } from "./work.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));

/** In a process of its own: what nobody catches there is a finding, and here it would be vitest's. */
async function sim(...args: string[]): Promise<string> {
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ["--import", "tsx", MAIN, ...args]);
  return stdout;
}

/** A figure of the printed table. */
const figure = (printed: string, name: string): number =>
  Number(new RegExp(`^${name} +(\\d+)`, "m").exec(printed)?.[1]);

describe("the proxy", () => {
  it("keeps its promises over 300 random histories, passing every crash point", async () => {
    const printed = await sim("--seeds", "300", "--bail");
    expect(figure(printed, "runs")).toBe(300);
    expect(figure(printed, "findings")).toBe(0);
    expect(figure(printed, "crash points passed")).toBe(figure(printed, "crash points registered"));
    expect(figure(printed, "kills of the proxy")).toBeGreaterThan(100);
    expect(figure(printed, "calls answered")).toBeGreaterThan(1_000);
  });

  it("keeps them wherever it is killed in every eighth scenario, and killed again", async () => {
    const printed = await sim("--exhaustive", "--quick", "--share", "3/8", "--bail");
    expect(figure(printed, "runs")).toBeGreaterThan(400);
    expect(figure(printed, "findings")).toBe(0);
  });

  it.each(regressions())("keeps them in what once failed: $name", async ({ name, plan }) => {
    const { findings, figures } = await judge(plan, { name });
    expect(findings).toEqual([]);
    expect(figures).toBeDefined();
  });
});

describe("the simulation", () => {
  it("SM1: plays the same plan twice with the same ledgers", async () => {
    for (const seed of [3, 17, 45]) {
      const [first, second] = [
        await play(planOf(seed), { name: "a" }),
        await play(planOf(seed), { name: "a" }),
      ];
      expect(second.evidence).toEqual(first.evidence);
      expect([...second.points.hits]).toEqual([...first.points.hits]);
    }
  });
});

describe("a crew of processes", () => {
  it("SM3: gives up a run that does not end, names it, and plays the others all the same", async () => {
    const totals = newTotals();
    const jobs = Array.from({ length: 120 }, (_, at) => ({ kind: "seed" as const, seed: at + 1 }));
    const worker = fileURLToPath(new URL("../fixtures/worker-that-hangs.mjs", import.meta.url));
    await runJobs(jobs, { workers: 2, isBailing: false, totals, worker, patienceMs: 300 });
    expect([totals.runs, totals.findings]).toEqual([120, 1]);
    expect(totals.failing).toMatchObject([
      {
        name: "seed 13",
        plan: undefined,
        findings: [{ text: expect.stringContaining("did not end within 0.3 s") as string }],
      },
    ]);
  });
});

describe("a broken proxy", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** The call is taken for recorded when its row is posted, not when it is on disk. */
  function acknowledgeBeforeCommit(): void {
    const admit = Reflect.get(SqliteJournal.prototype, "admit");
    vi.spyOn(SqliteJournal.prototype, "admit").mockImplementation(function (
      this: SqliteJournal,
      row,
    ) {
      const { seq } = row;
      admit.call(this, row).catch(() => undefined);
      return Promise.resolve(seq);
    });
  }

  const scenario = (name: string) =>
    must(
      SCENARIOS.find((one) => one.name === name),
      name,
    );

  it("is noticed by a kill at the right point", async () => {
    acknowledgeBeforeCommit();
    const totals = newTotals();
    await exhaust(scenario("http: a write"), { totals, depth: QUICK });
    const invariants = totals.failing.flatMap(({ findings }) =>
      findings.map((one) => one.invariant),
    );
    expect(invariants).toContain("I1");
  });

  it("is shown by a plan made as small as it gets", async () => {
    acknowledgeBeforeCommit();
    const { plan } = scenario("http: a write");
    const kills = [{ name: "down:accepted:after", occurrence: 1 }];
    const failing: Plan = {
      ...plan,
      kills,
      steps: [...plan.steps, { at: 300, do: "tools", server: 0, version: 1 }],
    };
    const fails = async (smaller: Plan) =>
      (await judge(smaller, { name: "smaller" })).findings.length > 0;
    expect(await fails(failing)).toBe(true);
    const small = await shrink(failing, fails);
    expect(small.steps).toHaveLength(1);
    expect(small.steps[0]?.do).toBe("call");
  });
});
