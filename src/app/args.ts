/**
 * Reads our own flags off a command line, up to `--`. Written by hand for the wrap form, whose
 * start-up time counts; the other commands use commander with the same table.
 *
 * A1. What follows `--` is never looked at.
 */
import { ConfigError } from "../base/errors.ts";
import { didYouMean } from "./nearest.ts";
import { canRepeat } from "./option-kinds.ts";
import type { OptionKey } from "./option-table.ts";
import { OPTION_KEYS } from "./option-table.ts";
import type { FlagValues } from "./resolve.ts";
import { optionOf } from "./resolve.ts";

export interface Arguments {
  readonly flags: FlagValues;
  /** Words that are no flags, in order. */
  readonly words: readonly string[];
  /** What follows `--`; undefined if there was none. */
  readonly command: readonly string[] | undefined;
  readonly wantsHelp: boolean;
  readonly wantsVersion: boolean;
}

interface Flag {
  readonly key: OptionKey;
  readonly isNegated: boolean;
}

function flagTable(): Map<string, Flag> {
  const table = new Map<string, Flag>();
  for (const key of OPTION_KEYS) {
    const option = optionOf(key);
    table.set(`--${option.flag}`, { key, isNegated: false });
    if (option.type === "boolean") table.set(`--no-${option.flag}`, { key, isNegated: true });
  }
  return table;
}

/** Throws `ConfigError` for an unknown flag, or one without its value. */
export function readArguments(argv: readonly string[]): Arguments {
  const table = flagTable();
  const flags = new Map<OptionKey, string | readonly string[]>();
  const words: string[] = [];
  let wantsHelp = false;
  let wantsVersion = false;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? "";
    if (word === "--") {
      return { flags, words, command: argv.slice(i + 1), wantsHelp, wantsVersion };
    }
    if (word === "--help" || word === "-h") wantsHelp = true;
    else if (word === "--version" || word === "-V") wantsVersion = true;
    else if (!word.startsWith("-") || word === "-") words.push(word);
    else {
      const takesNext = readFlag(word, argv[i + 1], table, flags);
      if (takesNext) i++;
    }
  }
  return { flags, words, command: undefined, wantsHelp, wantsVersion };
}

/** Reads one flag; true if its value was the next word. */
function readFlag(
  word: string,
  next: string | undefined,
  table: ReadonlyMap<string, Flag>,
  flags: Map<OptionKey, string | readonly string[]>,
): boolean {
  const equals = word.indexOf("=");
  const name = equals === -1 ? word : word.slice(0, equals);
  const flag = table.get(name);
  if (flag === undefined) {
    throw new ConfigError(
      `${name} is not an option of holdfast${didYouMean(name, [...table.keys()])} ` +
        "(flags of the server's command go after --)",
    );
  }
  const option = optionOf(flag.key);
  const inline = equals === -1 ? undefined : word.slice(equals + 1);
  if (option.type === "boolean") {
    if (flag.isNegated && inline !== undefined) throw new ConfigError(`${name} takes no value`);
    flags.set(flag.key, flag.isNegated ? "false" : (inline ?? "true"));
    return false;
  }
  const value = inline ?? next;
  if (value === undefined || (inline === undefined && value === "--")) {
    throw new ConfigError(`${name} needs a value: expected ${option.expected}`);
  }
  const earlier = flags.get(flag.key);
  if (!canRepeat(option)) flags.set(flag.key, value);
  else flags.set(flag.key, [...(Array.isArray(earlier) ? (earlier as string[]) : []), value]);
  return inline === undefined;
}
