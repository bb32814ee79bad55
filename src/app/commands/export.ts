/**
 * `holdfast export` and `holdfast calls export`: sessions and calls of journals as JSON Lines
 * (docs/EXPORT.md), beside running proxies or without.
 */
import { ConfigError, RefusedError, errorText } from "../../base/errors.ts";
import { many } from "../../observe/text.ts";
import { nameOfJournal } from "../journals.ts";
import { didYouMean } from "../nearest.ts";
import type { Folders } from "../options.ts";
import type { ReadJournal } from "../../store/reader.ts";
import { readJournals } from "../../store/reader.ts";
import { exportLines } from "../../store/moving/export.ts";
import { openFileSource } from "../../store/moving/file-source.ts";
import type { FileSource } from "../../store/moving/file-source.ts";
import type { Counts } from "../../store/moving/format.ts";
import { loadDriver } from "../../store/sqlite/connection.ts";
import type { Driver } from "../../store/sqlite/connection.ts";
import { fileSink, stdoutSink } from "./export-sink.ts";
import type { Sink } from "./export-sink.ts";
import { runningProxies } from "./running.ts";
import type { Outside } from "./screen.ts";
import { EXIT } from "./screen.ts";

export interface ExportRequest {
  /** Path of a file that does not exist; undefined for stdout. */
  readonly to: string | undefined;
  /** Name of a server; undefined for all. */
  readonly upstream: string | undefined;
  /** Empty: calls of all states. */
  readonly states: readonly string[];
  /** The newest so many calls; undefined for all. */
  readonly limit: number | undefined;
  readonly withSessions: boolean;
}

/** Rejects with `ConfigError` for a server that no journal knows, `RefusedError` where it can't be written. */
export async function exportJournals(
  request: ExportRequest,
  isJson: boolean,
  folders: Folders,
  version: string,
  outside: Outside,
): Promise<number> {
  const troubles = new Troubles(outside);
  const driver = await loadDriver();
  const journals = await readJournals(folders.state);
  await tellOfMemory(folders, outside, troubles);
  const sources = openSources(driver, journals, request, troubles);
  try {
    if (request.limit !== undefined) keepNewest(sources, request.limit);
    const header = { createdAt: outside.world.now(), holdfast: version, states: request.states };
    const lines = exportLines(sources, { header, withSessions: request.withSessions });
    const sink =
      request.to === undefined ? stdoutSink(outside) : await fileSink(request.to, outside.world);
    const counts = await pour(lines, sink, outside);
    tell(counts, request.to, isJson, outside);
    return troubles.count === 0 ? EXIT.ok : EXIT.degraded;
  } finally {
    for (const source of sources) source.close();
  }
}

/** What is left out, told on stderr at once. */
class Troubles {
  readonly #outside: Outside;
  count = 0;

  constructor(outside: Outside) {
    this.#outside = outside;
  }

  add(text: string): void {
    this.count++;
    this.#outside.error(`holdfast: ${text}\n`);
  }
}

/** What a proxy has only in memory is out of reach. */
async function tellOfMemory(folders: Folders, outside: Outside, troubles: Troubles): Promise<void> {
  for (const { client, status } of await runningProxies(folders, outside)) {
    client.close();
    if (status.journal.kind === "memory" || status.journal.degraded !== undefined)
      troubles.add(`'${status.upstreamName}' keeps its calls in memory; they are left out`);
  }
}

/** The journals that hold something of the server that is wanted; the caller closes them. */
function openSources(
  driver: Driver,
  journals: readonly ReadJournal[],
  { upstream, states }: ExportRequest,
  troubles: Troubles,
): FileSource[] {
  const sources: FileSource[] = [];
  const names = new Set<string>();
  for (const journal of journals) {
    const name = nameOfJournal(journal);
    const open = (ofRows: string | undefined) =>
      openOne(driver, journal, { name, states, upstream: ofRows }, troubles);
    if (upstream === undefined || upstream === name) {
      const source = open(undefined);
      if (source !== undefined) sources.push(source);
      names.add(name);
      continue;
    }
    // A daemon's journal holds the calls of all its servers, by their names.
    const source = open(upstream);
    const inside = source?.upstreams() ?? [];
    if (source !== undefined && inside.includes(upstream)) sources.push(source);
    else source?.close();
    for (const one of [name, ...inside.filter((one) => !DIGEST.test(one))]) names.add(one);
  }
  if (upstream === undefined || sources.length > 0 || names.has(upstream)) return sources;
  const known = [...names].sort();
  const hint = didYouMean(upstream, known) || `; there are journals of ${known.join(", ")}`;
  throw new ConfigError(
    `no journal has a server "${upstream}"${known.length === 0 ? "; there are none" : hint}`,
  );
}

const DIGEST = /^[0-9a-f]{64}$/;

function openOne(
  driver: Driver,
  { path, facts, upstreamDigest16 }: ReadJournal,
  of: { readonly name: string; readonly states: readonly string[]; upstream: string | undefined },
  troubles: Troubles,
): FileSource | undefined {
  const { name, states, upstream } = of;
  const kept = facts.get("upstream");
  const digest = kept?.startsWith(upstreamDigest16) === true ? kept : upstreamDigest16;
  const about = { upstream: digest, credentials: facts.get("credentials"), name };
  const onDamaged = (what: string) => {
    troubles.add(what);
  };
  try {
    return openFileSource(driver, { path, about, states, upstream, onDamaged });
  } catch (error) {
    troubles.add(`the journal ${path} is left out: ${errorText(error)}`);
    return undefined;
  }
}

/** Of the calls of all sources together only the newest so many are given. */
function keepNewest(sources: readonly FileSource[], limit: number): void {
  const newest = sources
    .flatMap((source) => source.newest(limit).map((at) => ({ source, at })))
    .sort((a, b) => b.at - a.at)
    .slice(0, limit);
  for (const source of sources)
    source.keepNewest(newest.filter((one) => one.source === source).length);
}

async function pour(
  lines: AsyncGenerator<string, Counts>,
  sink: Sink,
  outside: Outside,
): Promise<Counts> {
  const stop = new AbortController();
  void outside.interrupted().then(() => {
    stop.abort();
  });
  try {
    for (;;) {
      const next = await lines.next();
      if (next.done === true) {
        await sink.finish();
        return next.value;
      }
      if (stop.signal.aborted)
        throw new RefusedError("the export was interrupted; it is not whole");
      await sink.write(next.value);
    }
  } catch (error) {
    await sink.abandon();
    throw error;
  }
}

/** Where stdout is the export, words go to stderr. */
function tell(counts: Counts, to: string | undefined, isJson: boolean, outside: Outside): void {
  const text = isJson
    ? `${JSON.stringify({ exported: counts, file: to })}\n`
    : `Exported ${many(counts.calls, "call")} and ${many(counts.sessions, "session")} of ` +
      `${many(counts.journals, "journal")}${to === undefined ? "" : ` to ${to}`}. ` +
      "Requests and results are in it: keep it as private as the journals.\n";
  if (to === undefined) outside.error(text);
  else outside.out(text);
}
