/**
 * The one options table. Flags, environment names, the keys of the configuration file, `--help`,
 * `docs/OPTIONS.md` and the JSON Schema are all made from it.
 *
 * O1. Precedence: flag › environment › file, server's own › file, top level › default.
 * O2. After resolving nothing is optional that has a default.
 */
import type { Option } from "./option-kinds.ts";
import {
  boolean,
  bytes,
  choice,
  choiceOrNone,
  duration,
  global,
  headers,
  integer,
  limit,
  server,
  start,
  text,
  DAY,
  GIB,
  MIB,
  HOUR,
  MANY,
  MINUTE,
} from "./option-kinds.ts";
import { keeping, snapshots } from "./keeping-options.ts";
import { sessions } from "./session-options.ts";
import { listening } from "./listening-options.ts";

/** Waiting and repeating. */
const waiting = {
  holdMs: duration(
    server("hold", "45s", "How long a call waits for its server before its caller gets an answer."),
    0,
    DAY,
  ),
  progressEveryMs: duration(
    server("progressEvery", "10s", "Time between the progress notes that a waiting caller gets."),
    1_000,
    HOUR,
  ),
  defer: choice(
    server(
      "offline.defer",
      "harmless",
      "Which calls stay queued past their hold, with the caller told so: those of tools that " +
        "the server marks as harmless to run late, all but read-only ones, or none.",
    ),
    ["harmless", "writes", "none"],
  ),
  deferTtlMs: duration(
    {
      ...server("offline.ttl", "1h", "How long such a call may still run; afterwards it expires."),
      flag: "defer-ttl",
    },
    1_000,
    7 * DAY,
  ),
  shield: choice(
    server(
      "shield",
      "warn",
      "What happens to an identical repeat of a call whose outcome is unknown: a warning first, " +
        "never sent, or sent at once.",
    ),
    ["warn", "block", "off"],
  ),
  trustAnnotations: boolean(
    server(
      "trustAnnotations",
      "true",
      "Whether a server is believed that marks its tools as read-only or idempotent. If not, every " +
        "tool without a setting of its own is unsafe and never sent twice.",
    ),
  ),
  stateful: boolean(
    server(
      "stateful",
      "false",
      "The server keeps state in its session: calls that waited when the session was lost expire.",
    ),
  ),
  handshakeWaitMs: duration(
    server(
      "handshakeWait",
      "25s",
      "How long initialize waits for a server that was never seen before. Clients known to be " +
        "impatient get 8 s.",
    ),
    0,
    10 * MINUTE,
  ),
  controlTool: boolean(
    server("controlTool", "false", "Add a tool that lists and withdraws waiting calls."),
  ),
};

/** Pace and bounds. */
const bounds = {
  concurrency: limit(
    server("concurrency", "none", "Most calls in flight at one server."),
    1,
    100_000,
  ),
  backlogWindow: integer(
    server(
      "backlogWindow",
      { stdio: "8", remote: "16" },
      "Most calls in flight while those that waited are being sent after an outage.",
    ),
    1,
    1_000,
  ),
  replayRate: limit(
    {
      ...server("replay.rate", "none", "Most waiting calls sent per second after an outage."),
      flag: "replay-rate",
    },
    1,
    100_000,
  ),
  // A message is one string, and V8's end at 512 MiB; exported, both of a call stand in one line, and escaped.
  requestMaxBytes: bytes(
    server("maxRequestBytes", "4MiB", "Largest message taken from a client."),
    1_024,
    64 * MIB,
  ),
  resultMaxBytes: bytes(
    server("maxResultBytes", "16MiB", "Largest message taken from a server."),
    1_024,
    128 * MIB,
  ),
  sessionMaxCalls: integer(
    server("maxCallsPerSession", "1000", "Most waiting calls of one client session."),
    1,
    MANY,
  ),
  sessionMaxBytes: bytes(
    server("maxBytesPerSession", "64MiB", "Most bytes that those calls may hold."),
    1_024,
    64 * GIB,
  ),
  upstreamMaxCalls: integer(
    server("maxCallsPerUpstream", "5000", "Most waiting calls for one server."),
    1,
    MANY,
  ),
  processMaxCalls: integer(
    global("maxCallsPerProcess", "20000", "Most waiting calls of the whole process."),
    1,
    MANY,
  ),
  processMaxBytes: bytes(
    global("maxBytesPerProcess", "512MiB", "Most bytes that those calls may hold."),
    1_024,
    64 * GIB,
  ),
  drainTimeoutMs: duration(
    global("drainTimeout", "10s", "On SIGTERM or the client's leave: time for calls in flight."),
    0,
    HOUR,
  ),
};

/** What is said on stderr. */
const saying = {
  logLevel: choice(global("logLevel", "info", "Least severe log lines that are written."), [
    "debug",
    "info",
    "warn",
    "error",
  ]),
  logFormat: choice(global("logFormat", "pretty", "Text for people, or one JSON object a line."), [
    "pretty",
    "json",
  ]),
  logFile: text(global("logFile", "none", "File that gets the log instead of stderr."), "path"),
  quiet: boolean(global("quiet", "false", "Log errors only.")),
};

/** What is wrapped; a configuration file says these in the server's own entry. */
const target = {
  config: text(
    start("config", "none", "Configuration file. Default: ./holdfast.json, then the user's."),
    "path",
  ),
  name: text(
    start("name", "none", "Name of the server in messages. Default: made from its command or URL."),
    "text",
  ),
  cwd: text(
    start("cwd", "none", "Folder in which the server is started. Default: this one."),
    "path",
  ),
  transport: choiceOrNone(
    start(
      "transport",
      "none",
      "How a URL is spoken to: Streamable HTTP, the older HTTP+SSE, or WebSocket. Default: ws for " +
        "ws: and wss:, else http.",
    ),
    ["http", "sse", "ws"],
  ),
  header: headers(
    start("header", "none", 'HTTP header for the server, "Name: value"; may be repeated.'),
  ),
};

export const OPTIONS = {
  ...waiting,
  ...bounds,
  ...sessions,
  ...keeping,
  ...snapshots,
  ...listening,
  ...saying,
  ...target,
};

export type OptionKey = keyof typeof OPTIONS;
export const OPTION_KEYS = Object.keys(OPTIONS) as readonly OptionKey[];

/** Headings for help and documentation, in their order. */
export const OPTION_GROUPS: readonly (readonly [string, readonly OptionKey[]])[] = [
  ["What is wrapped", Object.keys(target) as OptionKey[]],
  ["Waiting and repeating", Object.keys(waiting) as OptionKey[]],
  ["Pace and bounds", Object.keys(bounds) as OptionKey[]],
  ["Sessions", Object.keys(sessions) as OptionKey[]],
  ["Journal and folders", Object.keys(keeping) as OptionKey[]],
  ["Snapshots", Object.keys(snapshots) as OptionKey[]],
  ["Listening", Object.keys(listening) as OptionKey[]],
  ["Log", Object.keys(saying) as OptionKey[]],
];

type ValueOf<O> = O extends Option<infer T> ? T : never;

/** Every option, resolved. Durations in ms, sizes in bytes. */
export type Settings = {
  readonly [K in OptionKey]: ValueOf<(typeof OPTIONS)[K]>;
};
