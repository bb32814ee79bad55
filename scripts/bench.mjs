/**
 * The benchmark: Holdfast against nothing in between and against a bare Node relay, in one run.
 *
 *     npm run bench [-- --quick] [-- --json] [-- --only calls,startup] [-- --lanes "http→stdio"]
 *                   [-- --folder DIR]
 *
 * Every figure is compared within the run that took it; the variants take turns. Exit code 0 when it
 * could measure, whatever it measured; 1 when it could not; 2 for a wrong option.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { LANES, measureCalls } from "./bench/calls.mjs";
import { measureDrain, measureRecovery } from "./bench/outage.mjs";
import { fsyncMs } from "./bench/proc.mjs";
import { linesOf, print } from "./bench/report.mjs";
import { measureSessions } from "./bench/sessions.mjs";
import { measureMemory, measureStartup } from "./bench/startup.mjs";
import { isBuilt, makeFolder } from "./bench/variants.mjs";

const FULL = {
  generations: 3,
  rounds: 3,
  warmUp: 10_000,
  callsPerTurn: 10_000,
  latencyPerTurn: 300,
  startRounds: 15,
  memoryRounds: 3,
  queued: 1_000,
  drainRounds: 3,
  open: 10_000,
  recoveryRounds: 3,
};

const QUICK = {
  generations: 1,
  rounds: 3,
  warmUp: 5_000,
  callsPerTurn: 5_000,
  latencyPerTurn: 150,
  startRounds: 5,
  memoryRounds: 1,
  queued: 1_000,
  drainRounds: 1,
  open: 10_000,
  recoveryRounds: 1,
};

const MEASURES = {
  calls: measureCalls,
  startup: measureStartup,
  memory: measureMemory,
  sessions: measureSessions,
  drain: measureDrain,
  recovery: measureRecovery,
};
/** What can be measured without Holdfast, to see what the bench itself costs. */
const WITHOUT_HOLDFAST = ["calls", "startup", "memory"];

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        baseline: { type: "boolean", default: false },
        only: { type: "string" },
        lanes: { type: "string" },
        folder: { type: "string" },
      },
    });
    const only = values.only?.split(",") ?? Object.keys(MEASURES);
    const unknown = only.find((name) => !(name in MEASURES));
    if (unknown !== undefined)
      throw new Error(`--only ${unknown}: expected some of ${Object.keys(MEASURES).join(", ")}`);
    const lanes = values.lanes?.split(",") ?? LANES;
    const strange = lanes.find((lane) => !LANES.includes(lane));
    if (strange !== undefined)
      throw new Error(`--lanes ${strange}: expected some of ${LANES.join(", ")}`);
    return { ...values, only, lanes };
  } catch (error) {
    process.stderr.write(`bench: ${error.message}\n`);
    process.exit(2);
  }
}

async function main() {
  const options = readOptions();
  const withHoldfast = !options.baseline;
  if (withHoldfast && !isBuilt())
    throw new Error("dist/app/cli.js is not there: run `npm run build` first");
  const say = (what) => process.stderr.write(`bench: ${what}\n`);
  const setup = { ...(options.quick ? QUICK : FULL), withHoldfast, lanes: options.lanes };
  const folder = makeFolder(options.folder);
  const found = {
    machine: {
      node: process.version,
      cpus: cpus().length,
      model: cpus()[0]?.model,
      fsyncMs: fsyncMs(folder),
      isQuick: options.quick,
    },
  };
  for (const name of options.only) {
    if (!withHoldfast && !WITHOUT_HOLDFAST.includes(name)) continue;
    found[name] = await MEASURES[name](folder, setup, say);
  }
  if (options.json)
    process.stdout.write(`${JSON.stringify({ ...found, lines: linesOf(found) }, null, 2)}\n`);
  else if (withHoldfast) print(found);
  else process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
}

try {
  await main();
  process.exit(0);
} catch (error) {
  process.stderr.write(`bench: could not measure: ${error.stack}\n`);
  process.exit(1);
}
