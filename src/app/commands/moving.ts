/** Registers the commands that move calls and sessions: export, import, calls export. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { readStates } from "./calls.ts";
import type { ExportRequest } from "./export.ts";
import { FOLDER_OPTIONS, addOptions, flagsOf, placesOf, readLimit } from "./flags.ts";
import type { Exit } from "./flags.ts";
import type { Outside } from "./screen.ts";

interface ExportFlags {
  readonly to?: string;
  readonly upstream?: string;
  readonly state?: string;
  readonly limit?: string;
  readonly json?: true;
}

const withCommonOptions = (command: Command) =>
  addOptions(
    command
      .option("--to <file>", "a new file instead of stdout")
      .option("--upstream <name>", "of this server only")
      .option("--state <states>", "only calls in these states, for example queued,dead")
      .option("--json", "what was written, as one JSON object; on stderr without --to"),
    FOLDER_OPTIONS,
  );

export function addMoving(program: Command, version: string, outside: Outside, exit: Exit): void {
  const command = withCommonOptions(
    program
      .command("export")
      .description("Writes sessions and calls, with requests and results, as JSON Lines."),
  );
  command.action((flags: ExportFlags) => run(command, flags, true, version, outside, exit));
  addImport(program, outside, exit);
}

/** `calls`: the command that it is a verb of. */
export function addCallsExport(
  calls: Command,
  version: string,
  outside: Outside,
  exit: Exit,
): void {
  const command = withCommonOptions(
    calls
      .command("export")
      .description("Writes calls, with requests and results, as JSON Lines.")
      .option("--limit <count>", "at most so many, the newest"),
  );
  command.action((flags: ExportFlags) => run(command, flags, false, version, outside, exit));
}

async function run(
  command: Command,
  flags: ExportFlags,
  withSessions: boolean,
  version: string,
  outside: Outside,
  exit: Exit,
): Promise<void> {
  const { exportJournals } = await import("./export.ts");
  const { cwd } = outside.around;
  const request: ExportRequest = {
    to: flags.to === undefined ? undefined : resolve(cwd, flags.to),
    upstream: flags.upstream,
    states: readStates(flags.state),
    limit: flags.limit === undefined ? undefined : readLimit(flags.limit),
    withSessions,
  };
  const { folders } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
  exit.code = await exportJournals(request, flags.json === true, folders, version, outside);
}

function addImport(program: Command, outside: Outside, exit: Exit): void {
  const command = program
    .command("import <file>")
    .description("Puts what was exported into a new journal; - reads stdin.")
    .option("--json", "one JSON object");
  addOptions(command, FOLDER_OPTIONS).action(async (file: string, { json }: ExportFlags) => {
    const { STDIN, importJournals } = await import("./import.ts");
    const path = file === STDIN ? STDIN : resolve(outside.around.cwd, file);
    const { folders } = placesOf(flagsOf(command, FOLDER_OPTIONS), outside);
    exit.code = await importJournals(path, json === true, folders, outside);
  });
}
