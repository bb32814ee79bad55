/**
 * Puts a daemon together: command line, environment and configuration file in; a `ServePlan` without gaps
 * out, with one `RunPlan` for each server of the file.
 */
import { createHash } from "node:crypto";
import { ConfigError } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import { minimalEnvironment } from "../upstream/environment.ts";
import { configuredHeaders } from "../upstream/http/headers.ts";
import { configCandidates, type ConfigFile, loadConfig } from "./config.ts";
import { controlPath, resolveFolders, type Surroundings } from "./folders.ts";
import { identifyByName, identityKey } from "./identity.ts";
import type { Folders, OptionKey, RunPlan, Settings, Target } from "./options.ts";
import { HOUR } from "./option-kinds.ts";
import { OPTION_KEYS } from "./option-table.ts";
import type { FlagValues, Layer } from "./resolve.ts";
import { envLayer, flagLayer, optionOf, resolveSettings } from "./resolve.ts";
import { readServer } from "./server-entry.ts";
import { secretsOf, targetText } from "./target.ts";

/** What a daemon was started with. It stays the same when the file is read again. */
export interface ServeRequest {
  readonly flags: FlagValues;
  readonly around: Surroundings;
  readonly world: World;
  /** Of this package. */
  readonly version: string;
}

export interface ServePlan {
  readonly version: string;
  /** Absolute. */
  readonly configPath: string;
  /** Of the process; those that one server may have for itself are in its own plan. */
  readonly settings: Settings;
  readonly folders: Folders;
  readonly controlPath: string;
  /** Which journals are this daemon's: one for all servers, told apart by the path of the file. */
  readonly journal: { readonly upstreamDigest: string; readonly credentialsDigest: string };
  /** The largest message that any server took when the daemon was started: what the listener reads. */
  readonly requestMaxBytes: number;
  /** By name, in the order of the file. */
  readonly upstreams: ReadonlyMap<string, RunPlan>;
  /** Options of the process that the file sets otherwise than they are. */
  readonly unheeded: readonly OptionKey[];
}

/** They say what one server is; here every entry of the file says that for itself. */
const WRAP_ONLY: readonly OptionKey[] = ["name", "cwd", "transport", "header"];

/** Throws `ConfigError` with what is wrong, where, and what was expected. */
export function makeServePlan(request: ServeRequest): ServePlan {
  const { around } = request;
  const own = [flagLayer(request.flags, around.cwd), envLayer(around.env, around.cwd)];
  refuseWrapOnly(own);
  const given = own.map((layer) => layer.get("config")?.raw).find((raw) => raw !== undefined);
  const asked = typeof given === "string" ? given : undefined;
  const file = loadConfig(asked, around);
  if (file === undefined) {
    const places = configCandidates(asked, around).paths.join(" or ");
    throw new ConfigError(
      `there is no configuration file: write ${places}, or name one with --config. ${EXAMPLE}`,
    );
  }
  const settings = processSettings(own, file, around);
  const folders = resolveFolders(settings, around);
  return planOf(request, file, { settings, folders, unheeded: [] });
}

/** The same daemon with its file as it is now: what concerns the whole process stays. */
export function remakeServePlan(request: ServeRequest, before: ServePlan): ServePlan {
  const { around, flags } = request;
  const own = [flagLayer(flags, around.cwd), envLayer(around.env, around.cwd)];
  const file = loadConfig(before.configPath, around);
  if (file === undefined) throw new ConfigError(`${before.configPath} is not there any more`);
  const settings = processSettings(own, file, around);
  const unheeded = OPTION_KEYS.filter(
    (key) => isOfProcess(key) && !isSame(settings[key], before.settings[key]),
  );
  const after = planOf(request, file, { ...before, unheeded });
  const { requestMaxBytes } = before;
  const isOver = after.requestMaxBytes > requestMaxBytes;
  const more: readonly OptionKey[] = isOver ? ["requestMaxBytes"] : [];
  return { ...after, requestMaxBytes, unheeded: [...unheeded, ...more] };
}

const isOfProcess = (key: OptionKey): boolean => optionOf(key).scope === "global";
/** A daemon's journal is told apart from other daemons' by its configuration file. */
export const daemonDigest = (configPath: string): string =>
  createHash("sha256").update(`serve\0${configPath}`).digest("hex");
export const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

const EXAMPLE =
  "It needs at least one server, like: " +
  '{"mcpServers": {"github": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-github"]}}}';

function refuseWrapOnly(own: readonly Layer[]): void {
  for (const key of WRAP_ONLY) {
    const given = own.map((layer) => layer.get(key)).find((one) => one !== undefined);
    if (given === undefined) continue;
    throw new ConfigError(
      `${given.origin} is for wrapping one server; with serve each entry of the file says it itself`,
    );
  }
}

/** A daemon promises to remember, so it does not start where it can't, unless somebody says so. */
function processSettings(own: readonly Layer[], file: ConfigFile, around: Surroundings): Settings {
  const { settings, given } = resolveSettings([...own, file.layer], "stdio", around.home);
  return {
    ...settings,
    ...(given.has("journal") ? {} : { journal: "required" }),
    // It holds the calls of many, for long, and nobody looks after it.
    ...(given.has("snapshotsEveryMs") ? {} : { snapshotsEveryMs: HOUR }),
  };
}

type Common = Pick<ServePlan, "settings" | "folders" | "unheeded">;

function planOf(request: ServeRequest, file: ConfigFile, common: Common): ServePlan {
  const { around, world, version } = request;
  const { settings, folders, unheeded } = common;
  const key = identityKey(folders.state, around, world);
  const upstreams = new Map<string, RunPlan>();
  for (const [name, entry] of file.servers) {
    if (entry["disabled"] === true) continue;
    upstreams.set(name, upstreamPlan(request, file, name, common, key));
  }
  if (upstreams.size === 0) {
    const what = file.servers.size === 0 ? "has no servers" : "has only disabled servers";
    throw new ConfigError(`${file.path} ${what}. ${EXAMPLE}`);
  }
  return {
    version,
    configPath: file.path,
    settings,
    folders,
    controlPath: controlPath(folders.run, around.pid, around.platform),
    journal: {
      upstreamDigest: daemonDigest(file.path),
      credentialsDigest: world.digest(key.value, "serve"),
    },
    requestMaxBytes: Math.max(
      ...[...upstreams.values()].map((one) => one.settings.requestMaxBytes),
    ),
    upstreams,
    unheeded,
  };
}

function upstreamPlan(
  request: ServeRequest,
  file: ConfigFile,
  name: string,
  common: Common,
  key: ReturnType<typeof identityKey>,
): RunPlan {
  const { flags, around, world, version } = request;
  if (!/^[A-Za-z0-9._~-]+$/.test(name) || /^\.\.?$/.test(name)) {
    throw new ConfigError(
      `${file.path}: ${file.sections.get(name) ?? "mcpServers"}: the name ${JSON.stringify(name)} is ` +
        "not right; it becomes part of a URL: expected letters, digits and . _ ~ -",
    );
  }
  const entry = readServer(file, name, around, minimalEnvironment);
  checkHeaders(entry.target, `${file.path}: ${file.sections.get(name) ?? "mcpServers"}.${name}`);
  const own = [flagLayer(flags, around.cwd), envLayer(around.env, around.cwd)];
  const layers = [...own, entry.layer, file.layer];
  const { settings, given } = resolveSettings(layers, entry.target.kind, around.home);
  const { folders } = common;
  const maskValues = secretsOf(entry.target);
  return {
    version,
    name,
    target: entry.target,
    targetText: targetText(entry.target, maskValues),
    maskValues,
    settings: withProcess(settings, common.settings),
    given,
    tools: entry.tools,
    clients: entry.clients,
    folders,
    controlPath: controlPath(folders.run, around.pid, around.platform),
    identity: identifyByName(name, entry.target, key, world),
  };
}

/** Now, and not when the first client wants that server: whoever saves the file is still looking. */
function checkHeaders(target: Target, where: string): void {
  if (target.kind === "stdio") return;
  try {
    configuredHeaders(new URL(target.url), target.headers);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`${where}: ${error.message}`);
  }
}

/** What concerns the whole process is the same in every plan of it. */
function withProcess(own: Settings, process: Settings): Settings {
  const common = OPTION_KEYS.filter(isOfProcess).map((key) => [key, process[key]] as const);
  return { ...own, ...(Object.fromEntries(common) as Partial<Settings>) };
}
