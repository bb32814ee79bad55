/**
 * Makes a failing plan smaller while it still fails: fewer steps (by halves, then quarters, … then one by
 * one), fewer servers' and clients' worth of them, and plainer knobs.
 */
import type { Knobs, Plan, Step } from "./plan.ts";

/** Runs at most; each takes some milliseconds. */
const TRIES_MAX = 400;

export async function shrink(plan: Plan, fails: (plan: Plan) => Promise<boolean>): Promise<Plan> {
  let left = TRIES_MAX;
  const stillFails = async (smaller: Plan) => left-- > 0 && (await fails(smaller));
  let best = plan;
  for (let before = -1; before !== left && left > 0;) {
    before = left;
    const size = sizeOf(best);
    best = await fewerSteps(best, stillFails);
    best = await plainerKnobs(best, stillFails);
    if (sizeOf(best) === size) break;
  }
  return best;
}

const sizeOf = (plan: Plan): number => JSON.stringify(plan).length;

type Fails = (plan: Plan) => Promise<boolean>;

async function fewerSteps(plan: Plan, fails: Fails): Promise<Plan> {
  let best = plan;
  for (let size = Math.ceil(best.steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.steps.length;) {
      const steps = best.steps.filter((_, i) => i < at || i >= at + size);
      const smaller = { ...best, steps };
      if (await fails(smaller)) best = smaller;
      else at += size;
    }
  }
  return best;
}

/** Each is plainer than what it replaces, or the same. */
function plainer(knobs: Knobs): readonly Partial<Knobs>[] {
  return [
    { hasPowerLoss: false },
    { concurrency: undefined },
    { backlogWindow: 8 },
    { shield: "off" },
    { defer: "harmless" },
    { commitMs: 0 },
    { restartMs: 50 },
    { servers: knobs.servers.map((server) => ({ ...server, isStateful: false })) },
    { servers: knobs.servers.map((server) => ({ ...server, resumes: false })) },
    { servers: knobs.servers.map((server) => ({ ...server, isolation: "session" as const })) },
    { servers: knobs.servers.map((server) => ({ ...server, delayMs: 0 })) },
    { servers: knobs.servers.map((server) => ({ ...server, workMs: 0 })) },
    { clients: knobs.clients.map((client) => ({ ...client, hasProgress: false })) },
    { clients: knobs.clients.map((client) => ({ ...client, name: "simulated" })) },
  ];
}

async function plainerKnobs(plan: Plan, fails: Fails): Promise<Plan> {
  let best = plan;
  for (let i = 0; i < plainer(best.knobs).length; i++) {
    const knobs = { ...best.knobs, ...plainer(best.knobs)[i] };
    if (JSON.stringify(knobs) === JSON.stringify(best.knobs)) continue;
    if (await fails({ ...best, knobs })) best = { ...best, knobs };
  }
  return withoutIdle(best, fails);
}

/** Clients that do nothing are left out, the last first, so that the numbers of the others stay. */
async function withoutIdle(plan: Plan, fails: Fails): Promise<Plan> {
  let best = plan;
  while (best.knobs.clients.length > 1) {
    const last = best.knobs.clients.length - 1;
    const isUsed = best.steps.some((step: Step) => "client" in step && step.client === last);
    const smaller = { ...best, knobs: { ...best.knobs, clients: best.knobs.clients.slice(0, -1) } };
    if (isUsed || !(await fails(smaller))) return best;
    best = smaller;
  }
  return best;
}
