/** `holdfast doctor`: one line a check, with what can be done where one is not right. */
import { closeSync, fsyncSync, openSync, statfsSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, JournalError, errorText } from "../../base/errors.ts";
import { many, sizeText } from "../../observe/text.ts";
import { loadConfig } from "../config.ts";
import { ensureFolder } from "../folders.ts";
import type { Folders, RunPlan } from "../options.ts";
import { readServer } from "../server-entry.ts";
import { probeUpstream } from "./probe.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor } from "./screen.ts";

export interface Check {
  readonly name: string;
  readonly verdict: "ok" | "warn" | "fail";
  readonly text: string;
  /** What can be done; empty where nothing needs to be. */
  readonly advice: string;
}

const PROBE_DEADLINE_MS = 60_000;
const FSYNC_COUNT = 20;
const SLOW_FSYNC_MS = 20;
const FREE_WARN_BYTES = 1_073_741_824;
const FREE_FAIL_BYTES = 67_108_864;
/** The first SQLite without the WAL-reset fault. */
const SQLITE_LEAST = [3, 51, 3];

const ok = (name: string, text: string): Check => ({ name, verdict: "ok", text, advice: "" });
const warn = (name: string, text: string, advice: string): Check => ({
  name,
  verdict: "warn",
  text,
  advice,
});
const fail = (name: string, text: string, advice: string): Check => ({
  name,
  verdict: "fail",
  text,
  advice,
});

function checkConfig(asked: string | undefined, outside: Outside): Check {
  const name = "configuration";
  try {
    const file = loadConfig(asked, outside.around);
    if (file === undefined) return ok(name, "no file; flags and defaults only");
    const broken: string[] = [];
    for (const server of file.servers.keys()) {
      try {
        readServer(file, server, outside.around);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        broken.push(error.message);
      }
    }
    const count = `${String(file.servers.size)} servers`;
    if (broken.length === 0) return ok(name, `${file.path}: ${count}`);
    return warn(name, broken.join("; "), "these servers cannot be run until that is right");
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return fail(name, error.message, "correct the file");
  }
}

/** Linux names of file systems on which SQLite's locks or fsync cannot be trusted. */
const NETWORK_TYPES = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB"],
  [0x517b, "SMB"],
  [0x01021997, "9p"],
  [0x00c36400, "Ceph"],
]);

function checkFolder(folders: Folders, outside: Outside): Check[] {
  const name = "state folder";
  const probe = join(folders.state, `.doctor-${outside.world.newId("p")}`);
  const advice = "choose another with --state-dir or HOLDFAST_STATE_DIR";
  try {
    ensureFolder(folders.state, outside.around);
    const times = timeFsync(probe, outside);
    const { type, bavail, bsize } = statfsSync(folders.state);
    const network = outside.around.platform === "linux" ? NETWORK_TYPES.get(type >>> 0) : undefined;
    const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
    const free = bavail * bsize;
    const speed = `median of ${String(FSYNC_COUNT)}: ${median.toFixed(2)} ms`;
    return [
      network === undefined
        ? ok(name, `${folders.state} is writable and local`)
        : fail(name, `${folders.state} is on a network file system (${network})`, advice),
      free < FREE_FAIL_BYTES
        ? fail("disk", `${sizeText(free)} free`, "make room; without it new calls are refused")
        : free < FREE_WARN_BYTES
          ? warn("disk", `${sizeText(free)} free`, "make room soon")
          : ok("disk", `${sizeText(free)} free`),
      median > SLOW_FSYNC_MS
        ? warn("fsync", speed, 'each call that changes something waits for two; see "durability"')
        : ok("fsync", speed),
    ];
  } catch (error) {
    return [fail(name, errorText(error), advice)];
  }
}

function timeFsync(path: string, outside: Outside): number[] {
  const file = openSync(path, "wx", 0o600);
  try {
    const block = Buffer.alloc(4_096, 1);
    return Array.from({ length: FSYNC_COUNT }, () => {
      writeSync(file, block);
      const startedAt = outside.world.monotonic();
      fsyncSync(file);
      return outside.world.monotonic() - startedAt;
    });
  } finally {
    closeSync(file);
    unlinkSync(path);
  }
}

async function checkSqlite(): Promise<Check> {
  const name = "sqlite";
  try {
    const { default: Database } = await import("better-sqlite3");
    const db = new Database(":memory:");
    const version = String(db.prepare("select sqlite_version()").pluck().get());
    db.close();
    const numbers = version.split(".").map(Number);
    const isOld =
      SQLITE_LEAST.map((least, i) => (numbers[i] ?? 0) - least).find((n) => n !== 0) ?? 0;
    return isOld < 0
      ? fail(name, `SQLite ${version} is too old`, "run npm rebuild better-sqlite3")
      : ok(name, `SQLite ${version}`);
  } catch (error) {
    return fail(
      name,
      `the native module does not load: ${errorText(error)}`,
      "run npm rebuild better-sqlite3; until then journals are kept in memory",
    );
  }
}

/** The short look of `status`; `verify` takes the long one. Undefined where journals can't be read at all. */
async function checkJournals(folders: Folders, outside: Outside): Promise<Check | undefined> {
  const name = "journals";
  try {
    const journals = await (await outside.journals(folders.state)).list();
    const troubled = journals.flatMap(({ path, problem, damaged, isAbandoned }) => {
      if (problem !== undefined) return [`${path} can't be read: ${problem}`];
      if (damaged > 0) return [`${path} has ${many(damaged, "damaged call")}`];
      return isAbandoned ? [`${path} was given up after a disk error`] : [];
    });
    if (troubled.length === 0)
      return ok(name, `${many(journals.length, "journal")}, no trouble seen`);
    return warn(
      name,
      troubled.join("; "),
      "holdfast verify says what it means and what can be done",
    );
  } catch (error) {
    // The native module: the check before says so.
    if (error instanceof JournalError) return undefined;
    return warn(name, errorText(error), "look at the permissions of the state folder");
  }
}

function checkNode(): Check {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const text = `Node ${process.versions.node}`;
  return major > 20 || (major === 20 && minor >= 19)
    ? ok("node", text)
    : fail("node", text, "install Node 20.19 or newer");
}

/** How to come by the plan of the server that was named; may throw `ConfigError`. */
export type MakePlan = () => Promise<RunPlan>;

async function checkUpstream(makePlan: MakePlan, outside: Outside): Promise<Check[]> {
  let plan: RunPlan;
  try {
    plan = await makePlan();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [fail("server", error.message, "correct it; holdfast would not start")];
  }
  const name = `server ${plan.name}`;
  const { degraded } = plan.identity;
  const late = "calls of an earlier process will wait for you instead of running";
  const identity = degraded === undefined ? [] : [warn("identity", degraded, late)];
  const found = await probeUpstream(plan.target, plan.maskValues, outside.world, PROBE_DEADLINE_MS);
  if (found.isReachable) return [...identity, ok(name, found.text)];
  const advice =
    plan.target.kind === "stdio"
      ? "run that command by itself and see what it says"
      : "check the address, the network and the headers";
  return [...identity, fail(name, `${plan.targetText}: ${found.text}`, advice)];
}

const SIGNS = { ok: "ok  ", warn: "warn", fail: "FAIL" } as const;

/** Runs every check; `makePlan` where a server was named that is to be dialled. */
export async function runDoctor(
  asked: string | undefined,
  folders: Folders,
  makePlan: MakePlan | undefined,
  isJson: boolean,
  outside: Outside,
): Promise<number> {
  const paint = await paintFor(outside);
  const checks = [
    checkNode(),
    checkConfig(asked, outside),
    ...checkFolder(folders, outside),
    await checkSqlite(),
  ];
  const journals = await checkJournals(folders, outside);
  if (journals !== undefined) checks.push(journals);
  if (makePlan !== undefined) checks.push(...(await checkUpstream(makePlan, outside)));
  const isFine = checks.every((check) => check.verdict !== "fail");
  if (isJson) {
    outside.out(`${JSON.stringify({ isFine, checks })}\n`);
  } else {
    const colors = { ok: paint.green, warn: paint.yellow, fail: paint.red };
    for (const { name, verdict, text, advice } of checks) {
      const line = `${colors[verdict](SIGNS[verdict])} ${paint.bold(name.padEnd(13))} ${text}`;
      outside.out(`${line}${advice === "" ? "" : `\n     ${paint.dim(`→ ${advice}`)}`}\n`);
    }
  }
  return isFine ? EXIT.ok : EXIT.degraded;
}
