/**
 * The journal thread: owns the only writing connection of one journal. It takes a batch, commits it,
 * answers it, and takes the next; it keeps no time of its own.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { must } from "../../base/assert.ts";
import { BACKLOG_CALLS, BACKLOG_LITTER_BYTES } from "../../base/large.ts";
import { ConfigError, JournalError, errorText } from "../../base/errors.ts";
import { realWorld, type World } from "../../base/world.ts";
import { STATE_AT } from "../rows.ts";
import { loadDriver, openWriting } from "./connection.ts";
import { unpacked } from "./next-batch.ts";
import type { Command, ThreadMessage, ThreadOptions } from "./protocol.ts";
import { Writer } from "./writer.ts";

async function open(options: ThreadOptions, world: World): Promise<Writer> {
  const driver = await loadDriver();
  const db = openWriting(driver, options.path);
  try {
    return new Writer(db, world, options);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** A call that goes straight through is admitted as sent. */
const isOfBacklog = (command: Command): boolean =>
  command[0] === "admit" && command[1][STATE_AT] === "queued";

/** Only trouble of the disk is answered; a bug ends the thread, and the main thread sees it. */
function serve(port: MessagePort, writer: Writer, world: World): void {
  const post = (message: ThreadMessage) => {
    port.postMessage(message);
  };
  let waiting = 0;
  const tidyUp = (batch: readonly Command[]) => {
    waiting += batch.filter(isOfBacklog).length;
    if (waiting < BACKLOG_CALLS) return;
    waiting = 0;
    world.litter(BACKLOG_LITTER_BYTES);
  };
  port.on("message", (batch: readonly Command[] | "close") => {
    try {
      if (batch === "close") {
        writer.close();
        post({ kind: "closed" });
        port.close();
        return;
      }
      const reply = writer.run(batch);
      unpacked(batch);
      post({ kind: "batch", reply });
      writer.afterBatch();
      tidyUp(batch);
    } catch (error) {
      if (batch !== "close" && !(error instanceof JournalError)) throw error;
      post({ kind: "broken", text: errorText(error) });
      port.close();
    }
  });
}

const port = must(parentPort, "the port of the journal thread");
const options = workerData as ThreadOptions;
try {
  const world = realWorld();
  const writer = await open(options, world);
  serve(port, writer, world);
  port.postMessage({
    kind: "opened",
    liveRows: writer.countLive(),
    wentBackwards: writer.wentBackwards,
  } satisfies ThreadMessage);
} catch (error) {
  port.postMessage({
    kind: "refused",
    isConfig: error instanceof ConfigError,
    text: errorText(error),
  } satisfies ThreadMessage);
  port.close();
}
