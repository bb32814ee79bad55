/**
 * A disk as a machine leaves it that loses power: fed with a trace, it knows at every instant what has
 * reached the platter and what may have, and makes images of what could be found afterwards.
 *
 * What is modelled:
 * - Bytes: what was written to a file is certain once the file was synced after it. Until then each
 *   512-byte sector may be there or not, whatever became of earlier ones (`sectors`), or hold anything
 *   (`garbage`); the size is what the sectors that are there need. Sectors outside of what was written
 *   keep what they had (SQLite calls this power-safe overwrite and relies on it).
 * - Names: a file or folder that was made, renamed or unlinked is so for certain once its folder was
 *   synced. Until then each step may or may not have happened (`posix`); or, as on ext4, XFS and btrfs,
 *   steps happen in order and the syncing of any file carries all before it (`journalled`).
 * - The shared memory of a WAL is nothing that a machine keeps: absent, or garbage.
 *
 * Not modelled: disks that lie about a sync; damage to what was synced (that is what mutations are for).
 */
import { constants, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { TraceRecord } from "./trace.ts";

export const MODES = ["drop", "prefix", "all but last", "sectors", "garbage"] as const;
export type Mode = (typeof MODES)[number];
export const NAMINGS = ["journalled", "posix"] as const;
export type Naming = (typeof NAMINGS)[number];

const SECTOR_BYTES = 512;

interface Step {
  readonly order: number;
  /** The offset of a write, the new size of a truncation. */
  readonly at: number;
  /** Undefined for a truncation. */
  readonly bytes: Buffer | undefined;
}

/** Grows by doubling: a file is written to many times. */
class Content {
  #bytes: Buffer;
  size: number;

  constructor(from?: Content) {
    this.size = from?.size ?? 0;
    this.#bytes = from === undefined ? Buffer.alloc(4096) : Buffer.from(from.bytes());
  }

  write(at: number, bytes: Buffer): void {
    const end = at + bytes.length;
    if (end > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(end, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.size);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, at);
    this.size = Math.max(this.size, end);
  }

  truncate(size: number): void {
    if (size < this.size) this.#bytes.fill(0, size, this.size);
    else this.write(size, Buffer.alloc(0));
    this.size = size;
  }

  apply({ at, bytes }: Step): void {
    if (bytes === undefined) this.truncate(at);
    else this.write(at, bytes);
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.size);
  }
}

interface Inode {
  readonly isFolder: boolean;
  readonly synced: Content;
  /** Not synced yet, in order. */
  readonly steps: Step[];
}

interface NameStep {
  readonly path: string;
  /** Undefined: the name is gone. */
  readonly inode: Inode | undefined;
}

/** What the folders hold: for certain, and perhaps. */
class Names {
  readonly #naming: Naming;
  readonly #synced = new Map<string, Inode>();
  #steps: NameStep[] = [];

  constructor(naming: Naming) {
    this.#naming = naming;
  }

  add(step: NameStep): void {
    this.#steps.push(step);
  }

  /** A file or folder was synced. */
  sync(path: string): void {
    const isCarried = (step: NameStep) =>
      this.#naming === "journalled" || dirname(step.path) === path;
    for (const step of this.#steps) if (isCarried(step)) settle(this.#synced, step);
    this.#steps = this.#steps.filter((step) => !isCarried(step));
  }

  found({ mode, random }: ImageOptions): Map<string, Inode> {
    const names = new Map(this.#synced);
    if (mode === "drop") return names;
    const count = Math.floor(random() * (this.#steps.length + 1));
    for (const [at, step] of this.#steps.entries())
      if (this.#naming === "posix" ? random() < 0.5 : at < count) settle(names, step);
    return names;
  }
}

export interface ImageOptions {
  readonly mode: Mode;
  readonly naming: Naming;
  readonly random: () => number;
}

export class Disk {
  readonly #folder: string;
  /** As the process sees them. */
  readonly #seen = new Map<string, Inode>();
  readonly #names = { journalled: new Names("journalled"), posix: new Names("posix") };
  readonly #openFiles = new Map<number, { path: string; inode: Inode }>();

  /** `folder` is there, and was before the trace began. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  apply(record: TraceRecord): void {
    const open = this.#openFiles.get(record.fd);
    switch (record.kind) {
      case "opened":
        this.#open(record);
        break;
      case "closed":
        this.#openFiles.delete(record.fd);
        break;
      case "written":
        open?.inode.steps.push({ order: record.order, at: record.offset, bytes: record.bytes });
        break;
      case "truncated":
        open?.inode.steps.push({ order: record.order, at: record.offset, bytes: undefined });
        break;
      case "synced":
        if (open !== undefined) this.#sync(open.path, open.inode);
        break;
      case "made_folder":
        this.#name(record.path, newInode(true));
        break;
      case "unlinked":
        this.#name(record.path, undefined);
        break;
      case "linked":
      case "renamed": {
        const inode = this.#seen.get(record.path);
        this.#name(record.bytes.toString(), inode);
        if (record.kind === "renamed") this.#name(record.path, undefined);
        break;
      }
      default:
    }
  }

  #open({ fd, order, path, offset: flags }: TraceRecord): void {
    let inode = this.#seen.get(path);
    if (inode === undefined) {
      const isFolder = (flags & constants.O_CREAT) === 0;
      inode = newInode(isFolder);
      // A folder that was there before the trace, such as the lab's own, has its name already.
      if (!isFolder) this.#name(path, inode);
    } else if ((flags & constants.O_TRUNC) !== 0) {
      inode.steps.push({ order, at: 0, bytes: undefined });
    }
    this.#openFiles.set(fd, { path, inode });
  }

  #name(path: string, inode: Inode | undefined): void {
    if (inode === undefined) this.#seen.delete(path);
    else this.#seen.set(path, inode);
    for (const naming of NAMINGS) this.#names[naming].add({ path, inode });
  }

  #sync(path: string, inode: Inode): void {
    for (const step of inode.steps) inode.synced.apply(step);
    inode.steps.length = 0;
    for (const naming of NAMINGS) this.#names[naming].sync(path);
  }

  /** A file as the process sees it. */
  read(path: string): Buffer | undefined {
    const inode = this.#seen.get(path);
    if (inode === undefined) return undefined;
    const content = new Content(inode.synced);
    for (const step of inode.steps) content.apply(step);
    return Buffer.from(content.bytes());
  }

  /** Writes what could be found after a power cut now into a folder that is empty. */
  writeImage(target: string, options: ImageOptions): void {
    const names = this.#names[options.naming].found(options);
    const cut = this.#cut(options);
    for (const [path, inode] of [...names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const place = join(target, path.slice(this.#folder.length));
      if (!isReachable(path, this.#folder, names)) continue;
      if (inode.isFolder) mkdirSync(place);
      else if (!path.endsWith("-shm")) writeFileSync(place, found(inode, options, cut));
      else if (options.mode === "garbage") writeFileSync(place, garbage(32_768, options.random));
    }
  }

  /** The order of the last step that is there, where the mode is about order. */
  #cut({ mode, random }: ImageOptions): number {
    const orders = [...this.#seen.values()]
      .flatMap((inode) => inode.steps.map(({ order }) => order))
      .sort((a, b) => a - b);
    const last = orders.length - 1;
    if (mode === "all but last") return orders[last - 1] ?? 0;
    return orders[Math.floor(random() * orders.length)] ?? 0;
  }
}

const newInode = (isFolder: boolean): Inode => ({ isFolder, synced: new Content(), steps: [] });

function settle(names: Map<string, Inode>, { path, inode }: NameStep): void {
  if (inode === undefined) names.delete(path);
  else names.set(path, inode);
}

/** Whether every folder above it is there, too. */
function isReachable(path: string, root: string, names: ReadonlyMap<string, Inode>): boolean {
  for (let above = dirname(path); above.length > root.length; above = dirname(above))
    if (!names.has(above)) return false;
  return true;
}

/** What may be found in a file. */
function found(inode: Inode, { mode, random }: ImageOptions, cut: number): Buffer {
  if (mode === "drop" || inode.steps.length === 0) return inode.synced.bytes();
  const content = new Content(inode.synced);
  const chance = [0.1, 0.5, 0.9][Math.floor(random() * 3)] ?? 0.5;
  for (const step of inode.steps) {
    if (step.bytes === undefined) {
      if (step.order <= cut && (isOrdered(mode) || random() < chance)) content.apply(step);
    } else if (isOrdered(mode)) {
      if (step.order <= cut) content.apply(step);
    } else {
      writeSectors(content, step.at, step.bytes, { mode, random, chance });
    }
  }
  return content.bytes();
}

const isOrdered = (mode: Mode): boolean => mode === "prefix" || mode === "all but last";

function writeSectors(
  content: Content,
  at: number,
  bytes: Buffer,
  { mode, random, chance }: { mode: Mode; random: () => number; chance: number },
): void {
  for (let from = 0; from < bytes.length;) {
    const to = Math.min(bytes.length, from + SECTOR_BYTES - ((at + from) % SECTOR_BYTES));
    if (random() < chance) content.write(at + from, bytes.subarray(from, to));
    else if (mode === "garbage" && random() < 0.3)
      content.write(at + from, garbage(to - from, random));
    from = to;
  }
}

function garbage(length: number, random: () => number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = Math.floor(random() * 256);
  return bytes;
}
