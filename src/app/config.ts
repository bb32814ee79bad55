/**
 * The configuration file: finding it, reading it, and expanding one server's entry.
 *
 * The shape is the `mcpServers` (or `servers`) object that clients use, so that people can paste;
 * comments and trailing commas are taken too. Keys that we do not know are left alone, except below
 * `"holdfast"`, where everything is ours and a mistyped key must not be silently without effect.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse, type ParseError, printParseErrorCode } from "jsonc-parser";
import { ConfigError, errorText } from "../base/errors.ts";
import type { JsonObject } from "../wire/message.ts";
import { isObject } from "../wire/message.ts";
import { didYouMean } from "./nearest.ts";
import type { Surroundings } from "./folders.ts";
import { configFolder } from "./folders.ts";
import type { ClientSettings, ToolSettings } from "./options.ts";
import type { OptionKey } from "./option-table.ts";
import { OPTION_KEYS } from "./option-table.ts";
import type { Given, Layer } from "./resolve.ts";
import { absolutePath, optionOf } from "./resolve.ts";
import { readBoolean, readChoice, readDuration } from "./values.ts";

export interface ConfigFile {
  readonly path: string;
  /** Settings for all, from the top level's `"holdfast"`. */
  readonly layer: Layer;
  readonly clients: ReadonlyMap<string, ClientSettings>;
  /** Entries as they stand, by name. */
  readonly servers: ReadonlyMap<string, JsonObject>;
  /** "mcpServers" or "servers", by name of entry: for errors. */
  readonly sections: ReadonlyMap<string, string>;
}

/** Where the file should be. `isAsked`: somebody named it, so it has to be there. */
export function configCandidates(
  asked: string | undefined,
  around: Surroundings,
): { paths: readonly string[]; isAsked: boolean } {
  if (asked !== undefined) {
    return { paths: [absolutePath(asked, around.cwd, around.home)], isAsked: true };
  }
  return {
    paths: [join(around.cwd, "holdfast.json"), join(configFolder(around), "holdfast.json")],
    isAsked: false,
  };
}

/** The first candidate that is there; undefined if none is and nobody named one. */
export function loadConfig(
  asked: string | undefined,
  around: Surroundings,
): ConfigFile | undefined {
  const { paths, isAsked } = configCandidates(asked, around);
  for (const path of paths) {
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT" && !isAsked) continue;
      throw new ConfigError(`${path}: the configuration cannot be read: ${errorText(error)}`);
    }
    return parseConfig(text, path);
  }
  return undefined;
}

const FAULTS: Readonly<Record<string, string>> = {
  InvalidSymbol: "a word that means nothing here",
  InvalidNumberFormat: "a number that is none",
  PropertyNameExpected: "expected a name in double quotes",
  ValueExpected: "expected a value",
  ColonExpected: "expected a colon",
  CommaExpected: "expected a comma",
  CloseBraceExpected: "expected }",
  CloseBracketExpected: "expected ]",
  EndOfFileExpected: "something follows the end",
  InvalidCommentToken: "a comment that is not finished",
  UnexpectedEndOfComment: "a comment that is not finished",
  UnexpectedEndOfString: "a text that is not finished",
  UnexpectedEndOfNumber: "a number that is not finished",
  InvalidUnicode: "a character code that is none",
  InvalidEscapeCharacter: "a backslash before a character that it can't stand before",
  InvalidCharacter: "a character that can't stand in a text",
};

/** JSON with comments and trailing commas. What stands in the file is never repeated: it may be a secret. */
function parseJson(text: string, path: string): unknown {
  const plain = text.replace(/^\uFEFF/, " ");
  const errors: ParseError[] = [];
  const value: unknown = parse(plain, errors, { allowTrailingComma: true });
  const [first] = errors;
  if (first === undefined) return value;
  const before = plain.slice(0, first.offset);
  const line = before.split("\n").length;
  const column = before.length - before.lastIndexOf("\n");
  const fault = FAULTS[printParseErrorCode(first.error)] ?? "a mistake";
  throw new ConfigError(`${path}:${String(line)}:${String(column)}: this is not JSON: ${fault}`);
}

export function parseConfig(text: string, path: string): ConfigFile {
  const root = parseJson(text, path);
  if (!isObject(root)) throw new ConfigError(`${path}: expected an object with "mcpServers"`);
  const servers = new Map<string, JsonObject>();
  const sections = new Map<string, string>();
  for (const section of ["mcpServers", "servers"]) {
    const entries = root[section];
    if (entries === undefined) continue;
    if (!isObject(entries)) {
      throw new ConfigError(`${path}: ${section}: expected an object of servers by name`);
    }
    for (const [name, entry] of Object.entries(entries)) {
      const where = `${path}: ${section}.${name}`;
      if (!isObject(entry)) throw new ConfigError(`${where}: expected an object`);
      if (servers.has(name)) throw new ConfigError(`${where}: stands in mcpServers already`);
      servers.set(name, entry);
      sections.set(name, section);
    }
  }
  const { layer, rest } = readOurs(root["holdfast"], `${path}: holdfast`, path, "global");
  return { path, layer, clients: readClients(rest), servers, sections };
}

/** What stands beside options below a `"holdfast"` key. */
interface Rest {
  readonly where: string;
  readonly tools: unknown;
  readonly clients: unknown;
}

/** Reads an object below `"holdfast"`: options by key, nested ones by path. */
export function readOurs(
  value: unknown,
  where: string,
  path: string,
  scope: "server" | "global",
): { layer: Layer; rest: Rest } {
  const layer = new Map<OptionKey, Given>();
  if (value === undefined) return { layer, rest: { where, tools: undefined, clients: undefined } };
  if (!isObject(value)) throw new ConfigError(`${where}: expected an object`);
  const keys = new Map<string, OptionKey>();
  for (const key of OPTION_KEYS) {
    if (optionOf(key).scope !== "start") keys.set(optionOf(key).config, key);
  }
  const known = [...keys.keys(), "clients", ...(scope === "server" ? ["tools"] : [])];
  const visit = (object: JsonObject, prefix: string) => {
    for (const [name, raw] of Object.entries(object)) {
      const at = prefix + name;
      const key = keys.get(at);
      if (at === "clients" || (at === "tools" && scope === "server")) continue;
      if (key === undefined) {
        if (isObject(raw) && known.some((word) => word.startsWith(`${at}.`))) visit(raw, `${at}.`);
        else throw new ConfigError(`${where}.${at}: no such setting${hint(at, known)}`);
      } else if (scope === "server" && optionOf(key).scope === "global") {
        throw new ConfigError(
          `${where}.${at}: concerns the whole process; put it under the file's top "holdfast"`,
        );
      } else layer.set(key, { raw, origin: `${where}.${at}`, folder: dirname(path) });
    }
  };
  visit(value, "");
  return { layer, rest: { where, tools: value["tools"], clients: value["clients"] } };
}

function hint(at: string, known: readonly string[]): string {
  if (at === "tools") return " here; it belongs to a server";
  return didYouMean(at, known);
}

const readToolSafety = readChoice(["read", "idempotent", "unsafe"]);
const readHold = readDuration(0, 86_400_000);

function member<T>(
  object: JsonObject,
  name: string,
  where: string,
  read: (raw: unknown) => { value: T } | undefined,
  expected: string,
): T | undefined {
  const raw = object[name];
  if (raw === undefined) return undefined;
  const understood = read(raw);
  if (understood !== undefined) return understood.value;
  throw new ConfigError(
    `${where}.${name}: ${JSON.stringify(raw)} is not right; expected ${expected}`,
  );
}

const HOLD_EXPECTED = 'a duration such as "45s", from 0s to 1d';

function entriesOf(value: unknown, where: string): [string, JsonObject][] {
  if (value === undefined) return [];
  if (!isObject(value)) throw new ConfigError(`${where}: expected an object by name`);
  return Object.entries(value).map(([name, entry]) => {
    if (!isObject(entry)) throw new ConfigError(`${where}.${name}: expected an object`);
    return [name, entry];
  });
}

function refuseOthers(entry: JsonObject, where: string, known: readonly string[]): void {
  for (const name of Object.keys(entry)) {
    if (known.includes(name)) continue;
    throw new ConfigError(`${where}.${name}: no such setting${didYouMean(name, known)}`);
  }
}

export function readTools({ tools, where }: Rest): ReadonlyMap<string, ToolSettings> {
  const read = new Map<string, ToolSettings>();
  for (const [name, entry] of entriesOf(tools, `${where}.tools`)) {
    const at = `${where}.tools.${name}`;
    refuseOthers(entry, at, ["safety", "hold", "defer"]);
    read.set(name, {
      safety: member(entry, "safety", at, readToolSafety, "one of read, idempotent, unsafe"),
      holdMs: member(entry, "hold", at, readHold, HOLD_EXPECTED),
      defer: member(entry, "defer", at, readBoolean, "true or false"),
    });
  }
  return read;
}

export function readClients({ clients, where }: Rest): ReadonlyMap<string, ClientSettings> {
  const read = new Map<string, ClientSettings>();
  for (const [name, entry] of entriesOf(clients, `${where}.clients`)) {
    const at = `${where}.clients.${name}`;
    refuseOthers(entry, at, ["hold"]);
    const holdMs = member(entry, "hold", at, readHold, HOLD_EXPECTED);
    if (holdMs === undefined) throw new ConfigError(`${at}: expected "hold"`);
    read.set(name, { holdMs });
  }
  return read;
}
