/** Calls that wait for a server which is away, up to each bound, and some beyond it. */
import assert from "node:assert/strict";
import type { CallData, Reply } from "../../support/holdfast-process.ts";
import { touch, until, type Lab } from "../../support/lab.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import type { AbuseCase } from "./case.ts";
import { openSocketClient, type SocketClient } from "./socket-client.ts";
import { beside, besideGood, GOOD, openServe, patient, sessionAt, type Stage } from "./stage.ts";

const PER_SESSION = 1_000;
const PER_UPSTREAM = 5_000;
const PER_PROCESS = 20_000;
/** How many are tried beyond a bound. */
const BEYOND = 25;
const MIB = 1024 * 1024;
const SESSION_BYTES = 64 * MIB;
const PADDING = 3 * MIB;

/** Servers that are away and come to nothing, beside one that is there. */
function openAway(lab: Lab, names: readonly string[]): Promise<Stage> {
  const down = lab.path("away");
  touch(down);
  const away = Object.fromEntries(names.map((name) => [name, sharedLedger(lab, {}, down)]));
  return openServe(lab, {
    servers: { [GOOD]: sharedLedger(lab), ...away },
    // Longer than any of this takes, so that nothing expires meanwhile.
    holdfast: { hold: "10m", handshakeWait: "200ms" },
  });
}

const toldBy = (answer: Reply): CallData | undefined =>
  ((answer.result?.["_meta"] as Record<string, unknown> | undefined)?.["holdfast/call"] ??
    answer.error?.data) as CallData | undefined;

/** So many answers, each a refusal that says "no" and names the option; the calls before them wait. */
async function untilRefused(client: SocketClient, count: number, option: string): Promise<void> {
  await until(`${String(count)} refusals`, () => client.answers.size >= count);
  assert.equal(client.answers.size, count);
  assertRefused(client, option);
}

function assertRefused(client: SocketClient, option: string): void {
  for (const answer of client.answers.values()) {
    const text = JSON.stringify(answer).slice(0, 1_000);
    assert.ok(text.includes(option), text);
    assert.equal(toldBy(answer)?.executed, "no", text);
  }
}

function askMany(client: SocketClient, name: string, count: number, padding = 0): void {
  for (let n = 1; n <= count; n++) client.ask(n, "append", `${name}-${String(n)}`, padding);
}

/** None of what waits or was refused has run; the neighbour's calls have. */
function assertNoneRan(lab: Lab, prefix: string): void {
  assert.deepEqual(
    lab.nonces().filter((nonce) => nonce.startsWith(prefix)),
    [],
  );
}

const session: AbuseCase = {
  name: "queue-1000-calls",
  isQuick: true,
  run: async (lab) => {
    const stage = await openAway(lab, ["away"]);
    return besideGood(stage, async () => {
      const client = await openSocketClient(stage.mcp("away"));
      askMany(client, "q", PER_SESSION + BEYOND);
      await untilRefused(client, BEYOND, "--max-calls-per-session");
      assertNoneRan(lab, "q");
      await client.close();
      return `${String(PER_SESSION)} wait, ${String(BEYOND)} refused`;
    });
  },
};

const bytes: AbuseCase = {
  name: "queue-64mb",
  isQuick: false,
  run: async (lab) => {
    const stage = await openAway(lab, ["away"]);
    return besideGood(stage, async () => {
      const client = await openSocketClient(stage.mcp("away"));
      const fit = Math.floor(SESSION_BYTES / (PADDING + 200));
      askMany(client, "q", fit + BEYOND, PADDING);
      await untilRefused(client, BEYOND, "--max-bytes-per-session");
      assertNoneRan(lab, "q");
      await client.close();
      return `${String(fit)} calls of 3 MiB wait, ${String(BEYOND)} refused`;
    });
  },
};

const process: AbuseCase = {
  name: "queue-20000-calls",
  isQuick: false,
  run: async (lab) => {
    const names = Array.from({ length: PER_PROCESS / PER_UPSTREAM }, (_, n) => `away${String(n)}`);
    const stage = await openAway(lab, [...names, "last"]);
    // While all are taken, it may be its call that is the one too many.
    const neighbour = patient(await sessionAt(stage, GOOD), new Set());
    return beside(stage, neighbour, async () => {
      const clients: SocketClient[] = [];
      for (const name of names) {
        for (let n = 0; n < PER_UPSTREAM / PER_SESSION; n++) {
          const client = await openSocketClient(stage.mcp(name));
          clients.push(client);
          // One is the neighbour's.
          askMany(client, `q-${name}-${String(n)}`, PER_SESSION);
        }
      }
      await until("all calls to be taken", () => clients.every((one) => one.unsentBytes() === 0));
      const beyond = await openSocketClient(stage.mcp("last"));
      // One place may be free, between two calls of the neighbour.
      askMany(beyond, "q-beyond", BEYOND + 1);
      await until("refusals", () => beyond.answers.size >= BEYOND);
      assertRefused(beyond, "--max-calls-per-process");
      const early = clients.flatMap((one) => [...one.answers.values()]);
      for (const answer of early) assert.equal(toldBy(answer)?.executed, "no");
      assertNoneRan(lab, "q");
      for (const client of [...clients, beyond]) await client.close();
      return `${String(PER_PROCESS - early.length)} wait, ${String(beyond.answers.size + early.length)} refused`;
    });
  },
};

export const QUEUES: readonly AbuseCase[] = [session, bytes, process];
