/** The commands that are not the wrap form, with commander. Loaded only when one of them is wanted. */
import { Command, CommanderError } from "commander";
import { ConfigError } from "../../base/errors.ts";
import { resolveFolders } from "../folders.ts";
import { OPTION_KEYS } from "../option-table.ts";
import type { FlagValues } from "../resolve.ts";
import type { CallsRequest } from "./calls.ts";
import type { TokenRequest } from "./tokens.ts";
import { addEvents, addRestart, addServe, addSessions } from "./daemon.ts";
import { FOLDER_OPTIONS, addOptions, flagsOf, placesOf, readLimit } from "./flags.ts";
import type { Exit } from "./flags.ts";
import { helpText } from "./help.ts";
import { addSafekeeping } from "./safekeeping.ts";
import { addCallsExport, addMoving } from "./moving.ts";
import type { Outside } from "./screen.ts";
import { EXIT } from "./screen.ts";

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

function addCalls(program: Command, version: string, outside: Outside, exit: Exit): void {
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
    const limit = readLimit(flags.limit);
    const states = readStates(flags.state);
    await steer(list, { verb: "list", states, limit }, flags);
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
  addCallsExport(calls, version, outside, exit);
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

function addVerify(program: Command, outside: Outside, exit: Exit): void {
  const command = program
    .command("verify")
    .description("Looks for whatever does not fit in the journals and beside them.")
    .option("--repair", "mend what needs no guess, and keep a copy of what was there")
    .option("--json", "one JSON object: {isFine, journals, files, repairs, refused}");
  addOptions(command, FOLDER_OPTIONS).action(
    async ({ repair, json }: { repair?: true; json?: true }) => {
      const { verify } = await import("./verify.ts");
      const { folders } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
      const options = { isRepairing: repair === true, isJson: json === true };
      exit.code = await verify(options, folders, outside);
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
  addServe(program, version, outside, exit);
  addStatus(program, outside, exit);
  addCalls(program, version, outside, exit);
  addMoving(program, version, outside, exit);
  addTokens(program, outside, exit);
  addSessions(program, outside, exit);
  addEvents(program, outside, exit);
  addRestart(program, outside, exit);
  addSafekeeping(program, version, outside, exit);
  addDoctor(program, wrapped, version, outside, exit);
  addVerify(program, outside, exit);
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

/** Commands that do something to one of many; alone they list them. */
const LISTING: readonly (string | undefined)[] = ["calls", "sessions", "token"];

/** Commander's own default verb would hide a misspelt one. */
function withVerb(argv: readonly string[]): string[] {
  const [command, next] = argv;
  const isAlone =
    next === undefined || (next.startsWith("-") && next !== "--help" && next !== "-h");
  return command !== undefined && LISTING.includes(command) && isAlone
    ? [command, "list", ...argv.slice(1)]
    : [...argv];
}
