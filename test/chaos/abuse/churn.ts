/** Coming and going: what is there once must not be there a thousand times later (R4). */
import assert from "node:assert/strict";
import { join } from "node:path";
import { realWorld } from "../../../src/base/world.ts";
import { connectControl } from "../../../src/app/control-client.ts";
import { isAlive, until } from "../../support/lab.ts";
import { sharedLedger } from "../../support/lasting-daemon.ts";
import { wireTo, requestText } from "../../support/raw-http.ts";
import { RawSession } from "../../support/raw-session.ts";
import type { AbuseCase, Measured } from "./case.ts";
import { openSocketClient } from "./socket-client.ts";
import { abusiveEntry, besideGood, GOOD, openServe, sessionAt, type Stage } from "./stage.ts";

const CYCLES = 1_000;
const RESTARTS = 300;
const FLAPS = 100;
/** They flap side by side: each is let up no more often than once a second. */
const FLAPPING = 10;
const WARM_UP = 30;
const MIB = 1024 * 1024;
/** A heap breathes; what a cycle leaves behind would be a thousand times itself. */
const HEAP_MAX_BYTES = 6 * MIB;

interface Counted {
  readonly descriptors: number;
  readonly children: number;
  readonly timers: number;
  readonly heapBytes: number;
}

async function count({ gauge }: Stage): Promise<Counted> {
  const { resources, heapUsed, external } = await gauge.ask();
  return {
    descriptors: gauge.descriptors(),
    children: gauge.children(),
    timers: resources["Timeout"] ?? 0,
    heapBytes: heapUsed + external,
  };
}

/** What grew while `churn` ran, after it had run for a little while before. */
async function growth(
  stage: Stage,
  churn: (from: number, count: number) => Promise<void>,
  times: number,
): Promise<Measured> {
  await churn(0, WARM_UP);
  let leaked: Record<string, number> = {};
  const measured = await besideGood(stage, async () => {
    const before = await count(stage);
    await churn(WARM_UP, times);
    let after = before;
    // The last ones may still be leaving.
    await until("them to have left", async () => {
      after = await count(stage);
      return after.descriptors <= before.descriptors && after.children <= before.children;
    }).catch(() => undefined);
    const grown = after.heapBytes - before.heapBytes;
    leaked = {
      // The neighbour's connection comes and goes.
      descriptors: Math.max(0, after.descriptors - before.descriptors - 2),
      children: after.children - before.children,
      timers: Math.max(0, after.timers - before.timers - 2),
      "bytes of heap over 6 MiB": Math.max(0, grown - HEAP_MAX_BYTES),
    };
    return `heap ${(grown / MIB).toFixed(1)} MiB more, descriptors ${String(before.descriptors)} → ${String(after.descriptors)}, children ${String(before.children)} → ${String(after.children)}, timers ${String(before.timers)} → ${String(after.timers)}`;
  });
  return { ...measured, leaked };
}

/** Comes over each transport in turn, makes a call, and goes, politely or not. */
async function comeAndGo(stage: Stage, n: number): Promise<void> {
  if (n % 4 === 1) {
    const client = await openSocketClient(stage.mcp(GOOD));
    client.ask(1, "append", `cycle-${String(n)}`);
    await until("its answer", () => client.answers.has(1));
    await client.close();
    return;
  }
  if (n % 4 === 3) {
    const wire = await wireTo(stage.port);
    const host = `host: 127.0.0.1:${String(stage.port)}`;
    wire.write(requestText("GET", `/sse/${GOOD}`, [host, "accept: text/event-stream"]));
    await until("its endpoint", () => wire.text().includes("event: endpoint"));
    wire.destroy();
    return;
  }
  const session = await RawSession.open(stage.mcp(GOOD));
  const answer = await session.call("append", `cycle-${String(n)}`);
  assert.equal(answer.isError, false);
  assert.equal((await session.end()).status, 200);
}

const cycles: AbuseCase = {
  name: "cycles-1000",
  isQuick: false,
  run: async (lab) => {
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab) } });
    const churn = async (from: number, times: number) => {
      for (let n = from; n < from + times; n++) await comeAndGo(stage, n);
    };
    return growth(stage, churn, CYCLES);
  },
};

/** The control socket of the lab's only proxy. */
const controlOf = (stage: Stage): string =>
  join(stage.lab.path("state"), "run", `${String(stage.pid)}.sock`);

const restarts: AbuseCase = {
  name: "restarts-300",
  isQuick: false,
  run: async (lab) => {
    const other = { ...abusiveEntry(lab), holdfast: { isolation: "shared" } };
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab), other } });
    const session = await sessionAt(stage, "other");
    const control = await connectControl(controlOf(stage), realWorld());
    lab.onClose(() => {
      control.close();
      return Promise.resolve();
    });
    const churn = async (from: number, times: number) => {
      for (let n = from; n < from + times; n++) {
        await control.restart("other");
        const answer = await session.call("append", `restart-${String(n)}`);
        assert.equal(answer.isError, false);
      }
    };
    return growth(stage, churn, RESTARTS);
  },
};

const flapping: AbuseCase = {
  name: "flapping-100",
  isQuick: false,
  // Ten servers that start at once take the processors.
  bounds: { neighbourP99MaxMs: 3_000 },
  run: async (lab) => {
    const names = Array.from({ length: FLAPPING }, (_, n) => `flap${String(n)}`);
    const servers = Object.fromEntries(
      names.map((name) => [name, sharedLedger(lab, {}, lab.path(name))]),
    );
    const stage = await openServe(lab, { servers: { [GOOD]: sharedLedger(lab), ...servers } });
    let deaths = 0;
    const flap = async (name: string) => {
      const session = await sessionAt(stage, name);
      for (let n = 0; deaths < FLAPS; n++) {
        const nonce = `${name}-${String(n)}`;
        const answer = await session.call("append", nonce);
        if (answer.isError) {
          // It went out before anybody could know of the death.
          assert.equal(answer.told?.executed, "unknown", answer.text);
          continue;
        }
        // It names the process that ran it.
        const pid = Number(/ by (\d+)$/.exec(answer.text)?.[1]);
        assert.ok(pid > 0, `${nonce} was answered ${answer.text}`);
        deaths++;
        process.kill(pid, "SIGKILL");
        await until("it to be dead", () => !isAlive(pid));
      }
    };
    const measured = await besideGood(stage, async () => {
      await Promise.all(names.map(flap));
      return `${String(deaths)} deaths of ${String(FLAPPING)} servers, no call ran twice`;
    });
    const ran = lab.nonces().filter((nonce) => nonce.startsWith("flap"));
    assert.equal(new Set(ran).size, ran.length, "a call ran twice");
    return measured;
  },
};

export const CHURN: readonly AbuseCase[] = [cycles, restarts, flapping];
