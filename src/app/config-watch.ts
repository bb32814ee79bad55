/**
 * Tells when a file has become another one: written over, or replaced by a rename as editors do it. What
 * is watched is its folder, because a watch on a file goes with the file that had the name.
 *
 * CW1. Told once the file is the same at two looks in a row, so that it is not read half written.
 */
import { realpathSync, statSync, watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import { errorText } from "../base/errors.ts";
import type { CancelTimer, World } from "../base/world.ts";
import type { Log } from "../ports.ts";

/** Between an event and a look, and between two looks, ms. */
const LOOK_MS = 100;

export interface ConfigWatchOptions {
  readonly world: World;
  readonly log: Log;
  readonly path: string;
  onChange(): void;
}

/** Returns what stops it. Where nothing can be watched that is logged, and SIGHUP remains. */
export function watchConfig(options: ConfigWatchOptions): () => void {
  const watched = new ConfigWatch(options);
  return () => {
    watched.stop();
  };
}

class ConfigWatch {
  readonly #options: ConfigWatchOptions;
  readonly #watchers: FSWatcher[] = [];
  /** Of the file that was told of last. */
  #told: string;
  #seen: string;
  #stopTimer: CancelTimer | undefined;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#told = stampOf(options.path);
    this.#seen = this.#told;
    for (const folder of foldersOf(options.path)) this.#watch(folder);
  }

  stop(): void {
    this.#stopTimer?.();
    for (const watcher of this.#watchers) watcher.close();
  }

  #watch(folder: string): void {
    const failed = (error: unknown) => {
      this.#options.log("warn", "the configuration is not watched; SIGHUP has it read again", {
        folder,
        cause: errorText(error),
      });
    };
    try {
      const watcher = watch(folder, { persistent: false }, () => {
        this.#lookSoon();
      });
      watcher.on("error", failed);
      this.#watchers.push(watcher);
    } catch (error) {
      failed(error);
    }
  }

  #lookSoon(): void {
    this.#stopTimer ??= this.#options.world.timer(LOOK_MS, () => {
      this.#stopTimer = undefined;
      this.#look();
    });
  }

  #look(): void {
    const stamp = stampOf(this.#options.path);
    if (stamp !== this.#seen) {
      this.#seen = stamp;
      this.#lookSoon();
      return;
    }
    if (stamp === this.#told) return;
    this.#told = stamp;
    this.#options.onChange();
  }
}

/** A file that is a link changes where it points to, too. */
function foldersOf(path: string): ReadonlySet<string> {
  return new Set([dirname(path), dirname(realpathSync(path))]);
}

/** Differs as soon as another file has the name, or it was written to. */
function stampOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch {
    return "not there";
  }
}
