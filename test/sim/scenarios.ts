/**
 * Small named histories for the exhaustive part: one for each thing that can happen to a call, over each
 * kind of client. In each the process is killed at every point that it passes.
 */
import type { ClientKnobs, Knobs, Plan, ServerKnobs, Step, ToolName } from "./plan.ts";
import { TOOL_NAMES } from "./plan.ts";

export interface Scenario {
  readonly name: string;
  readonly plan: Plan;
}

type Transport = ClientKnobs["transport"];

const SERVER: ServerKnobs = {
  transport: "ws",
  isolation: "session",
  workMs: 5,
  delayMs: 1,
  resumes: false,
  isStateful: false,
};

const KNOBS: Omit<Knobs, "mode" | "servers" | "clients"> = {
  seed: 1,
  holdMs: 6_000,
  deferTtlMs: 20_000,
  defer: "harmless",
  shield: "warn",
  concurrency: undefined,
  backlogWindow: 8,
  restartMs: 50,
  commitMs: 1,
  hasPowerLoss: false,
};

interface Options {
  readonly clients?: readonly Transport[];
  readonly server?: Partial<ServerKnobs>;
  readonly knobs?: Partial<Knobs>;
  readonly hasProgress?: boolean;
}

/** Over stdio it is a wrapped server, else a daemon. */
function scenario(name: string, steps: readonly Step[], options: Options = {}): Scenario {
  const { clients = ["http"], server = {}, knobs = {}, hasProgress = false } = options;
  const mode = clients.includes("stdio") ? "wrap" : "serve";
  const plan: Plan = {
    knobs: {
      ...KNOBS,
      mode,
      servers: [{ ...SERVER, ...(mode === "wrap" ? { transport: "stdio" } : {}), ...server }],
      clients: clients.map((transport) => {
        return { server: 0, transport, principal: "anna", name: "simulated", hasProgress };
      }),
      ...knobs,
    },
    steps,
  };
  return { name, plan };
}

const call = (at: number, tool: ToolName, more: Partial<Step & { do: "call" }> = {}): Step => ({
  at,
  do: "call",
  client: 0,
  tool,
  ...more,
});

/** The server is away from 100 ms on, and is back at `backAt`. */
const away = (backAt: number): readonly Step[] => [
  { at: 100, do: "door", server: 0, state: "refuses", cuts: true },
  { at: backAt, do: "door", server: 0, state: "open", cuts: false },
];

const CLIENTS: readonly Transport[] = ["stdio", "http", "sse", "ws"];

const perClient = (make: (client: Transport) => readonly Scenario[]): readonly Scenario[] =>
  CLIENTS.flatMap(make);

const calls = perClient((client) =>
  TOOL_NAMES.map((tool) =>
    scenario(`${client}: a ${tool}`, [call(200, tool), call(230, tool)], { clients: [client] }),
  ),
);

const waits = perClient((client) => [
  scenario(
    `${client}: calls wait for a server that comes back`,
    [call(200, "write"), call(210, "put"), call(220, "write"), ...away(2_000)],
    { clients: [client], hasProgress: true },
  ),
  scenario(
    `${client}: a call is promised to run late, and repeated`,
    [call(200, "note", { repeats: 1 }), call(210, "write"), ...away(12_000)],
    { clients: [client] },
  ),
]);

const lost = perClient((client) => [
  scenario(
    `${client}: the answers to a write and to a put are lost`,
    [
      { at: 150, do: "fate", server: 0, fate: "answer lost", count: 1 },
      call(200, "write", { repeats: 2 }),
      { at: 3_000, do: "fate", server: 0, fate: "answer lost", count: 1 },
      call(3_050, "put"),
    ],
    { clients: [client] },
  ),
  scenario(
    `${client}: a call is taken back while it waits, and while it runs`,
    [
      call(200, "write"),
      { at: 210, do: "cancel", client: 0, pick: 0 },
      ...away(1_000),
      call(3_000, "put"),
      { at: 3_001, do: "cancel", client: 0, pick: 0 },
    ],
    { clients: [client], server: { workMs: 200 } },
  ),
]);

const returns = (["http", "sse", "ws"] as const).map((client) =>
  scenario(
    `${client}: a client loses its connection and comes back`,
    [
      call(200, "write"),
      { at: 203, do: "reset", client: 0, awayMs: 300 },
      { at: 800, do: "deaf", client: 0, awayMs: 10 },
      call(801, "put"),
    ],
    { clients: [client], server: { workMs: 100 } },
  ),
);

const servers = [
  scenario(
    "http to http: session lost, rate limited, server error",
    [
      { at: 150, do: "fate", server: 0, fate: "session lost", count: 1 },
      call(200, "write"),
      { at: 1_000, do: "fate", server: 0, fate: "rate limited", count: 1 },
      call(1_050, "write"),
      { at: 5_000, do: "fate", server: 0, fate: "server error", count: 1 },
      call(5_050, "put"),
    ],
    { server: { transport: "http" } },
  ),
  scenario(
    "http to http: a stream is resumed, an answer comes late",
    [
      { at: 150, do: "fate", server: 0, fate: "answer late", count: 1 },
      call(200, "write", { repeats: 1 }),
      { at: 400, do: "door", server: 0, state: "open", cuts: true },
      call(401, "put"),
    ],
    { server: { transport: "http", resumes: true, workMs: 50 } },
  ),
  scenario(
    "a server that keeps state per session goes down while calls wait",
    [call(200, "write"), call(210, "note"), ...away(2_000)],
    { server: { isStateful: true } },
  ),
  scenario("tools change while a call waits", [
    call(200, "write"),
    ...away(1_500),
    { at: 300, do: "tools", server: 0, version: 1 },
  ]),
  scenario(
    "two clients share a connection that breaks",
    [
      call(200, "write"),
      call(201, "put", { client: 1 }),
      { at: 203, do: "door", server: 0, state: "open", cuts: true },
      call(400, "write", { client: 1 }),
    ],
    { clients: ["http", "ws"], server: { isolation: "shared", workMs: 20 } },
  ),
  scenario("garbage, a foreign id, an answer twice", [
    { at: 150, do: "fate", server: 0, fate: "garbage", count: 1 },
    call(200, "write"),
    { at: 300, do: "fate", server: 0, fate: "wrong id", count: 1 },
    call(320, "write"),
    { at: 3_000, do: "fate", server: 0, fate: "answer twice", count: 1 },
    call(3_050, "put"),
  ]),
];

const machine = [
  scenario(
    "a daemon is stopped with calls in flight and waiting",
    [call(200, "put"), call(201, "write"), { at: 203, do: "stop" }, call(204, "note")],
    { server: { workMs: 200 } },
  ),
  scenario(
    "a wrapped server's client leaves with calls in flight",
    [call(200, "put"), call(201, "write"), { at: 203, do: "leave", client: 0, awayMs: 10 }],
    { clients: ["stdio"], server: { workMs: 200 } },
  ),
  scenario(
    "a client ends its session and begins another",
    [call(200, "write"), { at: 203, do: "leave", client: 0, awayMs: 50 }, call(204, "put")],
    { server: { workMs: 100 } },
  ),
  scenario("the disk is full for a while", [
    { at: 150, do: "disk", state: "full" },
    call(200, "write", { repeats: 2 }),
    call(210, "put"),
    { at: 3_000, do: "disk", state: "roomy" },
    call(3_100, "write"),
  ]),
  scenario("an I/O error ends a daemon, and the commit was written", [
    { at: 199, do: "io error", isWritten: true },
    call(200, "write"),
  ]),
  scenario("an I/O error ends a daemon, and the commit was not written", [
    { at: 199, do: "io error", isWritten: false },
    call(200, "put"),
  ]),
  scenario(
    "a wrapped server goes on without its disk",
    [{ at: 199, do: "io error", isWritten: true }, call(200, "write"), call(400, "note")],
    { clients: ["stdio"] },
  ),
  scenario("fsync is slow", [
    { at: 150, do: "disk", state: "slow" },
    call(200, "write"),
    call(205, "put"),
    { at: 210, do: "cancel", client: 0, pick: 1 },
  ]),
  scenario(
    "the power fails between a read and a write",
    [call(200, "read"), call(210, "write"), { at: 240, do: "power loss" }, call(400, "put")],
    { server: { workMs: 60 }, knobs: { hasPowerLoss: true } },
  ),
  scenario(
    "the clock is set back, and the machine sleeps",
    [
      call(200, "write"),
      { at: 202, do: "clock", ms: -3_600_000 },
      call(210, "put"),
      { at: 215, do: "suspend", ms: 28_800_000 },
      call(300, "write"),
    ],
    { server: { workMs: 50 } },
  ),
  scenario(
    "a flood over one connection",
    [{ at: 200, do: "flood", client: 0, calls: 12 }, ...away(1_000)],
    { knobs: { concurrency: 2, backlogWindow: 2 } },
  ),
  scenario("a write is repeated after an unknown outcome", [
    { at: 150, do: "fate", server: 0, fate: "cut off", count: 1 },
    call(200, "write", { repeats: 3 }),
  ]),
];

export const SCENARIOS: readonly Scenario[] = [
  ...calls,
  ...waits,
  ...lost,
  ...returns,
  ...servers,
  ...machine,
];
