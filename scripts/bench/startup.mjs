/**
 * Process start → `initialize` answered, with an upstream that is not there: what a client waits for
 * when it starts beside a dead server. Compared with the bare start of Node in the same turns. And
 * resident memory: idle, and after 10,000 calls.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { burst, greet, initialize } from "./client.mjs";
import { exited, kill, median, residentMb, sleep, start } from "./proc.mjs";
import { direct, holdfast, relay, stdioServer } from "./variants.mjs";

async function bareNodeMs() {
  const before = performance.now();
  await exited(start(process.execPath, ["-e", "0"]));
  return performance.now() - before;
}

async function initializeMs(open) {
  const before = performance.now();
  const client = open();
  await initialize(client);
  const took = performance.now() - before;
  client.abandon();
  await kill(client.child);
  return took;
}

/** Fills the catalogue through an upstream that is there, then takes the upstream away. */
async function learn(target, gate, folder) {
  writeFileSync(gate, "");
  const client = holdfast(target, folder);
  await greet(client);
  await burst(client, "look", 1, 1);
  await client.close();
  rmSync(gate);
}

export async function measureStartup(folder, setup, say) {
  say("start-up");
  const gate = join(folder, "startup-gate");
  const state = join(folder, "startup");
  const down = stdioServer("--gate", gate);
  const up = stdioServer();
  if (setup.withHoldfast) await learn(down, gate, state);
  const taken = { node: [], direct: [], holdfast: [] };
  for (let round = 0; round < setup.startRounds; round++) {
    taken.node.push(await bareNodeMs());
    taken.direct.push(await initializeMs(() => direct(up)));
    if (setup.withHoldfast) taken.holdfast.push(await initializeMs(() => holdfast(down, state)));
  }
  return {
    bareNodeMs: median(taken.node),
    serverItselfMs: median(taken.direct),
    holdfastMs: median(taken.holdfast),
    ratioToBareNode: median(taken.holdfast.map((ms, n) => ms / taken.node[n])),
  };
}

async function memoryOf(client, calls) {
  await greet(client);
  // What start-up left behind is collected or it is not; a second later it is what "idle" means.
  await sleep(1_000);
  const idleMb = residentMb(client.pid);
  await burst(client, "look", calls / 2, 32);
  await burst(client, "write", calls / 2, 32);
  const afterMb = residentMb(client.pid);
  await client.close();
  return { idleMb, afterMb };
}

export async function measureMemory(folder, setup, say) {
  say("memory");
  const open = { relay: () => relay(stdioServer()) };
  if (setup.withHoldfast)
    open.holdfast = (n) => holdfast(stdioServer(), join(folder, `memory-${n}`));
  const found = {};
  for (let round = 0; round < setup.memoryRounds; round++)
    for (const [variant, make] of Object.entries(open))
      (found[variant] ??= []).push(await memoryOf(make(round), 10_000));
  const summary = {};
  for (const [variant, all] of Object.entries(found))
    summary[variant] = {
      idleMb: median(all.map((one) => one.idleMb)),
      afterMb: median(all.map((one) => one.afterMb)),
    };
  return summary;
}
