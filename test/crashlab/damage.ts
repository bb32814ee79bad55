/**
 * Damage to the files of a journal while nobody has it open: what media, copying tools, backups and
 * people do to files. Each kind gives so many cases, spread over the file it concerns.
 */
import { randomFrom } from "../support/random.ts";

/** The files of a journal at one instant; undefined: there is none. */
export interface Files {
  readonly db: Buffer;
  readonly wal: Buffer | undefined;
  readonly mark: Buffer | undefined;
}

export interface Damage {
  readonly kind: string;
  /** What makes it again. */
  readonly where: string;
  readonly files: Files;
}

export interface Sources {
  /** Sound. */
  readonly files: Files;
  /** The same journal some time before. */
  readonly older: Files;
  /** Another journal. */
  readonly other: Files;
}

const PAGE_BYTES = 4096;
const WAL_HEAD_BYTES = 32;
const FRAME_BYTES = 24 + PAGE_BYTES;

type Changed = (copy: Buffer) => Buffer | undefined;

/** Numbers from `first` below `end`, at most `count` of them, evenly spread. */
function spread(first: number, end: number, count: number): number[] {
  const step = Math.max(1, (end - first) / count);
  const places: number[] = [];
  for (let at = first; at < end; at += step) places.push(Math.floor(at));
  return places;
}

function flip(place: number, bit: number): Changed {
  return (copy) => {
    copy[place] = (copy[place] ?? 0) ^ (1 << bit);
    return copy;
  };
}

const fill =
  (from: number, to: number, random?: () => number): Changed =>
  (copy) => {
    for (let at = from; at < Math.min(to, copy.length); at++)
      copy[at] = random === undefined ? 0 : Math.floor(random() * 256);
    return copy;
  };

const cut =
  (size: number): Changed =>
  (copy) =>
    copy.subarray(0, size);

const append =
  (bytes: number, random: () => number): Changed =>
  (copy) =>
    fill(copy.length, copy.length + bytes, random)(Buffer.concat([copy, Buffer.alloc(bytes)]));

const swap =
  (a: number, b: number): Changed =>
  (copy) => {
    const kept = Buffer.from(copy.subarray(a * PAGE_BYTES, (a + 1) * PAGE_BYTES));
    copy.copy(copy, a * PAGE_BYTES, b * PAGE_BYTES, (b + 1) * PAGE_BYTES);
    kept.copy(copy, b * PAGE_BYTES);
    return copy;
  };

/** `each`: at most so many cases of a kind. Deterministic by seed. */
export function* damages(sources: Sources, each: number, seed: number): Generator<Damage> {
  const random = randomFrom(seed);
  const { files } = sources;
  for (const part of ["db", "wal", "mark"] as const) {
    const sound = files[part];
    if (sound === undefined) continue;
    for (const { kind, where, change } of changesOf(part, sound, each, random)) {
      const changed = change(Buffer.from(sound));
      yield { kind: `${part}: ${kind}`, where, files: { ...files, [part]: changed } };
    }
  }
  yield* stalePages(sources, each);
  yield* strangers(sources);
}

interface Change {
  readonly kind: string;
  readonly where: string;
  readonly change: Changed;
}

function* changesOf(
  part: keyof Files,
  sound: Buffer,
  each: number,
  random: () => number,
): Generator<Change> {
  const size = sound.length;
  const below = (limit: number) => Math.floor(random() * limit);
  for (const at of spread(0, size, each * 4)) {
    const place = at + below(Math.max(1, Math.min(size - at, size / each / 4)));
    const bit = below(8);
    yield { kind: "a flipped bit", where: `${place}.${bit}`, change: flip(place, bit) };
  }
  yield* cuts(part, size, each, below);
  for (const bytes of [1, 512, PAGE_BYTES, 3 * PAGE_BYTES + 17])
    yield { kind: "garbage after its end", where: `${bytes}`, change: append(bytes, random) };
  yield { kind: "its head zeroed", where: "100", change: fill(0, 100) };
  yield { kind: "all zeroed", where: "all", change: fill(0, size) };
  yield { kind: "all garbage", where: "all", change: fill(0, size, random) };
  if (part === "mark") return;
  for (const at of spread(0, size, each)) {
    const from = at - (at % 512);
    yield { kind: "a sector zeroed", where: `${from}`, change: fill(from, from + 512) };
    yield { kind: "a sector of garbage", where: `${from}`, change: fill(from, from + 512, random) };
  }
  if (part !== "db") return;
  const pages = Math.floor(size / PAGE_BYTES);
  for (const at of spread(1, pages, each)) {
    const other = 1 + below(pages - 1);
    if (other !== at)
      yield { kind: "two pages swapped", where: `${at} ${other}`, change: swap(at, other) };
  }
}

/** At every boundary of pages or frames, if there is room for all, and elsewhere. */
function* cuts(
  part: keyof Files,
  size: number,
  each: number,
  below: (limit: number) => number,
): Generator<Change> {
  const first = part === "wal" ? WAL_HEAD_BYTES : 0;
  const unit = part === "wal" ? FRAME_BYTES : PAGE_BYTES;
  const boundaries = Math.ceil((size - first) / unit);
  const whole = spread(0, boundaries, each * 2).map((number) => first + number * unit);
  for (const at of whole) yield { kind: "cut at a boundary", where: `${at}`, change: cut(at) };
  for (let i = 0; i < each; i++) {
    const at = below(size);
    yield { kind: "cut anywhere", where: `${at}`, change: cut(at) };
  }
  yield { kind: "empty", where: "0", change: cut(0) };
  if (part !== "db") yield { kind: "gone", where: "all", change: () => undefined };
}

/** A write that the disk forgot: a page as it was some time before. */
function* stalePages({ files, older }: Sources, each: number): Generator<Damage> {
  const pages = Math.floor(Math.min(files.db.length, older.db.length) / PAGE_BYTES);
  const differ = spread(0, pages, pages).filter((at) => {
    const [from, to] = [at * PAGE_BYTES, (at + 1) * PAGE_BYTES];
    return !files.db.subarray(from, to).equals(older.db.subarray(from, to));
  });
  for (const number of spread(0, differ.length, each)) {
    const at = differ[number] ?? 0;
    const db = Buffer.from(files.db);
    older.db.copy(db, at * PAGE_BYTES, at * PAGE_BYTES, (at + 1) * PAGE_BYTES);
    yield { kind: "db: a stale page", where: `${at}`, files: { ...files, db } };
  }
}

function* strangers({ files, older, other }: Sources): Generator<Damage> {
  const cases: readonly [string, Partial<Files>][] = [
    ["an older db, its WAL gone", { db: older.db, wal: undefined }],
    ["an older db and WAL", { db: older.db, wal: older.wal }],
    ["an older db under this WAL", { db: older.db }],
    ["this db under an older WAL", { wal: older.wal }],
    ["another db", { db: other.db }],
    ["another db and WAL", { db: other.db, wal: other.wal }],
    ["the WAL of another db", { wal: other.wal }],
    ["an older mark", { mark: older.mark }],
    ["the mark of another db", { mark: other.mark }],
  ];
  for (const [kind, changed] of cases) yield { kind, where: "", files: { ...files, ...changed } };
}
