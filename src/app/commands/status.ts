/** `holdfast status`: every proxy that runs, every journal that nobody has, and what is wrong. */
import { isTerminal } from "../../core/call.ts";
import type { CallState } from "../../core/call.ts";
import { CALL_STATES } from "../../core/call.ts";
import type { ProxyStatus, WentBackwards } from "../../core/status.ts";
import { renderStatus } from "../../observe/status.ts";
import type { Paint } from "../../observe/text.ts";
import { countsText } from "../../observe/text.ts";
import { findProxies } from "../control-client.ts";
import type { Folders } from "../options.ts";
import type { JournalSummary } from "./journal-reader.ts";
import type { Outside } from "./screen.ts";
import { EXIT, paintFor } from "./screen.ts";

export interface StatusOptions {
  readonly isJson: boolean;
  readonly isWatching: boolean;
}

/** What `--json` prints. */
interface Overview {
  readonly proxies: readonly (ProxyStatus | { readonly path: string; readonly error: string })[];
  /** Journals that no process has. */
  readonly journals: readonly JournalSummary[];
}

const LIVE: readonly CallState[] = CALL_STATES.filter((state) => !isTerminal(state));

const liveIn = (journal: JournalSummary) =>
  LIVE.reduce((sum, state) => sum + (journal.counts[state] ?? 0), 0);

async function look(folders: Folders, outside: Outside): Promise<Overview> {
  const found = await findProxies(folders.run, outside.around.platform, outside.world);
  const proxies = found.map((proxy) => {
    if ("error" in proxy) return { path: proxy.path, error: proxy.error };
    proxy.client.close();
    return proxy.status;
  });
  const owned = new Set(
    proxies.flatMap((proxy) => ("journal" in proxy ? [proxy.journal.path, ...proxy.takenOn] : [])),
  );
  const journals = (await (await outside.journals(folders.state)).list()).filter(
    (journal) => journal.ownerPid === undefined && !owned.has(journal.path),
  );
  return { proxies, journals };
}

const needsAttention = (journal: JournalSummary) =>
  liveIn(journal) > 0 || journal.damaged > 0 || journal.problem !== undefined;

/** Calls that wait in a journal which nobody has run only when its server is wrapped again. */
function isHealthy({ proxies, journals }: Overview): boolean {
  return (
    proxies.every((proxy) => "health" in proxy && proxy.health === "healthy") &&
    !journals.some(needsAttention)
  );
}

function backwardsText({ because }: WentBackwards): string {
  const how = because ?? "it holds less than was once written to it";
  return `${how}: calls in it that change something wait for you`;
}

function journalText(journal: JournalSummary, paint: Paint): string {
  const live = Object.fromEntries(LIVE.map((state) => [state, journal.counts[state]]));
  const notes = [
    ...(journal.isAbandoned ? ["given up after an I/O error: its calls wait for you"] : []),
    ...(journal.wentBackwards === undefined ? [] : [backwardsText(journal.wentBackwards)]),
    ...(journal.damaged > 0 ? [`${String(journal.damaged)} damaged rows`] : []),
    ...(journal.problem === undefined ? [] : [`cannot be read: ${journal.problem}`]),
  ];
  const head = [journal.upstream, paint.yellow(countsText(live)), ...notes].join("; ");
  return `${head}  ${paint.dim(journal.path)}`;
}

function render({ proxies, journals }: Overview, paint: Paint): string {
  const blocks = proxies.map((proxy) =>
    "health" in proxy
      ? renderStatus(proxy, paint)
      : `${paint.red("no answer")} from ${proxy.path}: ${proxy.error}`,
  );
  if (blocks.length === 0) blocks.push("No proxy is running.");
  const left = journals.filter(needsAttention);
  if (left.length > 0) {
    blocks.push(
      [
        `${paint.bold("Left by proxies that do not run any more")} (calls run when the server is ` +
          "wrapped again; see holdfast calls list):",
        ...left.map((journal) => `  ${journalText(journal, paint)}`),
      ].join("\n"),
    );
  }
  return `${blocks.join("\n\n")}\n`;
}

const REDRAW_MS = 1_000;
const CLEAR = "\u001b[H\u001b[J";

export async function showStatus(
  options: StatusOptions,
  folders: Folders,
  outside: Outside,
): Promise<number> {
  const paint = await paintFor(outside);
  const draw = async () => {
    const overview = await look(folders, outside);
    const clear = options.isWatching && outside.isTerminal && !options.isJson ? CLEAR : "";
    const text = options.isJson ? `${JSON.stringify(overview)}\n` : render(overview, paint);
    outside.out(clear + text);
    return isHealthy(overview) ? EXIT.ok : EXIT.degraded;
  };
  let code = await draw();
  if (!options.isWatching) return code;
  // Timers of the world do not keep a process alive, and between two looks nothing else does.
  const alive = new MessageChannel();
  alive.port1.on("message", () => undefined);
  const interrupted = outside.interrupted().then(() => "over" as const);
  const tick = () =>
    new Promise<"again">((resolve) => {
      outside.world.timer(REDRAW_MS, () => {
        resolve("again");
      });
    });
  while ((await Promise.race([tick(), interrupted])) === "again") code = await draw();
  alive.port1.close();
  return code;
}
