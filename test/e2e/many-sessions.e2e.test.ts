/** A thousand clients of one process, over one connection to their server. */
import { Agent } from "node:http";
import { describe, expect } from "vitest";
import { lastingDaemon, sharedLedger, type LastingDaemon } from "../support/lasting-daemon.ts";
import { calls } from "../support/holdfast-process.ts";
import { labTest, type Lab } from "../support/lab.ts";
import { exchange, RawSession } from "../support/raw-session.ts";

const SESSIONS = 1_000;
const CALLS = 10;
const LIMIT_MS = 60_000;

/** As a client of the SDK has it: a connection for what is asked, one for what is said unasked. */
async function thousandSessions(lab: Lab, daemon: LastingDaemon): Promise<readonly RawSession[]> {
  const agent = new Agent({ keepAlive: true });
  lab.onClose(() => {
    agent.destroy();
    return Promise.resolve();
  });
  const url = daemon.mcp("ledger");
  return Promise.all(Array.from({ length: SESSIONS }, () => RawSession.open(url, { agent })));
}

const nonceOf = (session: number, call: number): string => `s${String(session)}-c${String(call)}`;

/** One call after the other, reads and unsafe ones in turns. Resolves to answers that are not its own. */
async function tenCalls(session: RawSession, n: number): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (let c = 0; c < CALLS; c++) {
    const nonce = nonceOf(n, c);
    const isRead = c % 2 === 0;
    const answer = await session.call(isRead ? "read_value" : "append", nonce);
    const expected = isRead ? `value of ${nonce}` : `append ${nonce} by `;
    if (answer.isError || !answer.text.startsWith(expected)) wrong.push(JSON.stringify(answer));
  }
  return wrong;
}

describe("a thousand sessions over one shared connection", () => {
  labTest("get all of their 10,000 answers, each its own, and each call runs once", async (lab) => {
    const daemon = await lastingDaemon(lab, { ledger: sharedLedger(lab) });
    const sessions = await thousandSessions(lab, daemon);
    expect(new Set(sessions.map((session) => session.key)).size).toBe(SESSIONS);
    await Promise.all(sessions.map((session) => session.listen()));
    // Without the tools' annotations every call would be unsafe.
    await sessions[0]?.request("tools/list");

    const before = performance.now();
    const wrong = await Promise.all(sessions.map((session, n) => tenCalls(session, n)));
    const tookMs = performance.now() - before;

    expect(wrong.flat()).toEqual([]);
    expect(tookMs).toBeLessThan(LIMIT_MS);
    const ran = lab.nonces();
    expect(ran).toHaveLength(SESSIONS * CALLS);
    expect(new Set(ran).size).toBe(SESSIONS * CALLS);
    expect(lab.serverPids()).toHaveLength(1);
    for (const state of ["queued", "sent", "in_doubt"]) {
      expect(await calls(lab, "--state", state)).toEqual([]);
    }
    for (const session of sessions) expect(session.strays).toEqual([]);
    // The last is as much at home as the first.
    const { status } = await exchange(daemon.mcp("ledger"), {
      method: "DELETE",
      headers: sessions.at(-1)?.headers() ?? {},
    });
    expect(status).toBe(200);
  });
});
