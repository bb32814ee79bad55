/** `holdfast restart NAME`: connects anew to one upstream, in every proxy that has it. */
import { errorText } from "../../base/errors.ts";
import { many } from "../../observe/text.ts";
import type { Folders } from "../options.ts";
import { proxiesWith, runningProxies } from "./running.ts";
import type { RunningProxy } from "./running.ts";
import type { Outside } from "./screen.ts";
import { EXIT } from "./screen.ts";

/** So long without an answer, and it is said what is waited for. */
const PATIENCE_MS = 2_000;

interface Restarted {
  readonly pid: number;
  readonly upstream: string;
  readonly connections: number;
}

/** Rejects with `ConfigError` where no running proxy has the upstream. */
export async function restart(
  name: string,
  isJson: boolean,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const proxies = await runningProxies(folders, outside);
  try {
    const asked = proxiesWith(name, proxies).map((proxy) => restartOne(name, proxy, outside));
    const restarted = (await Promise.all(asked)).filter((one) => one !== undefined);
    const text = restarted.map((one) => `${restartedText(one)}\n`).join("");
    outside.out(isJson ? `${JSON.stringify({ restarted })}\n` : text);
    return restarted.length === asked.length ? EXIT.ok : EXIT.degraded;
  } finally {
    for (const { client } of proxies) client.close();
  }
}

/** Undefined where the proxy did not do it; stderr says why. */
async function restartOne(
  upstream: string,
  { client, status: { pid } }: RunningProxy,
  outside: Outside,
): Promise<Restarted | undefined> {
  const stop = outside.world.timer(PATIENCE_MS, () => {
    outside.error(
      `holdfast: "${upstream}" (pid ${String(pid)}) still has calls in flight; they may finish first. ` +
        "Ctrl-C ends the waiting, not the restart\n",
    );
  });
  try {
    return { pid, upstream, connections: await client.restart(upstream) };
  } catch (error) {
    outside.error(
      `holdfast: "${upstream}" (pid ${String(pid)}) was not restarted: ${errorText(error)}\n`,
    );
    return undefined;
  } finally {
    stop();
  }
}

function restartedText({ upstream, pid, connections }: Restarted): string {
  const what =
    connections === 0
      ? "there was no connection; the next call makes one"
      : `${many(connections, "connection")} renewed`;
  return `Restarted ${upstream} (pid ${String(pid)}): ${what}.`;
}
