/** Registers the commands of a proxy with many clients: serve, sessions, events, restart. */
import type { Command } from "commander";
import { OPTION_KEYS } from "../option-table.ts";
import { FOLDER_OPTIONS, addOptions, flagsOf, placesOf, readLimit } from "./flags.ts";
import type { Exit } from "./flags.ts";
import type { Outside } from "./screen.ts";
import type { SessionsRequest } from "./sessions.ts";

const foldersOf = (command: Command, outside: Outside) =>
  placesOf(flagsOf(command, FOLDER_OPTIONS), outside).folders;

/** Every option of the table: those that say what one server is are refused with the reason. */
export function addServe(program: Command, version: string, outside: Outside, exit: Exit): void {
  const command = program
    .command("serve")
    .description("Serves every server of the configuration file to clients over the network.");
  addOptions(command, OPTION_KEYS).action(async () => {
    const { around, world } = outside;
    const flags = flagsOf(command, OPTION_KEYS);
    exit.code = await outside.serve({ flags, around, world, version });
  });
}

interface ListFlags {
  readonly json?: true;
  readonly all?: true;
  readonly limit?: string;
}

export function addSessions(program: Command, outside: Outside, exit: Exit): void {
  const sessions = program.command("sessions").description("Lists and ends sessions of clients.");
  const steer = async (command: Command, request: SessionsRequest, json: true | undefined) => {
    const { steerSessions } = await import("./sessions.ts");
    const folders = foldersOf(command, outside);
    exit.code = await steerSessions(request, json === true, folders, outside);
  };
  const list = sessions
    .command("list")
    .description("The last seen first.")
    .option("--json", "one JSON object")
    .option("--all", "also those that ended or expired")
    .option("--limit <count>", "at most so many", "50");
  addOptions(list, FOLDER_OPTIONS).action(async ({ json, all, limit }: ListFlags) => {
    await steer(list, { verb: "list", isAll: all === true, limit: readLimit(limit) }, json);
  });
  const end = sessions
    .command("end <session>")
    .description("Ends a session for good: its client has to begin a new one.")
    .option("--json", "one JSON object");
  addOptions(end, FOLDER_OPTIONS).action(async (id: string, { json }: ListFlags) => {
    await steer(end, { verb: "end", id }, json);
  });
}

interface EventsFlags {
  readonly follow?: true;
  readonly json?: true;
  readonly upstream?: string;
}

export function addEvents(program: Command, outside: Outside, exit: Exit): void {
  const command = program
    .command("events")
    .description("Shows what happens, in every proxy that runs.")
    .option("--follow", "from now on, until Ctrl-C")
    .option("--json", "one JSON object a line")
    .option("--upstream <name>", "only of this server");
  addOptions(command, FOLDER_OPTIONS).action(async ({ follow, json, upstream }: EventsFlags) => {
    const { showEvents } = await import("./events.ts");
    const options = { isFollowing: follow === true, isJson: json === true, upstream };
    exit.code = await showEvents(options, foldersOf(command, outside), outside);
  });
}

export function addRestart(program: Command, outside: Outside, exit: Exit): void {
  const command = program
    .command("restart <name>")
    .description("Connects anew to a server; its calls wait meanwhile.")
    .option("--json", "one JSON object");
  addOptions(command, FOLDER_OPTIONS).action(async (name: string, { json }: { json?: true }) => {
    const { restart } = await import("./restart.ts");
    exit.code = await restart(name, json === true, foldersOf(command, outside), outside);
  });
}
