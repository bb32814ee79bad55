import { expect, test } from "vitest";
import type { ProxyEvent } from "../../src/core/event.ts";
import { renderEvent } from "../../src/observe/event.ts";
import { NO_PAINT } from "../../src/observe/text.ts";

const common = { at: 1_800_000_000_000, upstream: "github" };

const EVENTS: readonly (readonly [ProxyEvent, string])[] = [
  [
    {
      ...common,
      kind: "upstream",
      state: "waiting",
      was: "serving",
      sessionId: "s_1",
      cause: "exited with code 7",
    },
    "github is waiting, was serving for s_1: exited with code 7",
  ],
  [
    {
      ...common,
      kind: "upstream",
      state: "serving",
      was: "handshaking",
      sessionId: undefined,
      cause: undefined,
    },
    "github is serving, was handshaking",
  ],
  [
    {
      ...common,
      kind: "call",
      callId: "c_1",
      sessionId: "s_1",
      tool: "create\u001b[31m_issue",
      state: "dead",
      executed: "unknown",
      cause: "exited with\ncode 7",
    },
    "github call c_1 create [31m_issue is dead, executed unknown, of s_1: exited with code 7",
  ],
  [
    {
      ...common,
      kind: "call",
      callId: "c_1",
      sessionId: "s_1",
      tool: undefined,
      state: "queued",
      executed: "pending",
      cause: undefined,
    },
    "github call c_1 is queued, executed pending, of s_1",
  ],
  [
    {
      ...common,
      kind: "session",
      sessionId: "s_1",
      client: "claude-code 2.1.0",
      what: "ended",
      cause: "the client deleted it",
    },
    "github session s_1 of claude-code 2.1.0 ended: the client deleted it",
  ],
  [
    { ...common, upstream: "", kind: "configuration", text: "loaded holdfast.json" },
    "configuration: loaded holdfast.json",
  ],
];

test.each(EVENTS)("is one harmless line: when, where, what, why (%#)", (event, text) => {
  expect(renderEvent(event, NO_PAINT)).toBe(`2027-01-15T08:00:00.000Z ${text}`);
});

test("an outcome that is unknown stands out, and an upstream that is away", () => {
  const mark = (text: string) => `<${text}>`;
  const paint = { ...NO_PAINT, red: mark };
  const painted = EVENTS.map(([event]) => renderEvent(event, paint).includes("<"));
  expect(painted).toEqual([true, false, true, false, false, false]);
});
