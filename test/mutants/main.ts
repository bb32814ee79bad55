/**
 * The mutation gate (`npm run mutants`): builds each known fault into a copy of the proxy, and asks
 * whether the proof notices. First the proxy as it is, of which nothing may be found. Exits with 1 where a
 * mutant survives, or something is found of the proxy as it is.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { look, simulate, type Sight, type SimOptions } from "./lanes.ts";
import { MUTANTS } from "./list.ts";
import type { Mutant } from "./mutant.ts";
import { Workshop } from "./workshop.ts";

/** Seeds of the proxy as it is; most mutants are caught within fewer, and `npm run sim` plays many more. */
const CONTROL_SEEDS = 300;

const HELP = `Builds each known fault into a copy of the proxy, and asks whether the proof notices it.

  npm run mutants -- [--only NAME] [--seeds N] [--from S] [--at-once N] [--json FILE]

  --only NAME   this mutant alone
  --seeds N     so many seeds of the simulation at most, for each mutant (2,000)
  --from S      from this seed on (1)
  --at-once N   so many mutants beside each other (2)
  --json FILE   the table as JSON
`;

interface Result {
  readonly name: string;
  readonly says: string;
  readonly isCaught: boolean;
  readonly caughtBy: string;
  readonly found: readonly string[];
  readonly seeds: number | undefined;
  readonly seconds: number;
  readonly tail: string;
}

async function tryOut(mutant: Mutant, sim: SimOptions): Promise<Result> {
  const startedAt = performance.now();
  const needsBuild = mutant.caughtBy === "unit lane" && mutant.unit.needsBuild === true;
  const workshop = new Workshop(mutant.edits, needsBuild);
  let sight: Sight;
  try {
    sight = await look(workshop.folder, mutant, sim);
  } finally {
    workshop.clear();
  }
  const isExpected = (what: string) =>
    mutant.caughtBy === "unit lane" || mutant.expects.includes(what);
  return {
    name: mutant.name,
    says: mutant.says,
    isCaught: sight.found.some(isExpected),
    caughtBy: mutant.caughtBy === "sim" ? "sim" : mutant.unit.file,
    found: sight.found,
    seeds: sight.seeds,
    seconds: (performance.now() - startedAt) / 1_000,
    tail: sight.tail,
  };
}

/** The same seeds with the proxy as it is: a finding there would make every mutant look caught. */
async function tryUnchanged(sim: SimOptions): Promise<string | undefined> {
  const workshop = new Workshop([], false);
  try {
    const { found, seeds, tail } = await simulate(workshop.folder, sim);
    if (seeds === undefined) return `the simulation did not come to its end:\n${tail}`;
    return found.length === 0 ? undefined : `${found.join(", ")}:\n${tail}`;
  } finally {
    workshop.clear();
  }
}

async function each<T, R>(items: readonly T[], atOnce: number, work: (item: T) => Promise<R>) {
  const results: R[] = [];
  let next = 0;
  const hand = async () => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as T);
  };
  await Promise.all(Array.from({ length: atOnce }, hand));
  return results;
}

function tableOf(results: readonly Result[]): string {
  const head = ["mutant", "", "caught by", "found", "seeds", "seconds"];
  const lines = results.map(({ name, isCaught, caughtBy, found, seeds, seconds }) => [
    name,
    isCaught ? "caught" : "SURVIVED",
    caughtBy,
    caughtBy === "sim" ? found.join(", ") : "the test failed".repeat(Number(isCaught)),
    seeds === undefined ? "" : String(seeds),
    seconds.toFixed(1),
  ]);
  const all = [head, ...lines];
  const widths = head.map((_, at) => Math.max(...all.map((line) => line[at]?.length ?? 0)));
  return all
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Returns the exit code. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      seeds: { type: "string", default: "2000" },
      from: { type: "string", default: "1" },
      "at-once": { type: "string", default: "2" },
      json: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const sim = { seeds: Number(values.seeds), from: Number(values.from) };
  const chosen = MUTANTS.filter(({ name }) => values.only === undefined || name === values.only);
  if (chosen.length === 0) {
    process.stderr.write(`there is no mutant '${values.only ?? ""}'\n`);
    return 2;
  }
  const isSimulated = chosen.some(({ caughtBy }) => caughtBy === "sim");
  const trouble = isSimulated
    ? await tryUnchanged({ ...sim, seeds: Math.min(sim.seeds, CONTROL_SEEDS) })
    : undefined;
  if (trouble !== undefined) {
    process.stdout.write(`found of the proxy as it is: ${trouble}\n`);
    return 1;
  }
  const results = await each(chosen, Number(values["at-once"]), (one) => tryOut(one, sim));
  const caught = results.filter(({ isCaught }) => isCaught).length;
  process.stdout.write(`${tableOf(results)}\n\n`);
  for (const { isCaught, name, says, found, tail } of results) {
    if (isCaught) continue;
    const seen = found.length === 0 ? "nothing was found" : `only ${found.join(", ")} was found`;
    process.stdout.write(`${name} survived (${says}): ${seen}\n${tail}\n`);
  }
  process.stdout.write(`${String(results.length)} mutants, ${String(caught)} caught\n`);
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ mutants: results.length, caught, results }, null, 2)}\n`,
    );
  return caught === results.length ? 0 : 1;
}

process.exitCode = await main();
