/** What the engine is told in a run. */
import type { Settings } from "../../src/core/settings.ts";
import { SETTINGS } from "../support/stage.ts";
import type { Knobs } from "./plan.ts";
import type { SimServer } from "./server.ts";

/** Small enough that a flood goes over it. */
export const CALLS_PER_SESSION = 16;

export function settingsFor(knobs: Knobs, server: SimServer): Settings {
  const { holdMs, deferTtlMs, defer, shield, concurrency, backlogWindow } = knobs;
  return {
    ...SETTINGS,
    upstreamName: server.name,
    transport: server.knobs.transport,
    isolation: server.knobs.isolation,
    isStateful: server.knobs.isStateful,
    holdMs,
    isHoldChosen: false,
    deferTtlMs,
    defer,
    shield,
    concurrency,
    backlogWindow,
    limits: { ...SETTINGS.limits, callsPerSession: CALLS_PER_SESSION },
    progressEveryMs: 3_000,
    sessionIdleMs: 40_000,
  };
}
