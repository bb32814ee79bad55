/** A process that is given few descriptors, or little memory. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { Agent } from "node:http";
import { until } from "../../support/lab.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import { wireTo, type Wire } from "../../support/raw-http.ts";
import { RawSession } from "../../support/raw-session.ts";
import type { AbuseCase } from "./case.ts";
import { BAD, beside, besideGood, GOOD, openServe, sessionAt } from "./stage.ts";

const DESCRIPTORS = 64;
const CONNECTIONS = 200;
const HEAP_MB = 96;

const descriptors: AbuseCase = {
  name: "descriptors-64",
  isQuick: true,
  limitMs: 30_000,
  run: async (lab) => {
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab) } });
    // A connection that it has, it keeps.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const session = await RawSession.open(stage.mcp(GOOD), { agent });
    await session.request("tools/list");
    // Only now: its server needs more than that to start, and would inherit the limit.
    execFileSync("prlimit", ["--pid", String(stage.pid), `--nofile=${String(DESCRIPTORS)}`]);
    const measured = await beside(stage, session, async (neighbour) => {
      const wires: Wire[] = [];
      for (let n = 0; n < CONNECTIONS; n++) wires.push(await wireTo(stage.port));
      const before = neighbour.calls();
      await until("the neighbour's calls", () => neighbour.calls() > before + 50);
      const cut = wires.filter((wire) => wire.isOver()).length;
      for (const wire of wires) wire.destroy();
      await until("a new client to come in", async () => {
        const one = await RawSession.open(stage.mcp(GOOD)).catch(() => undefined);
        return one !== undefined;
      });
      return `${String(CONNECTIONS)} connections, ${String(cut)} cut; a new client comes in afterwards`;
    });
    agent.destroy();
    return measured;
  },
};

const heap: AbuseCase = {
  name: "heap-96mb",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab, { node: [`--max-old-space-size=${String(HEAP_MB)}`] });
    const session = await sessionAt(stage, BAD);
    return besideGood(stage, async () => {
      const huge = await session.call("huge", "h", { bytes: "200000000" });
      assert.equal(huge.told?.executed, "yes");
      const chatter = { perSecond: "50000", seconds: "2" };
      assert.match((await session.call("chatter", "c", chatter)).text, /^sent \d+$/);
      const nested = session.ask("nested", "n", { depth: "1000000" });
      await nested.ended;
      assert.equal(nested.answers.length, 1);
      const full = await session.call("huge", "f", { bytes: "15000000" });
      assert.equal(full.isError, false);
      return "a frame of 200 MB, 100,000 notifications, deep JSON, a result of 15 MB";
    });
  },
};

export const LIMITS: readonly AbuseCase[] = [descriptors, heap];
