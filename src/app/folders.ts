/**
 * Where state, cache and control sockets live, on every platform.
 *
 * Sockets live below the state folder and not in `$XDG_RUNTIME_DIR`: many clients start us with a
 * trimmed environment, and a person's `holdfast status` must look where the proxy listens.
 */
import { chmodSync, lstatSync } from "node:fs";
import { createHash } from "node:crypto";
import { isAbsolute, join } from "node:path";
import { ConfigError } from "../base/errors.ts";
import { makeLastingFolder } from "../store/layout.ts";
import type { Folders } from "./options.ts";

/** What the operating system says about this process. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly home: string;
  readonly tmpdir: string;
  /** Undefined on Windows. */
  readonly uid: number | undefined;
  readonly pid: number;
}

/** Bytes of the longest socket path that works everywhere (macOS takes 103). */
const SOCKET_PATH_MAX_BYTES = 100;
const LONGEST_SOCKET_NAME = "/4294967295.sock";

function platformFolders(around: Surroundings): { state: string; cache: string } {
  const { env, home } = around;
  // The XDG specification says that a relative path must be ignored.
  const xdg = (name: string, otherwise: string) => {
    const value = env[name];
    return value !== undefined && isAbsolute(value) ? value : join(home, otherwise);
  };
  switch (around.platform) {
    case "darwin":
      return {
        state: join(home, "Library", "Application Support", "holdfast"),
        cache: join(home, "Library", "Caches", "holdfast"),
      };
    case "win32": {
      const base = join(env["LOCALAPPDATA"] ?? join(home, "AppData", "Local"), "holdfast");
      return { state: join(base, "state"), cache: join(base, "cache") };
    }
    default:
      return {
        state: join(xdg("XDG_STATE_HOME", ".local/state"), "holdfast"),
        cache: join(xdg("XDG_CACHE_HOME", ".cache"), "holdfast"),
      };
  }
}

/** Where a user's own configuration file lives. */
export function configFolder(around: Surroundings): string {
  const { env, home } = around;
  if (around.platform === "darwin" && env["XDG_CONFIG_HOME"] === undefined) {
    return join(home, ".config", "holdfast");
  }
  if (around.platform === "win32") {
    return join(env["APPDATA"] ?? join(home, "AppData", "Roaming"), "holdfast");
  }
  const value = env["XDG_CONFIG_HOME"];
  return join(value !== undefined && isAbsolute(value) ? value : join(home, ".config"), "holdfast");
}

/** A state folder given by hand takes the cache with it, unless that is given too. */
export function resolveFolders(
  given: { readonly stateDir: string | undefined; readonly cacheDir: string | undefined },
  around: Surroundings,
): Folders {
  const usual = platformFolders(around);
  const state = given.stateDir ?? usual.state;
  const besides = given.stateDir === undefined ? usual.cache : join(state, "cache");
  return { state, cache: given.cacheDir ?? besides, run: runFolder(state, around) };
}

function runFolder(state: string, around: Surroundings): string {
  const usual = join(state, "run");
  const fits = (folder: string) =>
    Buffer.byteLength(folder) + LONGEST_SOCKET_NAME.length < SOCKET_PATH_MAX_BYTES;
  if (around.platform === "win32" || fits(usual)) return usual;
  const short = join(
    `holdfast-${String(around.uid ?? 0)}`,
    createHash("sha256").update(state).digest("hex").slice(0, 12),
  );
  const inTmpdir = join(around.tmpdir, short);
  return fits(inTmpdir) ? inTmpdir : join("/tmp", short);
}

const pipeFolder = (run: string) =>
  `\\\\.\\pipe\\holdfast-${createHash("sha256").update(run).digest("hex").slice(0, 16)}-`;

/** Where the process `pid` listens for commands: a socket file, or a named pipe on Windows. */
export function controlPath(run: string, pid: number, platform: NodeJS.Platform): string {
  return platform === "win32"
    ? `${pipeFolder(run)}${String(pid)}`
    : join(run, `${String(pid)}.sock`);
}

/** The paths among `names` (a listing of the folder, or of `\\.\pipe\`) that are control paths. */
export function controlPathsIn(
  run: string,
  names: readonly string[],
  platform: NodeJS.Platform,
): string[] {
  if (platform !== "win32") {
    return names.filter((name) => /^\d+\.sock$/.test(name)).map((name) => join(run, name));
  }
  const prefix = pipeFolder(run).slice("\\\\.\\pipe\\".length);
  return names.filter((name) => name.startsWith(prefix)).map((name) => `\\\\.\\pipe\\${name}`);
}

/**
 * Makes a private folder (0700) if it is missing. Throws `ConfigError` if it cannot be made, or if it
 * is a link or another user's: in a shared temporary folder somebody may have put it there for us.
 */
export function ensureFolder(path: string, around: Surroundings): void {
  try {
    makeLastingFolder(path);
    if (around.uid === undefined) return;
    const found = lstatSync(path);
    const isShared = path.includes(`holdfast-${String(around.uid)}`);
    if (isShared && (found.isSymbolicLink() || found.uid !== around.uid)) {
      throw new Error("it belongs to somebody else");
    }
    if ((found.mode & 0o077) !== 0 && found.uid === around.uid && !found.isSymbolicLink()) {
      chmodSync(path, 0o700);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(
      `${path} cannot be used as a folder: ${why}. Choose another with --state-dir or HOLDFAST_STATE_DIR`,
    );
  }
}
