/** The options of the journal, its snapshots and its folders: part of the one table, `option-table.ts`. */
import {
  bytes,
  choice,
  DAY,
  duration,
  GIB,
  global,
  integer,
  MINUTE,
  orNever,
  orUnbounded,
  text,
} from "./option-kinds.ts";

/** The journal and its folders. */
export const keeping = {
  journal: choice(
    global(
      "journal",
      "auto",
      "auto: on disk, or in memory with a warning if the disk refuses; required: on disk or not " +
        "at all; memory: nothing survives this process.",
    ),
    ["auto", "required", "memory"],
  ),
  durability: choice(
    global(
      "durability",
      "full",
      "full: calls that change something survive a power loss, reads survive the process; " +
        "always: all survive a power loss; process: all survive the process only.",
    ),
    ["full", "always", "process"],
  ),
  retentionMs: duration(
    global("retention", "24h", "How long the results of ended calls are kept."),
    MINUTE,
    365 * DAY,
  ),
  metadataRetentionMs: duration(
    global("metadataRetention", "14d", "How long the record of an ended call is kept."),
    MINUTE,
    3_650 * DAY,
  ),
  journalMaxBytes: orUnbounded(
    global(
      "maxJournalBytes",
      "1GiB",
      "Largest journal: over it the records of ended calls go before their time, the oldest first, and " +
        "what nobody was given last.",
    ),
    4 * 1_048_576,
    1_024 * GIB,
  ),
  archive: choice(
    global(
      "archive",
      "none",
      "lines: what retention takes away is first written to <state folder>/archive, one JSON object " +
        "a line; none: it is gone.",
    ),
    ["none", "lines"],
  ),
  stateDir: text(
    global("stateDir", "none", "Folder of journals, key and sockets. Default: the platform's."),
    "path",
  ),
  cacheDir: text(
    global("cacheDir", "none", "Folder of the remembered tool lists. Default: the platform's."),
    "path",
  ),
};

/** Snapshots that a running proxy makes of its journal. */
export const snapshots = {
  snapshotsEveryMs: orNever(
    {
      ...global(
        "snapshots.every",
        "none",
        "Time between two snapshots of the journal; none is made while nothing happens. " +
          "holdfast serve makes one each hour unless this is set.",
      ),
      flag: "snapshots-every",
    },
    MINUTE,
    7 * DAY,
  ),
  snapshotsKeep: integer(
    {
      ...global("snapshots.keep", "24", "Most snapshots that are kept of one journal."),
      flag: "snapshots-keep",
    },
    1,
    10_000,
  ),
  snapshotsMaxBytes: bytes(
    {
      ...global(
        "snapshots.maxBytes",
        "1GiB",
        "Most bytes of all snapshots: over it the oldest go, but never the newest of an upstream.",
      ),
      flag: "snapshots-max-bytes",
    },
    1_048_576,
    1_024 * GIB,
  ),
  snapshotsFolder: text(
    {
      ...global(
        "snapshots.folder",
        "none",
        "Folder of the snapshots; on another disk they survive the loss of this one. Default: " +
          "snapshots in the state folder.",
      ),
      flag: "snapshots-folder",
    },
    "path",
  ),
};
