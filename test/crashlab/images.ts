/** Power is lost at many instants of a recorded run, and each time the store has to make good its word. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorText } from "../../src/base/errors.ts";
import { randomFrom } from "../support/random.ts";
import { Disk, MODES } from "./disk.ts";
import type { Mode, Naming } from "./disk.ts";
import { History } from "./history.ts";
import { judge } from "./judge.ts";
import type { Judgement } from "./judge.ts";
import type { StoreRun } from "./record.ts";
import { reopen } from "./reopen.ts";
import type { ReopenOptions } from "./reopen.ts";
import { isOfDisk } from "./trace.ts";
import type { TraceRecord } from "./trace.ts";

/** An image and what is wrong with it. */
export interface Finding extends Judgement {
  /** Seed, instant, mode: what makes the image again. */
  readonly image: string;
}

export interface ImageFigures {
  readonly images: number;
  readonly byMode: Readonly<Record<Mode, number>>;
  /** Calls, sessions and facts that were promised and lost, over all images. */
  readonly lost: number;
  readonly corrupt: number;
  /** Images with anything lost. */
  readonly losing: number;
  /** The longest WAL of the runs: beyond its bound it is written again from its beginning. */
  readonly walPeakBytes: number;
  /** The first of them. */
  readonly findings: readonly Finding[];
  readonly seconds: number;
}

export interface ImageOptions extends Pick<ReopenOptions, "driver" | "upstream"> {
  readonly images: number;
  readonly seed: number;
  readonly now: number;
  readonly dropsDelivered: boolean;
  /** A folder for images, preferably in memory. */
  readonly place: string;
}

export interface Instant {
  /** Everything before this record has happened. */
  readonly at: number;
  readonly mode: Mode;
  readonly naming: Naming;
  readonly seed: number;
}

/** So many findings are kept in words. */
const FINDINGS_MAX = 20;

export function runImages(run: StoreRun, options: ImageOptions): ImageFigures {
  const startedAt = performance.now();
  const history = new History(run.asked, options.dropsDelivered);
  const byMode: Record<Mode, number> = {
    drop: 0,
    prefix: 0,
    "all but last": 0,
    sectors: 0,
    garbage: 0,
  };
  const figures = { lost: 0, corrupt: 0, losing: 0, findings: [] as Finding[] };
  const disk = new Disk(run.folder);
  let done = 0;
  for (const instant of instants(run.records, options)) {
    for (; done < instant.at; done++) applyIfOfDisk(disk, run.records[done]);
    const judgement = tryImage(disk, instant, history, run, options);
    byMode[instant.mode]++;
    figures.lost += judgement.lost.length;
    figures.corrupt += judgement.corrupt.length;
    if (judgement.lost.length > 0) figures.losing++;
    if (judgement.lost.length + judgement.corrupt.length > 0)
      if (figures.findings.length < FINDINGS_MAX)
        figures.findings.push({ ...judgement, image: JSON.stringify(instant) });
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const walPeakBytes = walPeakOf(run.records);
  return { images: options.images, byMode, ...figures, walPeakBytes, seconds };
}

function walPeakOf(records: readonly TraceRecord[]): number {
  const wals = new Set<number>();
  let peak = 0;
  for (const { kind, fd, path, offset, bytes } of records) {
    if (kind === "opened" && path.endsWith("-wal")) wals.add(fd);
    else if (kind === "opened") wals.delete(fd);
    if (kind === "written" && wals.has(fd)) peak = Math.max(peak, offset + bytes.length);
  }
  return peak;
}

function applyIfOfDisk(disk: Disk, record: TraceRecord | undefined): void {
  if (record !== undefined && isOfDisk(record)) disk.apply(record);
}

/** In order of time. Modes take turns; one name in four is treated as POSIX allows. */
export function instants(
  records: readonly TraceRecord[],
  options: Pick<ImageOptions, "images" | "seed">,
): Instant[] {
  const random = randomFrom(options.seed);
  const places = records.flatMap((record, at) => (isOfDisk(record) ? [at] : []));
  const made = Array.from({ length: options.images }, (_, number): Instant => {
    const mode = MODES[number % MODES.length] ?? "drop";
    const naming: Naming = random() < 0.25 ? "posix" : "journalled";
    const at = (places[Math.floor(random() * places.length)] ?? 0) + 1;
    return { at, mode, naming, seed: Math.floor(random() * 2 ** 31) };
  });
  return made.sort((a, b) => a.at - b.at);
}

function tryImage(
  disk: Disk,
  instant: Instant,
  history: History,
  run: StoreRun,
  options: ImageOptions,
): Judgement {
  const target = join(options.place, "image");
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  disk.writeImage(target, { ...instant, random: randomFrom(instant.seed) });
  const order = run.records[instant.at]?.order ?? Infinity;
  try {
    const reopened = reopen({ ...options, folder: join(target, "state") });
    return judge(history, history.spanAt(order, "power"), reopened, options.now);
  } catch (error) {
    return { lost: [], corrupt: [`could not be opened: ${errorText(error)}`] };
  }
}
