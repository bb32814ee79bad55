/** What is wrong with one server's entry is that server's trouble: its dial fails, nothing throws. */
import { expect, test } from "vitest";
import { newConnector } from "../../src/app/connectors.ts";
import type { RunPlan } from "../../src/app/options.ts";
import { realWorld } from "../../src/base/world.ts";
import type { ConnectionEvents } from "../../src/ports.ts";

const NO_EVENTS: ConnectionEvents = {
  onMessage: () => undefined,
  onOutcome: () => undefined,
  onDown: () => undefined,
  onNoise: () => undefined,
};

test.each([
  ["http", "http://127.0.0.1:1/mcp", { Authorization: "Bearer abc\n" }, /Authorization/],
  ["sse", "http://127.0.0.1:1/sse", { "a b": "1" }, /"a b"/],
  ["ws", "ws://127.0.0.1:1/ws", { Host: "other" }, /Host/],
  ["http", "http://user:50%@127.0.0.1:1/mcp", {}, /%25/],
] as const)(
  "a connector over %s with a header that can't be sent says so when it dials",
  async (kind, url, headers, words) => {
    const plan = {
      target: { kind, url, headers },
      targetText: url,
      maskValues: [],
      settings: { resultMaxBytes: 1_000 },
    } as unknown as RunPlan;
    const parts = { onChild: () => undefined, onChildGone: () => undefined };
    const connector = newConnector(plan, { world: realWorld(), log: () => undefined, ...parts });
    const outcome = await connector.dial(NO_EVENTS, undefined, new AbortController().signal);
    if (outcome.kind !== "failed") throw new Error(`it is ${outcome.kind}`);
    expect(outcome.failure.kind).toBe("spawn_failed");
    expect(outcome.failure.message).toMatch(words);
    expect(outcome.failure.message).not.toContain("abc");
  },
);
