/** `npm run drills`: failures that are made on purpose, and how long it takes until all is well again. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeLab } from "../support/lab.ts";
import { bestOf, overIn, type Drill, type Figure } from "./drill.ts";
import { DRILLS } from "./drills.ts";

const HELP = `npm run drills -- [--only NAME] [--rounds N] [--json FILE]

Failure drills against the built proxy: crashes of the process and of the machine, a lost disk, streams
that break in the middle. Prints what each took, beside its limit.

  --only NAME   the drills whose name contains NAME
  --rounds N    rounds of each drill that is timed; the best counts. Default: as many as its test has
  --json FILE   the figures as JSON
`;

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    rounds: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

async function runOnce(drill: Drill): Promise<readonly Figure[]> {
  const { lab, close } = makeLab();
  try {
    return await drill.run(lab);
  } finally {
    await close();
  }
}

async function runDrill(drill: Drill): Promise<readonly Figure[]> {
  const found: (readonly Figure[])[] = [];
  const rounds = values.rounds === undefined ? drill.rounds : Number(values.rounds);
  for (let n = 0; n < rounds; n++) {
    process.stderr.write(`${drill.name}, round ${String(n + 1)} …\n`);
    found.push(await runOnce(drill));
  }
  return bestOf(found);
}

function linesOf(name: string, figures: readonly Figure[]): string {
  const lines = figures.map(({ what, value, unit, max }) => {
    const limit = max === undefined ? "" : `at most ${String(max)} ${unit}`;
    return `  ${what.padEnd(52)}${value.toFixed(unit === "ms" ? 1 : 0).padStart(10)} ${unit.padEnd(6)}${limit}`;
  });
  return `${[name, ...lines.map((line) => line.trimEnd())].join("\n")}\n`;
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const results: { name: string; figures: readonly Figure[] }[] = [];
  for (const drill of DRILLS.filter(({ name }) => name.includes(values.only))) {
    results.push({ name: drill.name, figures: await runDrill(drill) });
  }
  process.stdout.write(results.map(({ name, figures }) => linesOf(name, figures)).join("\n"));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results, undefined, 2));
  const over = results.flatMap(({ name, figures }) =>
    overIn(figures).map((text) => `${name}: ${text}`),
  );
  for (const text of over) process.stdout.write(`${text}\n`);
  return over.length === 0 ? 0 : 1;
}

process.exit(await main());
