/** One server's entry of a configuration file, checked and with its variables expanded. */
import { ConfigError } from "../base/errors.ts";
import type { JsonObject } from "../wire/message.ts";
import { isObject } from "../wire/message.ts";
import type { ConfigFile } from "./config.ts";
import { readClients, readOurs, readTools } from "./config.ts";
import { dirname } from "node:path";
import type { Surroundings } from "./folders.ts";
import { didYouMean } from "./nearest.ts";
import type { ClientSettings, Target, ToolSettings } from "./options.ts";
import type { Layer } from "./resolve.ts";
import { absolutePath } from "./resolve.ts";
import type { UrlKind } from "./target.ts";
import { inheritedEnv, kindOf, readUrl } from "./target.ts";

export interface ServerEntry {
  readonly target: Target;
  readonly layer: Layer;
  readonly tools: ReadonlyMap<string, ToolSettings>;
  readonly clients: ReadonlyMap<string, ClientSettings>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Puts variables into a text: `${VAR}`, `${VAR:-default}` (also for an empty one), `${env:VAR}`.
 * `$${` stands for `${`. Throws `ConfigError` that names a missing variable, and where it is wanted.
 */
export function expand(text: string, env: Environment, where: string): string {
  return text.replace(
    /\$(\$\{)|\$\{(env:)?([A-Za-z_]\w*)(?::-([^}]*))?\}|\$\{(\w+):[^}]*\}/g,
    (
      match,
      escaped: string | undefined,
      _env,
      name: string,
      otherwise?: string,
      other?: string,
    ) => {
      if (escaped !== undefined) return escaped;
      if (other !== undefined) {
        throw new ConfigError(
          `${where}: ${match} means something only inside an editor; use \${VAR} for a variable`,
        );
      }
      const value = env[name];
      if (otherwise !== undefined) return value === undefined || value === "" ? otherwise : value;
      if (value !== undefined) return value;
      throw new ConfigError(
        `${where}: the variable ${name} is not set; set it, or write \${${name}:-default}`,
      );
    },
  );
}

/** Reads texts out of one entry, expanded. */
class EntryReader {
  readonly #entry: JsonObject;
  readonly #env: Environment;
  readonly where: string;

  constructor(entry: JsonObject, where: string, env: Environment) {
    this.#entry = entry;
    this.where = where;
    this.#env = env;
  }

  #expanded(value: unknown, where: string): string {
    if (typeof value !== "string") {
      throw new ConfigError(`${where}: ${JSON.stringify(value)} is not right; expected a text`);
    }
    return expand(value, this.#env, where);
  }

  text(name: string): string | undefined {
    const value = this.#entry[name];
    return value === undefined ? undefined : this.#expanded(value, `${this.where}.${name}`);
  }

  list(name: string): string[] {
    const value = this.#entry[name] ?? [];
    if (!Array.isArray(value)) {
      throw new ConfigError(`${this.where}.${name}: expected a list of texts`);
    }
    return value.map((word, i) => this.#expanded(word, `${this.where}.${name}[${String(i)}]`));
  }

  /** Numbers and booleans are taken as text: people write `"DEBUG": 1`. */
  texts(name: string): Record<string, string> {
    const value = this.#entry[name] ?? {};
    if (!isObject(value))
      throw new ConfigError(`${this.where}.${name}: expected an object of texts`);
    const read: Record<string, string> = {};
    for (const [key, item] of Object.entries(value)) {
      const plain = typeof item === "number" || typeof item === "boolean" ? String(item) : item;
      read[key] = this.#expanded(plain, `${this.where}.${name}.${key}`);
    }
    return read;
  }
}

/** The words for a URL's transport that users have in their files. */
const URL_TYPES: Readonly<Record<string, UrlKind>> = {
  http: "http",
  "streamable-http": "http",
  streamableHttp: "http",
  sse: "sse",
  ws: "ws",
};
const TYPES = ["stdio", "http", "streamable-http", "sse", "ws"];

/** The environment of a command: what is handed on, then what its entry names. */
export type EnvironmentOf = (
  env: Environment,
  own: Readonly<Record<string, string>>,
) => Record<string, string>;

const inherited: EnvironmentOf = (env, own) => ({ ...inheritedEnv(env), ...own });

function readTarget(
  entry: JsonObject,
  where: string,
  file: string,
  around: Surroundings,
  environmentOf: EnvironmentOf,
): Target {
  const read = new EntryReader(entry, where, around.env);
  const urlKey = entry["url"] === undefined && entry["httpUrl"] !== undefined ? "httpUrl" : "url";
  const hasUrl = entry[urlKey] !== undefined;
  if (hasUrl === (entry["command"] !== undefined)) {
    throw new ConfigError(`${where}: expected either "command" or "url"`);
  }
  const given = entry["type"] ?? entry["transport"];
  const type = given ?? (hasUrl ? "http" : "stdio");
  if (typeof type !== "string" || (type !== "stdio" && !Object.hasOwn(URL_TYPES, type))) {
    const word = JSON.stringify(type);
    throw new ConfigError(
      `${where}.type: ${word} is not right; expected one of ${TYPES.join(", ")}`,
    );
  }
  if ((type === "stdio") === hasUrl) {
    throw new ConfigError(`${where}: type "${type}" wants "${hasUrl ? "command" : "url"}"`);
  }
  if (hasUrl) {
    const url = readUrl(read.text(urlKey) ?? "", `${where}.${urlKey}`);
    const asked = given === undefined ? undefined : URL_TYPES[type];
    const kind = kindOf(url, asked, `${where}: type`);
    return { kind, url, headers: read.texts("headers") };
  }
  const command = read.text("command") ?? "";
  if (command.trim() === "") throw new ConfigError(`${where}.command: is empty`);
  return {
    kind: "stdio",
    command,
    args: read.list("args"),
    cwd: absolutePath(read.text("cwd") ?? around.cwd, dirname(file), around.home),
    env: environmentOf(around.env, read.texts("env")),
  };
}

/** The entry `name`. Throws `ConfigError`, also if there is none. */
export function readServer(
  file: ConfigFile,
  name: string,
  around: Surroundings,
  environmentOf = inherited,
): ServerEntry {
  const entry = file.servers.get(name);
  if (entry === undefined) {
    const names = [...file.servers.keys()];
    throw new ConfigError(
      `${file.path}: there is no server "${name}"${didYouMean(name, names)} ` +
        `(there are: ${names.join(", ") || "none"})`,
    );
  }
  const where = `${file.path}: ${file.sections.get(name) ?? "mcpServers"}.${name}`;
  const { layer, rest } = readOurs(entry["holdfast"], `${where}.holdfast`, file.path, "server");
  return {
    target: readTarget(entry, where, file.path, around, environmentOf),
    layer,
    tools: readTools(rest),
    clients: new Map([...file.clients, ...readClients(rest)]),
  };
}
