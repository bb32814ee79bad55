/**
 * `npm run crashlab`: what the store and the proxy make of power cuts, failing and full disks, and damaged
 * files. Prints its figures; ends with 1 if anything was lost, wrong or missed, or if a lab that must
 * lose something did not. Runs on Linux as root with gcc; says what it has to leave out elsewhere.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { report } from "./figures.ts";
import type { LabFigures } from "./figures.ts";
import { faults, mutations, proxyFaults, proxyImages, storeImages } from "./lanes.ts";
import type { Lab } from "./lanes.ts";
import { buildNative } from "./native.ts";
import { runTmpfs, tmpfsTrouble } from "./tmpfs.ts";

const HELP = `npm run crashlab -- [options]

  --images N     power-loss images of the store (default 2000); a tenth as many of the proxy
  --seed S       default 1
  --stride N     of the calls to the disk each N-th fails in its turn (default 1: all)
  --each N       damaged files of a kind, at most (default 60)
  --only LANE    images, proxy, faults, tmpfs or mutations
  --json FILE    the figures as JSON
`;

const { values } = parseArgs({
  options: {
    images: { type: "string", default: "2000" },
    seed: { type: "string", default: "1" },
    stride: { type: "string", default: "1" },
    each: { type: "string", default: "60" },
    only: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

async function run(place: string): Promise<LabFigures> {
  const seed = Number(values.seed);
  const images = Number(values.images);
  const skipped: string[] = [];
  const figures: LabFigures = { seed, skipped };
  const isWanted = (lane: string) => values.only === undefined || values.only === lane;
  const native = buildNative(place);
  if (native.isThere) {
    const lab: Lab = { place, shim: native.path, seed };
    if (isWanted("images")) {
      figures.store = await storeImages(lab, images);
      figures.careless = await storeImages(lab, Math.ceil(images / 20), "process");
    }
    if (isWanted("proxy")) figures.proxy = await proxyImages(lab, Math.ceil(images / 10), 20);
    if (isWanted("faults")) {
      figures.faults = await faults(lab, Number(values.stride), 37 * Number(values.stride));
      figures.proxyFaults = await proxyFaults(lab, [1, 5, 12, 25, 40]);
    }
    if (isWanted("mutations")) figures.mutations = await mutations(lab, Number(values.each));
  } else {
    skipped.push(`power cuts, failing disks, damaged files: ${native.reason}`);
  }
  const small = join(place, "tmpfs");
  mkdirSync(small);
  const trouble = tmpfsTrouble(small);
  if (trouble !== undefined) skipped.push(`small disk: ${trouble}`);
  else if (isWanted("tmpfs")) figures.tmpfs = runTmpfs(small);
  return figures;
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  const memory = "/dev/shm";
  const place = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), "holdfast-crashlab-"));
  try {
    const figures = await run(place);
    const { text, isSound } = report(figures);
    process.stdout.write(text);
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify(figures, undefined, 2)}\n`);
    process.exitCode = isSound ? 0 : 1;
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
