/**
 * The cost of a call: processor time of the process in between at 32 in flight, and latency one at a
 * time; for reads and writes, in the lanes from stdio and HTTP to stdio and HTTP.
 *
 * R1. All variants of a lane live at the same time and take turns (A B C A B C …), so that a slow
 *     moment of the machine hits all of them. Ratios are taken per turn; their median is reported.
 * R2. Several generations: what a process' luck with memory and compilation gives is not one figure.
 */
import { join } from "node:path";
import { burst, greet, oneByOne } from "./client.mjs";
import { cpuMs, median, quantile, stop } from "./proc.mjs";
import {
  direct,
  holdfast,
  listeningHoldfast,
  listeningRelay,
  relay,
  startHttpServer,
  stdioServer,
} from "./variants.mjs";

const IN_FLIGHT = 32;
const TOOLS = ["look", "write"];
export const LANES = ["stdio→stdio", "stdio→http", "http→stdio", "http→http"];

/** Starts the variants of one lane and warms them up. */
async function openLane(lane, folder, setup) {
  const [from, to] = lane.split("→");
  const servers = [];
  const target = async (kind) => {
    if (kind === "stdio") return stdioServer();
    const server = await startHttpServer();
    servers.push(server.child);
    return server.url;
  };
  const isListening = from === "http";
  const clients = {
    // A client over HTTP can't reach a server over stdio directly: the same server over HTTP it is.
    direct: direct(await target(isListening ? "http" : to)),
    relay: await (isListening ? listeningRelay : relay)(await target(to)),
  };
  if (setup.withHoldfast) {
    clients.holdfast = await (isListening ? listeningHoldfast : holdfast)(await target(to), folder);
  }
  for (const client of Object.values(clients)) {
    await greet(client);
    for (const tool of TOOLS) await burst(client, tool, setup.warmUp, IN_FLIGHT);
  }
  const close = async () => {
    for (const client of Object.values(clients)) await client.close();
    for (const server of servers) await stop(server);
  };
  return { clients, close };
}

/** One turn of one variant: µs of processor time per call, and calls per second. */
async function turn(client, tool, count) {
  const before = client.pid === undefined ? NaN : cpuMs(client.pid);
  const tookMs = await burst(client, tool, count, IN_FLIGHT);
  const after = client.pid === undefined ? NaN : cpuMs(client.pid);
  return { cpuUs: ((after - before) * 1000) / count, perSecond: (count * 1000) / tookMs };
}

const emptySample = () => ({ cpuUs: [], perSecond: [], latencyMs: [] });

/** Measures one lane. Resolves to samples by tool and variant, and to ratios by tool. */
async function measureLane(lane, folder, setup) {
  const samples = {};
  const ratios = { look: [], write: [] };
  for (let generation = 0; generation < setup.generations; generation++) {
    const place = join(folder, `${lane.replace("→", "-")}-${generation}`);
    const { clients, close } = await openLane(lane, place, setup);
    for (let round = 0; round < setup.rounds; round++) {
      for (const tool of TOOLS) {
        const cpu = {};
        for (const [variant, client] of Object.entries(clients)) {
          const sample = ((samples[tool] ??= {})[variant] ??= emptySample());
          const { cpuUs, perSecond } = await turn(client, tool, setup.callsPerTurn);
          sample.cpuUs.push(cpuUs);
          sample.perSecond.push(perSecond);
          sample.latencyMs.push(...(await oneByOne(client, tool, setup.latencyPerTurn)));
          cpu[variant] = cpuUs;
        }
        if (cpu.holdfast !== undefined) ratios[tool].push(cpu.holdfast / cpu.relay);
      }
    }
    await close();
  }
  return { samples, ratios };
}

function summarise(sample) {
  return {
    cpuUs: median(sample.cpuUs),
    perSecond: median(sample.perSecond),
    p50Ms: quantile(sample.latencyMs, 0.5),
    p99Ms: quantile(sample.latencyMs, 0.99),
  };
}

export async function measureCalls(folder, setup, say) {
  const lanes = {};
  for (const lane of setup.lanes) {
    say(`calls, ${lane}`);
    const { samples, ratios } = await measureLane(lane, folder, setup);
    lanes[lane] = {};
    for (const tool of TOOLS) {
      const variants = {};
      for (const [variant, sample] of Object.entries(samples[tool]))
        variants[variant] = summarise(sample);
      // Of the direct connection there is no process in between: its own cost is the client's.
      variants.direct.cpuUs = NaN;
      lanes[lane][tool] = { variants, cpuRatio: median(ratios[tool]), cpuRatios: ratios[tool] };
    }
  }
  return lanes;
}
