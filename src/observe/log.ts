/**
 * The log: lines on stderr or in a file, for people or as JSON.
 *
 * L1. Logging never throws and never stops the proxy: a reader that is gone, or that does not read,
 *     costs lines only, and how many is said when writing works again.
 * L2. One line a call: line breaks inside of values are escaped.
 */
import { openSync, writeSync } from "node:fs";
import { ConfigError, errorText } from "../base/errors.ts";
import type { World } from "../base/world.ts";
import type { Log, LogFields, LogLevel } from "../ports.ts";

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "pretty" | "json";
  readonly world: Pick<World, "now">;
  /** Takes one line with its line break. May throw; then the line counts as lost. */
  readonly write: (line: string) => void;
  readonly hasColor?: boolean;
}

const SEVERITY: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const COLORS: Readonly<Record<LogLevel, string>> = {
  debug: "\u001b[2m",
  info: "\u001b[36m",
  warn: "\u001b[33m",
  error: "\u001b[31m",
};
const UNCOLOR = "\u001b[39m\u001b[22m";

/** Control characters could steer a terminal, and come from servers' own texts. */
const oneLine = (text: string) =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) =>
    character === "\n" ? "\\n" : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

const word = (value: string | number | boolean) => {
  const text = oneLine(String(value));
  // JSON leaves some control characters as they are, such as the one that begins a command in 8 bits.
  return typeof value === "string" && (text === "" || /[\s="]/.test(text))
    ? oneLine(JSON.stringify(String(value)))
    : text;
};

function pretty(at: string, level: LogLevel, message: string, fields: LogFields, color: boolean) {
  let tail = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) tail += ` ${name}=${word(value)}`;
  }
  const label = level.padEnd(5);
  const head = color ? `${COLORS[level]}${label}${UNCOLOR}` : label;
  return `${at.slice(11, 23)} ${head} ${oneLine(message)}${tail}\n`;
}

export function createLog(options: LogOptions): Log {
  const least = SEVERITY[options.level];
  let lost = 0;
  const line = (level: LogLevel, message: string, fields: LogFields) => {
    const at = new Date(options.world.now()).toISOString();
    return options.format === "json"
      ? `${oneLine(JSON.stringify({ ...fields, at, level, message }))}\n`
      : pretty(at, level, message, fields, options.hasColor === true);
  };
  return (level, message, fields = {}) => {
    if (SEVERITY[level] < least) return;
    try {
      if (lost > 0) {
        options.write(line("warn", "log lines were lost: nobody read them", { lost }));
        lost = 0;
      }
      options.write(line(level, message, fields));
    } catch {
      lost++;
    }
  };
}

/** More than this unread, and lines are dropped instead of kept in memory. */
const UNREAD_MAX_BYTES = 1_048_576;

/** A writer to a stream such as `process.stderr`; throws where the line cannot be taken now. */
export function streamWriter(stream: NodeJS.WriteStream): (line: string) => void {
  let isGone = false;
  stream.on("error", () => {
    isGone = true;
  });
  return (text) => {
    if (isGone || !stream.writable) throw new Error("the reader is gone");
    if (stream.writableLength > UNREAD_MAX_BYTES) throw new Error("nobody reads");
    stream.write(text);
  };
}

/** Appends to a file (0600). Throws `ConfigError` if it cannot be opened. */
export function fileWriter(path: string): (line: string) => void {
  let file: number;
  try {
    file = openSync(path, "a", 0o600);
  } catch (error) {
    throw new ConfigError(`log file ${path} cannot be opened: ${errorText(error)}`);
  }
  return (text) => {
    writeSync(file, text);
  };
}
