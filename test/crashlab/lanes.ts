/**
 * The lanes of the crash lab: each takes a folder of its own and gives figures, or says why it can't run
 * on this machine. `main.ts` runs them at length, `test/store/crashlab.test.ts` briefly.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { loadDriver } from "../../src/store/sqlite/connection.ts";
import type { Durability } from "../../src/store/sqlite/protocol.ts";
import { runFaults } from "./faults.ts";
import type { FaultFigures } from "./faults.ts";
import { History } from "./history.ts";
import { runImages } from "./images.ts";
import type { ImageFigures } from "./images.ts";
import { filesAt, newRow, runMutations } from "./mutations.ts";
import type { MutationFigures } from "./mutations.ts";
import { runProxyImages } from "./proxy-images.ts";
import type { ProxyFigures } from "./proxy-images.ts";
import { runProxyFaults } from "./proxy-faults.ts";
import type { ProxyFaultFigures } from "./proxy-faults.ts";
import { recordProxy } from "./proxy-run.ts";
import { recordStore } from "./record.ts";
import { STARTED_AT } from "./work.ts";

const UPSTREAM = "a".repeat(64);
/** When images are recovered, by the clock of the workload: some deadlines have passed, others not. */
const NOW = STARTED_AT + 30_000;
const IMAGES_PER_RUN = 1_000;

export interface Lab {
  /** Lives as long as the lab, best in memory. */
  readonly place: string;
  /** The library that stands before the disk. */
  readonly shim: string;
  readonly seed: number;
}

let folders = 0;
function emptyFolder(lab: Lab): string {
  const folder = join(lab.place, `lane${++folders}`);
  mkdirSync(folder);
  return folder;
}

/** Power cuts under the store. `durability` other than `full` must lose: that proves the lane. */
export async function storeImages(
  lab: Lab,
  images: number,
  durability: Durability = "full",
): Promise<ImageFigures> {
  const driver = await loadDriver();
  const all: ImageFigures[] = [];
  for (let done = 0; done < images; done += IMAGES_PER_RUN) {
    const seed = lab.seed + all.length;
    const place = emptyFolder(lab);
    const dropsDelivered = all.length % 2 === 0;
    const work = { seed, calls: 220, actors: 8, payloadMax: 200_000 };
    const run = await recordStore(lab.shim, place, { ...work, durability, dropsDelivered });
    const count = Math.min(IMAGES_PER_RUN, images - done);
    const options = { driver, upstream: UPSTREAM, now: NOW, dropsDelivered, place };
    all.push(runImages(run, { ...options, images: count, seed }));
  }
  return sumOf(all);
}

function sumOf(all: readonly ImageFigures[]): ImageFigures {
  const sum = (value: (figures: ImageFigures) => number) =>
    all.reduce((total, figures) => total + value(figures), 0);
  return {
    images: sum(({ images }) => images),
    byMode: {
      drop: sum(({ byMode }) => byMode.drop),
      prefix: sum(({ byMode }) => byMode.prefix),
      "all but last": sum(({ byMode }) => byMode["all but last"]),
      sectors: sum(({ byMode }) => byMode.sectors),
      garbage: sum(({ byMode }) => byMode.garbage),
    },
    lost: sum(({ lost }) => lost),
    corrupt: sum(({ corrupt }) => corrupt),
    losing: sum(({ losing }) => losing),
    walPeakBytes: Math.max(...all.map(({ walPeakBytes }) => walPeakBytes)),
    findings: all.flatMap(({ findings }) => findings),
    seconds: sum(({ seconds }) => seconds),
  };
}

/** Power cuts under the real proxy; of so many images a real proxy makes what it can. */
export async function proxyImages(
  lab: Lab,
  images: number,
  restarts: number,
): Promise<ProxyFigures> {
  const run = await recordProxy(lab.shim, emptyFolder(lab));
  const driver = await loadDriver();
  return runProxyImages(run, {
    driver,
    images,
    restarts,
    seed: lab.seed,
    place: emptyFolder(lab),
  });
}

/** Calls to the disk that fail. 1: each in its turn. */
export function faults(lab: Lab, stride: number, threadStride: number): Promise<FaultFigures> {
  const options = { seed: lab.seed, calls: 10, stride, threadStride };
  return runFaults(lab.shim, emptyFolder(lab), options);
}

/** The same under the real proxy. `at`: which calls to the disk fail. */
export const proxyFaults = (lab: Lab, at: readonly number[]): Promise<ProxyFaultFigures> =>
  runProxyFaults(lab.shim, emptyFolder(lab), at);

/** Damaged files, at most so many of a kind: of a journal that was killed, and of one that was closed. */
export async function mutations(lab: Lab, each: number): Promise<MutationFigures> {
  const driver = await loadDriver();
  const work = { calls: 120, actors: 4, payloadMax: 20_000, dropsDelivered: true } as const;
  const record = (seed: number) =>
    recordStore(lab.shim, emptyFolder(lab), { ...work, seed, durability: "full" });
  const [run, stranger] = [await record(lab.seed), await record(lab.seed + 1)];
  const history = new History(run.asked, work.dropsDelivered);
  const other = filesAt(stranger, Math.floor(stranger.records.length * 0.9), UPSTREAM);
  const place = emptyFolder(lab);
  const all = [0.45, 0.9, 1].map((share) => {
    const count = Math.floor(run.records.length * share);
    const span = history.spanAt(run.records[count]?.order ?? Infinity, "power");
    const sources = {
      files: filesAt(run, count, UPSTREAM),
      older: filesAt(run, Math.floor(count * 0.7), UPSTREAM),
      other,
    };
    const options = { driver, upstream: UPSTREAM, history, span, now: NOW, place };
    return runMutations(sources, {
      ...options,
      each,
      dropsDelivered: work.dropsDelivered,
      seed: lab.seed,
    });
  });
  return joined(all);
}

function joined(all: readonly MutationFigures[]): MutationFigures {
  const table: MutationFigures["table"] = {};
  for (const figures of all) {
    for (const [kind, row] of Object.entries(figures.table)) {
      const sum = (table[kind] ??= newRow());
      for (const [notice, count] of Object.entries(row)) sum[notice as keyof typeof sum] += count;
    }
  }
  return {
    count: all.reduce((total, { count }) => total + count, 0),
    missed: all.reduce((total, { missed }) => total + missed, 0),
    table,
    findings: all.flatMap(({ findings }) => findings),
  };
}
