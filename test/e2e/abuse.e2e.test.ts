/** The quick ones of `npm run abuse`: what is sent or done to the proxy is bounded by it, not by its peer. */
import { describe, expect, it } from "vitest";
import { CASES } from "../chaos/abuse/cases.ts";
import { runCase } from "../chaos/abuse/report.ts";

const QUICK = CASES.filter(({ isQuick }) => isQuick).map((one) => [one.name, one] as const);
/** Here other tests take what they can of the machine: a neighbour has to be answered, not to be fast. */
const BOUNDS = { neighbourP99MaxMs: 10_000, neighbourWorstMaxMs: 20_000 };
const LIMIT_MS = 120_000;

describe("memory and disk stay bounded, and a neighbour is answered, under", () => {
  it.each(QUICK)(
    "%s",
    async (_name, one) => {
      const { verdict, problems } = await runCase(one, BOUNDS);
      if (verdict === "not run") console.warn(`${one.name} was not run: ${problems.join()}`);
      else expect(problems).toEqual([]);
    },
    LIMIT_MS,
  );
});
