/**
 * The files beside the journals: who may read them, what a kill left of them, tokens and catalogues.
 *
 * No database is opened here, and no lock file: closing a second descriptor would drop the locks that
 * this process holds. Names, sizes and modes are all that is asked.
 */
import { existsSync, lstatSync, readFileSync, readdirSync, statSync } from "node:fs";
import type { Stats } from "node:fs";
import { join } from "node:path";
import { readCatalogue } from "../../core/catalogue.ts";
import { BALLAST_BYTES } from "../sqlite/ballast.ts";
import { loadTokens, tokensPath } from "../tokens/file.ts";
import { fault, note } from "./finding.ts";
import type { Finding } from "./finding.ts";

/** Names of files of ours, apart from whatever else somebody keeps there. */
const IN_STATE = /^(ballast|tokens\.json|(tokens|import|look)\.lock\.db|identity\.key)$/;
const OF_JOURNAL = /^[1-9][0-9]*\.(db|db-wal|db-shm|lock\.db|hwm|abandoned|db\..+)$/;
/** What is written before it gets its name, under no lock (others: `lookForDrafts`). */
const STATE_DRAFT = /^(\.key_[0-9a-z]+\.tmp|\.doctor-p_[0-9a-z]+|tokens\.json\.draft)$/;
const CATALOGUE_DRAFT = /\.json\.tmp_[0-9a-z]+$/;
/** A draft that is younger may be somebody's work. */
const DRAFT_AGE_MS = 60_000;

export interface Places {
  /** The state folder. */
  readonly folder: string;
  /** The cache folder. */
  readonly cache: string;
  /** Epoch ms. */
  readonly now: number;
  /** A process has one of the journals. */
  readonly isAnyRunning: boolean;
}

/** Everything but the journals themselves. */
export function lookAtFiles(places: Places): Finding[] {
  const { folder, cache } = places;
  const journals = join(folder, "journals");
  const catalogues = join(cache, "catalogues");
  const upstreams = namesIn(journals).map((name) => join(journals, name));
  return [
    ...[folder, journals, ...upstreams, catalogues].flatMap((path) => ofMode(path, 0o700)),
    ...filesIn(folder, IN_STATE).flatMap((path) => ofMode(path, 0o600)),
    ...upstreams
      .flatMap((path) => filesIn(path, OF_JOURNAL))
      .flatMap((path) => ofMode(path, 0o600)),
    ...filesIn(catalogues, /\.json$/).flatMap((path) => ofMode(path, 0o600)),
    ...upstreams.flatMap(ofLostJournals),
    ...ofDrafts(filesIn(folder, STATE_DRAFT), places.now),
    ...ofDrafts(filesIn(catalogues, CATALOGUE_DRAFT), places.now),
    ...ofBallast(places),
    ...ofTokens(folder),
    ...filesIn(catalogues, /\.json$/).flatMap(ofCatalogue),
  ];
}

function namesIn(folder: string): string[] {
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true
    ? readdirSync(folder).sort()
    : [];
}

export function filesIn(folder: string, form: RegExp): string[] {
  return namesIn(folder)
    .filter((name) => form.test(name))
    .map((name) => join(folder, name));
}

/** Undefined where there is none, or a link, which says nothing of what it leads to. */
export function statOf(path: string): Stats | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isSymbolicLink() === true ? undefined : found;
}

function ofMode(path: string, mode: number): Finding[] {
  const found = statOf(path);
  if (found === undefined || process.platform === "win32") return [];
  const has = found.mode & 0o777;
  const isOthers = process.getuid !== undefined && found.uid !== process.getuid();
  if (!isOthers && (has & 0o077) === 0 && (has & mode) === mode) return [];
  const is = `${path} has mode ${has.toString(8).padStart(4, "0")}`;
  return [
    fault({
      check: "permissions",
      what: isOthers
        ? `${path} belongs to another user`
        : `${is}, not ${mode.toString(8).padStart(4, "0")}`,
      means:
        (has & 0o077) === 0
          ? "a start may not be able to use it"
          : "others on this machine may read calls, keys or tokens in it",
      mend: isOthers ? undefined : { kind: "setMode", path, mode },
      advice: isOthers ? "run holdfast as its owner, or choose another state folder" : "",
    }),
  ];
}

/** A mark without the journal that it tells of. */
function ofLostJournals(folder: string): Finding[] {
  return filesIn(folder, /^[1-9][0-9]*\.hwm$/)
    .filter((path) => !existsSync(path.replace(/hwm$/, "db")))
    .map((path) =>
      fault({
        check: "high-water",
        what: `${path} tells how far a journal has come that is not there`,
        means: "if nobody moved it away, all its calls are missing",
        advice:
          "bring it back, or its last backup (holdfast restore); else remove the mark. If a repair " +
          "was interrupted, --repair moves it to the file that it belongs to",
      }),
    );
}

function ofDrafts(paths: readonly string[], now: number): Finding[] {
  return paths
    .filter((path) => now - (statOf(path)?.mtimeMs ?? now) > DRAFT_AGE_MS)
    .map((path) =>
      note({
        check: "drafts",
        what: `${path} was left behind by a process that was killed while it wrote it`,
        means: "none",
        mend: { kind: "remove", path },
      }),
    );
}

function ofBallast({ folder, isAnyRunning }: Places): Finding[] {
  const path = join(folder, "ballast");
  const bytes = statOf(path)?.size;
  if (bytes === undefined || bytes === BALLAST_BYTES || isAnyRunning) return [];
  return [
    note({
      check: "ballast",
      what: `${path} has ${String(bytes)} bytes, not ${String(BALLAST_BYTES)}`,
      means: "on a full disk there would be less room for results; a proxy makes it anew",
      mend: { kind: "remove", path },
    }),
  ];
}

function ofTokens(folder: string): Finding[] {
  const loaded = loadTokens(tokensPath(folder));
  if (loaded.kind !== "unreadable") return [];
  return [
    fault({
      check: "tokens",
      what: loaded.why,
      means: "a listener that asks for tokens lets nobody in",
      advice: "restore it, or move it away and make all tokens anew",
    }),
  ];
}

function ofCatalogue(path: string): Finding[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return [
      fault({
        check: "catalogues",
        what: `${path} can't be read`,
        means: "clients are not answered from it while their server is away",
        mend: { kind: "remove", path },
      }),
    ];
  }
  if (readCatalogue(value) !== undefined) return [];
  return [
    note({
      check: "catalogues",
      what: `${path} is not of this version`,
      means: "it is not used, and replaced when its server answers",
    }),
  ];
}
