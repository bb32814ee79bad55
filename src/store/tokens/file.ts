/**
 * The file of the tokens, `<state folder>/tokens.json`: read by every listener, changed by the command
 * line and by listeners that note a use.
 *
 * K12. A change is whole or not there at all: a draft beside it, synced, takes its name. Who reads it
 *      needs no lock.
 * K13. Changes come one after another, each made from what the one before left, whichever processes
 *      make them. The lock is free the moment its process ends, so a kill leaves nothing to clean up.
 * K14. What can't be read in full is not read at all, and is never overwritten.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { RefusedError, errorText } from "../../base/errors.ts";
import { syncFolder } from "../layout.ts";
import type { Driver } from "../sqlite/connection.ts";
import type { Lock } from "../sqlite/lock.ts";
import { tryLock } from "../sqlite/lock.ts";
import type { Token } from "./token.ts";

export const TOKENS_VERSION = 1;
const FILE_MAX_BYTES = 16 * 1_048_576;

export const tokensPath = (stateFolder: string): string => join(stateFolder, "tokens.json");
const lockPath = (path: string) => join(dirname(path), "tokens.lock.db");

/** Differs as soon as another file has the name, or the file was written to. */
export type Stamp = string;

export type Loaded =
  | { readonly kind: "read"; readonly tokens: readonly Token[]; readonly stamp: Stamp }
  | { readonly kind: "absent" }
  | { readonly kind: "unreadable"; readonly why: string };

function stampOf(path: string | number): Stamp {
  const found = typeof path === "number" ? fstatSync(path, BIG) : statSync(path, BIG);
  return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join();
}
const BIG = { bigint: true } as const;

const isAbsent = (error: unknown) => (error as NodeJS.ErrnoException).code === "ENOENT";

/** Undefined where there is no file, or none that can be looked at: then `loadTokens` says why. */
export function stampAt(path: string): Stamp | undefined {
  try {
    return stampOf(path);
  } catch {
    return undefined;
  }
}

/** Never throws. */
export function loadTokens(path: string): Loaded {
  try {
    // That there is no file can be seen without a descriptor, of which others may have taken the last.
    statSync(path);
    const file = openSync(path, "r");
    try {
      // Taken from the open file, so that it can't be that of a newer one.
      const stamp = stampOf(file);
      if (fstatSync(file).size > FILE_MAX_BYTES) throw new Error("it is too large");
      return { kind: "read", tokens: parseTokens(readFileSync(file, "utf8")), stamp };
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (isAbsent(error)) return { kind: "absent" };
    return { kind: "unreadable", why: `${path} can't be used: ${errorText(error)}` };
  }
}

/** Throws an `Error` that says what is wrong with the text. */
function parseTokens(text: string): Token[] {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  if (!isRecord(root)) throw new Error("it holds no tokens");
  if (root["version"] !== TOKENS_VERSION) {
    throw new Error(
      `it has version ${JSON.stringify(root["version"])}, this version of Holdfast reads ` +
        `${String(TOKENS_VERSION)}`,
    );
  }
  const entries = root["tokens"];
  if (!Array.isArray(entries)) throw new Error("it holds no tokens");
  const tokens = entries.map((entry, i) => readToken(entry, i));
  if (new Set(tokens.map(({ id }) => id)).size < tokens.length) {
    throw new Error("it holds a token twice");
  }
  return tokens;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isInstant = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

function readToken(entry: unknown, index: number): Token {
  const wrong = (what: string) => new Error(`its token ${String(index + 1)} has no right ${what}`);
  if (!isRecord(entry)) throw wrong("form");
  const { id, name, hash, upstreams, createdAt } = entry;
  if (typeof id !== "string" || !/^t_[0-9a-z]{26}$/.test(id)) throw wrong("id");
  if (!isText(name)) throw wrong("name");
  if (typeof hash !== "string" || !/^[0-9a-f]{64}$/.test(hash)) throw wrong("hash");
  const isList = Array.isArray(upstreams) && upstreams.every(isText);
  if (upstreams !== "all" && !isList) throw wrong("upstreams");
  if (!isInstant(createdAt)) throw wrong("createdAt");
  const instant = (key: string) => {
    const value = entry[key];
    if (value !== undefined && !isInstant(value)) throw wrong(key);
    return value;
  };
  return {
    id,
    name,
    hash,
    upstreams: upstreams as string[] | "all",
    createdAt,
    expiresAt: instant("expiresAt"),
    revokedAt: instant("revokedAt"),
    lastUsedAt: instant("lastUsedAt"),
  };
}

/**
 * Changes the file under its lock. `change` gets the tokens as they are and gives them as they should be
 * (the same array where there is nothing to change); what it throws goes through, and the file stays as it was. Blocks for up to `waitMs` while another
 * process changes it. Throws `RefusedError`, with the file and the reason, where it cannot be done.
 */
export function changeTokens(
  driver: Driver,
  path: string,
  waitMs: number,
  change: (tokens: readonly Token[]) => readonly Token[],
): void {
  const lock = lockOf(driver, path, waitMs);
  try {
    const loaded = loadTokens(path);
    if (loaded.kind === "unreadable") {
      throw new RefusedError(`${loaded.why}. Restore it, or move it away and make all tokens anew`);
    }
    const before = loaded.kind === "read" ? loaded.tokens : [];
    const after = change(before);
    if (after !== before) writeWhole(path, after);
  } finally {
    lock.release();
  }
}

function lockOf(driver: Driver, path: string, waitMs: number): Lock {
  let lock: Lock | undefined;
  try {
    lock = tryLock(driver, lockPath(path), waitMs);
  } catch (error) {
    throw new RefusedError(`${path} can't be locked: ${errorText(error)}`, { cause: error });
  }
  if (lock !== undefined) return lock;
  throw new RefusedError(`${path} is being changed by another process all the time; try again`);
}

function writeWhole(path: string, tokens: readonly Token[]): void {
  // One name is enough under the lock, and a draft that a kill left is replaced.
  const draft = `${path}.draft`;
  const text = `${JSON.stringify({ version: TOKENS_VERSION, tokens }, undefined, 2)}\n`;
  try {
    if (Buffer.byteLength(text) > FILE_MAX_BYTES) throw new Error("it would be too large");
    rmSync(draft, { force: true });
    const file = openSync(draft, "wx", 0o600);
    try {
      writeFileSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    throw new RefusedError(`${path} can't be written: ${errorText(error)}`, { cause: error });
  }
}
