/** Makes a plan of a seed: the same seed, the same plan. */
import { randomFrom } from "../support/random.ts";
import {
  type ClientKnobs,
  DOOR_STATES,
  FATES,
  type Knobs,
  type Plan,
  type ServerKnobs,
  type Step,
  TOOL_NAMES,
} from "./plan.ts";
import { POINTS } from "./points.ts";

/** Draws what a plan is made of. */
class Draw {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomFrom(seed);
  }

  /** A whole number from `least` to `most`. */
  int(least: number, most: number): number {
    return least + Math.floor(this.#random() * (most - least + 1));
  }

  chance(share: number): boolean {
    return this.#random() < share;
  }

  one<T>(of: readonly T[]): T {
    const found = of[Math.floor(this.#random() * of.length)];
    if (found === undefined) throw new Error("nothing to choose from");
    return found;
  }
}

export function planOf(seed: number): Plan {
  const draw = new Draw(seed);
  const knobs = knobsOf(seed, draw);
  return { knobs, steps: stepsOf(knobs, draw) };
}

function knobsOf(seed: number, draw: Draw): Knobs {
  const mode = draw.chance(0.25) ? "wrap" : "serve";
  const servers = Array.from({ length: mode === "wrap" ? 1 : draw.int(1, 3) }, () =>
    serverOf(mode, draw),
  );
  const clients = Array.from({ length: mode === "wrap" ? 1 : draw.int(1, 4) }, () =>
    clientOf(mode, servers.length, draw),
  );
  return {
    seed,
    mode,
    servers,
    clients,
    holdMs: draw.one([6_000, 12_000, 20_000]),
    deferTtlMs: draw.one([15_000, 30_000, 60_000]),
    defer: draw.one(["harmless", "harmless", "writes", "none"]),
    shield: draw.one(["warn", "warn", "block", "off"]),
    concurrency: draw.chance(0.2) ? draw.int(1, 3) : undefined,
    backlogWindow: draw.one([1, 2, 8]),
    restartMs: draw.one([50, 500, 3_000, 15_000]),
    commitMs: draw.one([0, 1, 5]),
    hasPowerLoss: draw.chance(0.1),
  };
}

function serverOf(mode: Knobs["mode"], draw: Draw): ServerKnobs {
  return {
    transport: draw.one(["stdio", "http", "ws"]),
    isolation: mode === "serve" && draw.chance(0.3) ? "shared" : "session",
    workMs: draw.one([0, 5, 200, 2_000]),
    delayMs: draw.one([0, 1, 5, 80]),
    resumes: draw.chance(0.5),
    isStateful: draw.chance(0.1),
  };
}

function clientOf(mode: Knobs["mode"], servers: number, draw: Draw): ClientKnobs {
  return {
    server: draw.int(0, servers - 1),
    transport: mode === "wrap" ? "stdio" : draw.one(["http", "http", "sse", "ws"]),
    principal: draw.one(["anna", "anna", "ben"]),
    name: draw.one(["simulated", "simulated", "claude-code", "cursor-vscode"]),
    hasProgress: draw.chance(0.5),
  };
}

function stepsOf(knobs: Knobs, draw: Draw): readonly Step[] {
  const steps: Step[] = [];
  const count = draw.int(6, 36);
  const pace = draw.one([10, 300, 2_500]);
  let at = draw.int(0, 300);
  for (let i = 0; i < count; i++) {
    steps.push({ at, ...stepOf(knobs, draw) } as Step);
    at += draw.chance(0.35) ? 0 : draw.int(0, pace);
  }
  return steps;
}

type Bare = Step extends infer S ? (S extends unknown ? Omit<S, "at"> : never) : never;

function stepOf(knobs: Knobs, draw: Draw): Bare {
  const dice = draw.int(0, 99);
  if (dice < 42) return callOf(knobs, draw);
  if (dice < 60) return clientStep(knobs, draw);
  if (dice < 84) return serverStep(knobs, draw);
  if (dice < 94) return deathOf(draw);
  return machineStep(draw);
}

const client = (knobs: Knobs, draw: Draw) => draw.int(0, knobs.clients.length - 1);
const server = (knobs: Knobs, draw: Draw) => draw.int(0, knobs.servers.length - 1);

function callOf(knobs: Knobs, draw: Draw): Bare {
  return {
    do: "call",
    client: client(knobs, draw),
    tool: draw.one(TOOL_NAMES),
    ...(draw.chance(0.25) ? { patienceMs: draw.one([200, 3_000, 9_000]) } : {}),
    ...(draw.chance(0.3) ? { repeats: draw.int(1, 3) } : {}),
  };
}

function clientStep(knobs: Knobs, draw: Draw): Bare {
  const of = { client: client(knobs, draw) };
  const awayMs = draw.one([0, 300, 2_000, 30_000]);
  switch (draw.one(["cancel", "cancel", "reset", "reset", "deaf", "leave", "flood"] as const)) {
    case "cancel":
      return { do: "cancel", ...of, pick: draw.int(0, 9) };
    case "reset":
      return { do: "reset", ...of, awayMs };
    case "deaf":
      return { do: "deaf", ...of, awayMs };
    case "leave":
      return { do: "leave", ...of, awayMs };
    case "flood":
      return { do: "flood", ...of, calls: draw.int(5, 40) };
  }
}

function serverStep(knobs: Knobs, draw: Draw): Bare {
  const of = { server: server(knobs, draw) };
  switch (
    draw.one(["door", "door", "fate", "fate", "fate", "freeze", "tools", "swizzle"] as const)
  ) {
    case "door":
      return { do: "door", ...of, state: draw.one(DOOR_STATES), cuts: draw.chance(0.6) };
    case "fate":
      return { do: "fate", ...of, fate: draw.one(FATES), count: draw.int(1, 3) };
    case "freeze":
      return { do: "freeze", ...of, forMs: draw.one([500, 10_000, 60_000]) };
    case "tools":
      return { do: "tools", ...of, version: draw.int(0, 2) };
    case "swizzle":
      return { do: "door", ...of, state: "open", cuts: draw.chance(0.3) };
  }
}

function deathOf(draw: Draw): Bare {
  const dice = draw.int(0, 9);
  if (dice < 2) return { do: "crash" };
  if (dice < 8)
    return {
      do: "crash at",
      point: { name: draw.one(POINTS), occurrence: draw.int(1, 4) },
    };
  return dice < 9 ? { do: "stop" } : { do: "power loss" };
}

function machineStep(draw: Draw): Bare {
  switch (draw.one(["clock", "suspend", "disk", "disk", "io error"] as const)) {
    case "clock":
      return { do: "clock", ms: draw.one([-3_600_000, 3_600_000, -5_000]) };
    case "suspend":
      return { do: "suspend", ms: draw.one([15_000, 28_800_000]) };
    case "disk":
      return { do: "disk", state: draw.one(["full", "roomy", "slow", "fast"]) };
    case "io error":
      return { do: "io error", isWritten: draw.chance(0.5) };
  }
}
