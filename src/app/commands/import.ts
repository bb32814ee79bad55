/** `holdfast import`: what was exported, into new journals that no proxy has (docs/EXPORT.md). */
import { open } from "node:fs/promises";
import { basename } from "node:path";
import type { Readable } from "node:stream";
import { RefusedError, errorText } from "../../base/errors.ts";
import { importExport } from "../../store/moving/import.ts";
import type { Imported } from "../../store/moving/import.ts";
import { loadDriver } from "../../store/sqlite/connection.ts";
import type { Folders } from "../options.ts";
import { many } from "../../observe/text.ts";
import type { Outside } from "./screen.ts";
import { sayer } from "./screen.ts";

/** What stands for stdin on the command line. */
export const STDIN = "-";

/** `path`: absolute, or "-". Rejects with `RefusedError` where nothing was imported, saying why. */
export async function importJournals(
  path: string,
  isJson: boolean,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const driver = await loadDriver();
  const input = path === STDIN ? outside.input() : await openInput(path);
  void outside.interrupted().then(() => {
    input.destroy(new RefusedError("the import was interrupted"));
  });
  const name = path === STDIN ? "stdin" : basename(path).replace(/[^\x20-\x7e]/g, "?");
  const at = new Date(outside.world.now()).toISOString();
  const because = `imported from ${name} at ${at}`;
  try {
    const imported = await importExport(input, { driver, folder: folders.state, because });
    return sayer(isJson, outside)(objectOf(imported), textOf(imported));
  } catch (error) {
    throw inWords(path, error);
  } finally {
    input.destroy();
  }
}

async function openInput(path: string): Promise<Readable> {
  try {
    return (await open(path, "r")).createReadStream();
  } catch (error) {
    throw inWords(path, error);
  }
}

/** What is wrong with the file, with its name; anything else as it is. */
function inWords(path: string, error: unknown): unknown {
  const isOfSystem = error instanceof Error && "syscall" in error;
  if (!isOfSystem && !(error instanceof RefusedError)) return error;
  const name = path === STDIN ? "stdin" : path;
  return new RefusedError(`nothing was imported from ${name}: ${errorText(error)}`);
}

const objectOf = ({ journals, calls, held, callsThere, sessions }: Imported) => ({
  imported: { journals, calls, held, callsThere, sessions },
});

function textOf({ journals, calls, held, callsThere, sessions }: Imported): string {
  const there = callsThere === 0 ? "" : `; here already: ${many(callsThere, "call")}`;
  if (journals.length === 0) return `Nothing to do${there === "" ? ": it is empty" : there}.\n`;
  const lines = [
    `Imported ${many(calls, "call")} and ${many(sessions, "session")}${there}.`,
    ...journals.map(({ path, name, calls }) => `  ${name}: ${many(calls, "call")}  ${path}`),
  ];
  if (held > 0) {
    lines.push(
      `Held for you: ${many(held, "call")} that may have run since the export; see ` +
        "holdfast calls list --state queued,sent,in_doubt",
    );
  }
  return `${lines.join("\n")}\n`;
}
