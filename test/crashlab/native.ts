/** Builds the library that stands between a process and its disk, and puts it before a process. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { errorText } from "../../src/base/errors.ts";

const SOURCE = fileURLToPath(new URL("native/crashlab.c", import.meta.url));

/** The built library, or why there is none, in words for the figures. */
export type Native =
  | { readonly isThere: true; readonly path: string }
  | { readonly isThere: false; readonly reason: string };

/** `folder` is where the library goes; it lives as long as the folder. */
export function buildNative(folder: string): Native {
  if (process.platform !== "linux")
    return { isThere: false, reason: `LD_PRELOAD wants Linux, this is ${process.platform}` };
  const path = join(folder, "crashlab.so");
  const args = ["-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-o", path, SOURCE];
  try {
    execFileSync("gcc", [...args, "-ldl", "-lpthread"], { stdio: ["ignore", "ignore", "pipe"] });
    return { isThere: true, path };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      return { isThere: false, reason: "there is no gcc" };
    throw new Error(`the library of the crash lab can't be built: ${errorText(error)}`, {
      cause: error,
    });
  }
}

export interface Preload {
  /** Only what is under it is traced and fails. Absolute. */
  readonly folder: string;
  readonly trace?: string;
  /** `KIND/HOW/N/COUNT`, see `native/crashlab.c`. */
  readonly fail?: string;
  readonly slowMs?: number;
}

/** What puts the library before a process that is started with this environment. */
export function preloaded(library: string, preload: Preload): Record<string, string> {
  return {
    LD_PRELOAD: library,
    CRASHLAB_FOLDER: preload.folder,
    ...(preload.trace === undefined ? {} : { CRASHLAB_TRACE: preload.trace }),
    ...(preload.fail === undefined ? {} : { CRASHLAB_FAIL: preload.fail }),
    ...(preload.slowMs === undefined ? {} : { CRASHLAB_SLOW: String(preload.slowMs) }),
  };
}
