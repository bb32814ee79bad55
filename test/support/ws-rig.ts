/** A WebSocket MCP server on loopback with hooks. Real sockets, port 0. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer, type ServerOptions, type WebSocket } from "ws";
import { realWorld } from "../../src/base/world.ts";
import type { Connector } from "../../src/ports.ts";
import {
  webSocketConnector,
  type WebSocketConnectorOptions,
} from "../../src/upstream/websocket.ts";
import { result } from "./http-rig.ts";
import { ownPort } from "./port.ts";

/** One message as the server saw it. */
export interface Heard {
  readonly text: string;
  readonly rpc: { readonly id?: string; readonly method?: string };
  readonly socket: WebSocket;
}

/** Answers `initialize`; the rest is `onCall`'s. */
export class SocketServer {
  readonly heard: Heard[] = [];
  readonly sockets: WebSocket[] = [];
  readonly upgrades: IncomingMessage[] = [];
  readonly tcp: Socket[] = [];
  readonly #http: Server;
  readonly #server: WebSocketServer;
  onCall: (heard: Heard) => void = () => undefined;
  onOpen: (socket: WebSocket) => void = () => undefined;

  constructor(options: ServerOptions = {}) {
    this.#http = createServer((_req, res) => res.writeHead(426).end());
    this.#http.on("upgrade", (request, socket) => {
      this.tcp.push(socket as Socket);
      socket.on("error", () => undefined);
      this.upgrades.push(request);
    });
    this.#server = new WebSocketServer({ server: this.#http, ...options });
    this.#server.on("connection", (socket) => {
      this.sockets.push(socket);
      this.onOpen(socket);
      socket.on("error", () => undefined);
      socket.on("message", (data: Buffer) => {
        this.#take(socket, data.toString());
      });
    });
  }

  #take(socket: WebSocket, text: string): void {
    const rpc = JSON.parse(text) as Heard["rpc"];
    const heard = { text, rpc, socket };
    this.heard.push(heard);
    if (rpc.method === "initialize") {
      socket.send(result(rpc.id, { protocolVersion: "2025-11-25" }));
    } else if (rpc.id !== undefined) this.onCall(heard);
  }

  calls(method: string): Heard[] {
    return this.heard.filter((heard) => heard.rpc.method === method);
  }

  /** Bytes straight into the newest TCP socket, past all framing. */
  raw(bytes: Uint8Array): void {
    this.tcp.at(-1)?.write(bytes);
  }

  async listen(): Promise<this> {
    const port = await ownPort();
    await new Promise<void>((resolve) => {
      this.#http.listen(port, "127.0.0.1", resolve);
    });
    return this;
  }

  get url(): string {
    const { port } = this.#http.address() as AddressInfo;
    return `ws://127.0.0.1:${String(port)}/mcp`;
  }

  async close(): Promise<void> {
    for (const socket of this.#server.clients) socket.terminate();
    for (const socket of this.tcp) socket.destroy();
    this.#http.closeAllConnections();
    this.#server.close();
    if (!this.#http.listening) return;
    await new Promise<void>((resolve) => {
      this.#http.close(() => {
        resolve();
      });
    });
  }
}

export function socketTo(url: string, more: Partial<WebSocketConnectorOptions> = {}): Connector {
  return webSocketConnector({
    world: realWorld(),
    log: () => undefined,
    url,
    headers: {},
    ...more,
  });
}
