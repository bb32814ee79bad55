/** A crash of the process, and of the machine: how soon is what was known known again, and served? */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { configure, launchDaemon } from "../support/daemon.ts";
import { leaveJournal, planIn, type Contents } from "../support/full-journal.ts";
import { status } from "../support/holdfast-process.ts";
import type { Lab } from "../support/lab.ts";
import { processorMs } from "../support/proc.ts";
import { RawSession } from "../support/raw-session.ts";
import { abusiveEntry } from "../chaos/abuse/stage.ts";
import type { Drill, Figure } from "./drill.ts";

const RECOVER = fileURLToPath(new URL("../fixtures/recover-journal.mjs", import.meta.url));

/** A server that starts in no time, so that what is measured is ours. */
const SERVER = "quick";

/** The daemon was there before: the tools of its server are remembered. */
async function firstLife(lab: Lab): Promise<void> {
  // There is room for one more call.
  const holdfast = { isolation: "shared", maxCallsPerUpstream: 20_000 };
  configure(lab, { [SERVER]: { ...abusiveEntry(lab), holdfast } });
  const daemon = launchDaemon(lab);
  const address = await daemon.listening;
  const session = await RawSession.open(`${address}/mcp/${SERVER}`);
  await session.request("tools/list");
  assert.equal((await session.call("append", "before")).isError, false);
  daemon.signal("SIGTERM");
  await daemon.exited;
}

/** The start after the crash, from the outside. */
async function startAgain(lab: Lab, contents: Contents) {
  const startedAt = performance.now();
  const since = () => performance.now() - startedAt;
  const daemon = launchDaemon(lab, "127.0.0.1:0", { HOLDFAST_LOG_LEVEL: "error" });
  const address = await daemon.listening;
  const listeningMs = since();
  const session = await RawSession.open(`${address}/mcp/${SERVER}`);
  const greetedMs = since();
  const spentMs = processorMs(daemon.pid);
  await session.request("tools/list");
  assert.equal((await session.call("append", "new")).isError, false);
  const calledMs = since();
  const [proxy] = await status(lab);
  const recovery = proxy?.recovery;
  assert.ok(recovery !== undefined);
  assert.equal(recovery.putInDoubt, contents.sent);
  assert.equal(recovery.found["queued"] ?? 0, contents.queued);
  assert.equal(recovery.expired, 0);
  daemon.signal("SIGKILL");
  await daemon.exited;
  return { listeningMs, greetedMs, spentMs, calledMs, reportedMs: recovery.tookMs };
}

/** In a process that does nothing else: the journal opened, its thread started, what it holds recovered. */
function recoverAlone(lab: Lab): number {
  const { journal, folders } = planIn(lab.folder, lab.env);
  const given = JSON.stringify({ ...journal, folder: folders.state });
  return Number(execFileSync(process.execPath, [RECOVER, given], { encoding: "utf8" }));
}

const ms = (what: string, value: number, max?: number): Figure => ({
  what,
  value,
  unit: "ms",
  ...(max === undefined ? {} : { max }),
});

const NORMAL: Contents = { server: SERVER, queued: 50, sent: 50, ended: 1_900 };

export const processCrash: Drill = {
  name: "process crash, a journal of 2,000 rows",
  rounds: 3,
  run: async (lab) => {
    await firstLife(lab);
    await leaveJournal(lab, NORMAL);
    const aloneMs = recoverAlone(lab);
    // Recovered twice is recovered once: the daemon finds what a second start finds.
    await leaveJournal(lab, { ...NORMAL, queued: 0, ended: 0 });
    const again = await startAgain(lab, { ...NORMAL, sent: 50 });
    return [
      ms("journal opened and recovered, in the process", aloneMs, 100),
      ms("recovery as the daemon reports it", again.reportedMs, 100),
      ms("exec → listening", again.listeningMs),
      ms("exec → initialize answered", again.greetedMs),
    ];
  },
};

const crashWith = (name: string, contents: Contents, max: number, rounds: number): Drill => ({
  name,
  rounds,
  run: async (lab) => {
    await firstLife(lab);
    await leaveJournal(lab, contents);
    const again = await startAgain(lab, contents);
    return [
      ms("recovery as the daemon reports it", again.reportedMs),
      ms("exec → listening", again.listeningMs),
      ms("exec → initialize answered", again.greetedMs, max),
      // Of two threads, on a processor that others use, too.
      { ...ms("processor time until then", again.spentMs, 3 * max), isProcessorTime: true },
      ms("exec → first new call answered", again.calledMs),
    ];
  },
});

export const machineCrash = crashWith(
  "machine crash, 10,000 open calls",
  { server: SERVER, queued: 5_000, sent: 5_000, ended: 0 },
  500,
  3,
);

export const fullJournal = crashWith(
  "machine crash, a journal of 100,000 rows",
  { server: SERVER, queued: 5_000, sent: 5_000, ended: 90_000 },
  5_000,
  1,
);
