/**
 * Which upstream it is, and under whose credentials. Journals and catalogues carry both digests, so
 * that calls and lists of one account are never used for another.
 *
 * I1. The same target and credentials give the same digests in every process with the same key file.
 * I2. The key is made once; of processes that start at the same instant one makes it, all use it.
 */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { hostname } from "node:os";
import { join } from "node:path";
import type { World } from "../base/world.ts";
import { ConfigError, errorText } from "../base/errors.ts";
import { canonical } from "../core/canonical.ts";
import { syncFolder } from "../store/layout.ts";
import { ensureFolder } from "./folders.ts";
import type { Surroundings } from "./folders.ts";
import type { Identity, Target } from "./options.ts";

const KEY_FILE = "identity.key";
const KEY_PATTERN = /^[0-9a-f]{64}$/;

/** Variables that may say who acts, or on what. */
const TELLING = /KEY|TOKEN|SECRET|PASS|URL|HOST|PROFILE|ACCOUNT/i;
/**
 * They match by their name only: set by shells, terminals and editors, other in every window. With
 * them each window would be another account.
 */
const AMBIENT =
  /^(HOLDFAST_.*|HOSTNAME|.*_?ASKPASS(_.*)?|GNOME_KEYRING_.*|VSCODE_.*|ITERM_PROFILE|KEYTIMEOUT)$/i;

/** The credential- and target-like variables of an environment. */
export function tellingVariables(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => TELLING.test(name) && !AMBIENT.test(name)),
  );
}

export function upstreamDigest(target: Target): string {
  const text =
    target.kind !== "stdio"
      ? target.url
      : JSON.stringify([target.command, target.args, target.cwd]);
  return createHash("sha256").update(text).digest("hex");
}

export function identify(
  target: Target,
  state: string,
  around: Surroundings,
  world: World,
): Identity {
  const key = identityKey(state, around, world);
  const upstream = upstreamDigest(target);
  return {
    upstream,
    catalogue: upstream,
    credentials: world.digest(key.value, canonical(toldBy(target))),
    degraded: key.degraded,
  };
}

/**
 * In `serve` an upstream is its name, whatever stands behind it: a command may get another version. A URL
 * counts with the credentials, so that no call goes to another place than it was accepted for.
 */
export function identifyByName(
  name: string,
  target: Target,
  key: ReturnType<typeof identityKey>,
  world: World,
): Identity {
  const place = target.kind === "stdio" ? [] : [["url", target.url]];
  return {
    upstream: name,
    catalogue: createHash("sha256").update(`serve\0${name}`).digest("hex"),
    credentials: world.digest(key.value, canonical([place, toldBy(target)])),
    degraded: key.degraded,
  };
}

/** What a target tells of who acts, or on what; sorted by name. */
function toldBy(target: Target): readonly (readonly string[])[] {
  const told =
    target.kind !== "stdio"
      ? Object.entries(target.headers).map(([name, value]) => [name.toLowerCase(), value])
      : Object.entries(tellingVariables(target.env));
  return told.sort(([a], [b]) => ((a ?? "") < (b ?? "") ? -1 : 1));
}

/** The key of this state folder. Never throws: without a file it is derived, and that is said. */
export function identityKey(
  state: string,
  around: Surroundings,
  world: World,
): { value: string; degraded: string | undefined } {
  const path = join(state, KEY_FILE);
  try {
    return { value: readKey(path) ?? makeKey(path, state, around, world), degraded: undefined };
  } catch (error) {
    const stable = [hostname(), around.uid ?? -1, around.home, state];
    return {
      value: createHash("sha256").update(JSON.stringify(stable)).digest("hex"),
      degraded: `the key file ${path} cannot be used (${errorText(error)})`,
    };
  }
}

/** Undefined if there is no such file. Throws if it holds something else, or cannot be read. */
function readKey(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (!KEY_PATTERN.test(text)) throw new ConfigError("it does not hold a key; remove it");
  if (process.platform !== "win32" && (statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  return text;
}

function makeKey(path: string, state: string, around: Surroundings, world: World): string {
  ensureFolder(state, around);
  // An id holds 60 random bits; five of them make more than a key of 256.
  const parts = Array.from({ length: 5 }, () => world.newId("key"));
  const key = createHash("sha256").update(parts.join()).digest("hex");
  const draft = join(state, `.${world.newId("key")}.tmp`);
  const file = openSync(draft, "wx", 0o600);
  try {
    writeSync(file, `${key}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  try {
    // A link fails where the name is taken, and shows the whole content or nothing (I2).
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(draft);
  }
  // With another key no call that was accepted under this one would be known again.
  syncFolder(state);
  return readKey(path) ?? key;
}
