/** A disk that is slow, and one that is full. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { elapsed, until, type Lab } from "../../support/lab.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import type { AbuseCase } from "./case.ts";
import { beside, besideGood, GOOD, openServe, patient, sessionAt } from "./stage.ts";

const SOURCE = fileURLToPath(new URL("./slow-sync.c", import.meta.url));
const BUSY_MS = 4_000;
const WRITERS = 64;
const DISK_MIB = 48;
const CHUNK = Buffer.alloc(1024 * 1024, "d");

const isThere = (command: string): boolean => spawnSync(command, ["--version"]).error === undefined;

/** Builds the library in the lab. */
function slowSync(lab: Lab, ms: number): Record<string, string> {
  const library = lab.path("slow-sync.so");
  execFileSync("gcc", ["-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"]);
  return { LD_PRELOAD: library, SLOW_SYNC_MS: String(ms) };
}

const slow = (ms: number): AbuseCase => ({
  name: `slow-fsync-${String(ms)}ms`,
  isQuick: false,
  bounds: {
    lagP99MaxMs: 50,
    // A write is two commits, and each may wait for the one before it to end.
    neighbourP99MaxMs: 1_000 + 5 * ms,
  },
  unable: () => (isThere("gcc") ? undefined : "gcc is not there to build the slow disk"),
  run: async (lab) => {
    const stage = await openServe(lab, {
      servers: { [GOOD]: sharedLedger(lab) },
      env: slowSync(lab, ms),
    });
    return besideGood(stage, async () => {
      const session = await sessionAt(stage, GOOD);
      const startedAt = Date.now();
      let calls = 0;
      const write = async (writer: number) => {
        while (Date.now() - startedAt < BUSY_MS) {
          const nonce = `w${String(writer)}-${String(calls++)}`;
          assert.equal((await session.call("append", nonce)).isError, false);
        }
      };
      await Promise.all(Array.from({ length: WRITERS }, (_, n) => write(n)));
      const perSecond = Math.round((calls * 1000) / (Date.now() - startedAt));
      return `${String(WRITERS)} writers, ${String(perSecond)} calls/s`;
    });
  },
});

/** Fills what is left of a disk. Returns the file. */
function fill(folder: string): string {
  const file = join(folder, "filler");
  try {
    for (;;) writeFileSync(file, CHUNK, { flag: "a" });
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  }
  // To the last block.
  try {
    for (;;) writeFileSync(file, CHUNK.subarray(0, 4096), { flag: "a" });
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
  }
  return file;
}

/** A file system of its own for the state folder, seen by the proxy only. */
const ownDisk = (lab: Lab): string[] => {
  const state = lab.path("state");
  const mount = `mkdir -p '${state}' && mount -t tmpfs -o size=${String(DISK_MIB)}m tmpfs '${state}'`;
  return ["unshare", "-m", "sh", "-c", `${mount} && exec "$@"`, "sh"];
};

const full: AbuseCase = {
  name: "disk-full",
  isQuick: true,
  unable: () => {
    if (process.getuid?.() !== 0) return "only root can give the proxy a small disk of its own";
    return isThere("unshare") ? undefined : "unshare is not there";
  },
  run: async (lab) => {
    const seenAt = (pid: number) => `/proc/${String(pid)}/root${lab.path("state")}`;
    const stage = await openServe(lab, {
      servers: { [GOOD]: sharedLedger(lab) },
      through: ownDisk(lab),
      stateSeenAt: seenAt,
    });
    const state = seenAt(stage.pid);
    assert.ok(existsSync(join(state, "journals")), "the proxy has its state elsewhere");
    const refused = new Set<string>();
    const session = await sessionAt(stage, GOOD);
    const measured = await beside(stage, patient(session, refused), async (neighbour) => {
      let filler = fill(state);
      // The ballast is given up and taken as well.
      await until("a call to be refused", () => {
        if (statfsSync(state).bavail > 0) filler = fill(state);
        return refused.size > 20;
      });
      const before = refused.size;
      rmSync(filler);
      const since = neighbour.calls();
      await elapsed(Date.now(), 500);
      await until("calls to be taken again", async () => {
        return !(await session.call("append", `again-${String(Date.now())}`)).isError;
      });
      return `${String(before)} calls refused with "no" while it was full, ${String(neighbour.calls() - since)} answered since`;
    });
    const ran = new Set(lab.nonces());
    for (const nonce of refused) assert.ok(!ran.has(nonce), `${nonce} was refused, and ran`);
    return measured;
  },
};

export const DISKS: readonly AbuseCase[] = [slow(5), slow(50), slow(200), full];
