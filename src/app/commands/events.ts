/** `holdfast events --follow`: what happens in every proxy that runs, one line each, as it happens. */
import { ConfigError, RefusedError } from "../../base/errors.ts";
import type { ProxyEvent } from "../../core/event.ts";
import { renderEvent } from "../../observe/event.ts";
import type { Folders } from "../options.ts";
import { proxiesWith, runningProxies } from "./running.ts";
import type { RunningProxy } from "./running.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor } from "./screen.ts";

export interface EventsOptions {
  readonly isFollowing: boolean;
  readonly isJson: boolean;
  /** Only events of this upstream. */
  readonly upstream: string | undefined;
}

/**
 * Until Ctrl-C, or until the last proxy has ended. Rejects with `ConfigError` without `--follow` or for an
 * upstream that no proxy has, with `RefusedError` where nothing runs.
 */
export async function showEvents(
  options: EventsOptions,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  if (!options.isFollowing) {
    throw new ConfigError(
      "events are not kept, so there are none to list; expected: holdfast events --follow, which shows " +
        "from now on what becomes of servers, calls, sessions and the configuration",
    );
  }
  const paint = await paintFor(outside);
  const proxies = await runningProxies(folders, outside);
  try {
    const followed =
      options.upstream === undefined ? proxies : proxiesWith(options.upstream, proxies);
    if (followed.length === 0) throw new RefusedError("no proxy is running");
    const tell = (event: ProxyEvent) => {
      if (options.upstream !== undefined && event.upstream !== options.upstream) return;
      outside.out(`${options.isJson ? JSON.stringify(event) : renderEvent(event, paint)}\n`);
    };
    let isStopped = false;
    const stopped = outside.interrupted().then(() => {
      isStopped = true;
      return EXIT.ok;
    });
    const ends = followed.map(async (proxy) => {
      const why = await follow(proxy, tell);
      if (!isStopped) outside.error(`holdfast: ${why}\n`);
    });
    return await Promise.race([stopped, Promise.all(ends).then(() => EXIT.degraded)]);
  } finally {
    for (const { client } of proxies) client.close();
  }
}

/** Resolves when nothing comes from this proxy any more, to the reason in words. */
async function follow(
  { client, status }: RunningProxy,
  tell: (event: ProxyEvent) => void,
): Promise<string> {
  client.follow(tell);
  const why = await client.ended;
  return `no more events of "${status.upstreamName}" (pid ${String(status.pid)}): ${why}`;
}
