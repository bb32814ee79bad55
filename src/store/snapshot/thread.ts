/** The snapshot thread: makes one snapshot, tidies the shelf, says what came of it, and ends. */
import { parentPort, workerData } from "node:worker_threads";
import { must } from "../../base/assert.ts";
import { errorText } from "../../base/errors.ts";
import { realWorld } from "../../base/world.ts";
import type { SnapshotAnswer, SnapshotOrder } from "./maker.ts";
import { makeSnapshot } from "./make.ts";
import { retain } from "./shelf.ts";

const port = must(parentPort, "the port of the snapshot thread");
const { plan, shelf, keeping } = workerData as SnapshotOrder;
const say = (answer: SnapshotAnswer) => {
  port.postMessage(answer);
};
try {
  const made = await makeSnapshot(realWorld(), plan);
  if (made === undefined) say({ kind: "unchanged" });
  else say({ kind: "made", made, shelfBytes: retain(shelf, keeping) });
} catch (error) {
  say({ kind: "failed", text: errorText(error) });
}
