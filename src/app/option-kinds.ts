/**
 * The kinds of options: how each kind is read, and what an error says was expected. The table of
 * the options themselves is `option-table.ts`.
 */
import type { ListenAddress } from "./address.ts";
import { readListenAddress } from "./address.ts";
import type { Reader } from "./values.ts";
import {
  formatBytes,
  formatDuration,
  orNone,
  readBoolean,
  readBytes,
  readChoice,
  readDuration,
  readInteger,
  readList,
  readText,
} from "./values.ts";

/**
 * Where a file may set the option: for one server (and, as the default of all, at the top level), at
 * the top level only, or not at all.
 */
export type Scope = "server" | "global" | "start";

export type OptionType =
  | "duration"
  | "bytes"
  | "integer"
  | "boolean"
  | "choice"
  | "text"
  | "path"
  | "headers"
  | "address"
  | "list";

export interface Option<T> {
  readonly type: OptionType;
  readonly scope: Scope;
  /** Key below `"holdfast"`; a dot is one level of nesting. Flag and variable follow from `flag`. */
  readonly config: string;
  /** Without the dashes. The variable is the same in capitals, after `HOLDFAST_`. */
  readonly flag: string;
  /** As a person would write it; "none" for an absent value. */
  readonly default: string | { readonly stdio: string; readonly remote: string };
  readonly choices: readonly string[];
  /** In words, for an error: what a right value looks like. */
  readonly expected: string;
  readonly read: Reader<T>;
  readonly text: string;
}

type Words = Pick<Option<unknown>, "scope" | "config" | "flag" | "default" | "text">;

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const MIB = 1_048_576;
export const GIB = 1_073_741_824;
export const MANY = 10_000_000;

export const duration = (words: Words, min: number, max: number): Option<number> => ({
  ...words,
  type: "duration",
  choices: [],
  expected: `a duration such as "45s" or "2m", from ${formatDuration(min)} to ${formatDuration(max)}`,
  read: readDuration(min, max),
});

/** A duration, or "none" for never. */
export const orNever = (words: Words, min: number, max: number): Option<number | undefined> => ({
  ...duration(words, min, max),
  expected: `a duration such as "15m", from ${formatDuration(min)} to ${formatDuration(max)}, or "none"`,
  read: orNone(readDuration(min, max)),
});

export const bytes = (words: Words, min: number, max: number): Option<number> => ({
  ...words,
  type: "bytes",
  choices: [],
  expected: `a size such as "4MiB", from ${formatBytes(min)} to ${formatBytes(max)}`,
  read: readBytes(min, max),
});

/** A size, or "none" for no bound. */
export const orUnbounded = (
  words: Words,
  min: number,
  max: number,
): Option<number | undefined> => ({
  ...bytes(words, min, max),
  expected: `a size such as "1GiB", from ${formatBytes(min)} to ${formatBytes(max)}, or "none"`,
  read: orNone(readBytes(min, max)),
});

export const integer = (words: Words, min: number, max: number): Option<number> => ({
  ...words,
  type: "integer",
  choices: [],
  expected: `a whole number from ${String(min)} to ${String(max)}`,
  read: readInteger(min, max),
});

export const limit = (words: Words, min: number, max: number): Option<number | undefined> => ({
  ...integer(words, min, max),
  expected: `a whole number from ${String(min)} to ${String(max)}, or "none"`,
  read: orNone(readInteger(min, max)),
});

export const boolean = (words: Words): Option<boolean> => ({
  ...words,
  type: "boolean",
  choices: [],
  expected: "true or false",
  read: readBoolean,
});

export const choice = <const T extends string>(words: Words, choices: readonly T[]): Option<T> => ({
  ...words,
  type: "choice",
  choices,
  expected: `one of ${choices.join(", ")}`,
  read: readChoice(choices),
});

export const choiceOrNone = <const T extends string>(
  words: Words,
  choices: readonly T[],
): Option<T | undefined> => ({ ...choice(words, choices), read: orNone(readChoice(choices)) });

export const text = (words: Words, type: "text" | "path"): Option<string | undefined> => ({
  ...words,
  type,
  choices: [],
  expected: type === "path" ? "a path" : "a text that is not empty",
  read: orNone(readText),
});

export const address = (words: Words): Option<ListenAddress> => ({
  ...words,
  type: "address",
  choices: [],
  expected: 'host and port such as "127.0.0.1:7411", "[::1]:7411" or "0.0.0.0:7411"',
  read: readListenAddress,
});

/** `entries`: what they are, with an example. */
export const list = (
  words: Words,
  entries: string,
  read: Reader<string>,
): Option<readonly string[]> => ({
  ...words,
  type: "list",
  choices: [],
  expected: `${entries}, with commas between them, or "none"`,
  read: readList(read),
});

/** A flag of this type may be given several times; each adds to the ones before. */
export const canRepeat = ({ type }: Pick<Option<unknown>, "type">): boolean =>
  type === "headers" || type === "list";

/** `server("hold", "45s", …)`: the words of an option that one server may have for itself. */
const words =
  (scope: Scope) =>
  (name: string, initial: Words["default"], what: string): Words => ({
    scope,
    config: name,
    flag: (name.split(".").pop() ?? name).replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    default: initial,
    text: what,
  });
export const server = words("server");
export const global = words("global");
export const start = words("start");

export const headers = (words: Words): Option<Readonly<Record<string, string>>> => ({
  ...words,
  type: "headers",
  choices: [],
  expected: 'a header such as "Authorization: Bearer abc"',
  read: readHeaders,
});

/** `["K: V", …]` → headers; "none" is no header. */
function readHeaders(raw: unknown): { value: Readonly<Record<string, string>> } | undefined {
  const lines: unknown[] = Array.isArray(raw) ? raw : raw === "none" ? [] : [raw];
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const match =
      typeof line === "string" ? /^([!#$%&'*+.^_`|~\w-]+):\s*([^\r\n]*)$/.exec(line) : null;
    if (match?.[1] === undefined || match[2] === undefined) return undefined;
    headers[match[1]] = match[2].trim();
  }
  return { value: headers };
}

export const envName = (option: Pick<Option<unknown>, "flag">): string =>
  `HOLDFAST_${option.flag.replaceAll("-", "_").toUpperCase()}`;
