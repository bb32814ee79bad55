/** `holdfast backup`, `snapshots` and `restore`. */
import { existsSync } from "node:fs";
import { isTerminal } from "../../core/call.ts";
import type { CallState } from "../../core/call.ts";
import type { SnapshotHeader } from "../../core/snapshot.ts";
import { ageText, countsText, many, safe, sizeText } from "../../observe/text.ts";
import type { Restored } from "../../store/snapshot/restore.ts";
import { configCandidates } from "../config.ts";
import { ensureFolder } from "../folders.ts";
import { absolutePath } from "../resolve.ts";
import { backUp, listSnapshots, readTarget, restore } from "../safekeeper.ts";
import type { Backup, ListedSnapshot } from "../safekeeper.ts";
import type { Places } from "./flags.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor, sayer } from "./screen.ts";

const instant = (at: number) => new Date(at).toISOString();
const sum = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((all, count) => all + count, 0);

const contentText = ({ journal }: SnapshotHeader) =>
  `${many(sum(journal.calls), "call")}, ${many(journal.sessions, "session")}`;

// ── backup ────────────────────────────────────────────────────────────────────────────────────────

/** Rejects with `RefusedError` where there is more than the file that was named takes. */
export async function makeBackup(
  to: string | undefined,
  isJson: boolean,
  version: string,
  places: Places,
  outside: Outside,
): Promise<number> {
  const { cwd, home } = outside.around;
  const { folders, shelf } = places;
  ensureFolder(folders.state, outside.around);
  const where = to === undefined ? shelf : absolutePath(to, cwd, home);
  const backup = await backUp(outside.world, version, folders.state, where);
  sayer(isJson, outside)(backup, backupText(backup));
  for (const { path, why } of backup.failed) outside.error(`holdfast: ${path}: ${safe(why)}\n`);
  return backup.failed.length > 0 ? EXIT.degraded : EXIT.ok;
}

function backupText({ made, failed }: Backup): string {
  if (made.length === 0) {
    return failed.length > 0 ? "" : "Nothing to back up: no journal holds a call or a session.\n";
  }
  const lines = made.map(
    ({ path, bytes, header }) =>
      `${safe(header.journal.name)}: ${contentText(header)}, ${sizeText(bytes)}  ${path}`,
  );
  const files = [...new Set(made.flatMap(({ header }) => header.files))];
  const besides = files.length === 0 ? "" : `, and ${files.join(" and ")}`;
  return (
    `${lines.join("\n")}\n` +
    `In it are arguments and results of calls, sessions${besides}: keep it as private as the state\n` +
    "folder. To put one back, here or on another machine: holdfast restore FILE\n"
  );
}

// ── snapshots ─────────────────────────────────────────────────────────────────────────────────────

export async function showSnapshots(
  folder: string | undefined,
  isJson: boolean,
  places: Places,
  outside: Outside,
): Promise<number> {
  const { cwd, home } = outside.around;
  const shelf = folder === undefined ? places.shelf : absolutePath(folder, cwd, home);
  const snapshots = listSnapshots(shelf);
  const text =
    snapshots.length === 0 ? `No snapshots in ${shelf}.\n` : await tableOf(snapshots, outside);
  sayer(isJson, outside)({ snapshots }, text);
  return snapshots.some(({ problem }) => problem !== undefined) ? EXIT.degraded : EXIT.ok;
}

async function tableOf(snapshots: readonly ListedSnapshot[], outside: Outside): Promise<string> {
  const paint = await paintFor(outside);
  const now = outside.world.now();
  return snapshots
    .map(({ path, bytes, header, problem }) => {
      if (header === undefined) return `${paint.red("damaged")}  ${safe(problem ?? "")}\n`;
      const age = `${ageText(now - header.createdAt)} ago`;
      const what = `${contentText(header)}, ${sizeText(bytes)}`;
      return `${paint.bold(safe(header.journal.name))}  ${age}: ${what}  ${paint.dim(path)}\n`;
    })
    .join("");
}

// ── restore ───────────────────────────────────────────────────────────────────────────────────────

export interface RestoreOptions {
  readonly file: string;
  /** The state folder, if not the usual one. */
  readonly into: string | undefined;
  readonly isJson: boolean;
}

/** Rejects with `RefusedError` where it can't be done, with what to do. */
export async function restoreBackup(
  { file, into, isJson }: RestoreOptions,
  places: Places,
  outside: Outside,
): Promise<number> {
  const { around, world } = outside;
  const path = absolutePath(file, around.cwd, around.home);
  const state =
    into === undefined ? places.folders.state : absolutePath(into, around.cwd, around.home);
  const configPath = places.asked ?? nearestConfig(path, outside);
  const restored = await restore(world, path, state, configPath);
  return sayer(isJson, outside)(restored, restoredText(restored, world.now()));
}

/** For a daemon's journal whose own file is not on this machine: the one that a daemon would use here. */
function nearestConfig(path: string, outside: Outside): string | undefined {
  if (existsSync(readTarget(path))) return undefined;
  return configCandidates(undefined, outside.around).paths.find((one) => existsSync(one));
}

function restoredText(restored: Restored, now: number): string {
  const { path, header, from, held, filesAdded, filesKept, notes } = restored;
  const { name, target, calls } = header.journal;
  const live = Object.entries(calls).filter(([state]) => !isTerminal(state as CallState));
  const gap =
    from.missingCommits === undefined
      ? "what happened after it is missing; how much is not known, for the old journal is not here"
      : `what happened after it is missing: ${many(from.missingCommits, "commit")} or more`;
  const lines = [
    `Restored ${safe(name)} (${safe(target)}) as it was on ${instant(from.snapshotAt)}, ` +
      `${ageText(now - from.snapshotAt)} ago: ${contentText(header)}`,
    `  journal  ${path}`,
    `  gap      ${gap}`,
    `  open     ${countsText(Object.fromEntries(live))}`,
  ];
  if (held > 0) {
    lines.push(
      `  held     ${many(held, "call")} that would change something wait for you, for they may have run since:`,
      "           holdfast calls list, then holdfast calls retry CALL or holdfast calls cancel CALL",
    );
  }
  if (filesAdded.length > 0) lines.push(`  added    ${filesAdded.join(", ")}`);
  if (filesKept.length > 0) lines.push(`  kept     ${filesKept.join(", ")}: there already`);
  if (filesAdded.includes("tokens.json")) {
    lines.push("  ! tokens revoked since then are good again: look at holdfast token list");
  }
  lines.push(...notes.map((note) => `  ! ${safe(note)}`));
  lines.push("The next proxy that starts for this server takes it up.");
  return `${lines.join("\n")}\n`;
}
