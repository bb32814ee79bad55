/** The commands that are not the wrap form, with commander. Loaded only when one of them is wanted. */
import type { Option as TableOption } from "../option-kinds.ts";
import { canRepeat } from "../option-kinds.ts";
import { Command, CommanderError, Option } from "commander";
import { ConfigError } from "../../base/errors.ts";
import { absolutePath, envLayer, flagLayer, optionOf, resolveSettings } from "../resolve.ts";
import type { FlagValues } from "../resolve.ts";
import { resolveFolders } from "../folders.ts";
import type { Folders } from "../options.ts";
import type { OptionKey } from "../option-table.ts";
import { OPTION_KEYS } from "../option-table.ts";
import { loadConfig } from "../config.ts";
import { readInteger } from "../values.ts";
import type { CallsRequest } from "./calls.ts";
import type { TokenRequest } from "./tokens.ts";
import type { Outside } from "./screen.ts";
import { EXIT } from "./screen.ts";
import { helpText, flagUsage } from "./help.ts";

const FOLDER_OPTIONS: readonly OptionKey[] = ["stateDir", "config"];

function addOptions(command: Command, keys: readonly OptionKey[]): Command {
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
function flagsOf(command: Command, keys: readonly OptionKey[]): FlagValues {
  const flags = new Map<OptionKey, string | readonly string[]>();
  for (const key of keys) {
    const name = optionOf(key).flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    if (command.getOptionValueSource(name) !== "cli") continue;
    const value: unknown = command.getOptionValue(name);
    flags.set(key, Array.isArray(value) ? (value as string[]) : String(value));
  }
  return flags;
}

/** The folders that a proxy started here would use, and the file that says so. */
function placesOf(flags: FlagValues, outside: Outside): { folders: Folders; asked?: string } {
  const { around } = outside;
  const own = [flagLayer(flags, around.cwd), envLayer(around.env, around.cwd)];
  const given = own.map((layer) => layer.get("config")?.raw).find((raw) => raw !== undefined);
  const asked =
    typeof given === "string" ? absolutePath(given, around.cwd, around.home) : undefined;
  const hasFolder = own.some((layer) => layer.has("stateDir"));
  // A file that is broken stops `run`; looking at what runs needs it only for its state folder.
  const file = hasFolder ? undefined : loadConfig(asked, around);
  const layers = file === undefined ? own : [...own, file.layer];
  const { settings } = resolveSettings(layers, "stdio", around.home);
  return {
    folders: resolveFolders(settings, around),
    ...(asked === undefined ? {} : { asked }),
  };
}

interface Exit {
  code: number;
}

function addStatus(program: Command, outside: Outside, exit: Exit): void {
  const command = program
    .command("status")
    .description("Shows every proxy that runs, what waits, and what is wrong.")
    .option("--json", "one JSON object: {proxies, journals}")
    .option("--watch", "look again every second until Ctrl-C");
  addOptions(command, FOLDER_OPTIONS).action(
    async ({ json, watch }: { json?: true; watch?: true }) => {
      const { showStatus } = await import("./status.ts");
      const { folders } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
      const options = { isJson: json === true, isWatching: watch === true };
      exit.code = await showStatus(options, folders, outside);
    },
  );
}

interface CallsFlags {
  readonly json?: true;
  readonly state?: string;
  readonly limit?: string;
  readonly note?: string;
}

const LIMIT_MAX = 100_000;

function addCalls(program: Command, outside: Outside, exit: Exit): void {
  const calls = program.command("calls").description("Lists and steers calls.");
  const verb = (usage: string, text: string) =>
    addOptions(
      calls.command(usage).description(text).option("--json", "one JSON object"),
      FOLDER_OPTIONS,
    );
  const steer = async (command: Command, request: CallsRequest, flags: CallsFlags) => {
    const { steerCalls } = await import("./calls.ts");
    const { folders } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
    exit.code = await steerCalls(request, flags.json === true, folders, outside);
  };
  const list = verb("list", "Newest first.")
    .option("--state <states>", "only these, for example queued,dead")
    .option("--limit <count>", "at most so many", "50");
  list.action(async (flags: CallsFlags) => {
    const { readStates } = await import("./calls.ts");
    const limit = readInteger(1, LIMIT_MAX)(flags.limit);
    if (limit === undefined) {
      throw new ConfigError(
        `--limit: ${JSON.stringify(flags.limit)} is not right; ` +
          `expected a whole number from 1 to ${String(LIMIT_MAX)}`,
      );
    }
    const states = readStates(flags.state);
    await steer(list, { verb: "list", states, limit: limit.value }, flags);
  });
  const one = (name: "show" | "retry" | "cancel", text: string) => {
    const command = verb(`${name} <call>`, text);
    command.action((id: string, flags: CallsFlags) => steer(command, { verb: name, id }, flags));
  };
  one("show", "Everything known of one call, with its request and reply.");
  one("retry", "Runs an ended call once more, as a new call.");
  one("cancel", "Withdraws a waiting call.");
  const settle = verb("settle <call>", "Notes what you found out about a call.").requiredOption(
    "--note <text>",
    "what happened",
  );
  settle.action((id: string, flags: CallsFlags) =>
    steer(settle, { verb: "settle", id, note: flags.note ?? "" }, flags),
  );
}

interface TokenFlags {
  readonly json?: true;
  readonly name: string;
  readonly upstream?: string;
  readonly expires?: string;
}

function addTokens(program: Command, outside: Outside, exit: Exit): void {
  const tokens = program.command("token").description("Says who may connect to holdfast serve.");
  const verb = (usage: string, text: string) =>
    addOptions(
      tokens.command(usage).description(text).option("--json", "one JSON object"),
      FOLDER_OPTIONS,
    );
  const steer = async (command: Command, request: TokenRequest, flags: { json?: true }) => {
    const { steerTokens } = await import("./tokens.ts");
    const { folders, asked } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
    exit.code = await steerTokens(request, flags.json === true, folders, asked, outside);
  };
  const create = verb("create", "Makes one, and shows it once on stdout.")
    .requiredOption("--name <name>", "whose it is")
    .option("--upstream <names>", "good for these servers only, for example github,docs")
    .option("--expires <duration>", "worth nothing after this time, for example 30d");
  create.action(async (flags: TokenFlags) => {
    const { readWish } = await import("./tokens.ts");
    await steer(create, { verb: "create", wish: readWish(flags) }, flags);
  });
  const list = verb("list", "All of them, without their secrets.");
  list.action((flags: TokenFlags) => steer(list, { verb: "list" }, flags));
  const revoke = verb("revoke <token>", "Ends one, given by its id or name.");
  revoke.action((which: string, flags: TokenFlags) =>
    steer(revoke, { verb: "revoke", which }, flags),
  );
}

function addDoctor(
  program: Command,
  wrapped: readonly string[] | undefined,
  version: string,
  outside: Outside,
  exit: Exit,
): void {
  const command = program
    .command("doctor")
    .description("Checks this machine, the configuration, and a server if one is named.")
    .argument("[server]", "a URL, or a name of the configuration file; or -- command args…")
    .option("--json", "one JSON object: {isFine, checks}");
  addOptions(command, OPTION_KEYS).action(
    async (server: string | undefined, { json }: { json?: true }) => {
      const { runDoctor } = await import("./doctor.ts");
      const { makePlan, wantedOf } = await import("../plan.ts");
      const flags = flagsOf(command, OPTION_KEYS);
      if (server !== undefined && wrapped !== undefined) {
        throw new ConfigError(`"${server}" and a command after --: expected one of the two`);
      }
      const named = server === undefined ? undefined : wantedOf(server);
      const wanted = wrapped === undefined ? named : { kind: "command" as const, words: wrapped };
      const { folders, asked } = placesForDoctor(flags, outside);
      exit.code = await runDoctor(
        asked,
        folders,
        wanted && (() => makePlan(flags, wanted, outside.around, outside.world, version)),
        json === true,
        outside,
      );
    },
  );
}

/** A broken file is a finding of the doctor's, not the end of it. */
function placesForDoctor(flags: FlagValues, outside: Outside) {
  const asked = flags.get("config") ?? outside.around.env["HOLDFAST_CONFIG"];
  const known = typeof asked === "string" && asked !== "" ? { asked } : {};
  try {
    return { ...placesOf(flags, outside), ...known };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return {
      folders: resolveFolders({ stateDir: undefined, cacheDir: undefined }, outside.around),
      ...known,
    };
  }
}

/**
 * Runs one command. Rejects with `ConfigError` for a wrong use, `RefusedError` for what cannot be
 * done. Nothing after `--` reaches commander.
 */
export async function runProgram(
  argv: readonly string[],
  version: string,
  outside: Outside,
): Promise<number> {
  const dashes = argv.indexOf("--");
  const own = withVerb(dashes === -1 ? argv : argv.slice(0, dashes));
  const wrapped = dashes === -1 ? undefined : argv.slice(dashes + 1);
  const exit: Exit = { code: EXIT.ok };
  const program = new Command("holdfast")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => {
        outside.out(text);
      },
      writeErr: () => undefined,
    })
    .version(version, "-V, --version");
  program.helpInformation = helpText;
  addStatus(program, outside, exit);
  addCalls(program, outside, exit);
  addTokens(program, outside, exit);
  addDoctor(program, wrapped, version, outside, exit);
  if (wrapped !== undefined && own[0] !== "doctor") {
    throw new ConfigError(`nothing can follow -- in "holdfast ${own[0] ?? ""}"`);
  }
  try {
    await program.parseAsync(own, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return EXIT.ok;
    throw new ConfigError(error.message.replace(/^error: /, ""));
  }
  return exit.code;
}

/** `holdfast calls` alone lists, and so does `holdfast token`; commander's own default verb would hide a misspelt one. */
function withVerb(argv: readonly string[]): string[] {
  const [command, next] = argv;
  const isAlone =
    next === undefined || (next.startsWith("-") && next !== "--help" && next !== "-h");
  const lists = command === "calls" || command === "token";
  return lists && isAlone ? [command, "list", ...argv.slice(1)] : [...argv];
}
