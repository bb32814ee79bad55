/** The daemon answers while it still judges thousands of calls that were left to it, and is stopped meanwhile. */
import { describe, expect } from "vitest";
import { launchDaemon } from "../support/daemon.ts";
import { leaveJournal } from "../support/full-journal.ts";
import { status } from "../support/holdfast-process.ts";
import { labTest, type Lab } from "../support/lab.ts";
import { daemonAt, sharedLedger } from "../support/lasting-daemon.ts";
import { RawSession } from "../support/raw-session.ts";

const SERVER = "ledger";
const LEFT = { server: SERVER, queued: 0, sent: 4_000, ended: 0 };

/** A daemon with a client, killed; its journal then holds `LEFT`, too. */
async function killed(lab: Lab) {
  const daemon = await daemonAt(lab, { [SERVER]: sharedLedger(lab) });
  await daemon.start();
  const session = await RawSession.open(daemon.mcp(SERVER));
  await session.request("tools/list");
  await daemon.kill();
  await leaveJournal(lab, LEFT);
  return { daemon, session };
}

/** How many calls the newest start found, by state. */
async function found(lab: Lab): Promise<Readonly<Record<string, number>>> {
  const [proxy] = await status(lab);
  return proxy?.recovery?.found ?? {};
}

describe("a daemon to which thousands of calls were left", () => {
  labTest(
    "takes new clients and those that return, and runs nothing of what was left",
    async (lab) => {
      const { daemon, session } = await killed(lab);
      await daemon.start();
      const back = session.call("append", "back");
      const early = await RawSession.open(daemon.mcp(SERVER));
      const answers = await Promise.all([back, early.call("append", "early")]);
      expect(answers.map(({ isError }) => isError)).toEqual([false, false]);
      expect([...lab.nonces()].sort()).toEqual(["back", "early"]);
      expect(await found(lab)).toMatchObject({ sent: LEFT.sent });
    },
  );

  labTest("is killed meanwhile, then ended in order meanwhile, and loses nothing", async (lab) => {
    const { daemon } = await killed(lab);
    for (let life = 0; life < 2; life++) {
      await daemon.start();
      await daemon.kill();
    }
    const ended = launchDaemon(lab, `127.0.0.1:${String(daemon.port)}`);
    await ended.listening;
    ended.signal("SIGTERM");
    expect(await ended.exited).toBe(0);
    await daemon.start();
    const session = await RawSession.open(daemon.mcp(SERVER));
    expect((await session.call("append", "after")).isError).toBe(false);
    expect(await found(lab)).toMatchObject({ dead: LEFT.sent });
    expect(lab.nonces()).toEqual(["after"]);
  });
});
