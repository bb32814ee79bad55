/** Registers the commands that keep journals safe: backup, snapshots, restore. */
import type { Command } from "commander";
import type { OptionKey } from "../option-table.ts";
import { FOLDER_OPTIONS, addOptions, flagsOf, placesOf } from "./flags.ts";
import type { Exit } from "./flags.ts";
import type { Outside } from "./screen.ts";

const SHELF_OPTIONS: readonly OptionKey[] = [...FOLDER_OPTIONS, "snapshotsFolder"];

interface Flags {
  readonly json?: true;
  readonly to?: string;
  readonly into?: string;
}

export function addSafekeeping(
  program: Command,
  version: string,
  outside: Outside,
  exit: Exit,
): void {
  const placesFor = (command: Command) => placesOf(flagsOf(command, SHELF_OPTIONS), outside);
  const backup = program
    .command("backup")
    .description("Makes a snapshot of every journal, whether proxies run or not.")
    .option("--to <path>", "a folder, or a file such as mine.hfsnap where there is one journal")
    .option("--json", "one JSON object: {made, empty, failed}");
  addOptions(backup, SHELF_OPTIONS).action(async ({ to, json }: Flags) => {
    const { makeBackup } = await import("./backup.ts");
    exit.code = await makeBackup(to, json === true, version, placesFor(backup), outside);
  });
  const list = program
    .command("snapshots")
    .description("Lists snapshots, the newest first.")
    .argument("[folder]", "where backup --to put them")
    .option("--json", "one JSON object: {snapshots}");
  addOptions(list, SHELF_OPTIONS).action(async (folder: string | undefined, { json }: Flags) => {
    const { showSnapshots } = await import("./backup.ts");
    exit.code = await showSnapshots(folder, json === true, placesFor(list), outside);
  });
  const restore = program
    .command("restore <file>")
    .description("Puts a snapshot back as a new journal; what may have run since waits for you.")
    .option("--into <folder>", "the state folder")
    .option("--json", "one JSON object");
  addOptions(restore, SHELF_OPTIONS).action(async (file: string, { into, json }: Flags) => {
    const { restoreBackup } = await import("./backup.ts");
    const options = { file, into, isJson: json === true };
    exit.code = await restoreBackup(options, placesFor(restore), outside);
  });
}
