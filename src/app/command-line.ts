/**
 * What a command line means. The wrap form is decided here with as little loaded as can be, because a
 * client waits for it; everything else goes to `commands/program.ts`.
 *
 * C1. In the wrap form nothing of ours is ever written to stdout.
 */
import { ConfigError, JournalError, RefusedError } from "../base/errors.ts";
import { readArguments } from "./args.ts";
import type { Arguments } from "./args.ts";
import { EXIT } from "./commands/screen.ts";
import type { Outside } from "./commands/screen.ts";
import { didYouMean } from "./nearest.ts";
import type { Wanted } from "./plan.ts";
import { makePlan, wantedOf } from "./plan.ts";
import { packageVersion } from "./version.ts";

const VERBS = [
  "run",
  "serve",
  "status",
  "calls",
  "sessions",
  "events",
  "restart",
  "token",
  "backup",
  "snapshots",
  "restore",
  "doctor",
  "verify",
  "export",
  "import",
];

/** Answers with the exit code; errors of use and configuration are told on stderr. */
export async function runCommandLine(argv: readonly string[], outside: Outside): Promise<number> {
  try {
    return await dispatch(argv, outside);
  } catch (error) {
    if (error instanceof ConfigError) {
      outside.error(`holdfast: ${error.message}\n`);
      return EXIT.usage;
    }
    // The text says what to do: the native module, a file that can't be read.
    if (error instanceof RefusedError || error instanceof JournalError) {
      outside.error(`holdfast: ${error.message}\n`);
      return EXIT.degraded;
    }
    throw error;
  }
}

async function dispatch(argv: readonly string[], outside: Outside): Promise<number> {
  const [first = ""] = argv;
  if (first !== "run" && (VERBS.includes(first) || first === "help")) {
    const { runProgram } = await import("./commands/program.ts");
    return runProgram(argv, packageVersion(), outside);
  }
  const read = readArguments(argv);
  if (read.wantsHelp) {
    const { helpText } = await import("./commands/help.ts");
    outside.out(helpText());
    return EXIT.ok;
  }
  const version = packageVersion();
  if (read.wantsVersion) {
    outside.out(`${version}\n`);
    return EXIT.ok;
  }
  const { around, world } = outside;
  const plan = await makePlan(read.flags, wantedIn(read), around, world, version);
  return outside.runProxy(plan);
}

function wantedIn({ words, command }: Arguments): Wanted {
  const [first, ...others] = words;
  if (first === "run") {
    const [name, ...more] = others;
    if (name === undefined || more.length > 0 || command !== undefined) {
      throw new ConfigError(
        "expected: holdfast run NAME [options], NAME being an entry of the file",
      );
    }
    return { kind: "entry", name };
  }
  if (first === undefined) {
    if (command !== undefined) return { kind: "command", words: command };
    throw new ConfigError(
      "there is nothing to wrap; expected: holdfast -- command args…, or holdfast https://host/mcp " +
        "(see holdfast --help)",
    );
  }
  if (VERBS.includes(first)) {
    throw new ConfigError(`options go after the command: holdfast ${first} …`);
  }
  const wanted = wantedOf(first);
  if (command !== undefined) {
    throw new ConfigError(`"${first}" and a command after --: expected one of the two`);
  }
  if (wanted.kind === "url" && others.length === 0) return wanted;
  const line = wanted.kind === "url" ? others.join(" ") : words.join(" ");
  if (wanted.kind === "url") throw new ConfigError(`"${line}" after the URL is not understood`);
  throw new ConfigError(
    `"${first}" is neither a command of holdfast nor a URL${didYouMean(first, VERBS)}; ` +
      `to wrap a command write: holdfast -- ${line}; for an entry of the file: holdfast run ${first}`,
  );
}
