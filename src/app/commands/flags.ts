/** What the commands have in common: options of the table as commander takes them, and what they name. */
import { join } from "node:path";
import type { Command } from "commander";
import { Option } from "commander";
import { ConfigError } from "../../base/errors.ts";
import { loadConfig } from "../config.ts";
import { resolveFolders } from "../folders.ts";
import type { Option as TableOption } from "../option-kinds.ts";
import { canRepeat } from "../option-kinds.ts";
import type { OptionKey } from "../option-table.ts";
import type { Folders } from "../options.ts";
import { absolutePath, envLayer, flagLayer, optionOf, resolveSettings } from "../resolve.ts";
import type { FlagValues, Layer } from "../resolve.ts";
import { readInteger } from "../values.ts";
import { flagUsage } from "./help.ts";
import type { Outside } from "./screen.ts";

export const FOLDER_OPTIONS: readonly OptionKey[] = ["stateDir", "config"];

/** Adds these options of the table to a command. */
export function addOptions(command: Command, keys: readonly OptionKey[]): Command {
  for (const key of keys) {
    const option: TableOption<unknown> = optionOf(key);
    const made = new Option(flagUsage(option), option.text);
    if (canRepeat(option)) {
      made.argParser((value: string, earlier: string[] | undefined) => [...(earlier ?? []), value]);
    }
    command.addOption(made);
  }
  return command;
}

/** What commander read, as the table's raw values. */
export function flagsOf(command: Command, keys: readonly OptionKey[]): FlagValues {
  const flags = new Map<OptionKey, string | readonly string[]>();
  for (const key of keys) {
    const name = optionOf(key).flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    if (command.getOptionValueSource(name) !== "cli") continue;
    const value: unknown = command.getOptionValue(name);
    flags.set(key, Array.isArray(value) ? (value as string[]) : String(value));
  }
  return flags;
}

/** Where a proxy started here would keep things. */
interface Kept {
  readonly folders: Folders;
  /** The folder of snapshots. */
  readonly shelf: string;
}

export interface Places extends Kept {
  /** The configuration file, if one was named. */
  readonly asked?: string;
}

/** The folders that a proxy started here would use, and the file that says so. */
export function placesOf(flags: FlagValues, outside: Outside): Places {
  const { around } = outside;
  const own = [flagLayer(flags, around.cwd), envLayer(around.env, around.cwd)];
  const given = own.map((layer) => layer.get("config")?.raw).find((raw) => raw !== undefined);
  const asked =
    typeof given === "string" ? absolutePath(given, around.cwd, around.home) : undefined;
  const hasFolder = own.some((layer) => layer.has("stateDir"));
  const keptBy = (layers: readonly Layer[]): Kept => {
    const { settings } = resolveSettings(layers, "stdio", around.home);
    const folders = resolveFolders(settings, around);
    return { folders, shelf: settings.snapshotsFolder ?? join(folders.state, "snapshots") };
  };
  const kept = hasFolder ? keptBy(own) : keptByFile(own, asked, outside, keptBy);
  return { ...kept, ...(asked === undefined ? {} : { asked }) };
}

/**
 * A file that is broken stops `run`. Who looks at what runs needs it only for its state folder, and may
 * well look because it is broken.
 */
function keptByFile(
  own: readonly Layer[],
  asked: string | undefined,
  outside: Outside,
  keptBy: (layers: readonly Layer[]) => Kept,
): Kept {
  try {
    const file = loadConfig(asked, outside.around);
    return keptBy(file === undefined ? own : [...own, file.layer]);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const kept = keptBy(own);
    outside.error(`holdfast: ${error.message}\nholdfast: so this is about ${kept.folders.state}\n`);
    return kept;
  }
}

/** What the command that ran answers with. */
export interface Exit {
  code: number;
}

const LIMIT_MAX = 100_000;

/** The value of `--limit`. Throws `ConfigError`. */
export function readLimit(text: string | undefined): number {
  const limit = readInteger(1, LIMIT_MAX)(text);
  if (limit !== undefined) return limit.value;
  throw new ConfigError(
    `--limit: ${JSON.stringify(text)} is not right; ` +
      `expected a whole number from 1 to ${String(LIMIT_MAX)}`,
  );
}
