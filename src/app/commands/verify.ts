/** `holdfast verify`: what does not fit in the journals and beside them, and what was mended. */
import { RefusedError } from "../../base/errors.ts";
import { many, safe } from "../../observe/text.ts";
import type { Paint } from "../../observe/text.ts";
import type { Examined } from "../../store/examine.ts";
import { wouldText } from "../../store/repair/mend.ts";
import type { Finding } from "../../store/verify/finding.ts";
import type { Folders } from "../options.ts";
import type { JournalReader, NamedJournal } from "./journal-reader.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor } from "./screen.ts";

export interface VerifyOptions {
  readonly isRepairing: boolean;
  readonly isJson: boolean;
}

type Seen = Awaited<ReturnType<JournalReader["examine"]>>;

/** Rejects with `RefusedError`, after all is told, where a journal could not be repaired. */
export async function verify(
  { isRepairing, isJson }: VerifyOptions,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const reader = await outside.journals(folders.state);
  const seen = await reader.examine(folders.cache, isRepairing);
  const isFine = faultsIn(seen) === 0 && seen.refused.length === 0;
  outside.out(
    isJson
      ? `${JSON.stringify(machineForm(seen, isFine))}\n`
      : words(seen, isRepairing, folders.state, await paintFor(outside)),
  );
  if (seen.refused.length > 0) throw new RefusedError(seen.refused.join("\nholdfast: "));
  return isFine ? EXIT.ok : EXIT.degraded;
}

const findingsOf = ({ journals, files }: Examined): Finding[] => [
  ...journals.flatMap(({ findings }) => findings),
  ...files,
];

const faultsIn = (seen: Examined): number =>
  findingsOf(seen).filter(({ weight }) => weight === "fault").length;

/** What `--repair` would do in words, in place of what it would do it with. */
const ofFinding = ({ mend, ...finding }: Finding) => ({
  ...finding,
  repair: mend === undefined ? null : wouldText(mend),
});

function machineForm(seen: Seen, isFine: boolean) {
  const { repairs, didFiles, refused } = seen;
  return {
    isFine,
    journals: seen.journals.map(({ facts: _, findings, ...journal }) => ({
      ...journal,
      findings: findings.map(ofFinding),
    })),
    files: seen.files.map(ofFinding),
    repairs: [
      ...repairs.map(({ path, did, kept, rebuilt }) => ({ path, did, kept, rebuilt })),
      ...(didFiles.length === 0 ? [] : [{ path: null, did: didFiles }]),
    ],
    refused,
  };
}

/** More of one journal are in `--json` only. */
const FINDINGS_SHOWN = 50;

function words(seen: Seen, isRepairing: boolean, folder: string, paint: Paint): string {
  const lines = isRepairing ? repairLines(seen, paint) : [];
  for (const journal of seen.journals) lines.push(...journalLines(journal, paint));
  if (seen.files.length > 0) {
    lines.push(paint.bold(safe(folder)), ...findingLines(seen.files, paint));
  }
  lines.push(conclusion(seen, isRepairing, folder));
  return lines.map((line) => `${line}\n`).join("");
}

function journalLines(journal: NamedJournal, paint: Paint): string[] {
  const { path, upstream, rows, waiting, isRunning, findings } = journal;
  if (findings.length === 0) return [];
  const state = isRunning ? "; a running proxy has it" : "";
  const counts = `${many(rows, "call")}, ${String(waiting)} not ended${state}`;
  return [
    `${paint.bold(safe(path))}  ${safe(upstream)}; ${counts}`,
    ...findingLines(findings, paint),
  ];
}

function findingLines(findings: readonly Finding[], paint: Paint): string[] {
  const lines = findings.slice(0, FINDINGS_SHOWN).flatMap((finding) => oneFinding(finding, paint));
  const more = findings.length - FINDINGS_SHOWN;
  return more > 0 ? [...lines, `  … and ${String(more)} more: --json`] : lines;
}

function oneFinding(finding: Finding, paint: Paint): string[] {
  const { check, weight, what, calls, callCount, means, mend, advice } = finding;
  const word = weight === "fault" ? paint.red("fault") : paint.yellow("note ");
  const named = calls.map(({ id, tool, state }) => `${id} (${tool}, ${state})`);
  const more = callCount - calls.length;
  if (more > 0) named.push(many(more, calls.length === 0 ? "call" : "more call"));
  const about: (readonly [string, string])[] = [
    ["calls", named.join(", ")],
    ["means", means],
    ["--repair", mend === undefined ? "" : wouldText(mend)],
    ["you", advice],
  ];
  const lines = about
    .filter(([, text]) => text !== "")
    .map(([name, text]) => `         ${paint.dim(name.padEnd(8))} ${safe(text)}`);
  return [`  ${word}  ${check}: ${safe(what)}`, ...lines];
}

function repairLines({ repairs, didFiles }: Seen, paint: Paint): string[] {
  const lines: string[] = [];
  for (const { path, did, kept, rebuilt } of repairs) {
    lines.push(`${paint.bold(safe(path))}  ${paint.green("repaired")}`);
    lines.push(...did.map((text) => `  ${safe(text)}`));
    if (kept !== undefined) lines.push(`  what was there is kept in ${safe(kept)}`);
    if (rebuilt === undefined) {
      if (kept?.includes(".damaged-") === true)
        lines.push(
          "  none of its calls could be read; its last backup may have them: holdfast restore",
        );
      continue;
    }
    const { rows, sessions, held, setAside } = rebuilt.salvaged;
    lines.push(
      `  ${many(rows, "call")} and ${many(sessions, "session")} could be read, and are in ${safe(rebuilt.path)}`,
    );
    if (held.callCount > 0) lines.push(`  ${many(held.callCount, "call")} of them held for you`);
    for (const { id, why } of setAside.slice(0, FINDINGS_SHOWN))
      lines.push(`  not carried over: ${safe(id)}: ${safe(why)}`);
    const more = setAside.length - FINDINGS_SHOWN;
    if (more > 0) lines.push(`  … and ${String(more)} more: --json`);
  }
  lines.push(...didFiles.map(safe));
  return lines;
}

function conclusion(seen: Seen, isRepairing: boolean, folder: string): string {
  const { journals, repairs, didFiles } = seen;
  const findings = findingsOf(seen);
  const faults = faultsIn(seen);
  const rows = journals.reduce((sum, journal) => sum + journal.rows, 0);
  const all = `${many(journals.length, "journal")} with ${many(rows, "call")}`;
  const notes = findings.length - faults;
  const besides = notes === 0 ? "" : `; ${many(notes, "note")}`;
  if (faults === 0) return `Fine: ${all} in ${safe(folder)}${besides}.`;
  const mendable = findings.filter(({ weight, mend }) => weight === "fault" && mend !== undefined);
  const rest = isRepairing
    ? `${repairs.length + didFiles.length > 0 ? "left" : "found"}; what is left needs a person`
    : `found; --repair mends ${mendable.length === faults ? "all" : String(mendable.length)} of them`;
  return `${many(faults, "fault")} ${rest}${besides}. Looked at ${all}.`;
}
