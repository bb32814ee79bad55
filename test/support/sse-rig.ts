/** A legacy HTTP+SSE server on loopback with hooks. Real sockets, port 0. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { realWorld } from "../../src/base/world.ts";
import type { Connector } from "../../src/ports.ts";
import { sseConnector, type SseConnectorOptions } from "../../src/upstream/sse.ts";
import { result } from "./http-rig.ts";
import { ownPort } from "./port.ts";

/** One POST as the server saw it. */
export interface Posted {
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  readonly rpc: { readonly id?: string; readonly method?: string };
  readonly res: ServerResponse;
  readonly socket: Socket;
}

export interface Stream {
  readonly headers: IncomingMessage["headers"];
  readonly res: ServerResponse;
  readonly socket: Socket;
}

/** Names `/message?sessionId=<n>` on a GET; takes every POST with 202 and answers `initialize`. */
export class SseServer {
  readonly posts: Posted[] = [];
  readonly streams: Stream[] = [];
  readonly #server: Server;
  onGet: (stream: Stream) => void = (stream) => {
    this.open(stream, `/message?sessionId=${String(this.streams.length)}-abcdefghij`);
  };
  /** Every POST that is neither the handshake nor without an id; those are `onNotice`'s. */
  onCall: (posted: Posted) => void = (posted) => {
    posted.res.writeHead(202).end();
  };

  onNotice: (posted: Posted) => void = (posted) => {
    posted.res.writeHead(202).end();
  };

  constructor() {
    this.#server = createServer((req, res) => {
      req.on("error", () => undefined);
      res.on("error", () => undefined);
      if (req.method === "GET") {
        const stream = { headers: req.headers, res, socket: req.socket };
        this.streams.push(stream);
        this.onGet(stream);
        return;
      }
      const chunks: Buffer[] = [];
      req.on("data", (chunk: Buffer) => chunks.push(chunk));
      req.on("end", () => {
        this.#posted(req, res, Buffer.concat(chunks).toString());
      });
    });
  }

  #posted(req: IncomingMessage, res: ServerResponse, body: string): void {
    const rpc = JSON.parse(body) as Posted["rpc"];
    const { headers, socket } = req;
    const posted = { url: req.url ?? "", headers, body, rpc, res, socket };
    this.posts.push(posted);
    if (rpc.method === "initialize") {
      res.writeHead(202).end("Accepted");
      this.say(result(rpc.id, { protocolVersion: "2024-11-05" }));
    } else if (rpc.id === undefined) this.onNotice(posted);
    else this.onCall(posted);
  }

  /** Answers a GET with a stream that names `endpoint`. */
  open({ res }: Stream, endpoint: string): void {
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.write(`event: endpoint\ndata: ${endpoint}\n\n`);
  }

  /** Writes a message event to the newest stream. */
  say(data: string): void {
    this.write(`event: message\ndata: ${data}\n\n`);
  }

  write(bytes: string | Uint8Array): void {
    this.streams.at(-1)?.res.write(bytes);
  }

  calls(method: string): Posted[] {
    return this.posts.filter((posted) => posted.rpc.method === method);
  }

  async listen(): Promise<this> {
    const port = await ownPort();
    await new Promise<void>((resolve) => {
      this.#server.listen(port, "127.0.0.1", resolve);
    });
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${String(this.port)}/sse`;
  }

  /** No new connections; what was accepted goes on. */
  stopListening(): void {
    this.#server.close();
    this.#server.closeIdleConnections();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }
}

export function sseTo(url: string, more: Partial<SseConnectorOptions> = {}): Connector {
  return sseConnector({ world: realWorld(), log: () => undefined, url, headers: {}, ...more });
}
