/**
 * Journals as a crash leaves them, made by the real store and in batches: a program of its own fills
 * one and kills itself, so that locks, WAL and high-water mark are what a dead process leaves.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import type { Surroundings } from "../../src/app/folders.ts";
import type { OptionKey } from "../../src/app/options.ts";
import { makeServePlan, type ServePlan } from "../../src/app/serve-plan.ts";
import { realWorld } from "../../src/base/world.ts";
import { openJournals, type Journals } from "../../src/store/folder.ts";
import type { Lab } from "./lab.ts";

const FILLER = fileURLToPath(new URL("./full-journal-filler.ts", import.meta.url));

/** What is to be in it. */
export interface Contents {
  /** The server of the lab's configuration whose calls they are. */
  readonly server: string;
  /** Unsafe calls that wait; their callers were told that they run within the hour. */
  readonly queued: number;
  /** Unsafe calls in flight. */
  readonly sent: number;
  /** Calls with a result that was delivered. */
  readonly ended: number;
}

/** The plan of the lab's daemon, as the daemon itself makes it. */
export function planIn(folder: string, env: Readonly<Record<string, string>>): ServePlan {
  const around: Surroundings = {
    env,
    home: env["HOME"] ?? folder,
    cwd: folder,
    tmpdir: tmpdir(),
    platform: process.platform,
    uid: process.getuid?.(),
    pid: process.pid,
  };
  const flags = new Map<OptionKey, string>([["config", `${folder}/holdfast.json`]]);
  return makeServePlan({ flags, around, world: realWorld(), version: "0.0.0" });
}

/** Opens the journal that the lab's daemon has, which must not run. */
export function openLike(plan: ServePlan): Promise<Journals> {
  return openJournals({
    ...plan.journal,
    world: realWorld(),
    log: () => undefined,
    folder: plan.folders.state,
    mode: "required",
    durability: "full",
    dropsDelivered: false,
  });
}

/** Fills the journal of the lab's daemon, which must not run, and dies by SIGKILL. */
export async function leaveJournal(lab: Lab, contents: Contents): Promise<void> {
  const given = JSON.stringify({ folder: lab.folder, env: lab.env, contents });
  const child = spawn(process.execPath, ["--import", "tsx", FILLER, given], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [, signal] = (await once(child, "close")) as [number | null, string | null];
  if (signal !== "SIGKILL") throw new Error(`the journal was not filled: ${stderr}`);
}
