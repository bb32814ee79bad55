import { readFileSync } from "node:fs";
import { format } from "prettier";
import { describe, expect, test } from "vitest";
import { helpText, optionsDocument } from "../../src/app/commands/help.ts";
import { configSchema } from "../../src/app/commands/schema.ts";
import { parseConfig } from "../../src/app/config.ts";
import { envName } from "../../src/app/option-kinds.ts";
import { OPTION_GROUPS, OPTION_KEYS } from "../../src/app/option-table.ts";
import { optionOf, resolveSettings } from "../../src/app/resolve.ts";
import { readServer } from "../../src/app/server-entry.ts";
import { surroundings, testFolder } from "./support/outside.ts";

const inRoot = (path: string) => new URL(`../../${path}`, import.meta.url);

/** Renaming one breaks somebody's configuration: flag, variable, key and place in a file. */
const SURFACE = `
  --hold HOLDFAST_HOLD hold server
  --progress-every HOLDFAST_PROGRESS_EVERY progressEvery server
  --defer HOLDFAST_DEFER offline.defer server
  --defer-ttl HOLDFAST_DEFER_TTL offline.ttl server
  --shield HOLDFAST_SHIELD shield server
  --trust-annotations HOLDFAST_TRUST_ANNOTATIONS trustAnnotations server
  --stateful HOLDFAST_STATEFUL stateful server
  --handshake-wait HOLDFAST_HANDSHAKE_WAIT handshakeWait server
  --control-tool HOLDFAST_CONTROL_TOOL controlTool server
  --concurrency HOLDFAST_CONCURRENCY concurrency server
  --backlog-window HOLDFAST_BACKLOG_WINDOW backlogWindow server
  --replay-rate HOLDFAST_REPLAY_RATE replay.rate server
  --max-request-bytes HOLDFAST_MAX_REQUEST_BYTES maxRequestBytes server
  --max-result-bytes HOLDFAST_MAX_RESULT_BYTES maxResultBytes server
  --max-calls-per-session HOLDFAST_MAX_CALLS_PER_SESSION maxCallsPerSession server
  --max-bytes-per-session HOLDFAST_MAX_BYTES_PER_SESSION maxBytesPerSession server
  --max-calls-per-upstream HOLDFAST_MAX_CALLS_PER_UPSTREAM maxCallsPerUpstream server
  --max-calls-per-process HOLDFAST_MAX_CALLS_PER_PROCESS maxCallsPerProcess global
  --max-bytes-per-process HOLDFAST_MAX_BYTES_PER_PROCESS maxBytesPerProcess global
  --drain-timeout HOLDFAST_DRAIN_TIMEOUT drainTimeout global
  --isolation HOLDFAST_ISOLATION isolation server
  --session-timeout HOLDFAST_SESSION_TIMEOUT sessionTimeout server
  --session-idle HOLDFAST_SESSION_IDLE sessionIdle server
  --max-sessions HOLDFAST_MAX_SESSIONS maxSessions global
  --journal HOLDFAST_JOURNAL journal global
  --durability HOLDFAST_DURABILITY durability global
  --retention HOLDFAST_RETENTION retention global
  --metadata-retention HOLDFAST_METADATA_RETENTION metadataRetention global
  --max-journal-bytes HOLDFAST_MAX_JOURNAL_BYTES maxJournalBytes global
  --archive HOLDFAST_ARCHIVE archive global
  --state-dir HOLDFAST_STATE_DIR stateDir global
  --cache-dir HOLDFAST_CACHE_DIR cacheDir global
  --snapshots-every HOLDFAST_SNAPSHOTS_EVERY snapshots.every global
  --snapshots-keep HOLDFAST_SNAPSHOTS_KEEP snapshots.keep global
  --snapshots-max-bytes HOLDFAST_SNAPSHOTS_MAX_BYTES snapshots.maxBytes global
  --snapshots-folder HOLDFAST_SNAPSHOTS_FOLDER snapshots.folder global
  --listen HOLDFAST_LISTEN listen global
  --auth HOLDFAST_AUTH auth global
  --allowed-origins HOLDFAST_ALLOWED_ORIGINS allowedOrigins global
  --allowed-hosts HOLDFAST_ALLOWED_HOSTS allowedHosts global
  --insecure HOLDFAST_INSECURE insecure global
  --log-level HOLDFAST_LOG_LEVEL logLevel global
  --log-format HOLDFAST_LOG_FORMAT logFormat global
  --log-file HOLDFAST_LOG_FILE logFile global
  --quiet HOLDFAST_QUIET quiet global
  --config HOLDFAST_CONFIG config start
  --name HOLDFAST_NAME name start
  --cwd HOLDFAST_CWD cwd start
  --transport HOLDFAST_TRANSPORT transport start
  --header HOLDFAST_HEADER header start
`;

describe("the options table", () => {
  test("has exactly these flags, variables and keys", () => {
    const lines = OPTION_KEYS.map((key) => {
      const option = optionOf(key);
      return `  --${option.flag} ${envName(option)} ${option.config} ${option.scope}`;
    });
    expect(`\n${lines.join("\n")}\n`).toBe(SURFACE);
  });

  test("has defaults that its own readers take, and these values", () => {
    const { settings, given } = resolveSettings([], "stdio", "/home/u");
    expect(given.size).toBe(0);
    expect(settings).toEqual({
      holdMs: 45_000,
      progressEveryMs: 10_000,
      defer: "harmless",
      deferTtlMs: 3_600_000,
      shield: "warn",
      trustAnnotations: true,
      stateful: false,
      handshakeWaitMs: 25_000,
      controlTool: false,
      concurrency: undefined,
      backlogWindow: 8,
      replayRate: undefined,
      requestMaxBytes: 4_194_304,
      resultMaxBytes: 16_777_216,
      sessionMaxCalls: 1_000,
      sessionMaxBytes: 67_108_864,
      upstreamMaxCalls: 5_000,
      processMaxCalls: 20_000,
      processMaxBytes: 536_870_912,
      drainTimeoutMs: 10_000,
      isolation: "session",
      sessionTimeoutMs: 86_400_000,
      sessionIdleMs: 900_000,
      maxSessions: 5_000,
      journal: "auto",
      durability: "full",
      retentionMs: 86_400_000,
      metadataRetentionMs: 1_209_600_000,
      journalMaxBytes: 1_073_741_824,
      archive: "none",
      snapshotsEveryMs: undefined,
      snapshotsKeep: 24,
      snapshotsMaxBytes: 1_073_741_824,
      snapshotsFolder: undefined,
      stateDir: undefined,
      cacheDir: undefined,
      listen: { host: "127.0.0.1", port: 7411 },
      auth: "auto",
      allowedOrigins: [],
      allowedHosts: [],
      insecure: false,
      logLevel: "info",
      logFormat: "pretty",
      logFile: undefined,
      quiet: false,
      config: undefined,
      name: undefined,
      cwd: undefined,
      header: {},
    });
    expect(resolveSettings([], "http", "/home/u").settings.backlogWindow).toBe(16);
  });

  test("puts every option into exactly one group of the help", () => {
    const grouped = OPTION_GROUPS.flatMap(([, keys]) => keys);
    expect([...grouped].sort()).toEqual([...OPTION_KEYS].sort());
    for (const key of OPTION_KEYS) expect(helpText()).toContain(`-${optionOf(key).flag}`);
  });
});

describe("what is made from the table", () => {
  test("docs/OPTIONS.md is up to date (node scripts/docs.mjs writes it)", async () => {
    const wanted = await format(optionsDocument(), { parser: "markdown", printWidth: 100 });
    expect(readFileSync(inRoot("docs/OPTIONS.md"), "utf8")).toBe(wanted);
  });

  test("config/holdfast.schema.json is up to date (node scripts/docs.mjs writes it)", async () => {
    const text = JSON.stringify(configSchema());
    const wanted = await format(text, { parser: "json", printWidth: 100 });
    expect(readFileSync(inRoot("config/holdfast.schema.json"), "utf8")).toBe(wanted);
  });

  test("the example configuration is right in every entry", () => {
    const text = readFileSync(inRoot("config/holdfast.example.json"), "utf8");
    const file = parseConfig(text, "holdfast.example.json");
    const around = surroundings(testFolder(), { GITHUB_TOKEN: "t", DOCS_TOKEN: "d" });
    resolveSettings([file.layer], "stdio", "/home/u");
    for (const name of file.servers.keys()) {
      const { layer, target } = readServer(file, name, around);
      resolveSettings([layer], target.kind, "/home/u");
    }
    expect([...file.servers.keys()]).toEqual(["github", "docs"]);
  });
});
