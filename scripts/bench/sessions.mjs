/**
 * What a client session costs a daemon that does nothing for it: resident memory with 1,000 sessions
 * against none, divided; without any connection, and with the stream that a client keeps open.
 *
 * SM1. Before the first figure sessions have come and gone, so that what is compiled and allocated
 *      once is not counted as theirs.
 */
import { join } from "node:path";
import { greet, httpClient } from "./client.mjs";
import { median, residentMb, sleep } from "./proc.mjs";
import { startDaemon, stdioServer } from "./variants.mjs";

const SESSIONS = 1_000;
const WARM_UP = 200;
/** As many handshakes at a time as not to measure how they queue. */
const AT_ONCE = 20;
/** What the handshakes left behind is collected or it is not; then it is idle. */
const SETTLE_MS = 3_000;

/** Does it with all of them, some at a time. */
async function withEach(clients, act) {
  const left = [...clients];
  const lane = async () => {
    for (let client = left.pop(); client !== undefined; client = left.pop()) await act(client);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function measureOnce(folder) {
  const daemon = await startDaemon(stdioServer(), folder, { isolation: "shared" });
  const newClients = (count) => Array.from({ length: count }, () => httpClient(daemon.url));
  const figure = async () => {
    await sleep(SETTLE_MS);
    return residentMb(daemon.child.pid);
  };
  await withEach(newClients(WARM_UP), async (client) => {
    await greet(client);
    await client.leave();
  });
  const noneMb = await figure();
  const clients = newClients(SESSIONS);
  await withEach(clients, async (client) => {
    await greet(client);
    client.hangUp();
  });
  const idleMb = await figure();
  await withEach(clients, (client) => client.listen());
  const openMb = await figure();
  await daemon.end();
  for (const client of clients) client.hangUp();
  return {
    noneMb,
    idleKb: ((idleMb - noneMb) * 1_000) / SESSIONS,
    openKb: ((openMb - noneMb) * 1_000) / SESSIONS,
  };
}

export async function measureSessions(folder, setup, say) {
  say(`${SESSIONS} sessions`);
  const found = [];
  for (let round = 0; round < setup.memoryRounds; round++)
    found.push(await measureOnce(join(folder, `sessions-${round}`)));
  const middle = (key) => median(found.map((one) => one[key]));
  return {
    sessions: SESSIONS,
    noneMb: middle("noneMb"),
    idleKb: middle("idleKb"),
    openKb: middle("openKb"),
  };
}
