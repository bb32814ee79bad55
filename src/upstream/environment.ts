/**
 * The environment of a child: what is handed on, what tells two credentials apart, and what must not
 * show up in an error or a log.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

/** What the official SDK hands to a server when its configuration names nothing. */
const MINIMAL_POSIX = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];
const MINIMAL_WINDOWS = [
  "APPDATA",
  "HOMEDRIVE",
  "HOMEPATH",
  "LOCALAPPDATA",
  "PATH",
  "PROCESSOR_ARCHITECTURE",
  "PROGRAMFILES",
  "SYSTEMDRIVE",
  "SYSTEMROOT",
  "TEMP",
  "USERNAME",
  "USERPROFILE",
];

const CREDENTIAL_NAME = /KEY|TOKEN|SECRET|PASS|URL|HOST|PROFILE|ACCOUNT/i;
const SECRET_NAME = /KEY|TOKEN|SECRET|PASS|CREDENTIAL|COOKIE|_PWD$/i;
/** Settings that are named like secrets: masking their values would blank out ordinary words. */
const PLAIN_WORD = /^(?:true|false|null|none|auto|default)$/i;
const USER_INFO = /:\/\/[^/\s:@]*:([^/\s@]+)@/g;

const SECRET_CHARS_MIN = 4;
/** Shorter lines of a secret of several lines are too common to be masked by themselves. */
const SECRET_LINE_CHARS_MIN = 8;

const MASK = "***";

/** The whole environment but for what configures Holdfast itself. */
export function wrapEnvironment(env: Environment): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && !name.startsWith("HOLDFAST_")) kept[name] = value;
  }
  return kept;
}

/** The SDK's minimal list out of `env`, then everything in `extra`. Shell functions are left out. */
export function minimalEnvironment(
  env: Environment,
  extra: Readonly<Record<string, string>>,
): Record<string, string> {
  const isWindows = process.platform === "win32";
  const wanted = new Set(isWindows ? MINIMAL_WINDOWS : MINIMAL_POSIX);
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || value.startsWith("()")) continue;
    if (wanted.has(isWindows ? name.toUpperCase() : name)) kept[name] = value;
  }
  return { ...kept, ...extra };
}

/** The variables that choose whom a server acts for, or on what: `[name, value]` sorted by name. */
export function credentialVariables(env: Environment): readonly (readonly [string, string])[] {
  const found: (readonly [string, string])[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && CREDENTIAL_NAME.test(name)) found.push([name, value]);
  }
  return found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

/** The values that must not be shown, of at least 4 characters, longest first (see `maskText`). */
export function maskValues(env: Environment): readonly string[] {
  const values = new Set<string>();
  const add = (value: string, charsMin: number): void => {
    if (value.length >= charsMin && !PLAIN_WORD.test(value)) values.add(value);
  };
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined) continue;
    for (const found of value.matchAll(USER_INFO)) add(found[1] ?? "", SECRET_CHARS_MIN);
    if (!SECRET_NAME.test(name)) continue;
    add(value.trim(), SECRET_CHARS_MIN);
    // A key in PEM form is printed line by line.
    const lines = value.split(/\r?\n/);
    if (lines.length > 1) for (const line of lines) add(line.trim(), SECRET_LINE_CHARS_MIN);
  }
  return longestFirst(values);
}

/** A value that is part of another one must be masked after it, or the rest of that would show. */
export function longestFirst(values: Iterable<string>): readonly string[] {
  return [...values].sort((a, b) => b.length - a.length);
}

/** The text with every one of `values` (longest first) shown as `***`. Empty values are ignored. */
export function maskText(text: string, values: readonly string[]): string {
  let masked = text;
  for (const value of values) {
    if (value !== "" && masked.includes(value)) masked = masked.replaceAll(value, MASK);
  }
  return masked;
}

/** The text with the passwords of URLs in it shown as `***`. */
export function maskUserInfo(text: string): string {
  return text.replace(USER_INFO, (whole: string, secret: string) =>
    whole.replace(`:${secret}@`, `:${MASK}@`),
  );
}

/** Whether a value under this name (a variable, an option) is one that must not be shown. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}
