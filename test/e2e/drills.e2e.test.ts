/** The failure drills of `npm run drills`, with slack for a machine that runs other tests besides. */
import { describe, expect, it } from "vitest";
import { overIn } from "../drills/drill.ts";
import { DRILLS } from "../drills/drills.ts";
import { makeLab } from "../support/lab.ts";

const SLACK = 10;
const LIMIT_MS = 120_000;

describe("all is well again in time, and what is said is true, after", () => {
  // One after the other, unlike other tests in labs: they are timed.
  it.each(DRILLS.map((drill) => [drill.name, drill] as const))(
    "%s",
    async (_name, drill) => {
      const { lab, close } = makeLab();
      try {
        expect(overIn(await drill.run(lab), SLACK)).toEqual([]);
      } finally {
        await close();
      }
    },
    LIMIT_MS,
  );
});
