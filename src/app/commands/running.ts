/** Proxies that run, for commands that need one. */
import { ConfigError } from "../../base/errors.ts";
import { findProxies } from "../control-client.ts";
import type { FoundProxy } from "../control-client.ts";
import { didYouMean } from "../nearest.ts";
import type { Folders } from "../options.ts";
import type { Outside } from "./screen.ts";

export type RunningProxy = Extract<FoundProxy, { readonly status: unknown }>;

/** Those that answer; the caller closes their clients. Of the others stderr tells. */
export async function runningProxies(folders: Folders, outside: Outside): Promise<RunningProxy[]> {
  const { around, world } = outside;
  const running: RunningProxy[] = [];
  for (const proxy of await findProxies(folders.run, around.platform, world)) {
    if ("status" in proxy) running.push(proxy);
    else outside.error(`holdfast: the proxy at ${proxy.path} gave no answer: ${proxy.error}\n`);
  }
  return running;
}

const namesOf = ({ status }: RunningProxy): string[] => status.upstreams.map(({ name }) => name);

/** Those with an upstream of this name. Throws `ConfigError` if there is none. */
export function proxiesWith(name: string, proxies: readonly RunningProxy[]): RunningProxy[] {
  const found = proxies.filter((proxy) => namesOf(proxy).includes(name));
  if (found.length > 0) return found;
  const names = [...new Set(proxies.flatMap(namesOf))].sort();
  const known =
    names.length === 0 ? "no proxy is running" : `those that run have ${names.join(", ")}`;
  const hint = didYouMean(name, names) || `; ${known}`;
  throw new ConfigError(`no running proxy has a server "${name}"${hint}`);
}
