/**
 * What an outage costs: the first answer after the upstream is back, the rate at which 1,000 queued
 * calls drain, and how soon a proxy that was killed with 10,000 open calls serves again.
 *
 * A stdio upstream is kept down by its gate file; an HTTP upstream by not running.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { call, greet, initialize } from "./client.mjs";
import { kill, median, quantile, stop, until } from "./proc.mjs";
import { direct, holdfast, holdfastCommand, startHttpServer, stdioServer } from "./variants.mjs";

const LIMITS = [
  "--hold",
  "10m",
  "--max-calls-per-session",
  "20000",
  "--max-calls-per-upstream",
  "20000",
];

/** How long the fixture server itself takes from start to its first answer. */
async function serverStartMs() {
  const before = performance.now();
  const client = direct(stdioServer());
  await initialize(client);
  const took = performance.now() - before;
  await client.close();
  return took;
}

/** The running proxy's own word: how many calls wait, and how many of them are on disk. */
async function waitingCalls(folder) {
  const { proxies } = JSON.parse(await holdfastCommand(folder, "status", "--json"));
  const waiting = proxies
    .flatMap((proxy) => proxy.sessions)
    .reduce((sum, session) => sum + session.upstream.waiting, 0);
  const rows = proxies.reduce((sum, proxy) => sum + proxy.journal.rows, 0);
  return Math.min(waiting, rows);
}

async function queueUp(client, folder, tool, count) {
  const taken = [];
  const answers = Array.from({ length: count }, async () => {
    await call(client, tool);
    taken.push(performance.now());
  });
  // Answers that stay away because the proxy is killed are expected; those that fail are seen below.
  const all = Promise.all(answers);
  all.catch(() => {});
  await until(
    `${count} calls wait`,
    async () => (await waitingCalls(folder)) >= count,
    120_000,
    50,
  );
  return { taken, all };
}

/** Queues `count` calls while a stdio upstream is down, lets it come back, and watches them drain. */
async function drainStdio(folder, tool, count) {
  const gate = join(folder, "gate");
  const target = stdioServer("--gate", gate);
  const state = join(folder, "state");
  writeFileSync(gate, "");
  const first = holdfast(target, state);
  await greet(first);
  await first.close();
  rmSync(gate);

  const client = holdfast(target, state, LIMITS);
  await greet(client);
  const { taken, all } = await queueUp(client, state, tool, count);
  const backAt = performance.now();
  writeFileSync(gate, "");
  await all;
  await client.close();
  return summariseDrain(taken, backAt);
}

/** The same with an HTTP upstream that is started again on its port. */
async function drainHttp(folder, tool, count) {
  const state = join(folder, "state");
  const server = await startHttpServer();
  const port = Number(new URL(server.url).port);
  const client = holdfast(server.url, state, LIMITS);
  await greet(client);
  await call(client, tool);
  await stop(server.child);
  const { taken, all } = await queueUp(client, state, tool, count);
  const again = await startHttpServer(port);
  const backAt = performance.now();
  await all;
  await client.close();
  await stop(again.child);
  return summariseDrain(taken, backAt);
}

function summariseDrain(taken, backAt) {
  taken.sort((a, b) => a - b);
  const spanMs = taken.at(-1) - taken[0];
  return { firstMs: taken[0] - backAt, perSecond: ((taken.length - 1) * 1000) / spanMs };
}

export async function measureDrain(folder, setup, say) {
  const drains = { "stdio→stdio": drainStdio, "stdio→http": drainHttp };
  const found = {};
  const serverMs = [];
  for (let round = 0; round < setup.drainRounds; round++) {
    serverMs.push(await serverStartMs());
    for (const [lane, drain] of Object.entries(drains)) {
      for (const tool of ["look", "write"]) {
        say(`drain, ${lane}, ${tool}, round ${round + 1}`);
        const place = makePlace(folder, `drain-${lane.replace("→", "-")}-${tool}-${round}`);
        ((found[lane] ??= {})[tool] ??= []).push(await drain(place, tool, setup.queued));
      }
    }
  }
  const summary = { serverStartMs: median(serverMs), lanes: {} };
  for (const [lane, tools] of Object.entries(found)) {
    const firsts = Object.values(tools).flatMap((all) => all.map((one) => one.firstMs));
    summary.lanes[lane] = {
      firstMs: { p50: quantile(firsts, 0.5), worst: Math.max(...firsts), times: firsts.length },
      readsPerSecond: median(tools.look.map((one) => one.perSecond)),
      writesPerSecond: median(tools.write.map((one) => one.perSecond)),
    };
  }
  return summary;
}

/** Start of a proxy → its first answers: `initialize`, then a new call that needs the upstream. */
async function servingAgain(target, state) {
  const before = performance.now();
  const client = holdfast(target, state, LIMITS);
  await initialize(client);
  const initializedMs = performance.now() - before;
  await client.notify("notifications/initialized");
  await call(client, "look");
  return { client, initializedMs, firstCallMs: performance.now() - before };
}

/** A journal with `open` calls left by a proxy that was killed, and the start that takes it over. */
export async function measureRecovery(folder, setup, say) {
  const all = { empty: [], full: [] };
  const reported = [];
  for (let round = 0; round < setup.recoveryRounds; round++) {
    say(`recovery with ${setup.open} open calls, round ${round + 1}`);
    const place = makePlace(folder, `recovery-${round}`);
    const gate = join(place, "gate");
    const target = stdioServer("--gate", gate);
    for (const kind of ["empty", "full"]) {
      const state = join(place, kind);
      writeFileSync(gate, "");
      const first = await servingAgain(target, state);
      await first.client.close();
      if (kind === "full") {
        rmSync(gate);
        await killWithOpenCalls(target, state, setup.open);
        writeFileSync(gate, "");
      }
      const again = await servingAgain(target, state);
      all[kind].push(again);
      if (kind === "full") reported.push(await reportedRecoveryMs(state));
      again.client.abandon();
      await kill(again.client.child);
    }
  }
  const middle = (kind, field) => median(all[kind].map((one) => one[field]));
  return {
    open: setup.open,
    emptyJournal: {
      initializedMs: middle("empty", "initializedMs"),
      firstCallMs: middle("empty", "firstCallMs"),
    },
    fullJournal: {
      initializedMs: middle("full", "initializedMs"),
      firstCallMs: middle("full", "firstCallMs"),
    },
    reportedMs: median(reported),
  };
}

async function killWithOpenCalls(target, state, count) {
  const client = holdfast(target, state, LIMITS);
  await greet(client);
  const { all } = await queueUp(client, state, "write", count);
  all.catch(() => {});
  client.abandon();
  await kill(client.child);
}

/** What the recovery report of the proxy itself says, ms. */
async function reportedRecoveryMs(state) {
  const { proxies } = JSON.parse(await holdfastCommand(state, "status", "--json"));
  return proxies[0]?.recovery?.tookMs ?? NaN;
}

function makePlace(folder, name) {
  const place = join(folder, name);
  mkdirSync(place, { recursive: true });
  return place;
}
