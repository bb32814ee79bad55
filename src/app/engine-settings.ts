/** From the options of a run to the settings of the engine; the names of the two worlds meet here. */
import type { Settings, ToolSettings } from "../core/settings.ts";
import type { RunPlan } from "./options.ts";

export function engineSettings(plan: RunPlan): Settings {
  const { settings: s } = plan;
  const tools: Record<string, ToolSettings> = {};
  for (const [name, tool] of plan.tools) {
    tools[name] = {
      ...(tool.safety === undefined ? {} : { safety: tool.safety }),
      ...(tool.holdMs === undefined ? {} : { holdMs: tool.holdMs }),
      ...(tool.defer === undefined ? {} : { defer: tool.defer }),
    };
  }
  return {
    upstreamName: plan.name,
    transport: plan.target.kind,
    holdMs: s.holdMs,
    isHoldChosen: plan.given.has("holdMs"),
    progressEveryMs: s.progressEveryMs,
    defer: s.defer,
    deferTtlMs: s.deferTtlMs,
    shield: s.shield,
    trustAnnotations: s.trustAnnotations,
    isStateful: s.stateful,
    hasControlTool: s.controlTool,
    handshakeWaitMs: s.handshakeWaitMs,
    replayRate: s.replayRate,
    concurrency: s.concurrency,
    backlogWindow: s.backlogWindow,
    drainMs: s.drainTimeoutMs,
    retention: { resultsMs: s.retentionMs, recordsMs: s.metadataRetentionMs },
    isolation: s.isolation,
    sessionTimeoutMs: s.sessionTimeoutMs,
    sessionIdleMs: s.sessionIdleMs,
    limits: {
      sessionsPerProcess: s.maxSessions,
      callsPerSession: s.sessionMaxCalls,
      bytesPerSession: s.sessionMaxBytes,
      callsPerUpstream: s.upstreamMaxCalls,
      callsPerProcess: s.processMaxCalls,
      bytesPerProcess: s.processMaxBytes,
      requestMaxBytes: s.requestMaxBytes,
      resultMaxBytes: s.resultMaxBytes,
    },
    tools,
    clients: Object.fromEntries([...plan.clients].map(([name, { holdMs }]) => [name, holdMs])),
  };
}
