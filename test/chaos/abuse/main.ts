/** `npm run abuse`: one case of abuse after the other against the built proxy, and a table of what it took. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { CASES } from "./cases.ts";
import { runCase, tableOf, type Result } from "./report.ts";

const HELP = `npm run abuse -- [--only NAME] [--quick] [--list] [--json FILE]

Runs one bounded case of abuse after another against the built proxy (serve and wrap), each beside a
well-behaved client whose calls must go on, and prints what the proxy took: memory when idle and at its
peak, the journal's WAL, the lag of its event loop, the neighbour's p99, leaks. Linux.

  --only NAME   the cases whose name contains NAME; may be repeated
  --quick       those that are part of npm test
  --list        names only
  --json FILE   the figures as JSON
`;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    quick: { type: "boolean", default: false },
    list: { type: "boolean", default: false },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const isWanted = (name: string) =>
    values.only.length === 0 || values.only.some((part) => name.includes(part));
  const chosen = CASES.filter(({ name, isQuick }) => isWanted(name) && (isQuick || !values.quick));
  if (values.list) {
    process.stdout.write(`${chosen.map(({ name }) => name).join("\n")}\n`);
    return 0;
  }
  if (chosen.length === 0) {
    process.stderr.write("no case has such a name; --list names them\n");
    return 2;
  }
  const results: Result[] = [];
  for (const one of chosen) {
    process.stderr.write(`${one.name} …\n`);
    const result = await runCase(one);
    process.stderr.write(`${one.name} ${result.verdict}: ${result.measured?.said ?? ""}\n`);
    results.push(result);
  }
  process.stdout.write(tableOf(results));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results, undefined, 2));
  return results.some(({ verdict }) => verdict === "fails") ? 1 : 0;
}

// Agents keep sockets alive that nobody uses any more.
process.exit(await main());
