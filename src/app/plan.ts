/** Puts a run together: command line, environment and file in; a `RunPlan` without gaps out. */
import { homedir, tmpdir } from "node:os";
import { ConfigError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Surroundings } from "./folders.ts";
import { controlPath, resolveFolders } from "./folders.ts";
import { identify } from "./identity.ts";
import type { ClientSettings, RunPlan, Settings, Target, ToolSettings } from "./options.ts";
import type { FlagValues, Layer } from "./resolve.ts";
import { envLayer, flagLayer, resolveSettings } from "./resolve.ts";
import { inheritedEnv, kindOf, nameOf, readUrl, secretsOf, targetText } from "./target.ts";

/** What a person asked to wrap. */
export type Wanted =
  | { readonly kind: "command"; readonly words: readonly string[] }
  | { readonly kind: "url"; readonly url: string }
  /** An entry of the configuration file. */
  | { readonly kind: "entry"; readonly name: string };

export function realSurroundings(): Surroundings {
  return {
    platform: process.platform,
    env: process.env,
    cwd: process.cwd(),
    home: homedir(),
    tmpdir: tmpdir(),
    uid: process.getuid?.(),
    pid: process.pid,
  };
}

/** `https://host/mcp` or an entry's name; `--` gives a command instead. */
export function wantedOf(word: string): Wanted {
  return /^\w+:\/\//.test(word) ? { kind: "url", url: word } : { kind: "entry", name: word };
}

interface Source {
  readonly target: Target;
  readonly name: string | undefined;
  readonly layers: readonly Layer[];
  readonly tools: ReadonlyMap<string, ToolSettings>;
  readonly clients: ReadonlyMap<string, ClientSettings>;
}

function ownTarget(wanted: Wanted & { kind: "command" | "url" }, around: Surroundings): Target {
  if (wanted.kind === "url") {
    const url = readUrl(wanted.url, "URL");
    // What `--transport` says comes on top (see `adjusted`), so nothing can be wrong here yet.
    return { kind: kindOf(url, undefined, "URL"), url, headers: {} };
  }
  const [command, ...args] = wanted.words;
  if (command === undefined || command.trim() === "") {
    throw new ConfigError(
      "there is no command after --; expected like: holdfast -- npx -y some-server",
    );
  }
  return { kind: "stdio", command, args, cwd: around.cwd, env: inheritedEnv(around.env) };
}

async function sourceOf(
  wanted: Wanted,
  asked: string | undefined,
  around: Surroundings,
): Promise<Source> {
  const nothing = { name: undefined, tools: new Map(), clients: new Map() };
  // Without an entry a file counts only if somebody named it: wrapping must not depend on the folder
  // that a client happens to start us in.
  if (wanted.kind !== "entry" && asked === undefined) {
    return { ...nothing, target: ownTarget(wanted, around), layers: [] };
  }
  const { loadConfig, configCandidates } = await import("./config.ts");
  const file = loadConfig(asked, around);
  if (wanted.kind !== "entry") {
    const target = ownTarget(wanted, around);
    if (file === undefined) return { ...nothing, target, layers: [] };
    return { ...nothing, target, clients: file.clients, layers: [file.layer] };
  }
  if (file === undefined) {
    const places = configCandidates(asked, around).paths.join(" or ");
    throw new ConfigError(
      `there is no configuration file that could have a server "${wanted.name}": ` +
        `write ${places}, or name one with --config`,
    );
  }
  const { readServer } = await import("./server-entry.ts");
  const entry = readServer(file, wanted.name, around);
  return { ...entry, name: wanted.name, layers: [entry.layer, file.layer] };
}

/** What flags and environment say on top of the entry. */
function adjusted(target: Target, settings: Settings): Target {
  if (target.kind !== "stdio") {
    if (settings.cwd !== undefined) throw new ConfigError("--cwd is for a command, not for a URL");
    const { transport } = settings;
    const kind =
      transport === undefined ? target.kind : kindOf(target.url, transport, "--transport");
    return { ...target, kind, headers: { ...target.headers, ...settings.header } };
  }
  if (settings.transport !== undefined) {
    throw new ConfigError("--transport is for a URL, not for a command");
  }
  if (Object.keys(settings.header).length > 0) {
    throw new ConfigError("--header is for a URL, not for a command");
  }
  return settings.cwd === undefined ? target : { ...target, cwd: settings.cwd };
}

/** Throws `ConfigError` with what is wrong, where, and what was expected. */
export async function makePlan(
  flags: FlagValues,
  wanted: Wanted,
  around: Surroundings,
  world: World,
  version: string,
): Promise<RunPlan> {
  const own = [flagLayer(flags, around.cwd), envLayer(around.env, around.cwd)];
  const asked = own.map((layer) => layer.get("config")?.raw).find((raw) => raw !== undefined);
  const source = await sourceOf(wanted, typeof asked === "string" ? asked : undefined, around);
  const { settings, given } = resolveSettings(
    [...own, ...source.layers],
    source.target.kind,
    around.home,
  );
  const target = adjusted(source.target, settings);
  const folders = resolveFolders(settings, around);
  const maskValues = secretsOf(target);
  return {
    version,
    name: settings.name ?? source.name ?? nameOf(target),
    target,
    targetText: targetText(target, maskValues),
    maskValues,
    settings,
    given,
    tools: source.tools,
    clients: source.clients,
    folders,
    controlPath: controlPath(folders.run, around.pid, around.platform),
    identity: identify(target, folders.state, around, world),
  };
}
