/**
 * Holdfast as its clients meet it, over each of its four transports, with a death that can be ordered:
 * behind stdio each client starts a proxy of its own (`holdfast run`), over the network one daemon
 * (`holdfast serve`) is there for all, and returns to the same port.
 */
import { fileURLToPath } from "node:url";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { WebSocket } from "ws";
import type { TransportKind } from "../../src/core/transport.ts";
import { configure, startDaemon } from "./daemon.ts";
import { isAlive, until, type Lab } from "./lab.ts";
import { ownPort } from "./port.ts";
import { ReturningSocketTransport } from "./returning-socket.ts";
import type { Upstream } from "./upstream-process.ts";

const CLI = fileURLToPath(new URL("../../dist/app/cli.js", import.meta.url));
const NAME = "ledger";

// The official client takes the socket that browsers have; Node 20 has none.
Object.assign(globalThis, { WebSocket });

export interface Front {
  /** A client's way to it, each time another. */
  transport(): Transport;
  /** SIGKILL to every proxy of it; they are gone when this resolves. */
  kill(): Promise<void>;
  /** Has it back where it was; behind stdio a client does that. */
  back(): Promise<void>;
}

export type OpenFront = (lab: Lab, upstream: Upstream) => Promise<Front>;

/** The official client over stdio to this program; its last words are the lab's. */
export function overStdio(lab: Lab, args: readonly string[]): StdioClientTransport {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [...args],
    env: { ...lab.env },
    stderr: "pipe",
  });
  transport.stderr?.on("data", (chunk: Buffer) => {
    lab.log(chunk.toString());
  });
  return transport;
}

const openStdio: OpenFront = (lab, upstream) => {
  configure(lab, { [NAME]: upstream.entry });
  const transports: StdioClientTransport[] = [];
  return Promise.resolve({
    transport: () => {
      const transport = overStdio(lab, [CLI, "run", NAME, "--config", lab.path("holdfast.json")]);
      transports.push(transport);
      return transport as Transport;
    },
    kill: async () => {
      const pids = transports.flatMap(({ pid }) => pid ?? []).filter(isAlive);
      for (const pid of pids) {
        lab.watch(pid);
        process.kill(pid, "SIGKILL");
      }
      await until("the proxies to die", () => !pids.some(isAlive), 20_000);
    },
    back: () => Promise.resolve(),
  });
};

/** One daemon; `reach` is a client's way to the server called `name` at this host and port. */
function openNetwork(reach: (host: string, name: string) => Transport): OpenFront {
  return async (lab, upstream) => {
    configure(lab, { [NAME]: upstream.entry });
    const host = `127.0.0.1:${String(await ownPort())}`;
    let daemon = await startDaemon(lab, host);
    return {
      transport: () => reach(host, NAME),
      kill: async () => {
        daemon.signal("SIGKILL");
        await daemon.exited;
      },
      back: async () => {
        daemon = await startDaemon(lab, host);
      },
    };
  };
}

/** Patient enough for a loaded machine: by default it gives up after two attempts. */
const PATIENT = {
  initialReconnectionDelay: 100,
  maxReconnectionDelay: 500,
  reconnectionDelayGrowFactor: 1.2,
  maxRetries: 100,
};

const overHttp = openNetwork(
  (host, name) =>
    new StreamableHTTPClientTransport(new URL(`http://${host}/mcp/${name}`), {
      reconnectionOptions: PATIENT,
    }) as Transport,
);
const overSse = openNetwork(
  (host, name) => new SSEClientTransport(new URL(`http://${host}/sse/${name}`)) as Transport,
);
const overSocket = openNetwork(
  (host, name) => new WebSocketClientTransport(new URL(`ws://${host}/ws/${name}`)),
);
const overReturningSocket = openNetwork(
  (host, name) => new ReturningSocketTransport(`ws://${host}/ws/${name}`),
);

/** Each of the four by its official client. */
export const FRONTS: readonly (readonly [string, OpenFront])[] = [
  ["stdio", openStdio],
  ["Streamable HTTP", overHttp],
  ["HTTP+SSE", overSse],
  ["WebSocket", overSocket],
];

/**
 * Those whose client keeps its session over the death of Holdfast, and whether its reads are kept as
 * well: most clients of a WebSocket never return, so reads that pass straight through leave no record.
 */
export const RESUMING_FRONTS: readonly (readonly [string, OpenFront, boolean])[] = [
  ["Streamable HTTP", overHttp, true],
  ["HTTP+SSE", overSse, true],
  ["returning WebSocket", overReturningSocket, false],
];

/** Those whose client has to begin anew. */
export const FORGETTING_FRONTS: readonly (readonly [string, OpenFront])[] = [
  ["stdio", openStdio],
  ["WebSocket", overSocket],
];

const DIRECT: Readonly<Record<TransportKind, (lab: Lab, upstream: Upstream) => Transport>> = {
  stdio: (lab, { target }) => overStdio(lab, target.slice(2)) as Transport,
  http: (_lab, { url }) => new StreamableHTTPClientTransport(new URL(url)) as Transport,
  sse: (_lab, { url }) => new SSEClientTransport(new URL(url)) as Transport,
  ws: (_lab, { url }) => new WebSocketClientTransport(new URL(url)),
};

/** To the server itself, past Holdfast. */
export const direct = (lab: Lab, upstream: Upstream): Transport =>
  DIRECT[upstream.kind](lab, upstream);
