/**
 * A stream that breaks in the middle of an answer, on either side. An answer reaches its client whole or
 * not at all; where it was lost, nobody pretends to know whether the call ran, and no half of it is ever
 * continued.
 */
import assert from "node:assert/strict";
import type { TransportKind } from "../../src/core/transport.ts";
import { configure, startDaemon, type Daemon } from "../support/daemon.ts";
import { until, type Lab } from "../support/lab.ts";
import { requestText, wireTo } from "../support/raw-http.ts";
import { POST_HEADERS, RawSession, type Asked } from "../support/raw-session.ts";
import { abusiveEntry, startAbusive } from "../chaos/abuse/stage.ts";
import type { Drill, Figure } from "./drill.ts";

const SERVER = "half";
/** More than the buffers of both ends hold, so that the break is in the middle. */
const ANSWER_BYTES = 12 * 1024 * 1024;

async function openDaemon(lab: Lab, kind: TransportKind): Promise<[Daemon, RawSession]> {
  const entry = kind === "stdio" ? abusiveEntry(lab) : await startAbusive(lab, kind);
  configure(lab, { [SERVER]: entry }, { hold: "2s" });
  const daemon = await startDaemon(lab);
  const session = await RawSession.open(`${daemon.address}/mcp/${SERVER}`);
  await session.request("tools/list");
  return [daemon, session];
}

const breaksAt = (kind: TransportKind): Drill => ({
  name: `interrupted stream: the server dies in mid-answer, ${kind}`,
  rounds: 1,
  run: async (lab) => {
    const [, session] = await openDaemon(lab, kind);
    const startedAt = performance.now();
    const answer = await session.call("half", "h");
    const toldMs = performance.now() - startedAt;
    assert.equal(answer.isError, true);
    assert.equal(answer.told?.executed, "unknown");
    // Not a byte of the half that came.
    assert.ok(!answer.text.includes("value of"), answer.text);
    const figures: Figure[] = [
      { what: "from the call to the truth about it", value: toldMs, unit: "ms", max: 10_000 },
    ];
    if (kind !== "stdio") return figures;
    // A server of ours is back; the call was not sent to it.
    const after = await session.call("read_value", "after");
    assert.equal(after.text, "value of after");
    assert.equal(lab.serverPids().length, 2);
    return figures;
  },
});

/** Reads a little of the answer over a connection made by hand, and cuts it. */
async function cutInTheMiddle(daemon: Daemon, session: RawSession): Promise<string> {
  const wire = await wireTo(Number(new URL(daemon.address).port));
  const params = { name: "huge", arguments: { nonce: "n", bytes: String(ANSWER_BYTES) } };
  const body = JSON.stringify({ jsonrpc: "2.0", id: "cut", method: "tools/call", params });
  const headers = {
    host: new URL(daemon.address).host,
    ...POST_HEADERS,
    ...session.headers(),
    "content-length": String(body.length),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  wire.write(requestText("POST", `/mcp/${SERVER}`, lines, body));
  await until("the middle of the answer", () => wire.text().includes("yyyyyyyy"));
  wire.destroy();
  assert.ok(wire.text().length < ANSWER_BYTES, "the answer was over before it was cut");
  const id = /^id: (\S+)$/m.exec(wire.text())?.[1];
  assert.ok(id !== undefined, "no event id came before the answer");
  return id;
}

const clientBreaks: Drill = {
  name: "interrupted stream: the client's connection breaks in mid-answer",
  rounds: 1,
  run: async (lab) => {
    const [daemon, session] = await openDaemon(lab, "stdio");
    const lastEventId = await cutInTheMiddle(daemon, session);
    const asked: Asked = {
      idText: "cut",
      tool: "huge",
      nonce: "n",
      answers: [],
      lastEventId,
      status: 0,
      isOpen: false,
      ended: Promise.resolve(),
    };
    const startedAt = performance.now();
    await session.untilAnswered(asked);
    const value = performance.now() - startedAt;
    const [answer] = asked.answers;
    const [block] = (answer?.result?.["content"] ?? []) as { text: string }[];
    // From its first byte on, and every byte of it.
    assert.equal(block?.text, "y".repeat(ANSWER_BYTES));
    return [{ what: "from coming back to the whole answer", value, unit: "ms", max: 10_000 }];
  },
};

export const STREAMS: readonly Drill[] = [
  breaksAt("stdio"),
  breaksAt("http"),
  breaksAt("sse"),
  breaksAt("ws"),
  clientBreaks,
];
