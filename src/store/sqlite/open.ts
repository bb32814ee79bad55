/** Starts the journal thread of one journal and waits until it has it open. */
import { Worker } from "node:worker_threads";
import { ConfigError, JournalError } from "../../base/errors.ts";
import { SqliteJournal } from "./journal.ts";
import type { SqliteJournalOptions } from "./journal.ts";
import type { ThreadMessage, ThreadOptions } from "./protocol.ts";

export interface OpenedJournal {
  readonly journal: SqliteJournal;
  /** Calls in a state that is not terminal. */
  readonly liveRows: number;
  /** It holds less than was once synced; `recover` tells more. */
  readonly wentBackwards: boolean;
}

/** Node can't run TypeScript: from the sources (in tests) the thread is the one that was built. */
const THREAD_URL = new URL(
  import.meta.url.endsWith(".ts") ? "../../../dist/store/sqlite/thread.js" : "./thread.js",
  import.meta.url,
);

/** What a batch leaves behind is garbage at once; more room for it would only be memory held. */
const YOUNG_MB = 3;

/**
 * Opens a journal whose lock the caller holds. Rejects with `ConfigError` (a newer schema, not a journal)
 * or `JournalError("io")`; nothing is left of the attempt then.
 */
export async function openSqliteJournal(
  options: SqliteJournalOptions & ThreadOptions,
): Promise<OpenedJournal> {
  const { world, log, onGone, isAbandoned = false, ...threadOptions } = options;
  const worker = new Worker(THREAD_URL, {
    workerData: threadOptions,
    name: "journal",
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
  });
  const first = await firstMessage(worker);
  if (first.kind !== "opened") {
    await worker.terminate();
    const why = first.kind === "refused" ? first.text : `unexpected ${first.kind}`;
    const text = why.includes(options.path) ? why : `${options.path}: ${why}`;
    throw first.kind === "refused" && first.isConfig
      ? new ConfigError(text)
      : new JournalError("io", text);
  }
  return {
    journal: new SqliteJournal(worker, { world, log, onGone, isAbandoned, path: options.path }),
    liveRows: first.liveRows,
    wentBackwards: first.wentBackwards,
  };
}

function firstMessage(worker: Worker): Promise<ThreadMessage> {
  return new Promise((resolve) => {
    const settle = (message: ThreadMessage) => {
      worker.off("message", settle);
      worker.off("error", onError);
      worker.off("exit", onExit);
      resolve(message);
    };
    const onError = (error: Error) => {
      settle({ kind: "refused", isConfig: false, text: error.message });
    };
    const onExit = () => {
      const text = "the journal thread ended before its journal was open";
      settle({ kind: "refused", isConfig: false, text });
    };
    worker.on("message", settle);
    worker.on("error", onError);
    worker.on("exit", onExit);
  });
}
