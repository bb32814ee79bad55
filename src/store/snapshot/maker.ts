/**
 * Makes snapshots of a journal that is at work, in a thread of their own: neither the event loop nor the
 * journal thread waits for one.
 */
import { Worker } from "node:worker_threads";
import { JournalError } from "../../base/errors.ts";
import { loadDriver } from "../sqlite/connection.ts";
import type { MadeSnapshot, SnapshotPlan } from "./make.ts";
import type { Keeping } from "./shelf.ts";
import { clearLeftStaging } from "./shelf.ts";

export interface SnapshotOrder {
  readonly plan: SnapshotPlan;
  readonly shelf: string;
  readonly keeping: Keeping;
}

export type SnapshotAnswer =
  /** `shelfBytes`: of all snapshots that are kept, this one among them. */
  | { readonly kind: "made"; readonly made: MadeSnapshot; readonly shelfBytes: number }
  /** Nothing was committed since the last one. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "failed"; readonly text: string };

/** Node can't run TypeScript: from the sources (in tests) the thread is the one that was built. */
const THREAD_URL = new URL(
  import.meta.url.endsWith(".ts") ? "../../../dist/store/snapshot/thread.js" : "./thread.js",
  import.meta.url,
);

export interface SnapshotMaking {
  /** Never rejects. */
  readonly answer: Promise<SnapshotAnswer>;
  /** Gives it up; resolves when nothing of it is left. */
  stop(): Promise<void>;
}

export function startSnapshot(order: SnapshotOrder): SnapshotMaking {
  const worker = new Worker(THREAD_URL, { workerData: order, name: "snapshot" });
  // What runs in it is no reason to stay alive: a kill leaves nothing that matters.
  worker.unref();
  const answer = new Promise<SnapshotAnswer>((resolve) => {
    worker.on("message", resolve);
    worker.on("error", (error) => {
      resolve({ kind: "failed", text: `the snapshot thread failed: ${error.message}` });
    });
    worker.on("exit", () => {
      resolve({ kind: "failed", text: "the snapshot thread was ended" });
    });
  });
  return {
    answer,
    stop: async () => {
      await worker.terminate();
      await clearShelf(order.plan.stateFolder, order.shelf);
    },
  };
}

/** Removes what killed processes left of their snapshots; never rejects, for it is no loss. */
export async function clearShelf(stateFolder: string, shelf: string): Promise<void> {
  try {
    clearLeftStaging(await loadDriver(), stateFolder, shelf);
  } catch (error) {
    // The next snapshot meets the same trouble and says it.
    if (!(error instanceof JournalError) && !isOfFileSystem(error)) throw error;
  }
}

const isOfFileSystem = (error: unknown): boolean =>
  error instanceof Error && "code" in error && typeof error.code === "string";
