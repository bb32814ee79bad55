/**
 * From what flags, environment and file give to `Settings`: precedence, checks, relations.
 *
 * Every wrong value is a `ConfigError` that says where it stands, what it is and what was expected.
 * Of two related bounds the one that nobody set gives way; only two given ones can contradict.
 */
import type { TransportKind } from "../core/transport.ts";
import { isAbsolute, join, resolve } from "node:path";
import { ConfigError } from "../base/errors.ts";
import type { Option } from "./option-kinds.ts";
import { envName } from "./option-kinds.ts";
import type { OptionKey, Settings } from "./option-table.ts";
import { OPTIONS, OPTION_KEYS } from "./option-table.ts";

/** A value as it was written, and where: "--hold", "HOLDFAST_HOLD", "holdfast.json: holdfast.hold". */
export interface Given {
  readonly raw: unknown;
  readonly origin: string;
  /** Relative paths start here. */
  readonly folder: string;
}

/** The values of one source. */
export type Layer = ReadonlyMap<OptionKey, Given>;

/** What a command line gave: the text of a flag, or all texts of one that may be repeated. */
export type FlagValues = ReadonlyMap<OptionKey, string | readonly string[]>;

export const optionOf = (key: OptionKey): Option<unknown> => OPTIONS[key];

export function flagLayer(flags: FlagValues, folder: string): Layer {
  const layer = new Map<OptionKey, Given>();
  for (const [key, raw] of flags)
    layer.set(key, { raw, origin: `--${optionOf(key).flag}`, folder });
  return layer;
}

/** An empty variable counts as not set, so that a client's configuration can blank one. */
export function envLayer(env: NodeJS.ProcessEnv, folder: string): Layer {
  const layer = new Map<OptionKey, Given>();
  for (const key of OPTION_KEYS) {
    const name = envName(optionOf(key));
    const raw = env[name];
    if (raw !== undefined && raw !== "") layer.set(key, { raw, origin: name, folder });
  }
  return layer;
}

const LONGEST_SHOWN = 60;

/** A value as an error shows it. A header may hold a secret, so its value is left out. */
function shown(option: Option<unknown>, raw: unknown): string {
  if (option.type === "headers") return "the value";
  const text = JSON.stringify(raw) as string | undefined;
  if (text === undefined) return String(raw);
  return text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text;
}

function readGiven(option: Option<unknown>, given: Given, home: string): unknown {
  const understood = option.read(given.raw);
  if (understood === undefined) {
    throw new ConfigError(
      `${given.origin}: ${shown(option, given.raw)} is not right; expected ${option.expected}`,
    );
  }
  const { value } = understood;
  return option.type === "path" && typeof value === "string"
    ? absolutePath(value, given.folder, home)
    : value;
}

/** `~/x` and relative paths made absolute. A client that starts us runs no shell that would do it. */
export function absolutePath(path: string, folder: string, home: string): string {
  if (/^~(?=[/\\]|$)/.test(path)) return join(home, path.slice(1));
  return isAbsolute(path) ? path : resolve(folder, path);
}

function defaultOf(option: Option<unknown>, transport: TransportKind): unknown {
  const reach = transport === "stdio" ? "stdio" : "remote";
  const text = typeof option.default === "string" ? option.default : option.default[reach];
  const understood = option.read(text);
  if (understood === undefined) throw new ConfigError(`--${option.flag}: bad default ${text}`);
  return understood.value;
}

/** [the smaller one, the larger one] */
const ORDERED: readonly (readonly [OptionKey, OptionKey])[] = [
  ["requestMaxBytes", "processMaxBytes"],
  ["requestMaxBytes", "sessionMaxBytes"],
  ["sessionMaxBytes", "processMaxBytes"],
  ["sessionMaxCalls", "processMaxCalls"],
  ["upstreamMaxCalls", "processMaxCalls"],
  ["sessionMaxCalls", "upstreamMaxCalls"],
  ["upstreamMaxCalls", "processMaxCalls"],
  ["retentionMs", "metadataRetentionMs"],
];

function relate(values: Map<OptionKey, unknown>, origins: ReadonlyMap<OptionKey, string>): void {
  const fixed = new Map(origins);
  for (const [small, large] of ORDERED) {
    if (Number(values.get(small)) <= Number(values.get(large))) continue;
    const smallOrigin = fixed.get(small);
    const largeOrigin = fixed.get(large);
    if (smallOrigin !== undefined && largeOrigin !== undefined) {
      throw new ConfigError(
        `${smallOrigin} is larger than ${largeOrigin} allows: ${optionOf(small).config} ` +
          `may be at most ${optionOf(large).config}`,
      );
    }
    if (largeOrigin === undefined) {
      values.set(large, values.get(small));
      fixed.set(large, smallOrigin ?? "the default");
    } else {
      values.set(small, values.get(large));
      fixed.set(small, largeOrigin);
    }
  }
  const durability = origins.get("durability");
  if (values.get("journal") === "memory" && durability !== undefined) {
    if (values.get("durability") === "process") return;
    throw new ConfigError(
      `${durability}: a journal in memory (${origins.get("journal") ?? "journal"}) cannot be durable; ` +
        "leave one of the two out",
    );
  }
}

/** The first of `layers` that has an option decides. Throws `ConfigError`. */
export function resolveSettings(
  layers: readonly Layer[],
  transport: TransportKind,
  home: string,
): { settings: Settings; given: ReadonlySet<OptionKey> } {
  const values = new Map<OptionKey, unknown>();
  const origins = new Map<OptionKey, string>();
  for (const key of OPTION_KEYS) {
    const option = optionOf(key);
    const given = layers.find((layer) => layer.has(key))?.get(key);
    values.set(
      key,
      given === undefined ? defaultOf(option, transport) : readGiven(option, given, home),
    );
    if (given !== undefined) origins.set(key, given.origin);
  }
  relate(values, origins);
  // The table's readers made each value, so the map holds exactly what `Settings` says.
  return {
    settings: Object.fromEntries(values) as unknown as Settings,
    given: new Set(origins.keys()),
  };
}
