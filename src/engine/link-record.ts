/** A connection's state, told: to the log, and to disk, so that a restart does not reset a crash loop. */
import { isAway, type Link } from "../core/connection.ts";
import { saveLink, type SavedLink } from "../core/saved-link.ts";
import type { Journal } from "../ports.ts";
import { isObject } from "../wire/message.ts";
import type { EngineContext } from "./context.ts";

const keyOf = (upstream: string): string => `link:${upstream}`;

/** Posts the record; a failure costs only the memory of a crash loop. */
export function saveLinkRecord(context: EngineContext, link: Link): void {
  const text = JSON.stringify(saveLink(link, context.world.now()));
  context
    .journal()
    .then((journal) => journal.keep(keyOf(context.identity.upstream), text))
    .catch((error: unknown) => {
      context.log("warn", "could not save the state of the connection", { error: String(error) });
    });
}

/** The record of an earlier process; undefined if there is none. */
export async function readLinkRecord(
  journal: Journal,
  upstream: string,
): Promise<SavedLink | undefined> {
  const key = keyOf(upstream);
  const text = (await journal.kept(key)).get(key);
  const value = text === undefined ? undefined : parseJson(text);
  return isObject(value) ? (value as unknown as SavedLink) : undefined;
}

/** A record that can't be read is as if there were none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** One line per change of state. */
export function logState({ log, settings }: EngineContext, before: Link, link: Link): void {
  const cause = link.failure === before.failure ? undefined : link.failure?.message;
  const level = isAway(link.state) ? (link.failures > 3 ? "error" : "warn") : "info";
  log(level, `upstream is ${link.state}`, {
    upstream: settings.upstreamName,
    was: before.state,
    cause,
    failures: link.failures,
  });
}
